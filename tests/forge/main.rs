//! Attackers: an unprivileged process in a user and network namespace of its own, which makes sockets that could be an end
//! of another's connection, or so many that others have no room. None of them may get a byte, or be in the way.
//! Needs root, for the data plane; the attackers have none.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod adopted;
mod attacker;
mod crowd;
mod forged;
mod packet;
mod repair;
mod role;
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
#[path = "../support/mod.rs"]
mod support;

use support::{link, nested};

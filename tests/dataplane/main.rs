//! The data plane on the real kernel: every hop past the stack, nothing reordered, nothing misdelivered, nothing left.
//! Needs root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod adopt;
mod asker;
mod bounds;
mod changes;
mod debug_info;
mod detach;
// The recorded programs are those for x86_64: splice(2) has another number elsewhere.
#[cfg(target_arch = "x86_64")]
mod fingerprints;
mod hops;
mod isolation;
mod leaving;
mod policy;
mod senders;
mod storm;
mod streams;
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
#[path = "../support/mod.rs"]
mod support;
mod tally;
mod variants;
mod weak_order;

use support::{link, nested};

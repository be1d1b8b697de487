//! Connections that stand still and must go on as plain TCP does: readers that pause, ends that have closed one
//! direction, and connections whose tracking entry expires. Needs root.
//!
//! `cargo test --test stall` has the short set; `cargo test --test stall -- --include-ignored` has all of it, ten
//! minutes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod cell;
mod grid;
mod memory;
mod reader;
mod refuser;
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
#[path = "../support/mod.rs"]
mod support;
mod tracking;

use support::{feature, link, nested};

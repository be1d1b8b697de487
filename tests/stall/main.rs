//! Connections that stand still and must go on as plain TCP does: readers that pause, ends that have closed one
//! direction, and connections whose tracking entry expires. Needs root.
//!
//! `cargo test --test stall` has the short set; `cargo test --test stall -- --include-ignored` has all of it, ten
//! minutes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod cell;
#[allow(dead_code, reason = "shared with the tests of the data plane, which use all of it")]
#[path = "../kernel/feature.rs"]
mod feature;
mod grid;
#[allow(dead_code, reason = "shared with the tests of the data plane, which use all of it")]
#[path = "../dataplane/link.rs"]
mod link;
mod memory;
mod reader;
#[allow(dead_code, reason = "shared with the tests of the data plane, which use all of it")]
#[path = "../dataplane/scope.rs"]
mod scope;
mod tracking;

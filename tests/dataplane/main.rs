//! The data plane on the real kernel: every hop past the stack, nothing reordered, nothing misdelivered, nothing left.
//! Needs root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod bounds;
mod debug_info;
mod detach;
#[path = "../kernel/feature.rs"]
mod feature;
mod fingerprints;
mod hops;
mod isolation;
mod link;
mod policy;
mod scope;
mod storm;
mod variants;

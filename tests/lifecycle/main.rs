//! Attach, upgrade, detach, takeover and crashes on the real kernel: no stream loses a byte, and afterwards exactly what
//! should be loaded is loaded. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod crash;
mod cut_short;
mod existing;
mod faulty_kernel;
mod fixture;
mod half;
mod killed;
mod many;
mod objects;
mod operations;
mod owner;
mod pinned;
mod pins;
mod reload;
mod streams;
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
#[path = "../support/mod.rs"]
mod support;
mod tracer;
mod user;
mod verbs;

//! Tests against the running kernel. They need root; see [`support::machine::require_root`] for what happens without.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod btf;
mod cgroup;
mod check;
mod link;
mod map;
mod pin;
mod prog;
mod program;
mod ringbuf;
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
#[path = "../support/mod.rs"]
mod support;

use support::feature;

//! Tests against the running kernel. They need root; see [`support::require_root`] for what happens without.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod feature;
mod support;

mod btf;
mod cgroup;
mod check;
mod link;
mod map;
mod pin;
mod prog;
mod ringbuf;

//! Programs that read by splice(2) between programs that do not: by default every byte arrives, and what reads by recvmsg
//! alone is accelerated after its probation.
//!
//! `sidestep run` is the real one, without flags but for `--unpinned`. Needs root; the tests of other people's programs
//! need these. What is missing is said, and fails in CI.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod drive;
mod haproxy;
mod late;
mod ordinary;
mod others;
mod own;
mod proxy;
mod relay;
mod ring;
mod role;
mod running;
mod short;
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
#[path = "../support/mod.rs"]
mod support;
mod uring;

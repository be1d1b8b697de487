//! `sidestep run --pods`, and the names of pods in what other commands say, with a real container runtime and pod sandboxes that it makes: pods come, opt in and out,
//! and go, while their connections carry data. Needs root, containerd and runc; with `PODS_RUNTIME=crio` or `crio-systemd`, CRI-O.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod containerd;
mod crio;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "../metrics/fetch.rs"]
mod fetch;
mod fixture;
mod leaving;
mod messages;
mod metrics;
mod names;
mod opens;
mod pause;
mod refusals;
mod run;
mod runtime;
mod sandbox;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "../lifecycle/streams.rs"]
mod streams;
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
#[path = "../support/mod.rs"]
mod support;

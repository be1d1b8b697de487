//! The testbed on the real kernel: redirection, sidecars, and that nothing stays behind. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod cgroup;
mod demo;
mod hops;
mod poorer_kernel;
mod redirect;
mod refusal;
mod sidecar;
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
#[path = "../support/mod.rs"]
mod support;

use support::feature;
use support::wait::timeout;

use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sidestep::testbed::Launcher;

/// Starts processes from the binary under test.
fn launcher() -> Launcher {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Launcher { program: env!("CARGO_BIN_EXE_sidestep").into(), ..Launcher::new(&NEVER) }
}

/// Waits until one of the events has happened.
fn wait(socket: impl AsFd, events: PollFlags) {
    let limit = PollTimeout::try_from(timeout()).unwrap();
    assert_eq!(poll(&mut [PollFd::new(socket.as_fd(), events)], limit), Ok(1), "{events:?} did not come");
}

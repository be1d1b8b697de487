//! A real Envoy in each of two pods, with Istio's rules and a bootstrap like Istio's. Needs root, Envoy and nginx; see
//! `fetch-envoy`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod envoy;
mod http;
mod measure;
mod mesh;
mod tcp;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use sidestep::testbed::Launcher;

/// Starts the testbed's processes from the binary under test, in a cgroup.
fn launcher(cgroup: &Path) -> Launcher {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Launcher {
        program: env!("CARGO_BIN_EXE_sidestep").into(),
        cgroup: Some(cgroup.to_owned()),
        ..Launcher::new(&NEVER)
    }
}

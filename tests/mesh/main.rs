//! Real sidecars and apps in two pods, with Istio's rules and configurations like Istio's: see docs/how-to/testbed.md. Needs
//! root and the programs that `up` names; without them it says so, and fails in CI.
//!
//! The meshes have one name and so take turns: each test moves this whole process into its mesh's cgroup.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod answers;
mod bench;
mod estimate;
mod lifecycle;
mod load;
#[path = "../../benches/mesh/measure.rs"]
mod measure;
mod mesh;
#[path = "../../benches/mesh/report.rs"]
mod report;
mod restart;
mod setup;
mod sockets;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
mod support;
mod transfer;

use mesh::{Kind, Mesh};

/// The name of the meshes of all tests.
const NAME: &str = "test";

/// A mesh for a test; `None`, after saying so loudly, when a program cannot be had. In CI that is a failure.
fn up(kind: Kind, flags: &[&str]) -> Option<Mesh> {
    match Mesh::up(NAME, kind, flags) {
        Ok(mesh) => Some(mesh),
        Err(mesh::Error::Missing(why)) if std::env::var_os("CI").is_none() => {
            eprintln!("NOT TESTED with {}: {why}", kind.name());
            None
        }
        Err(error) => panic!("{}: {error}", kind.name()),
    }
}

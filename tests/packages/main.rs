//! What users install: the image and the chart. The real Helm renders the chart, and runc runs the image by the container
//! that the chart describes. Needs root. Each test has the machine to itself: the end of a test's cgroup ends the tools in it, and
//! those of all tests would be there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod bundle;
mod chart;
mod container;
#[path = "../pods/containerd.rs"]
mod containerd;
#[path = "../pods/crio.rs"]
mod crio;
mod deb;
mod image;
mod installed;
mod measure;
#[path = "../pods/messages.rs"]
mod messages;
mod node;
#[path = "../lifecycle/objects.rs"]
mod objects;
#[path = "../pods/pause.rs"]
mod pause;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "../pods/runtime.rs"]
mod runtime;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "../pods/sandbox.rs"]
mod sandbox;
mod sbom;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "../lifecycle/streams.rs"]
mod streams;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
mod support;
mod systemd;
mod walk;

use std::path::{Path, PathBuf};

use support::machine::unique;

/// Where the packages are.
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");

/// A directory that goes with the value.
pub(crate) struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(unique("sidestep-packages"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("left behind: {}: {error}", self.0.display());
        }
    }
}

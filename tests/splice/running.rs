//! `sidestep run` on a cgroup of the test's own.

use std::path::{Path, PathBuf};

use crate::support::agent::{self, Agent};
use crate::support::cgroup::TestCgroup;
use crate::support::feature::Feature;
use crate::support::machine::{Turn, unique};

/// A cgroup, a directory for what is remembered, and `sidestep run` when it runs.
pub(crate) struct Place {
    cgroup: TestCgroup,
    state: PathBuf,
    /// The tests take turns: what a reader does in some milliseconds decides, and others would take its processor.
    _turn: Turn,
}

/// Whether this kernel shows how programs read, or must; elsewhere nothing is accelerated by default, and it is said that `test`
/// is left out.
pub(crate) fn readers_are_seen(test: &str) -> bool {
    let configuration = sidestep::agent::check::configuration().unwrap();
    sidestep::agent::watch(configuration.probation()).is_ok() || Feature::ReadersSeen.required(test)
}

impl Place {
    pub(crate) fn new() -> Self {
        let turn = Turn::take();
        Self { cgroup: TestCgroup::new(), state: std::env::temp_dir().join(unique("sidestep-splice")), _turn: turn }
    }

    pub(crate) fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// Starts `sidestep run` with more flags, and waits until it has attached.
    pub(crate) fn run(&self, flags: &[&str]) -> Agent {
        self.run_pinned(&[&["--unpinned"], flags].concat())
    }

    /// The same, which may be pinned.
    pub(crate) fn run_pinned(&self, flags: &[&str]) -> Agent {
        let mut command = agent::command();
        command.args(["--interval", "0", "--cgroup"]).arg(self.cgroup()).args(flags);
        Agent::start(command.env("STATE_DIRECTORY", &self.state))
    }

    /// The directory for what is remembered.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// What is remembered.
    pub(crate) fn remembered(&self) -> String {
        std::fs::read_to_string(self.state.join("splicers")).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

//! A machine with a container runtime, a bpf file system of the test's own, and agents that follow the pods.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sidestep::agent::lifecycle::Pins;

use crate::runtime::Runtime;
use crate::sandbox::TestPod;
use crate::support::agent::{self, Agent};
use crate::support::bpffs::TestBpffs;
use crate::support::cgroup::{Home, root};
use crate::support::machine::Turn;
use crate::support::wait::wait_for;

pub(crate) struct Fixture {
    // Dropped in this order: the process leaves before groups go.
    home: Home,
    bpffs: TestBpffs,
    pub(crate) runtime: Runtime,
    _turn: Turn,
}

impl Fixture {
    /// Waits for its turn; panics without root, since nothing here can be tested without.
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "NOT TESTED: pods need root");
        let turn = Turn::take();
        Self { home: Home::new(), bpffs: TestBpffs::new(), runtime: Runtime::start(), _turn: turn }
    }

    /// `sidestep run` with the flags that all these tests need.
    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        let mut command = agent::command();
        command.arg("--cri").arg(self.runtime.socket()).arg("--bpffs").arg(self.bpffs.path());
        command.args(["--trust", "all", "--interval", "1", "--drain", "60"]).args(flags);
        command
    }

    /// Starts an agent.
    pub(crate) fn run(&self, flags: &[&str]) -> Agent {
        Agent::start(&mut self.command(flags))
    }

    /// Where pins are.
    pub(crate) fn bpffs(&self) -> &Path {
        self.bpffs.path()
    }

    /// Leaves the pods.
    pub(crate) fn leave(&self) {
        self.home.enter();
    }

    /// The cgroup that holds the data plane.
    pub(crate) fn anchor(&self) -> PathBuf {
        root().join("sidestep-pods")
    }

    /// The cgroups in the data plane, by their numbers.
    pub(crate) fn attached(&self) -> BTreeSet<u64> {
        let pins = Pins::find(Some(self.bpffs.path()), false).unwrap();
        let all = pins.instances().unwrap().into_iter().flat_map(|instance| instance.cgroups().unwrap());
        all.map(|cgroup| cgroup.id).collect()
    }

    /// Waits until exactly these pods are in the data plane.
    #[track_caller]
    pub(crate) fn accelerates(&self, pods: &[&TestPod]) {
        let paths = pods.iter().map(|pod| pod.cgroup()).chain([self.anchor()]);
        let wanted: BTreeSet<u64> = paths.map(|path| path.metadata().unwrap().ino()).collect();
        wait_for(|| match self.attached() {
            attached if attached == wanted => Ok(()),
            attached => Err(format!("{attached:?} are attached, and not {wanted:?}")),
        });
    }

    /// Nothing of an agent that has ended is left.
    #[track_caller]
    pub(crate) fn is_gone(&self) {
        assert!(!self.bpffs.path().join("sidestep").exists(), "pins are left");
        assert!(!self.anchor().exists(), "{} is left", self.anchor().display());
    }
}

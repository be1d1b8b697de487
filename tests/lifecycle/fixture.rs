//! A cgroup and a bpf file system of a test's own, and everything that was ever seen in them.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use sidestep::agent::lifecycle::{Instance, InstanceStatus, Outcome, Pins, Request, Status, Steps};
use sidestep::agent::{Marked, TierChoice, choose_tier};
use sidestep::dataplane::{Config, DataPlane, MapRole, Options, Pairing, Policy, PortRange, Readers, build};
use sidestep::syscall::cgroup::Cgroup;

use crate::objects::{Ids, all_gone, objects};
use crate::support::bpffs::TestBpffs;
use crate::support::cgroup::{Home, TestCgroup, enter, remove};
use crate::support::machine::Turn;
use crate::support::wait::{timeout, wait_for};

/// Drains in these tests end at once, or the test is about those that do not.
pub(crate) fn drain() -> Duration {
    timeout()
}

pub(crate) struct Fixture {
    // Dropped in this order: the process leaves before its group goes.
    home: Home,
    cgroup: TestCgroup,
    bpffs: TestBpffs,
    _turn: Turn,
}

impl Fixture {
    /// Waits for its turn; panics without root, since nothing here can be tested without.
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "NOT TESTED: the lifecycle needs root");
        let turn = Turn::take();
        let fixture = Self { home: Home::new(), cgroup: TestCgroup::new(), bpffs: TestBpffs::new(), _turn: turn };
        enter(fixture.cgroup.path());
        fixture
    }

    pub(crate) fn cgroup(&self) -> Cgroup {
        Cgroup::open(self.cgroup.path()).unwrap()
    }

    pub(crate) fn cgroup_path(&self) -> &Path {
        self.cgroup.path()
    }

    /// Leaves the cgroup and removes it, as a runtime does when a pod ends.
    pub(crate) fn remove_cgroup(&self) {
        self.home.enter();
        remove([self.cgroup_path()]);
    }

    pub(crate) fn bpffs(&self) -> &Path {
        self.bpffs.path()
    }

    pub(crate) fn pins(&self) -> Pins {
        Pins::find(Some(self.bpffs()), false).unwrap()
    }

    pub(crate) fn instance(&self) -> Instance {
        self.pins().instance(self.cgroup().id().unwrap())
    }

    /// Runs the binary.
    pub(crate) fn sidestep(&self, command: &str, flags: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_sidestep"))
            .args([command, "--bpffs"])
            .arg(self.bpffs())
            .args(flags)
            .output()
            .unwrap()
    }

    /// `sidestep cgroup`.
    pub(crate) fn sidestep_cgroup(&self, action: &str, flags: &[&str]) -> Output {
        let bpffs = self.bpffs().to_str().unwrap();
        Command::new(env!("CARGO_BIN_EXE_sidestep"))
            .args([&["cgroup", action, "--bpffs", bpffs], flags].concat())
            .output()
            .unwrap()
    }

    /// [`Fixture::sidestep`] for this cgroup, which must succeed; returns what it prints.
    pub(crate) fn succeeds(&self, command: &str, flags: &[&str]) -> String {
        // These tests are about other things than how programs read; `upgrade` without flags takes the recorded ones.
        let trust: &[&str] = if command == "attach" || !flags.is_empty() { &["--trust=all"] } else { &[] };
        let trust = if command == "detach" || command == "status" { &[] } else { trust };
        let output =
            self.sidestep(command, &[&["--cgroup", self.cgroup_path().to_str().unwrap()], flags, trust].concat());
        assert!(output.status.success(), "{command} {flags:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The status of the instance; none when there is none.
    pub(crate) fn status(&self) -> Option<InstanceStatus> {
        let status = Status::read(Some(&self.pins())).unwrap();
        assert!(status.inventoried && status.instances.len() <= 1, "{status:?}");
        status.instances.into_iter().next()
    }

    /// Waits until the status has nothing to complain of: what was replaced is freed after a grace period. Returns the
    /// objects, after checking that they are those that an attached instance has.
    pub(crate) fn is_healthy(&self) -> Ids {
        wait_for(|| {
            let status = self.status().expect("nothing is pinned");
            if status.problems.is_empty() {
                assert_eq!(status.generations.len(), 1, "{status:?}");
                let generation = &status.generations[0];
                let names = |objects: &[sidestep::agent::lifecycle::Object]| {
                    let mut names: Vec<String> = objects.iter().map(|object| object.name.clone()).collect();
                    names.sort();
                    names
                };
                assert!(generation.live && generation.enabled && status.link.is_some(), "{status:?}");
                let mut programs = names(&generation.programs);
                programs.retain(|name| name != "opt_out");
                assert_eq!(programs, ["dispatcher", "drain", "sk_msg", "sock_ops", "tally"]);
                assert_eq!(generation.maps.len(), MapRole::ALL.len() + 1, "the maps and the record: {status:?}");
                return Ok(objects(&status));
            }
            Err(format!("{:?}", status.problems))
        })
    }

    /// Nothing is pinned, and of what was `seen` the kernel has nothing any more.
    pub(crate) fn is_gone(&self, seen: &Ids) {
        assert!(self.status().is_none(), "{:?}", self.status());
        assert!(!self.bpffs().join("sidestep").exists(), "directories are left");
        all_gone(seen);
    }
}

/// The gated data plane of this kernel.
pub(crate) fn plane(policy: Policy) -> DataPlane {
    let (tier, _) = choose_tier(TierChoice::Gated).unwrap();
    build(Options { pairing: Pairing::Sequence, tier, readers: Readers::NonBlocking, policy }).unwrap()
}

/// What the next version might be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The one that is attached at first.
    First,
    /// The same maps, other programs and bounds.
    SameLayout,
    /// Other maps.
    OtherLayout,
}

impl Version {
    pub(crate) fn plane(self) -> DataPlane {
        let mut policy = Policy::default();
        if self == Self::SameLayout {
            // No listener of these tests has it.
            policy.excluded_ports.push(PortRange { first: 1, last: 1 });
        }
        let mut plane = plane(policy);
        if self == Self::OtherLayout {
            plane.maps[0].max_entries /= 2;
        }
        plane
    }

    pub(crate) fn config(self) -> Config {
        let config = Config::default();
        Config { max_messages: config.max_messages - u32::from(self == Self::SameLayout), ..config }
    }
}

/// Makes `version` what is attached.
pub(crate) fn ensure(instance: &Instance, cgroup: &Cgroup, version: Version, steps: Steps<'_>) -> Outcome {
    let plane = version.plane();
    let request = Request {
        plane: &plane,
        config: version.config(),
        cgroup,
        more: &[],
        marked: Marked::default(),
        flags: &[],
        drain: drain(),
    };
    instance.ensure(&request, steps).unwrap()
}

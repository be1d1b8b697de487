//! A cgroup and a bpf file system of a test's own, and everything that was ever seen in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use sidestep::agent::lifecycle::{Instance, InstanceStatus, Outcome, Pins, Request, Status, Steps};
use sidestep::agent::{Marked, TierChoice, choose_tier};
use sidestep::dataplane::{Config, DataPlane, Options, Pairing, Policy, PortRange, Readers, build};
use sidestep::syscall::cgroup::{self, Cgroup};
use sidestep::syscall::{bpffs, id};

use crate::streams::PATIENCE;

/// Sockets belong to the cgroup their process is in when they are made, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Drains in these tests end at once, or the test is about those that do not.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// The kernel's objects by number: programs, maps, links.
pub(crate) type Ids = BTreeSet<(&'static str, u32)>;

pub(crate) struct Fixture {
    cgroup: PathBuf,
    home: PathBuf,
    bpffs: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Fixture {
    /// Waits for its turn; panics without root, since nothing here can be tested without.
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "NOT TESTED: the lifecycle needs root");
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let root = cgroup::find().unwrap().expect("cgroup2 is mounted nowhere");
        let name = format!("sidestep-lifecycle-{}", std::process::id());
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let home = root.join(text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap());
        let fixture = Self { cgroup: root.join(&name), home, bpffs: std::env::temp_dir().join(&name), _turn: turn };
        std::fs::create_dir(&fixture.bpffs).unwrap();
        bpffs::mount_at(&fixture.bpffs).unwrap();
        Cgroup::create(&fixture.cgroup).unwrap().enter(std::process::id()).unwrap();
        fixture
    }

    pub(crate) fn cgroup(&self) -> Cgroup {
        Cgroup::open(&self.cgroup).unwrap()
    }

    pub(crate) fn cgroup_path(&self) -> &Path {
        &self.cgroup
    }

    /// Leaves the cgroup and removes it, as a runtime does when a pod ends.
    pub(crate) fn remove_cgroup(&self) {
        Cgroup::open(&self.home).unwrap().enter(std::process::id()).unwrap();
        self.cgroup().remove().unwrap();
    }

    pub(crate) fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    pub(crate) fn pins(&self) -> Pins {
        Pins::find(Some(&self.bpffs), false).unwrap()
    }

    pub(crate) fn instance(&self) -> Instance {
        self.pins().instance(self.cgroup().id().unwrap())
    }

    /// Runs the binary.
    pub(crate) fn sidestep(&self, command: &str, flags: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_sidestep"))
            .args([command, "--bpffs"])
            .arg(&self.bpffs)
            .args(flags)
            .output()
            .unwrap()
    }

    /// [`Fixture::sidestep`] for this cgroup, which must succeed; returns what it prints.
    pub(crate) fn succeeds(&self, command: &str, flags: &[&str]) -> String {
        // These tests are about other things than how programs read; `upgrade` without flags takes the recorded ones.
        let trust: &[&str] = if command == "attach" || !flags.is_empty() { &["--trust=all"] } else { &[] };
        let trust = if command == "detach" || command == "status" { &[] } else { trust };
        let output = self.sidestep(command, &[&["--cgroup", self.cgroup.to_str().unwrap()], flags, trust].concat());
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
        let start = Instant::now();
        loop {
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
                assert_eq!(programs, ["dispatcher", "drain", "sk_msg", "sock_ops"]);
                assert_eq!(generation.maps.len(), 8, "seven maps and the record: {status:?}");
                return objects(&status);
            }
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", status.problems);
            sleep(Duration::from_millis(20));
        }
    }

    /// Nothing is pinned, and of what was `seen` the kernel has nothing any more.
    pub(crate) fn is_gone(&self, seen: &Ids) {
        assert!(self.status().is_none(), "{:?}", self.status());
        assert!(!self.bpffs.join("sidestep").exists(), "directories are left");
        all_gone(seen);
    }
}

/// Waits until the kernel has none of these objects: it frees psocks, and with them programs, from a work queue.
pub(crate) fn all_gone(seen: &Ids) {
    let start = Instant::now();
    loop {
        let left: Ids = alive().intersection(seen).copied().collect();
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "still in the kernel: {left:?}");
        sleep(Duration::from_millis(20));
    }
}

/// The numbers of every program, map and link there is.
pub(crate) fn alive() -> Ids {
    let kinds = [("program", id::Kind::Prog), ("map", id::Kind::Map), ("link", id::Kind::Link)];
    kinds.into_iter().flat_map(|(name, kind)| id::ids(kind).map(move |id| (name, id.unwrap()))).collect()
}

/// All objects of an instance.
pub(crate) fn objects(status: &InstanceStatus) -> Ids {
    let mut ids: Ids = status.link.iter().map(|id| ("link", *id)).collect();
    for generation in &status.generations {
        ids.extend(generation.programs.iter().map(|object| ("program", object.id)));
        ids.extend(generation.maps.iter().map(|object| ("map", object.id)));
        ids.extend(generation.links.iter().map(|object| ("link", object.id)));
    }
    ids
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // Of a test that has failed something may be attached; it goes with the pins.
        let _ = umount2(&self.bpffs, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&self.bpffs);
        Cgroup::open(&self.home).unwrap().enter(std::process::id()).unwrap();
        for _ in 0..100 {
            // A child that is being killed may still be in it for a moment.
            if std::fs::remove_dir(&self.cgroup).is_ok() || !self.cgroup.exists() {
                break;
            }
            sleep(Duration::from_millis(20));
        }
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
        marked: Marked::default(),
        flags: &[],
        drain: DRAIN,
    };
    instance.ensure(&request, steps).unwrap()
}

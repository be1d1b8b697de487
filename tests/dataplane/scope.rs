//! A cgroup for one test at a time, with this process in it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sidestep::agent::{Acceleration, Marked, Snapshot, TierChoice, choose_tier};
use sidestep::dataplane::{Config, Counter, DataPlane, Options, Pairing, Policy, Readers, build};
use sidestep::syscall::cgroup::{self, Cgroup};

use crate::feature::Feature;

/// Sockets belong to the cgroup their process is in when they are made, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// The pairings that this kernel must have, for tests that hold for each.
pub(crate) fn pairings() -> Vec<Pairing> {
    let all = [Pairing::Sequence, Pairing::FourTuple];
    let four_tuple = Feature::NetnsCookieHelper.required("four-tuple pairing");
    all.into_iter().filter(|pairing| *pairing != Pairing::FourTuple || four_tuple).collect()
}

/// The tiers that this kernel must have, for tests that hold for each.
pub(crate) fn tiers() -> Vec<TierChoice> {
    let sticky = Feature::NetnsCookieHelper.required("the sticky tier");
    [TierChoice::Gated].into_iter().chain(sticky.then_some(TierChoice::Sticky)).collect()
}

/// Two cgroups, `outer` and `outer/inner`. The process starts in the inner one, to which programs are attached.
pub(crate) struct Scope {
    outer: PathBuf,
    inner: PathBuf,
    home: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Scope {
    /// Waits for its turn; panics without root, since nothing here can be tested without.
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "NOT TESTED: the data plane needs root");
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let root = cgroup::find().unwrap().expect("cgroup2 is mounted nowhere");
        let outer = root.join(format!("sidestep-test-{}", std::process::id()));
        let inner = outer.join("inner");
        let home = own_cgroup(&root);
        Cgroup::create(&outer).unwrap();
        let scope = Self { outer, inner, home, _turn: turn };
        Cgroup::create(&scope.inner).unwrap();
        scope.enter();
        scope
    }

    /// Sockets made from now on are in scope.
    pub(crate) fn enter(&self) {
        enter(&self.inner);
    }

    /// Sockets made from now on are out of scope.
    pub(crate) fn leave(&self) {
        enter(&self.outer);
    }

    /// Where the programs are attached.
    pub(crate) fn path(&self) -> PathBuf {
        self.inner.clone()
    }

    /// Attaches the data plane.
    pub(crate) fn accelerate(&self, pairing: Pairing) -> Acceleration {
        self.accelerate_with(pairing, TierChoice::Gated, |_| {})
    }

    /// Attaches the data plane of a tier after a change to it.
    pub(crate) fn accelerate_with(
        &self,
        pairing: Pairing,
        tier: TierChoice,
        change: impl FnOnce(&mut DataPlane),
    ) -> Acceleration {
        let (tier, _) = choose_tier(tier).unwrap();
        let policy = Policy::default();
        let mut plane = build(Options { pairing, tier, readers: Readers::NonBlocking, policy }).unwrap();
        change(&mut plane);
        Acceleration::start_plane(&Cgroup::open(&self.inner).unwrap(), Marked::default(), &plane, Config::default())
            .unwrap()
    }

    /// Attaches the data plane with a policy.
    pub(crate) fn accelerate_by(
        &self,
        policy: Policy,
        pairing: Pairing,
        tier: TierChoice,
        opted_out: &[Cgroup],
    ) -> Acceleration {
        let (tier, _) = choose_tier(tier).unwrap();
        let options = Options { pairing, tier, readers: Readers::NonBlocking, policy };
        let cgroup = Cgroup::open(&self.inner).unwrap();
        Acceleration::start_without(&cgroup, opted_out, options, Config::default()).unwrap()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        enter(&self.home);
        for path in [&self.inner, &self.outer] {
            // A child that is being killed may still be in it for a moment.
            for _ in 0..100 {
                if std::fs::remove_dir(path).is_ok() || !path.exists() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}

pub(crate) fn enter(path: &Path) {
    Cgroup::open(path).unwrap().enter(std::process::id()).unwrap();
}

fn own_cgroup(root: &Path) -> PathBuf {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    root.join(path)
}

/// The counters that are not zero, for messages.
pub(crate) fn describe(snapshot: &Snapshot) -> String {
    let counted = snapshot.iter().filter(|(_, value)| *value > 0);
    counted.map(|(counter, value): (Counter, u64)| format!("{} {value}  ", counter.name())).collect()
}

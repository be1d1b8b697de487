//! A cgroup for one test at a time, with this process in it.

use std::path::PathBuf;

use sidestep::agent::{Acceleration, Marked, Snapshot, TierChoice, choose_tier};
use sidestep::dataplane::{Config, Counter, DataPlane, Options, Pairing, Policy, Readers, build};
use sidestep::syscall::cgroup::Cgroup;

use super::cgroup::{Home, TestCgroup, enter};
use super::feature::Feature;
use super::machine::Turn;

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

/// Two cgroups, one in the other. The process starts in the inner one, to which programs are attached.
pub(crate) struct NestedCgroups {
    // Dropped in this order: the process leaves before its group goes.
    _home: Home,
    outer: TestCgroup,
    inner: PathBuf,
    _turn: Turn,
}

impl NestedCgroups {
    /// Waits for its turn; panics without root, since nothing here can be tested without.
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "NOT TESTED: the data plane needs root");
        let turn = Turn::take();
        let (home, outer) = (Home::new(), TestCgroup::new());
        let inner = outer.child("inner");
        let cgroups = Self { _home: home, outer, inner, _turn: turn };
        cgroups.enter();
        cgroups
    }

    /// Sockets made from now on are accelerated.
    pub(crate) fn enter(&self) {
        enter(&self.inner);
    }

    /// Sockets made from now on are not accelerated.
    pub(crate) fn leave(&self) {
        enter(self.outer.path());
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

/// The counters that are not zero, for messages.
pub(crate) fn describe(snapshot: &Snapshot) -> String {
    let counted = snapshot.iter().filter(|(_, value)| *value > 0);
    counted.map(|(counter, value): (Counter, u64)| format!("{} {value}  ", counter.name())).collect()
}

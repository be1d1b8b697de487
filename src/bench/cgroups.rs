//! Sibling cgroups: plain, one for each pairing with the data plane attached, and one outside of all.
//!
//! All data planes stay attached for the whole run, so that rounds of all variants interleave without another attach.
//! What plain TCP pays for a sock_ops program in a sibling (one static branch taken at each callback site) is in its
//! numbers.

use std::path::PathBuf;
use std::time::Duration;

use super::cell::Variant;
use super::error::{Error, Result};
use crate::agent::{Acceleration, Snapshot};
use crate::dataplane::{Config, Options, Pairing, Policy, Readers, Tier};
use crate::syscall::cgroup::{self, Cgroup};
use crate::testbed::TemporaryCgroup;

/// The cgroups of a run and the data planes in them. Fields drop in this order: programs before their cgroups, the
/// parent last.
#[derive(Debug)]
pub(super) struct Cgroups {
    planes: Vec<(Variant, Acceleration)>,
    groups: Vec<(&'static str, Cgroup)>,
    _root: TemporaryCgroup,
}

/// The cgroup outside of all that are accelerated.
pub(super) const OUTSIDE: &str = "outside";

impl Cgroups {
    /// Makes the cgroups and attaches both pairings.
    pub(super) fn new(tier: Tier) -> Result<Self> {
        let mount = cgroup::find()?.ok_or(Error::NoCgroup)?;
        let root = TemporaryCgroup::new(&mount, "sidestep-bench-")?;
        let names = [OUTSIDE, Variant::Plain.name(), Variant::Sequence.name(), Variant::FourTuple.name()];
        let groups = names.map(|name| Ok((name, Cgroup::open(&root.child(name)?)?)));
        let groups = groups.into_iter().collect::<Result<_>>()?;
        let mut cgroups = Self { planes: Vec::new(), groups, _root: root };
        for (variant, pairing) in [(Variant::Sequence, Pairing::Sequence), (Variant::FourTuple, Pairing::FourTuple)] {
            let plane = Acceleration::start(cgroups.group(variant.name())?, options(pairing, tier), Config::default())?;
            cgroups.planes.push((variant, plane));
        }
        Ok(cgroups)
    }

    fn group(&self, name: &str) -> Result<&Cgroup> {
        self.groups.iter().find(|(known, _)| *known == name).map(|(_, group)| group).ok_or(Error::NoCgroup)
    }

    /// Where the processes of a variant go; bytes that are not TCP go by the plain one.
    pub(super) fn path(&self, variant: Variant) -> Result<PathBuf> {
        let name = if variant.is_tcp() { variant.name() } else { Variant::Plain.name() };
        Ok(self.group(name)?.path().to_owned())
    }

    /// The cgroup outside of all that are accelerated.
    pub(super) fn outside(&self) -> Result<PathBuf> {
        Ok(self.group(OUTSIDE)?.path().to_owned())
    }

    /// The data plane of a variant; plain TCP has none.
    pub(super) fn plane(&self, variant: Variant) -> Option<&Acceleration> {
        self.planes.iter().find(|(known, _)| *known == variant).map(|(_, plane)| plane)
    }

    /// The counters of a variant.
    pub(super) fn snapshot(&self, variant: Variant) -> Result<Option<Snapshot>> {
        Ok(self.plane(variant).map(Acceleration::snapshot).transpose()?)
    }

    /// Takes every data plane down in good order.
    pub(super) fn stop(mut self) -> Result<()> {
        for (_, plane) in self.planes.drain(..) {
            plane.stop(Duration::from_secs(2))?;
        }
        Ok(())
    }
}

/// The data plane as it is by default.
pub(super) fn options(pairing: Pairing, tier: Tier) -> Options {
    Options { pairing, tier, readers: Readers::NonBlocking, policy: Policy::default() }
}

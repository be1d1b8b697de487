//! Sibling cgroups: plain, one for each pairing with the data plane attached, one for ungated redirection, and one outside of
//! all.
//!
//! All data planes stay attached for the whole run, so that rounds of all variants interleave without another attach. Only the
//! programs that watch readers are attached for the rounds of the variants that show what they cost: at trace points they
//! cost every process of the machine time.
//! What plain TCP pays for a sock_ops program in a sibling (one static branch taken at each callback site) is in its
//! numbers.

use std::path::PathBuf;
use std::time::Duration;

use super::cell::Variant;
use super::error::{Error, Result};
use super::ungated;
use crate::agent::{Acceleration, Snapshot, adoption_support};
use crate::dataplane::{Config, Options, Pairing, Policy, Readers, Streams, Tier, TrustBy, Watch};
use crate::syscall::Program;
use crate::syscall::cgroup::{self, Cgroup};
use crate::testbed::TemporaryCgroup;

/// The cgroups of a run and the data planes in them. Fields drop in this order: programs before their cgroups, the
/// parent last.
#[derive(Debug)]
pub(super) struct Cgroups {
    planes: Vec<(Variant, Acceleration)>,
    /// Whose programs watch readers at the moment.
    watching: Option<Variant>,
    ungated: ungated::Attached,
    groups: Vec<(&'static str, Cgroup)>,
    _root: TemporaryCgroup,
}

/// The cgroup outside of all that are accelerated.
pub(super) const OUTSIDE: &str = "outside";

impl Cgroups {
    /// Makes the cgroups and attaches both pairings, and what protection needs: `watch` is how readers are watched, if that is
    /// measured and possible.
    pub(super) fn new(
        tier: Tier,
        streams: Streams,
        config: Config,
        protection: bool,
        watch: Option<Watch>,
    ) -> Result<Self> {
        let mount = cgroup::find()?.ok_or(Error::NoCgroup)?;
        let root = TemporaryCgroup::new(&mount, "sidestep-bench-")?;
        let mut planes = vec![
            (Variant::Sequence, options(Pairing::Sequence, tier)),
            (Variant::FourTuple, options(Pairing::FourTuple, tier)),
        ];
        if protection {
            let mut uncounted = options(Pairing::Sequence, tier);
            uncounted.policy.uncounted = true;
            planes.push((Variant::Uncounted, uncounted));
        }
        for variant in [Variant::Probation, Variant::Watched].into_iter().filter(|_| protection) {
            let Some(watch) = watch else { break };
            let mut watched = options(Pairing::Sequence, tier);
            watched.policy.trust.by = TrustBy::Watching(watch);
            // As `sidestep run` attaches it where it adopts. The benchmark does not adopt.
            watched.policy.spares_short = adoption_support(&watched).is_none();
            planes.push((variant, watched));
        }
        for (_, options) in &mut planes {
            options.policy.streams = streams;
        }
        let others = [Variant::Ungated.name(), OUTSIDE, Variant::Plain.name()];
        let names = planes.iter().map(|(variant, _)| variant.name()).chain(others);
        let groups = names.map(|name| Ok((name, Cgroup::open(&root.child(name)?)?)));
        let groups = groups.collect::<Result<Vec<_>>>()?;
        let ungated = ungated::Attached::to(find(&groups, Variant::Ungated.name())?)?;
        let mut cgroups = Self { planes: Vec::new(), watching: None, ungated, groups, _root: root };
        for (variant, options) in planes {
            let mut plane = Acceleration::start(cgroups.group(variant.name())?, options, config)?;
            plane.set_watching(false)?;
            // What is left alone stays plain TCP here for as long as it lives. That changes no figure: a row with short
            // connections has no others, and each row has a listener of its own.
            plane.loaded().adopts_for(Duration::MAX)?;
            if variant == Variant::Probation {
                plane.admit_none();
            }
            cgroups.planes.push((variant, plane));
        }
        Ok(cgroups)
    }

    /// Whether a variant can be measured here.
    pub(super) fn has(&self, variant: Variant) -> bool {
        match variant {
            Variant::Stranger => self.plane(Variant::Watched).is_some(),
            Variant::Plain | Variant::Ungated | Variant::Unix | Variant::Pipe => true,
            _ => self.plane(variant).is_some(),
        }
    }

    /// Readers are watched as the variant has it: see to it before each of its rounds.
    pub(super) fn watch_for(&mut self, variant: Variant) -> Result<()> {
        let wanted = match variant {
            // Those of any cgroup watch the whole machine, or only members, which a stranger is not.
            Variant::Stranger | Variant::Watched => Some(Variant::Watched),
            Variant::Probation => Some(Variant::Probation),
            _ => None,
        };
        if self.watching != wanted {
            for (known, plane) in &mut self.planes {
                if Some(*known) == wanted || Some(*known) == self.watching {
                    plane.set_watching(Some(*known) == wanted)?;
                }
            }
            self.watching = wanted;
        }
        Ok(())
    }

    fn group(&self, name: &str) -> Result<&Cgroup> {
        find(&self.groups, name)
    }

    /// Where the processes of a variant go; bytes that are not TCP go by the plain one.
    pub(super) fn path(&self, variant: Variant) -> Result<PathBuf> {
        let is_plain = !variant.is_tcp() || variant == Variant::Stranger;
        let name = if is_plain { Variant::Plain.name() } else { variant.name() };
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

    /// The program that the kernel runs for each message of a variant: a data plane's dispatcher, on which it books the verdict
    /// that this one calls.
    pub(super) fn runs_for_messages(&self, variant: Variant) -> Option<&Program> {
        match variant {
            Variant::Ungated => Some(self.ungated.sk_msg()),
            _ => self.plane(variant).map(|plane| &plane.loaded().dispatcher),
        }
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

fn find<'a>(groups: &'a [(&'static str, Cgroup)], name: &str) -> Result<&'a Cgroup> {
    groups.iter().find(|(known, _)| *known == name).map(|(_, group)| group).ok_or(Error::NoCgroup)
}

/// The data plane as it is by default.
pub(super) fn options(pairing: Pairing, tier: Tier) -> Options {
    Options { pairing, tier, readers: Readers::NonBlocking, policy: Policy::default() }
}

//! Attaching so that it outlives this process.

use std::time::Duration;

use super::lock::DirectoryLock;
use super::record::Record;
use super::{Instance, Steps};
use crate::agent::acceleration::{Marked, attach_cgroup};
use crate::agent::error::{Context, Error, Result};
use crate::agent::load::Loaded;
use crate::dataplane::{Config, DataPlane, MapRole};
use crate::syscall::cgroup::Cgroup;

use super::generation::Generation;

/// What is to be attached.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The programs and maps.
    pub plane: &'a DataPlane,
    /// The soft switch and the bounds.
    pub config: Config,
    /// To which cgroup; the first, where there are more.
    pub cgroup: &'a Cgroup,
    /// To which others. None of them all may be inside another one; see [`super::outermost`].
    pub more: &'a [Cgroup],
    /// Which cgroups inside it are not like the others, where the policy lets them.
    pub marked: Marked<'a>,
    /// What the record is to say of the flags.
    pub flags: &'a [String],
    /// The longest wait for readers that are behind, where connections must leave an older data plane.
    pub drain: Duration,
}

/// What a change has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is attached now, and was not before.
    Attached,
    /// Just this was attached already.
    Already,
    /// The programs were replaced, and every connection goes on with the new ones.
    Replaced,
    /// New connections use the new maps and programs; those of the old ones have gone back to the stack.
    Superseded {
        /// Sockets with unread bytes that are still in the old maps, on the stack.
        left: usize,
    },
}

impl Instance {
    /// Attaches what is asked for. Fails when something else is attached already.
    pub fn attach(&self, request: &Request<'_>, steps: Steps<'_>) -> Result<Outcome> {
        let _lock = self.lock_to_attach()?;
        match self.reconcile(request.drain, false, steps)?.live {
            None => self.attach_first(request, steps),
            Some((_, generation)) if generation.is(request)? => self.complete(&generation, request, steps),
            Some((_, generation)) => Err(Error::Conflict {
                what: format!(
                    "{} has a data plane of version {} with other programs or flags",
                    request.cgroup.path().display(),
                    generation.record()?.version
                ),
                remedy: "replace it under traffic with `sidestep upgrade`, or detach it first",
            }),
        }
    }

    /// Attaches what is asked for, in place of what is attached.
    pub fn ensure(&self, request: &Request<'_>, steps: Steps<'_>) -> Result<Outcome> {
        let _lock = self.lock_to_attach()?;
        match self.reconcile(request.drain, false, steps)?.live {
            None => self.attach_first(request, steps),
            Some((_, generation)) => {
                let outcome = self.replace(&generation, request, steps)?;
                if let Some(live) = self.live_generation()? {
                    self.set_cgroups(&live, &request.cgroups(), request.drain, steps)?;
                }
                Ok(outcome)
            }
        }
    }

    /// Attaches what is attached already to those cgroups that are missing. Fails when it has others.
    fn complete(&self, live: &Generation, request: &Request<'_>, steps: Steps<'_>) -> Result<Outcome> {
        let mut wanted = Vec::new();
        for cgroup in request.cgroups() {
            wanted.push(cgroup.id()?);
        }
        if let Some(other) = self.cgroups()?.into_iter().find(|cgroup| !wanted.contains(&cgroup.id)) {
            let path = other.path.map_or_else(String::new, |path| format!(", {}", path.display()));
            return Err(Error::Conflict {
                what: format!("{} is attached to another cgroup as well ({}{path})", self.dir().display(), other.id),
                remedy: "name it too, or take it out with `sidestep cgroup remove`",
            });
        }
        let mut outcome = Outcome::Already;
        for cgroup in request.cgroups() {
            if self.add(live, cgroup, steps)? == super::Added::Added {
                outcome = Outcome::Attached;
            }
        }
        Ok(outcome)
    }

    fn lock_to_attach(&self) -> Result<Option<DirectoryLock>> {
        self.refuse_older()?;
        DirectoryLock::take(self.dir(), true)
    }

    /// Leaves nothing behind when it fails.
    fn attach_first(&self, request: &Request<'_>, steps: Steps<'_>) -> Result<Outcome> {
        let attached = self.load_and_attach(request, steps);
        if attached.is_err() {
            // The reason of the failure counts, not what fails here.
            let _ = self.remove_if_empty();
        }
        attached
    }

    fn load_and_attach(&self, request: &Request<'_>, steps: Steps<'_>) -> Result<Outcome> {
        let loaded = Loaded::new(request.plane, request.config)?;
        let generation = self.add_generation(&loaded, request, steps)?;
        for cgroup in request.cgroups() {
            let attached = attach_cgroup(&loaded.sock_ops, cgroup).and_then(|link| {
                steps("attached");
                Ok(link.pin(&self.link_of(cgroup.id()?))?)
            });
            if let Err(error) = attached {
                // The next change removes what this leaves.
                let _ = self.undo(&generation, request.drain, steps);
                return Err(error);
            }
            steps("link pinned");
        }
        Ok(Outcome::Attached)
    }

    /// Ends what was attached to some of the cgroups only.
    fn undo(&self, generation: &Generation, drain: Duration, steps: Steps<'_>) -> Result<()> {
        let places = self.places()?;
        let timeout = if places.is_empty() { Duration::ZERO } else { drain };
        generation.empty(timeout, true, steps)?;
        for place in places {
            place.remove(steps)?;
        }
        generation.retire(Duration::ZERO, false, steps).map(drop)
    }
}

impl Request<'_> {
    /// All cgroups.
    pub(super) fn cgroups(&self) -> Vec<&Cgroup> {
        std::iter::once(self.cgroup).chain(self.more).collect()
    }

    pub(super) fn record(&self) -> Result<Record> {
        let ids = |cgroups: &[Cgroup]| {
            let mut ids = cgroups.iter().map(Cgroup::id).collect::<crate::syscall::Result<Vec<_>>>()?;
            ids.sort_unstable();
            crate::syscall::Result::Ok(ids)
        };
        let (opted_out, trusted) = (ids(self.marked.opted_out)?, ids(self.marked.trusted)?);
        let (layout, programs) = (self.plane.layout(), self.plane.fingerprint());
        let (version, flags) = (env!("CARGO_PKG_VERSION").to_owned(), self.flags.to_vec());
        Ok(Record { version, layout, programs, cgroup: self.cgroup.path().to_owned(), opted_out, trusted, flags })
    }
}

impl Generation {
    /// Whether there is nothing to change to have what is asked for.
    pub(super) fn is(&self, request: &Request<'_>) -> Result<bool> {
        let (record, wanted) = (self.record()?, request.record()?);
        let config = match self.map(MapRole::Config.name())? {
            Some(config) => config.lookup(&[0; 4]).context("read the configuration")?,
            None => None,
        };
        Ok((record.layout, record.programs) == (wanted.layout, wanted.programs)
            && (record.opted_out, record.trusted) == (wanted.opted_out, wanted.trusted)
            && config.is_some_and(|config| config == request.config.to_bytes()))
    }
}

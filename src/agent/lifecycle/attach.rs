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
    /// To which cgroup.
    pub cgroup: &'a Cgroup,
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
            Some((_, generation)) if generation.is(request)? => Ok(Outcome::Already),
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
            Some((link, generation)) => self.replace(&link, &generation, request, steps),
        }
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
        let attached = attach_cgroup(&loaded.sock_ops, request.cgroup).and_then(|link| {
            steps("attached");
            Ok(link.pin(&self.link())?)
        });
        if attached.is_err() {
            // The next change removes what this leaves.
            let _ = generation.retire(Duration::ZERO, false, steps);
        }
        attached?;
        steps("link pinned");
        Ok(Outcome::Attached)
    }
}

impl Request<'_> {
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

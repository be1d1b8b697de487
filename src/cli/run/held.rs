//! What keeps the data plane attached: pins and a lock, or this process alone.

use std::time::Duration;

use crate::agent::lifecycle::{Added, Instance, Leftovers, OwnerLock, ReaderAttendance};
use crate::agent::{Acceleration, Problem, Reading, Snapshot};
use crate::cli::detach;
use crate::cli::error::Error;
use crate::cli::streams::note;
use crate::cli::upgrade::listed;
use crate::dataplane::Counter;
use crate::syscall::cgroup::Cgroup;

/// What keeps the data plane attached.
pub(super) enum Held {
    Pinned(Instance, OwnerLock, ReaderAttendance),
    Unpinned(Box<Acceleration>),
}

impl Held {
    /// Goes on with what is attached now: an upgrade may have brought other maps. What fails just now is tried again the next time.
    pub(super) fn tend(&mut self) {
        if let Self::Pinned(instance, _, readers) = self {
            if let Err(error) = readers.follow(instance) {
                note(format_args!("sidestep: cannot follow the readers just now, so none is admitted: {error}"));
            }
            // What an upgrade could not wait for; nothing to do as a rule.
            let _ = instance.tidy();
        }
    }

    /// The counters, and how many sockets are in the map.
    pub(super) fn look(&self) -> Result<(Snapshot, usize), Error> {
        match self {
            Self::Unpinned(acceleration) => Ok((acceleration.snapshot()?, acceleration.members()?)),
            Self::Pinned(instance, ..) => instance.look()?.ok_or_else(|| {
                let cgroup = if instance.dir().exists() { "the cgroup, or the pins" } else { "the pins" };
                Error::Failed(format!("{cgroup} in {} have been removed by another program", instance.dir().display()))
            }),
        }
    }

    /// How many connections have been left alone; nothing where that cannot be told just now.
    pub(super) fn left_alone(&self) -> Option<u64> {
        let counters = match self {
            Self::Unpinned(acceleration) => Some(acceleration.counters().ok()?),
            Self::Pinned(instance, ..) => instance.counters().ok()?,
        };
        counters.map(|counters| counters.get(Counter::LeftAlone))
    }

    /// All that metrics show.
    pub(super) fn reading(&self) -> Result<Option<Reading>, Error> {
        Ok(match self {
            Self::Unpinned(acceleration) => Some(acceleration.reading()?),
            Self::Pinned(instance, ..) => instance.reading()?,
        })
    }

    /// Lets connections be left alone for so long from now on, since they are adopted.
    pub(super) fn adopts_for(&self, time: Duration) -> Result<(), Error> {
        let promised = match self {
            Self::Unpinned(acceleration) => acceleration.loaded().adopts_for(time),
            Self::Pinned(instance, ..) => instance.adopts_for(time),
        };
        promised.map_err(Error::from)
    }

    /// Says which flags end here: those that `sidestep upgrade` gave to what this command had attached with `own`.
    pub(super) fn note_lost_flags(&self, own: &[String]) {
        let Self::Pinned(instance, ..) = self else { return };
        if let Ok(Some(record)) = instance.record()
            && record.flags != own
        {
            note(format_args!(
                "sidestep: the flags of the last `sidestep upgrade`, {}, end with this command; the next run has {} \
                 unless it is given others",
                listed(&record.flags),
                listed(own)
            ));
        }
    }

    /// What others have detached, replaced or removed.
    pub(super) fn problems(&self) -> Result<Vec<Problem>, Error> {
        Ok(match self {
            Self::Unpinned(acceleration) => acceleration.problems()?,
            // Nothing that cannot be looked at just now ends the acceleration.
            Self::Pinned(instance, ..) => {
                instance.problems().unwrap_or_else(|error| vec![Problem::NotKnown(error.to_string())])
            }
        })
    }

    /// Accelerates the connections of one more cgroup.
    pub(super) fn add_cgroup(&mut self, cgroup: &Cgroup) -> Result<Added, Error> {
        Ok(match self {
            Self::Pinned(instance, ..) => instance.add_cgroup(cgroup, &mut |_| {})?,
            Self::Unpinned(acceleration) => {
                acceleration.add_cgroup(cgroup)?;
                Added::Added
            }
        })
    }

    /// Detaches from a cgroup, by its ID, and waits for none of its connections; returns how many of its sockets are left.
    pub(super) fn remove_cgroup(&mut self, id: u64) -> Result<usize, Error> {
        Ok(match self {
            Self::Pinned(instance, ..) => instance.remove_cgroup(id, Duration::ZERO, &mut |_| {})?.left,
            Self::Unpinned(acceleration) => acceleration.remove_cgroup(id, Duration::ZERO)?,
        })
    }

    /// Sends connections of a cgroup back to the stack that can go now; whether none is left.
    pub(super) fn has_left(&self, id: u64) -> bool {
        match self {
            Self::Pinned(instance, ..) => matches!(instance.leave_cgroup(id, Duration::ZERO), Ok(None | Some(0))),
            Self::Unpinned(acceleration) => matches!(acceleration.leave_cgroup(id, Duration::ZERO), Ok(0)),
        }
    }

    /// Detaches, and says what has come of it.
    pub(super) fn stop(self, timeout: Duration) -> Result<String, Error> {
        let detached = match self {
            Self::Pinned(instance, attendance, _) => {
                // No later command would come back for what is left.
                instance.detach(timeout, Leftovers::Abandon, Some(attendance), &mut |_| {})?
            }
            Self::Unpinned(acceleration) => acceleration.stop(timeout)?.into(),
        };
        Ok(detach::report(&detached))
    }
}

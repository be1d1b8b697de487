//! Finding out what is attached, and completing or undoing what a crash has cut short.

use std::time::{Duration, Instant};

use super::cgroups::Place;
use super::generation::Generation;
use super::{Instance, Steps};
use crate::agent::error::{Error, Result};
use crate::syscall::{Link, LinkInfo, bpffs};

/// An instance at rest.
pub(super) struct Reconciled {
    /// The attached generation; none when nothing is attached.
    pub(super) live: Option<(Link, Generation)>,
    /// Sockets of older generations that hold unread bytes.
    pub(super) left: usize,
}

impl Instance {
    /// The first of its links; none when none was ever pinned, or its cgroups are gone, or they were detached.
    pub(super) fn attached_link(&self) -> Result<Option<(Link, LinkInfo)>> {
        let alive = self.places()?.into_iter().find(|place| !place.is_dead());
        Ok(alive.map(|place| (place.link, place.info)))
    }

    /// Brings the instance to rest: one live generation or none, and the others gone or on their way out for at most
    /// `timeout`. The lock must be held.
    pub(super) fn reconcile(&self, timeout: Duration, abandon: bool, steps: Steps<'_>) -> Result<Reconciled> {
        // Nothing uses a generation before it has its name, or after it has lost it.
        for half in [self.staging_path(), self.retired_path()] {
            bpffs::remove_directory(&half)?;
        }
        let (dead, places): (Vec<_>, Vec<_>) = self.places()?.into_iter().partition(Place::is_dead);
        for place in dead {
            bpffs::unpin(&place.pin)?;
        }
        let deadline = Instant::now() + timeout;
        let (mut live, mut left) = (None, 0);
        // The newest first, so that no link holds a program of an older one when that goes.
        for generation in self.generations()?.into_iter().rev() {
            match places.first() {
                Some(place) if generation.has_sock_ops(place.info.prog_id)? => {
                    generation.finish_upgrade(place.info.prog_id, steps)?;
                    self.align(&generation, &places, steps)?;
                    // A detach that was cut short had turned it off.
                    generation.switch(true, false)?;
                    live = Some(generation);
                }
                _ => {
                    let rest = deadline.saturating_duration_since(Instant::now());
                    left += generation.retire(rest, abandon, steps)?;
                }
            }
        }
        match (places.into_iter().next(), live) {
            (Some(place), Some(generation)) => Ok(Reconciled { live: Some((place.link, generation)), left }),
            (None, _) => Ok(Reconciled { live: None, left }),
            (Some(place), None) => Err(Error::Conflict {
                what: format!(
                    "{} holds program {}, which is not sidestep's: another tool has replaced it",
                    place.pin.display(),
                    place.info.prog_id
                ),
                remedy: "run `sidestep detach`, then attach again",
            }),
        }
    }
}

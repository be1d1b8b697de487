//! Detaching without losing a byte.

use std::time::{Duration, Instant};

use super::lock::{DirectoryLock, OwnerLock};
use super::{Instance, Steps};
use crate::agent::error::Result;
use crate::syscall::bpffs;

/// What to do about sockets that hold unread bytes when the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leftovers {
    /// Keep the pins of their generation, so that a later detach takes them out.
    Keep,
    /// Remove the pins. The sockets use the stack and stay members until they close, when the kernel frees the rest.
    Abandon,
}

/// What a detach has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detached {
    /// Whether there was anything.
    pub found: bool,
    /// Sockets that still hold unread bytes.
    pub left: usize,
    /// Nothing is pinned any more.
    pub gone: bool,
}

impl Instance {
    /// Detaches: no new connections, all messages by the stack, wait up to `timeout` for redirected bytes to be read,
    /// then remove everything. `owner` is the caller's, if it has it; another process's stands in the way.
    pub fn detach(
        &self,
        timeout: Duration,
        leftovers: Leftovers,
        owner: Option<OwnerLock>,
        steps: Steps<'_>,
    ) -> Result<Detached> {
        // Dropped after the lock, which its end takes once more.
        let _attendance;
        let Some(_lock) = DirectoryLock::take(self.dir(), false)? else {
            self.remove_if_empty()?;
            return Ok(Detached { found: false, left: 0, gone: true });
        };
        _attendance = match owner {
            Some(owner) => owner,
            None => self.take_ownership()?,
        };
        let places = self.places()?;
        let found = !places.is_empty() || !self.generations()?.is_empty();
        let deadline = Instant::now() + timeout;
        // While there are callbacks, which give back what they have set on sockets.
        for place in &places {
            if let Some(live) = self.generation_of(place.info.prog_id)? {
                live.empty(timeout, true, steps)?;
                break;
            }
        }
        for place in &places {
            place.remove(steps)?;
        }
        let rest = deadline.saturating_duration_since(Instant::now());
        let left = self.reconcile(rest, leftovers == Leftovers::Abandon, steps)?.left;
        let gone = self.generations()?.is_empty();
        if gone {
            bpffs::remove_directory(&self.owner_path())?;
            self.remove_if_empty()?;
            steps("instance removed");
        }
        Ok(Detached { found, left, gone })
    }
}

impl From<crate::agent::Detached> for Detached {
    /// Without pins there is nothing to come back to.
    fn from(detached: crate::agent::Detached) -> Self {
        Self { found: true, left: detached.remaining, gone: true }
    }
}

//! Hearing of changes of connections.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::error::{Context, Result};
use super::load::Loaded;
use super::snapshot::Snapshot;
use crate::dataplane::{Change, Counter, MapRole};
use crate::syscall::{Map, RingBuffer, UpdateFlags};

/// For how long the programs report after the last [`ChangeWatch::renew`].
const LEASE: Duration = Duration::from_secs(3);

/// Hears of changes until it is dropped. The programs report nothing while there is none.
#[derive(Debug)]
pub struct ChangeWatch {
    changes: RingBuffer,
    wanted: Map,
    counters: Map,
    lost: u64,
}

impl ChangeWatch {
    /// How long the caller may wait until it renews its wish.
    pub const RENEWAL: Duration = Duration::from_secs(1);

    /// Begins. There must be only one at a time: a ring buffer has one reader.
    pub(super) fn new(changes: Map, wanted: Map, counters: Map) -> Result<Self> {
        let changes = RingBuffer::new(changes).context("read the changes of connections")?;
        let mut watch = Self { changes, wanted, counters, lost: 0 };
        // What a watcher that was killed has left is old.
        watch.changes.drain(|_| {});
        watch.lost = watch.lost_in_all()?;
        watch.renew()?;
        Ok(watch)
    }

    /// Asks for changes for another while; to be called each [`ChangeWatch::RENEWAL`].
    pub fn renew(&self) -> Result<()> {
        self.ask(monotonic() + LEASE)
    }

    fn ask(&self, until: Duration) -> Result<()> {
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        let written = self.wanted.update(&0_u32.to_ne_bytes(), &until.to_ne_bytes(), UpdateFlags::empty());
        written.context("ask for changes of connections")
    }

    /// What has happened since the last call.
    pub fn drain(&mut self) -> Vec<Change> {
        let mut heard = Vec::new();
        self.changes.drain(|bytes| heard.extend(Change::from_bytes(bytes)));
        heard
    }

    /// How many changes found no room since the last call.
    pub fn lost(&mut self) -> Result<u64> {
        let now = self.lost_in_all()?;
        let before = std::mem::replace(&mut self.lost, now);
        Ok(now.saturating_sub(before))
    }

    fn lost_in_all(&self) -> Result<u64> {
        Ok(Snapshot::of(&self.counters)?.get(Counter::ChangesLost))
    }
}

impl AsFd for ChangeWatch {
    /// Readable when there are changes.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}

impl Drop for ChangeWatch {
    fn drop(&mut self) {
        // Without this the programs report until the lease ends.
        let _ = self.ask(Duration::ZERO);
    }
}

impl Loaded {
    /// Hears of changes of the connections that these programs serve.
    pub fn watch_changes(&self) -> Result<ChangeWatch> {
        let clone = |role| self.map(role).try_clone();
        ChangeWatch::new(clone(MapRole::Changes)?, clone(MapRole::Wanted)?, clone(MapRole::Counters)?)
    }
}

/// The clock by which changes are dated.
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

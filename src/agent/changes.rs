//! Hearing of changes of connections.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::error::{Context, Result};
use super::load::Loaded;
use super::snapshot::Snapshot;
use crate::dataplane::{Change, Counter, MapRole};
use crate::syscall::{Map, RingBuffer, RingFollower, UpdateFlags};

/// For how long the programs report after the last [`ChangeWatch::renew`].
const LEASE: Duration = Duration::from_secs(3);
/// What fails when the buffer cannot be mapped.
const READ: &str = "read the changes of connections";

/// Hears of changes until it is dropped. The programs report nothing while there is none.
#[derive(Debug)]
pub struct ChangeWatch {
    source: Source,
    /// What a follower had heard when it took over.
    heard: Vec<Change>,
    wanted: Map,
    counters: Map,
    lost: u64,
    /// Changes that were written over before this follower looked.
    missed: u64,
}

/// The ring buffer, as its one reader sees it, or as another process beside that one.
#[derive(Debug)]
enum Source {
    Reader(RingBuffer),
    Follower(RingFollower),
}

impl ChangeWatch {
    /// How long the caller may wait until it renews its wish.
    pub const RENEWAL: Duration = Duration::from_secs(1);
    /// How long the caller may wait until it looks again where nothing is [`readable`](Self::readable): a follower has to
    /// look before the buffer is full of later changes.
    pub const INTERVAL: Duration = Duration::from_millis(50);

    /// Begins. There must be only one at a time that does not follow: a ring buffer has one reader.
    pub(super) fn new(changes: Map, wanted: Map, counters: Map) -> Result<Self> {
        let mut changes = RingBuffer::new(changes).context(READ)?;
        // What a watcher that was killed has left is old.
        changes.drain(|_| {});
        Self::begin(Source::Reader(changes), wanted, counters)
    }

    /// Begins beside a process that reads.
    pub(super) fn following(changes: Map, wanted: Map, counters: Map) -> Result<Self> {
        Self::begin(Source::Follower(RingFollower::new(changes).context(READ)?), wanted, counters)
    }

    fn begin(source: Source, wanted: Map, counters: Map) -> Result<Self> {
        let mut watch = Self { source, heard: Vec::new(), wanted, counters, lost: 0, missed: 0 };
        watch.lost = watch.lost_in_all()?;
        watch.renew()?;
        Ok(watch)
    }

    /// Becomes the reader, when that one has ended.
    pub(super) fn take_over(&mut self) -> Result<()> {
        // Up to its position nothing is read again, so that all that is there has to be heard first.
        let heard = self.drain();
        self.heard = heard;
        if let Source::Follower(follower) = &self.source {
            self.source = Source::Reader(follower.reader().context(READ)?);
        }
        Ok(())
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
        let mut heard = std::mem::take(&mut self.heard);
        let each = |bytes: &[u8]| heard.extend(Change::from_bytes(bytes));
        match &mut self.source {
            Source::Reader(reader) => {
                reader.drain(each);
            }
            Source::Follower(follower) => self.missed += (follower.drain(each) / Change::RING_BYTES) as u64,
        }
        heard
    }

    /// How many changes found no room since the last call, or were written over before this follower looked.
    pub fn lost(&mut self) -> Result<u64> {
        let now = self.lost_in_all()?;
        let before = std::mem::replace(&mut self.lost, now);
        Ok(now.saturating_sub(before) + std::mem::take(&mut self.missed))
    }

    /// A descriptor that poll(2) finds readable when there are changes; nothing for a follower, since the kernel looks at the
    /// reader's position.
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Reader(reader) => Some(reader.as_fd()),
            Source::Follower(_) => None,
        }
    }

    fn lost_in_all(&self) -> Result<u64> {
        Ok(Snapshot::of(&self.counters)?.get(Counter::ChangesLost))
    }
}

impl Drop for ChangeWatch {
    fn drop(&mut self) {
        // Others that watch renew within this time; without one the programs then stop to report.
        let _ = self.ask(monotonic() + Self::RENEWAL + Self::RENEWAL / 2);
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

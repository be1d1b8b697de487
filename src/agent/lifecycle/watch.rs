//! Watching what is pinned: the states of its sockets, and what happens to its connections.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use nix::fcntl::Flock;

use super::Instance;
use super::lock::try_lock;
use crate::agent::changes::ChangeWatch;
use crate::agent::error::Result;
use crate::dataplane::{Change, MapRole};
use crate::syscall::Map;

/// Hears of changes of the connections of an instance. Several processes can, at once.
///
/// A ring buffer has one reader, since only one position tells the kernel what has been read. The process that has locked the
/// generation's directory reads, and the others follow it; when it ends, one of them takes over.
#[derive(Debug)]
pub struct InstanceWatch {
    /// The kernel's number of the ring buffer: another one after an upgrade to other maps.
    id: u32,
    watch: ChangeWatch,
    /// Where the maps are pinned.
    directory: PathBuf,
    /// Has the process that reads.
    lock: Option<Flock<File>>,
}

impl Instance {
    /// The maps with the states of its sockets, of all its generations.
    pub fn storages(&self) -> Result<Vec<Map>> {
        let generations = self.generations()?;
        let maps = generations.iter().map(|generation| generation.map(MapRole::Storage.name()));
        maps.filter_map(Result::transpose).collect()
    }

    /// Hears of changes of its connections. Nothing when it is not attached.
    pub fn watch_changes(&self) -> Result<Option<InstanceWatch>> {
        let Some(generation) = self.live_generation()? else { return Ok(None) };
        let map = |role: MapRole| generation.map(role.name());
        let (Some(changes), Some(wanted), Some(counters)) =
            (map(MapRole::Changes)?, map(MapRole::Wanted)?, map(MapRole::Counters)?)
        else {
            return Ok(None);
        };
        let directory = generation.dir().to_owned();
        let lock = try_lock(&directory)?;
        let id = changes.info()?.id;
        let watch = if lock.is_some() { ChangeWatch::new } else { ChangeWatch::following };
        Ok(Some(InstanceWatch { id, watch: watch(changes, wanted, counters)?, directory, lock }))
    }
}

impl InstanceWatch {
    /// Whether it still hears of what is attached to `instance`; not after an upgrade to other maps.
    pub fn is_current(&self, instance: &Instance) -> Result<bool> {
        let Some(generation) = instance.live_generation()? else { return Ok(false) };
        let Some(changes) = generation.map(MapRole::Changes.name())? else { return Ok(false) };
        Ok(changes.info()?.id == self.id)
    }

    /// See [`ChangeWatch::renew`]. Takes over when the process that reads has ended.
    pub fn renew(&mut self) -> Result<()> {
        if self.lock.is_none() {
            self.lock = try_lock(&self.directory)?;
            if self.lock.is_some() {
                self.watch.take_over()?;
            }
        }
        self.watch.renew()
    }

    /// See [`ChangeWatch::drain`].
    pub fn drain(&mut self) -> Vec<Change> {
        self.watch.drain()
    }

    /// See [`ChangeWatch::readable`].
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.watch.readable()
    }

    /// See [`ChangeWatch::lost`].
    pub fn lost(&mut self) -> Result<u64> {
        self.watch.lost()
    }
}

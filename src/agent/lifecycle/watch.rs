//! Watching what is pinned: the states of its sockets, and what happens to its connections.

use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::Flock;

use super::Instance;
use super::lock::try_lock;
use crate::agent::changes::ChangeWatch;
use crate::agent::error::Result;
use crate::dataplane::{Change, MapRole};
use crate::syscall::Map;

/// Hears of changes of the connections of an instance.
#[derive(Debug)]
pub struct InstanceWatch {
    /// The kernel's number of the ring buffer: another one after an upgrade to other maps.
    id: u32,
    watch: ChangeWatch,
    #[allow(dead_code, reason = "closing it unlocks")]
    lock: Flock<std::fs::File>,
}

impl Instance {
    /// The maps with the states of its sockets, of all its generations.
    pub fn storages(&self) -> Result<Vec<Map>> {
        let generations = self.generations()?;
        let maps = generations.iter().map(|generation| generation.map(MapRole::Storage.name()));
        maps.filter_map(Result::transpose).collect()
    }

    /// Hears of changes of its connections. Nothing when it is not attached; an error while another process hears of them.
    pub fn watch_changes(&self) -> Result<Option<InstanceWatch>> {
        let Some(generation) = self.live_generation()? else { return Ok(None) };
        let map = |role: MapRole| generation.map(role.name());
        let (Some(changes), Some(wanted), Some(counters)) =
            (map(MapRole::Changes)?, map(MapRole::Wanted)?, map(MapRole::Counters)?)
        else {
            return Ok(None);
        };
        let Some(lock) = try_lock(generation.dir(), "watches the connections of")? else { return Ok(None) };
        let id = changes.info()?.id;
        Ok(Some(InstanceWatch { id, watch: ChangeWatch::new(changes, wanted, counters)?, lock }))
    }
}

impl InstanceWatch {
    /// Whether it still hears of what is attached to `instance`; not after an upgrade to other maps.
    pub fn is_current(&self, instance: &Instance) -> Result<bool> {
        let Some(generation) = instance.live_generation()? else { return Ok(false) };
        let Some(changes) = generation.map(MapRole::Changes.name())? else { return Ok(false) };
        Ok(changes.info()?.id == self.id)
    }

    /// See [`ChangeWatch::renew`].
    pub fn renew(&self) -> Result<()> {
        self.watch.renew()
    }

    /// See [`ChangeWatch::drain`].
    pub fn drain(&mut self) -> Vec<Change> {
        self.watch.drain()
    }

    /// See [`ChangeWatch::lost`].
    pub fn lost(&mut self) -> Result<u64> {
        self.watch.lost()
    }
}

impl AsFd for InstanceWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

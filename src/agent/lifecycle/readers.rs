//! Looking after the readers of what is attached.

use std::path::PathBuf;

use super::Instance;
use super::generation::DRAIN;
use crate::agent::error::Result;
use crate::agent::readers::{DrainOf, ReaderWatcher, SplicerMemory, WatchedMaps};
use crate::dataplane::MapRole;

/// Looks after readers until it is dropped, where they are watched.
#[derive(Debug)]
pub struct ReaderAttendance {
    /// Executables that need not earn trust.
    trusted: Vec<PathBuf>,
    /// The kernel's number of the map of events, and who reads it.
    now: Option<(u32, ReaderWatcher)>,
}

impl ReaderAttendance {
    /// Begins with what is attached to `instance`.
    pub fn new(instance: &Instance, trusted: Vec<PathBuf>) -> Result<Self> {
        let mut attendance = Self { trusted, now: None };
        attendance.follow(instance)?;
        Ok(attendance)
    }

    /// From now on these executables need not earn trust.
    pub fn trust(&mut self, instance: &Instance, trusted: Vec<PathBuf>) -> Result<()> {
        if trusted != self.trusted {
            // The one that runs keeps its list.
            self.now = None;
            self.trusted = trusted;
        }
        self.follow(instance)
    }

    /// Goes on with what is attached now, which an upgrade may have changed.
    pub fn follow(&mut self, instance: &Instance) -> Result<()> {
        let Some(generation) = instance.live_generation()? else { return Ok(()) };
        let map = |role: MapRole| generation.map(role.name());
        let (Some(readers), Some(sockets), Some(events), Some(storage), Some(config)) = (
            map(MapRole::Readers)?,
            map(MapRole::Sockets)?,
            map(MapRole::Events)?,
            map(MapRole::Storage)?,
            map(MapRole::Config)?,
        ) else {
            // Readers are not watched there; or an upgrade has removed it meanwhile, and the next look finds what has taken its place.
            if generation.dir().exists() {
                self.now = None;
            }
            return Ok(());
        };
        let id = events.info()?.id;
        if self.now.as_ref().is_none_or(|(known, _)| *known != id) {
            // A ring buffer has one reader at a time.
            self.now = None;
            let memory = SplicerMemory::open();
            let drain = DrainOf::Pinned(generation.path(DRAIN));
            let maps = WatchedMaps { readers, sockets, events, storage, config, drain };
            self.now = Some((id, ReaderWatcher::start(maps, memory, self.trusted.clone())?));
        }
        Ok(())
    }
}

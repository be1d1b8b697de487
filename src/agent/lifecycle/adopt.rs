//! Adopting connections that exist already into what is attached.

use std::time::Duration;

use super::Instance;
use super::lock::DirectoryLock;
use crate::agent::adoption::{Adopted, Adopting, Looks, by_ids, promise};
use crate::agent::error::{Error, Result};
use crate::dataplane::{DataPlane, MapRole};

impl Instance {
    /// Accelerates the connections inside its cgroups that exist already, where they can be proven to be what they seem; see
    /// [`adoption_support`](crate::agent::adoption_support). `plane` is what is attached. Looks that are the same at later
    /// calls let connections come back that have left.
    pub fn adopt(&self, plane: &DataPlane, looks: &mut Looks) -> Result<Adopted> {
        let Some(_lock) = DirectoryLock::take(self.dir(), false)? else { return Err(self.not_attached()) };
        let Some(live) = self.live_generation()? else { return Err(self.not_attached()) };
        let record = live.record()?;
        if record.layout != plane.layout() {
            return Err(Error::Conflict {
                what: format!("what is attached was made by version {}, or with other flags", record.version),
                remedy: "replace it with `sidestep upgrade`, which adopts connections, too",
            });
        }
        let map = |role: MapRole| live.map(role.name());
        let (Some(sockets), Some(storage), Some(config), Some(counters), Some(changes), Some(wanted)) = (
            map(MapRole::Sockets)?,
            map(MapRole::Storage)?,
            map(MapRole::Config)?,
            map(MapRole::Counters)?,
            map(MapRole::Changes)?,
            map(MapRole::Wanted)?,
        ) else {
            // A missing pin is a problem of its own.
            return Ok(Adopted::default());
        };
        let places = self.places()?;
        let attached = by_ids(places.iter().filter(|place| !place.is_dead()).map(|place| place.cgroup_id))?;
        let (opted_out, trusted) = (by_ids(record.opted_out)?, by_ids(record.trusted)?);
        let adopting = Adopting {
            sockets: &sockets,
            storage: &storage,
            config: &config,
            counters: &counters,
            changes: &changes,
            wanted: &wanted,
            options: &plane.options,
            cgroups: &attached,
            opted_out: &opted_out,
            trusted: &trusted,
        };
        adopting.adopt(looks)
    }

    /// Lets what is attached leave connections alone, for so long from now on; see
    /// [`Loaded::adopts_for`](crate::agent::Loaded::adopts_for).
    pub fn adopts_for(&self, time: Duration) -> Result<()> {
        let Some(live) = self.live_generation()? else { return Ok(()) };
        live.map(MapRole::Adopts.name())?.map_or(Ok(()), |adopts| promise(&adopts, time))
    }
}

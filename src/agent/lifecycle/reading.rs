//! What a pinned data plane tells at one moment.

use super::Instance;
use super::generation::{DISPATCHER, Generation, SOCK_OPS};
use crate::agent::Snapshot;
use crate::agent::error::{Context, Result};
use crate::agent::load::{RECEIVES, SPLICES};
use crate::agent::readers;
use crate::agent::reading::{BOUNDED, MapUse, ProgramUse, Reading};
use crate::dataplane::{MapRole, Reader, left_alone};

impl Instance {
    /// Looks at the generation that takes new connections; nothing when none is attached. After an upgrade to other maps
    /// the counters start at zero.
    pub fn reading(&self) -> Result<Option<Reading>> {
        self.at_live(|generation| self.reading_of(generation))
    }

    fn reading_of(&self, generation: &Generation) -> Result<Option<Reading>> {
        let Some(counters) = generation.snapshot()? else { return Ok(None) };
        let mut maps = Vec::new();
        for role in BOUNDED {
            if let Some(map) = generation.map(role.name())? {
                maps.push(MapUse::of(role, &map)?);
            }
        }
        let mut programs = Vec::new();
        if ProgramUse::is_measured()? {
            for name in [SOCK_OPS, DISPATCHER, RECEIVES, SPLICES] {
                if let Some(program) = generation.program(name)? {
                    programs.push(ProgramUse::of(name, &program)?);
                }
            }
        }
        let cgroup = generation.record()?.cgroup;
        // An upgrade may have removed it meanwhile.
        if !generation.dir().exists() {
            return Ok(None);
        }
        Ok(Some(Reading { cgroup, counters, maps, programs, problems: self.problems()? }))
    }

    /// The counters without the bytes of connections that live, which takes no look at these.
    pub fn counters(&self) -> Result<Option<Snapshot>> {
        self.live_generation()?.map_or(Ok(None), |generation| generation.counters())
    }

    /// What is known of each process that reads; nothing where none is attached, or readers are not watched.
    pub fn readers(&self) -> Result<Option<Vec<Reader>>> {
        let Some(generation) = self.live_generation()? else { return Ok(None) };
        generation.map(MapRole::Readers.name())?.as_ref().map(readers::all).transpose()
    }

    /// The ports of listeners, in whichever network namespace, whose new connections are left alone while an agent
    /// adopts.
    pub fn left_alone(&self) -> Result<Vec<u16>> {
        let mut ports = Vec::new();
        let Some(generation) = self.live_generation()? else { return Ok(ports) };
        let Some(map) = generation.map(MapRole::Listeners.name())? else { return Ok(ports) };
        for key in map.keys() {
            let key = key.context("walk the listeners")?;
            let value = map.lookup(&key).context("look up a listener")?;
            ports.extend(value.and_then(|value| left_alone(&key, &value)));
        }
        Ok(ports)
    }
}

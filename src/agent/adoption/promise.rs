//! Programs leave connections alone only while an agent adopts those that live longer: it says until when.

use std::time::Duration;

use crate::agent::changes::monotonic;
use crate::agent::error::{Context, Result};
use crate::agent::load::Loaded;
use crate::dataplane::MapRole;
use crate::syscall::{Map, UpdateFlags};

/// Says in the map of [`MapRole::Adopts`] that connections are adopted for so long from now on.
pub(in crate::agent) fn promise(adopts: &Map, time: Duration) -> Result<()> {
    let until = monotonic().saturating_add(time).as_nanos();
    let until = u64::try_from(until).unwrap_or(u64::MAX);
    let written = adopts.update(&0_u32.to_ne_bytes(), &until.to_ne_bytes(), UpdateFlags::empty());
    written.context("say until when connections are adopted")
}

impl Loaded {
    /// Lets the programs leave connections of listeners alone that have had only short ones, for so long from now on. To be called
    /// again and again by an agent that adopts what lives longer. Does nothing where readers are not watched.
    pub fn adopts_for(&self, time: Duration) -> Result<()> {
        if self.watching.is_empty() { Ok(()) } else { promise(self.map(MapRole::Adopts), time) }
    }
}

//! The counters, summed over all CPUs.

use super::error::{Context, Result};
use super::load::Loaded;
use crate::dataplane::{Counter, MapRole};
use crate::syscall::Map;

/// Counter values at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    values: Vec<u64>,
}

impl Snapshot {
    /// Reads the counters of `loaded`.
    pub fn read(loaded: &Loaded) -> Result<Self> {
        if let Some(tally) = &loaded.tally {
            tally.count(loaded.map(MapRole::Storage))?;
        }
        Self::of(loaded.map(MapRole::Counters))
    }

    /// Reads a map of counters. One of a binary with fewer counters leaves the rest zero.
    pub(super) fn of(counters: &Map) -> Result<Self> {
        let cpus = counters.lookup_percpu(&0_u32.to_ne_bytes()).context("read the counters")?.unwrap_or_default();
        let mut values = vec![0_u64; Counter::ALL.len()];
        for cpu in &cpus {
            for (sum, bytes) in values.iter_mut().zip(cpu.as_chunks::<8>().0) {
                *sum = sum.wrapping_add(u64::from_ne_bytes(*bytes));
            }
        }
        Ok(Self { values })
    }

    /// One counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// All counters with their names.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.iter().copied().zip(self.values.iter().copied())
    }

    /// The part of all bytes of connections inside the cgroups that skipped the stack, 0 to 1; none before any were sent. Those that were
    /// left alone ([`Counter::LeftAlone`]) do not count.
    pub fn redirected_share(&self) -> Option<f64> {
        share(self.get(Counter::RedirectedBytes), self.get(Counter::StackBytes))
    }

    /// The same of what was sent since `before`.
    pub fn redirected_share_since(&self, before: &Self) -> Option<f64> {
        let gained = |counter| self.get(counter).saturating_sub(before.get(counter));
        share(gained(Counter::RedirectedBytes), gained(Counter::StackBytes))
    }
}

fn share(redirected: u64, by_stack: u64) -> Option<f64> {
    (redirected + by_stack > 0).then(|| redirected as f64 / (redirected + by_stack) as f64)
}

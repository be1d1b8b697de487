//! What an attached data plane tells at one moment: its counters, how full its maps are, how long its programs have run.

use std::path::PathBuf;
use std::time::Duration;

use super::error::{Context, Result};
use super::load::{RECEIVES, SPLICES};
use super::{Acceleration, Problem, Snapshot};
use crate::dataplane::MapRole;
use crate::syscall::{Map, Program, sysctl};

/// The maps of which it is worth to know how full they are: those that can refuse or push out an entry.
pub(super) const BOUNDED: [MapRole; 5] =
    [MapRole::Sockets, MapRole::Rendezvous, MapRole::Pairs, MapRole::Readers, MapRole::Spliced];

/// One data plane at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reading {
    /// Where the cgroup was when the data plane was attached to it.
    pub cgroup: PathBuf,
    /// The counters.
    pub counters: Snapshot,
    /// The maps that have a bound and entries that come and go.
    pub maps: Vec<MapUse>,
    /// What its programs have used; nothing while the kernel's statistics are off.
    pub programs: Vec<ProgramUse>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapUse {
    /// Its name in the kernel.
    pub name: &'static str,
    /// Entries now.
    pub entries: usize,
    /// The most that it takes.
    pub capacity: u32,
}

/// What a program has used while the kernel's statistics (`kernel.bpf_stats_enabled`) were on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgramUse {
    /// Its name under the pin directory.
    pub name: &'static str,
    /// How often it has run.
    pub runs: u64,
    /// How long it has run.
    pub run_time: Duration,
}

impl MapUse {
    /// Counts the entries, one system call for each.
    pub(super) fn of(role: MapRole, map: &Map) -> Result<Self> {
        let mut entries = 0;
        for key in map.keys() {
            key.context("count the entries of a map")?;
            entries += 1;
        }
        Ok(Self { name: role.name(), entries, capacity: map.max_entries() })
    }
}

impl ProgramUse {
    pub(super) fn of(name: &'static str, program: &Program) -> Result<Self> {
        let info = program.info().context("look at a program")?;
        Ok(Self { name, runs: info.run_count, run_time: Duration::from_nanos(info.run_time_ns) })
    }

    /// Whether the kernel measures programs now. Before Linux 5.1 it has no such setting.
    pub(super) fn is_measured() -> Result<bool> {
        Ok(sysctl::number("kernel/bpf_stats_enabled")? == Some(1))
    }
}

impl Acceleration {
    /// Looks at all of it.
    pub fn reading(&self) -> Result<Reading> {
        let loaded = self.loaded();
        let mut maps = Vec::new();
        for role in BOUNDED {
            // Not every data plane watches readers.
            if let Some(map) = loaded.maps.get(role as usize) {
                maps.push(MapUse::of(role, map)?);
            }
        }
        let mut programs = Vec::new();
        if ProgramUse::is_measured()? {
            let watching = loaded.watching.iter().map(|watching| (watching.name, &watching.program));
            // The dispatcher's time holds that of the sk_msg program, which it calls by a tail call.
            for (name, program) in [("sock_ops", &loaded.sock_ops), ("dispatcher", &loaded.dispatcher)]
                .into_iter()
                .chain(watching.filter(|(name, _)| [RECEIVES, SPLICES].contains(name)))
            {
                programs.push(ProgramUse::of(name, program)?);
            }
        }
        Ok(Reading {
            cgroup: self.cgroup().path().to_owned(),
            counters: self.snapshot()?,
            maps,
            programs,
            problems: self.problems()?,
        })
    }
}

//! What is known of the processes that read, for status and metrics.

use serde::Serialize;

use crate::agent::error::{Context, Result};
use crate::dataplane::{Reader, ReaderState};
use crate::syscall::Map;

use super::program::Program;

/// Counts, and the splicers by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Readers {
    /// Processes that are trusted with some redirected bytes.
    pub trusted: usize,
    /// Processes on probation.
    pub on_probation: usize,
    /// Processes that splice.
    pub splicers: Vec<Splicer>,
}

/// A process that splices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Splicer {
    /// Its number.
    pub process: u32,
    /// What it runs, or the name of its thread when it has ended.
    pub program: String,
}

impl Readers {
    /// Reads the map.
    pub fn read(map: &Map) -> Result<Self> {
        let mut found = Self::default();
        for reader in all(map)? {
            match reader.state {
                ReaderState::Splicer => {
                    let program = Program::of(reader.process).map_or(reader.name, |program| program.name);
                    found.splicers.push(Splicer { process: reader.process, program });
                }
                _ if reader.proven > 0 => found.trusted += 1,
                _ => found.on_probation += 1,
            }
        }
        found.splicers.sort_by(|a, b| (&a.program, a.process).cmp(&(&b.program, b.process)));
        Ok(found)
    }
}

/// Every record.
pub(in crate::agent) fn all(map: &Map) -> Result<Vec<Reader>> {
    let mut found = Vec::new();
    for key in map.keys() {
        let key = key.context("walk the readers")?;
        let record = map.lookup(&key).context("look up a reader")?;
        found.extend(record.and_then(|record| Reader::from_bytes(&key, &record)));
    }
    Ok(found)
}

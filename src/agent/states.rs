//! The state that each of our sockets has in the kernel.

use std::io::Read;
use std::os::fd::AsFd;

use super::error::{Context, Error, Result};
use super::kernel::{kernel_offsets, tally_over};
use super::load::load_at;
use crate::dataplane::{MapRole, SocketState, states};
use crate::syscall::{self, Link, Map, iter_reader, memlock};
use crate::uapi::{AttachType, ProgType};

/// The program's name in the kernel, at most 15 bytes.
const NAME: &str = "sidestep_states";

/// Reads the states of sockets, again and again. Changes nothing.
#[derive(Debug)]
pub struct StateReader {
    link: Link,
    size: usize,
}

impl StateReader {
    /// Loads an iterator over `storage`, the map [`crate::dataplane::MapRole::Storage`] of a data plane. Needs CAP_BPF and
    /// CAP_PERFMON.
    pub fn new(storage: &Map) -> Result<Self> {
        let size = storage.value_size();
        if SocketState::from_bytes(&vec![0; size]).is_none() {
            return Err(Error::Conflict {
                what: "another version of sidestep is attached, whose sockets' states this one cannot read".into(),
                remedy: "use the version that `sidestep status` shows",
            });
        }
        memlock::raise_if_needed()?;
        let offsets = kernel_offsets()?;
        let program = states(&offsets, size as u32)?;
        let storage_ref = MapRole::Storage.map_ref();
        let over = tally_over(&offsets)?;
        let map = |map| (map == storage_ref).then_some(storage);
        let program = load_at(NAME, ProgType::TRACING, &program, map, Some(over.hook()))?;
        let link = Link::create(program.as_fd(), over.target(storage), AttachType::TRACE_ITER)
            .context("read the states of sockets")?;
        Ok(Self { link, size })
    }

    /// The states now, by cookie.
    pub fn read(&self) -> Result<Vec<SocketState>> {
        let mut reader = iter_reader(&self.link).context("read the states of sockets")?;
        let mut bytes = Vec::new();
        let failed = |error| {
            Error::Syscall(syscall::Error::Invalid(format!(
                "reading the states of sockets stopped: {error}; try again"
            )))
        };
        reader.read_to_end(&mut bytes).map_err(failed)?;
        let mut states: Vec<_> = bytes.chunks_exact(self.size).filter_map(SocketState::from_bytes).collect();
        // By open files, a socket that several processes have open is there several times.
        states.sort_by_cached_key(|state| state.cookie);
        states.dedup_by_key(|state| state.cookie);
        Ok(states)
    }
}

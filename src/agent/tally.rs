//! Counting what open connections have exchanged by the stack since the last look.

use std::os::fd::AsFd;

use super::error::{Context, Error, Result};
use super::kernel::TallyOver;
use crate::syscall::{self, Link, Map, Program, iter_reader};
use crate::uapi::AttachType;

/// The tally, loaded.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) program: Program,
    pub(super) over: TallyOver,
}

impl Tally {
    /// Runs it over every socket that has a storage in this map.
    pub(super) fn count(&self, storage: &Map) -> Result<()> {
        let link = Link::create(self.program.as_fd(), self.over.target(storage), AttachType::TRACE_ITER)
            .context("attach the tally to the sockets whose bytes it counts")?;
        let reader = iter_reader(&link).context("start the tally")?;
        let failed =
            |error| Error::Syscall(syscall::Error::Invalid(format!("the tally of bytes stopped with {error}")));
        reader.run().map_err(failed)
    }
}

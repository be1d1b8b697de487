//! Counting what open connections have exchanged by the stack since the last look.

use std::io::Read;
use std::os::fd::AsFd;

use super::error::{Context, Error, Result};
use crate::syscall::{self, Link, LinkTarget, Map, Program, iter_reader};
use crate::uapi::AttachType;

/// Runs the tally over every socket that has a storage.
pub(super) fn tally(storage: &Map, program: &Program) -> Result<()> {
    let link = Link::create(program.as_fd(), LinkTarget::IterMap(storage.as_fd()), AttachType::TRACE_ITER)
        .context("attach the tally to the sockets' storage")?;
    let mut reader = iter_reader(&link).context("start the tally")?;
    let failed = |error| Error::Syscall(syscall::Error::Invalid(format!("the tally of bytes stopped with {error}")));
    // It prints nothing; reading to the end is what runs it over every socket.
    let mut output = [0; 64];
    while reader.read(&mut output).map_err(failed)? > 0 {}
    Ok(())
}

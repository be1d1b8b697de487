//! Programs: what they are to be ([`ProgSpec`]), what they are ([`ProgInfo`]), and the loaded thing ([`Program`]).

mod debug;
mod info;
mod load;
mod spec;
mod stats;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

pub use debug::LoadedDebugInfo;
pub use info::ProgInfo;
pub use spec::{DebugInfo, ProgSpec};
pub use stats::RunTimeStats;

use super::error::{Error, Result};
use super::map::Map;
use super::{id, pin};
use crate::asm::{self, MapRef};

/// A loaded program, held by a descriptor of ours.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
}

impl Program {
    /// Loads a program (BPF_PROG_LOAD): first without a log, and when the kernel refuses it, again with one, so that
    /// the error carries the verifier's reasons.
    pub fn load(spec: &ProgSpec<'_>) -> Result<Self> {
        load::quiet(spec).map(|fd| Self { fd })
    }

    /// Loads what the assembler has made, with `spec` for everything but its instructions and debug information: a program
    /// that the kernel refuses names the Rust line in the kernel's own log. `map` gives the maps that it names.
    pub fn assembled<'a>(
        program: &asm::Program,
        map: impl Fn(MapRef) -> Option<&'a Map>,
        spec: ProgSpec<'_>,
    ) -> Result<Self> {
        Self::assembled_with(program, &|number| map(number).map(|map| map.as_fd().as_raw_fd()), spec)
    }

    /// The same, compiled once for all callers.
    fn assembled_with(
        program: &asm::Program,
        descriptor: &dyn Fn(MapRef) -> Option<RawFd>,
        spec: ProgSpec<'_>,
    ) -> Result<Self> {
        let insns = program.encode_native(descriptor).map_err(|error| Error::Invalid(error.to_string()))?;
        let debug = LoadedDebugInfo::of(program, spec.name);
        let debug = debug.as_ref().map(LoadedDebugInfo::for_program);
        Self::load(&ProgSpec { insns: &insns, debug, ..spec })
    }

    /// Loads a program and gives the verifier's log of `level` (see [`ProgSpec::log_level`]) also on success.
    pub fn load_with_log(spec: &ProgSpec<'_>, level: u32) -> Result<(Self, String)> {
        load::verbose(spec, level).map(|(fd, log)| (Self { fd }, log))
    }

    /// Takes over a descriptor; fails if it is not of a program.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        id::check(id::Kind::Prog, fd.as_fd())?;
        Ok(Self { fd })
    }

    /// Opens the program with the kernel's number `id` (takes CAP_SYS_ADMIN).
    pub fn from_id(id: u32) -> Result<Self> {
        id::open(id::Kind::Prog, id).map(|fd| Self { fd })
    }

    /// Opens the program pinned at `path`.
    pub fn from_pin(path: &Path) -> Result<Self> {
        Self::from_fd(pin::get(path)?)
    }

    /// A second descriptor of the same program.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone();
        fd.map(|fd| Self { fd }).map_err(|error| Error::Invalid(format!("cannot hold a program twice: {error}")))
    }

    /// Pins it at `path`, on a bpf file system: it then lives until the pin is removed.
    pub fn pin(&self, path: &Path) -> Result<()> {
        pin::pin(self.fd.as_fd(), path)
    }

    /// What the kernel says of it.
    pub fn info(&self) -> Result<ProgInfo> {
        info::of(self.fd.as_fd())
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

//! The kernel's numbers for its objects: walk them all, open one.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use super::attr;
use super::errno::Errno;
use super::error::{Error, Operation, Result};
use super::sys::{self, Command};

/// A kind of kernel object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Programs.
    Prog,
    /// Maps.
    Map,
    /// Links (5.8).
    Link,
    /// BTF objects.
    Btf,
}

impl Kind {
    fn next(self) -> Command {
        match self {
            Self::Prog => Command::ProgGetNextId,
            Self::Map => Command::MapGetNextId,
            Self::Link => Command::LinkGetNextId,
            Self::Btf => Command::BtfGetNextId,
        }
    }

    fn by_id(self) -> Command {
        match self {
            Self::Prog => Command::ProgGetFdById,
            Self::Map => Command::MapGetFdById,
            Self::Link => Command::LinkGetFdById,
            Self::Btf => Command::BtfGetFdById,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Prog => "program",
            Self::Map => "map",
            Self::Link => "link",
            Self::Btf => "BTF object",
        }
    }
}

/// All ids of a kind, in rising order (takes CAP_SYS_ADMIN). An object may be gone by the time it is opened.
pub fn ids(kind: Kind) -> Ids {
    Ids { kind, last: 0, done: false }
}

/// Iterator of [`ids`].
#[derive(Debug)]
pub struct Ids {
    kind: Kind,
    last: u32,
    done: bool,
}

impl Iterator for Ids {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let mut attr = attr::GetId { id: self.last, ..attr::GetId::default() };
        // SAFETY: no addresses.
        match unsafe { sys::bpf(self.kind.next(), &mut attr) } {
            Ok(_) => {
                self.last = attr.next_id;
                Some(Ok(attr.next_id))
            }
            Err(errno) => {
                self.done = true;
                let error = || Error::call(Operation::NextId, format!("{}s", self.kind.noun()), errno);
                (errno != Errno::ENOENT).then(|| Err(error()))
            }
        }
    }
}

/// Opens the object of `kind` with number `id` (takes CAP_SYS_ADMIN).
pub fn open(kind: Kind, id: u32) -> Result<OwnedFd> {
    let mut attr = attr::GetId { id, ..attr::GetId::default() };
    // SAFETY: no addresses; the command returns a descriptor.
    unsafe { sys::bpf_fd(kind.by_id(), &mut attr) }
        .map_err(|errno| Error::call(Operation::GetById, format!("{} {id}", kind.noun()), errno))
}

/// Fails unless the object behind `fd` is of `kind`. The kernel gives facts of whatever it is handed, so that a pin of
/// another kind would go unnoticed; the name of the descriptor's inode tells (anon_inode_getfd in
/// `kernel/bpf/syscall.c`).
pub(super) fn check(kind: Kind, fd: BorrowedFd<'_>) -> Result<()> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let name = std::fs::read_link(&path).map_err(|error| Error::file("look at", &path, &error))?;
    // A link that was just made says bpf_link, one that was opened again bpf-link.
    let marks: &[&str] = match kind {
        Kind::Prog => &["bpf-prog"],
        Kind::Map => &["bpf-map"],
        Kind::Link => &["bpf_link", "bpf-link"],
        Kind::Btf => &["btf"],
    };
    if marks.iter().any(|mark| name.to_string_lossy().contains(mark)) {
        return Ok(());
    }
    Err(Error::Invalid(format!("a {} was expected, but the descriptor is of {}", kind.noun(), name.display())))
}

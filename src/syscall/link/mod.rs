//! Attachments: links, which go away with their last descriptor or pin, and the older kind without an owner.

mod info;
mod iter;
mod legacy;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

pub use info::{LinkDetail, LinkInfo};
pub use iter::{IterReader, iter_reader};
pub use legacy::{Attachments, attachments, prog_attach, prog_detach, prog_query};

use super::error::{Error, Operation, Result};
use super::sys::{self, Command};
use super::{attr, id, pin};
use crate::uapi::AttachType;

/// `BPF_F_REPLACE` of `include/uapi/linux/bpf.h`.
const BPF_F_REPLACE: u32 = 1 << 2;

/// What a program is attached to.
#[derive(Clone, Copy, Debug)]
pub enum LinkTarget<'a> {
    /// An open cgroup2 directory (5.7), or a socket map (6.10).
    Fd(BorrowedFd<'a>),
    /// An iterator over the members of a map, such as `iter/sockmap` (5.10).
    IterMap(BorrowedFd<'a>),
    /// An iterator or trace point that is named by the program itself.
    None,
}

/// An attachment that lasts as long as this descriptor or a pin.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
}

impl Link {
    /// Attaches `program` to `target` (BPF_LINK_CREATE). Cgroup links never keep others out.
    pub fn create(program: BorrowedFd<'_>, target: LinkTarget<'_>, attach_type: AttachType) -> Result<Self> {
        let mut attr = attr::LinkCreate {
            prog_fd: program.as_raw_fd() as u32,
            attach_type: attach_type.number(),
            ..attr::LinkCreate::default()
        };
        // union bpf_iter_link_info: of maps, only the descriptor.
        let map_fd: [u32; 1];
        match target {
            LinkTarget::Fd(fd) => attr.target_fd = fd.as_raw_fd() as u32,
            LinkTarget::IterMap(fd) => {
                map_fd = [fd.as_raw_fd() as u32];
                attr.iter_info = sys::address(&map_fd);
                attr.iter_info_len = size_of_val(&map_fd) as u32;
            }
            LinkTarget::None => {}
        }
        // SAFETY: `iter_info` is NULL or the address of `map_fd`, which lives through the call, with its length; the
        // command returns a descriptor.
        let fd = unsafe { sys::bpf_fd(Command::LinkCreate, &mut attr) }
            .map_err(|errno| Error::call(Operation::LinkCreate, format!("a program as {attach_type}"), errno))?;
        Ok(Self { fd })
    }

    /// Takes over a descriptor; fails if it is not of a link.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        id::check(id::Kind::Link, fd.as_fd())?;
        Ok(Self { fd })
    }

    /// Opens the link with the kernel's number `id` (takes CAP_SYS_ADMIN).
    pub fn from_id(id: u32) -> Result<Self> {
        id::open(id::Kind::Link, id).map(|fd| Self { fd })
    }

    /// Opens the link pinned at `path`.
    pub fn from_pin(path: &Path) -> Result<Self> {
        Self::from_fd(pin::get(path)?)
    }

    /// Pins it at `path`, on a bpf file system: it then lasts until the pin is removed.
    pub fn pin(&self, path: &Path) -> Result<()> {
        pin::pin(self.fd.as_fd(), path)
    }

    /// Replaces its program atomically (BPF_LINK_UPDATE). With `expected`, only if it is still that one.
    pub fn update(&self, new: BorrowedFd<'_>, expected: Option<BorrowedFd<'_>>) -> Result<()> {
        let mut attr = attr::LinkUpdate {
            link_fd: self.fd.as_raw_fd() as u32,
            new_prog_fd: new.as_raw_fd() as u32,
            flags: if expected.is_some() { BPF_F_REPLACE } else { 0 },
            old_prog_fd: expected.map_or(0, |fd| fd.as_raw_fd() as u32),
        };
        // SAFETY: no addresses.
        unsafe { sys::bpf(Command::LinkUpdate, &mut attr) }
            .map_err(|errno| Error::call(Operation::LinkUpdate, "a link", errno))?;
        Ok(())
    }

    /// Detaches it now, although others may hold it (BPF_LINK_DETACH, 5.9; not for every kind of link).
    pub fn detach(&self) -> Result<()> {
        let mut attr = attr::Single { value: self.fd.as_raw_fd() as u32 };
        // SAFETY: no addresses.
        unsafe { sys::bpf(Command::LinkDetach, &mut attr) }
            .map_err(|errno| Error::call(Operation::LinkDetach, "a link", errno))?;
        Ok(())
    }

    /// What the kernel says of it.
    pub fn info(&self) -> Result<LinkInfo> {
        info::of(self.fd.as_fd())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

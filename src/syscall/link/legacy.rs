//! Attachment without a link: it stays until it is undone, also after its process has ended.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::syscall::attr;
use crate::syscall::errno::Errno;
use crate::syscall::error::{Error, Operation, Result};
use crate::syscall::sys::{self, Command};
use crate::uapi::AttachType;

/// `BPF_F_ALLOW_MULTI` of `include/uapi/linux/bpf.h`.
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
/// `BPF_F_ALLOW_OVERRIDE`.
const BPF_F_ALLOW_OVERRIDE: u32 = 1 << 0;

/// Who is attached to a target itself (not to its parents).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachments {
    /// The programs, in the order they run.
    pub ids: Vec<u32>,
    /// With which flags the first of them was attached (cgroups).
    pub flags: u32,
}

impl Attachments {
    /// Whether others may be attached beside them, and below.
    pub fn allows_multi(&self) -> bool {
        self.flags & BPF_F_ALLOW_MULTI != 0
    }

    /// Whether a cgroup below may have a program in place of them.
    pub fn allows_override(&self) -> bool {
        self.flags & BPF_F_ALLOW_OVERRIDE != 0
    }
}

/// Attaches `program` to a cgroup (beside others, `BPF_F_ALLOW_MULTI`) or to a socket map (which has one place only:
/// the new one replaces the old, unless a link holds it).
pub fn prog_attach(target: BorrowedFd<'_>, program: BorrowedFd<'_>, attach_type: AttachType) -> Result<()> {
    let flags = if is_cgroup(attach_type) { BPF_F_ALLOW_MULTI } else { 0 };
    let mut attr = attr::ProgAttach {
        target_fd: target.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: attach_type.number(),
        attach_flags: flags,
        replace_bpf_fd: 0,
    };
    // SAFETY: no addresses.
    unsafe { sys::bpf(Command::ProgAttach, &mut attr) }
        .map_err(|errno| Error::call(Operation::Attach, format!("a program as {attach_type}"), errno))?;
    Ok(())
}

/// Detaches `program` from a cgroup or a socket map.
pub fn prog_detach(target: BorrowedFd<'_>, program: BorrowedFd<'_>, attach_type: AttachType) -> Result<()> {
    let mut attr = attr::ProgAttach {
        target_fd: target.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: attach_type.number(),
        ..attr::ProgAttach::default()
    };
    // SAFETY: no addresses.
    unsafe { sys::bpf(Command::ProgDetach, &mut attr) }
        .map_err(|errno| Error::call(Operation::Detach, format!("a program as {attach_type}"), errno))?;
    Ok(())
}

/// The ids of the programs attached to a cgroup itself (not to its parents), or to a socket map (5.15).
pub fn prog_query(target: BorrowedFd<'_>, attach_type: AttachType) -> Result<Vec<u32>> {
    attachments(target, attach_type).map(|found| found.ids)
}

/// [`prog_query`] with the flags of the attachment.
pub fn attachments(target: BorrowedFd<'_>, attach_type: AttachType) -> Result<Attachments> {
    // BPF_CGROUP_MAX_PROGS of kernel/bpf/cgroup.c.
    let mut ids = vec![0_u32; 64];
    loop {
        let mut attr = attr::ProgQuery {
            target_fd: target.as_raw_fd() as u32,
            attach_type: attach_type.number(),
            prog_ids: sys::address_mut(&mut ids),
            prog_cnt: ids.len() as u32,
            ..attr::ProgQuery::default()
        };
        // SAFETY: `ids` is live and writable for `prog_cnt` numbers.
        match unsafe { sys::bpf(Command::ProgQuery, &mut attr) } {
            Ok(_) => {
                ids.truncate(attr.prog_cnt as usize);
                return Ok(Attachments { ids, flags: attr.attach_flags });
            }
            Err(Errno::ENOSPC) if ids.len() < 1 << 16 => ids.resize(ids.len() * 4, 0),
            Err(errno) => return Err(Error::call(Operation::Query, format!("a target as {attach_type}"), errno)),
        }
    }
}

/// Whether the target of `attach_type` is a cgroup; only those take `BPF_F_ALLOW_MULTI`.
fn is_cgroup(attach_type: AttachType) -> bool {
    attach_type.name().is_some_and(|name| name.starts_with("cgroup_"))
}

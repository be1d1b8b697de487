//! The seam: the only place that enters the kernel with bpf(2), and the only one that turns its answer into a result.

use std::os::fd::{FromRawFd, OwnedFd};

use super::errno::Errno;

/// `enum bpf_cmd` of `include/uapi/linux/bpf.h`.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Command {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    MapGetNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgAttach = 8,
    ProgDetach = 9,
    ProgGetNextId = 11,
    MapGetNextId = 12,
    ProgGetFdById = 13,
    MapGetFdById = 14,
    ObjGetInfoByFd = 15,
    ProgQuery = 16,
    BtfLoad = 18,
    BtfGetFdById = 19,
    MapFreeze = 22,
    BtfGetNextId = 23,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkGetFdById = 30,
    LinkGetNextId = 31,
    EnableStats = 32,
    IterCreate = 33,
    LinkDetach = 34,
}

/// A view of `union bpf_attr`.
///
/// # Safety
/// The type is `repr(C)`, laid out as one of the anonymous structs of the union, and has no padding bytes: the kernel
/// reads every byte of it, and refuses (`E2BIG`) bytes it does not know unless they are zero.
pub(super) unsafe trait Attr {}

/// How often an interrupted call is made again. BPF_PROG_LOAD answers `EAGAIN` when a signal arrives while the
/// verifier runs; a profiler's timer can do that several times in a row.
const ATTEMPTS: usize = 64;

/// Calls bpf(2), again when interrupted.
///
/// # Safety
/// Every address in `attr` points to memory that lives through the call and is as long as the command takes it to be,
/// writable where the kernel writes.
pub(super) unsafe fn bpf<A: Attr>(command: Command, attr: &mut A) -> Result<i32, Errno> {
    let mut errno = Errno::EAGAIN;
    for _ in 0..ATTEMPTS {
        // SAFETY: `attr` is a live, exclusively borrowed view of the union (see `Attr`), its size goes with it, and
        // the caller answers for the addresses inside.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command as libc::c_long,
                std::ptr::from_mut(attr),
                size_of::<A>() as libc::c_long,
            )
        };
        if answer >= 0 {
            return Ok(answer as i32);
        }
        errno = Errno::last();
        if errno != Errno::EINTR && errno != Errno::EAGAIN {
            break;
        }
    }
    Err(errno)
}

/// [`bpf`] for the commands that return a new descriptor (always close-on-exec).
///
/// # Safety
/// As for [`bpf`]; and the command returns a descriptor.
pub(super) unsafe fn bpf_fd<A: Attr>(command: Command, attr: &mut A) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller's promise is the same.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: the command has just returned this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The address of a slice as the kernel's `__aligned_u64`; 0 (NULL) when it is empty.
pub(super) fn address<T>(slice: &[T]) -> u64 {
    if slice.is_empty() { 0 } else { slice.as_ptr() as u64 }
}

/// As [`address`], for memory that the kernel writes.
pub(super) fn address_mut<T>(slice: &mut [T]) -> u64 {
    if slice.is_empty() { 0 } else { slice.as_mut_ptr() as u64 }
}

//! The memory of a ring buffer map.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

use crate::syscall::Errno;
use crate::syscall::error::{Error, Operation, Result};
use crate::syscall::map::Map;
use crate::uapi::MapType;

/// `BPF_RINGBUF_BUSY_BIT` of `include/uapi/linux/bpf.h`.
pub(super) const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`.
pub(super) const DISCARD: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`.
pub(super) const HEADER: usize = 8;

/// What the kernel writes, mapped for reading.
#[derive(Debug)]
pub(super) struct Memory {
    map: Map,
    /// The producer position and the data.
    written: Mapping,
    page: usize,
    /// Bytes of data, a power of two.
    pub(super) size: usize,
}

impl Memory {
    /// Maps the memory of `map`.
    pub(super) fn new(map: Map) -> Result<Self> {
        if map.map_type() != MapType::RINGBUF {
            return Err(Error::Invalid(format!("{} is not a ring buffer", map.describe())));
        }
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let size = map.max_entries() as usize;
        let written = Mapping::new(&map, page + 2 * size, page, libc::PROT_READ)?;
        Ok(Self { map, written, page, size })
    }

    pub(super) fn map(&self) -> &Map {
        &self.map
    }

    /// The page with the consumer position, which a reader writes.
    pub(super) fn consumer(&self) -> Result<Mapping> {
        Mapping::new(&self.map, self.page, 0, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// The producer position.
    pub(super) fn produced(&self) -> &AtomicUsize {
        self.written.position()
    }

    /// The header of the record at `position`.
    pub(super) fn header(&self, position: usize) -> &AtomicU32 {
        // SAFETY: the place is a multiple of 8 within the first copy of the data, so the header is aligned and mapped, and it
        // lives as long as `self`; the kernel writes it atomically.
        unsafe { &*self.written.at.as_ptr().add(self.place(position)).cast::<AtomicU32>() }
    }

    /// The `index`th word of the record at `position`; words of a record are at most half of the two copies.
    pub(super) fn word(&self, position: usize, index: usize) -> &AtomicU64 {
        let at = (self.place(position) + HEADER + 8 * index).min(self.page + 2 * self.size - 8);
        // SAFETY: the place is a multiple of 8 within the two copies of the data, so the word is aligned and mapped, and it
        // lives as long as `self`.
        unsafe { &*self.written.at.as_ptr().add(at).cast::<AtomicU64>() }
    }

    /// The bytes of the record at `position`, at most `size` of them.
    pub(super) fn bytes(&self, position: usize) -> *const u8 {
        // SAFETY: a record begins within the first copy of the data and is at most as long as the buffer; the data is mapped
        // twice.
        unsafe { self.written.at.as_ptr().add(self.place(position) + HEADER) }
    }

    fn place(&self, position: usize) -> usize {
        self.page + (position & (self.size - 1) & !7)
    }
}

#[derive(Debug)]
pub(super) struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is shared with the kernel anyway; it is reached only through atomics, and through `&mut RingBuffer`.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(map: &Map, len: usize, offset: usize, protection: libc::c_int) -> Result<Self> {
        // SAFETY: a new shared mapping at an address of the kernel's choice; it is unmapped in `drop` alone.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                offset as libc::off_t,
            )
        };
        let failed = || Error::call(Operation::MapMmap, map.describe(), Errno::last());
        if at == libc::MAP_FAILED {
            return Err(failed());
        }
        Ok(Self { at: NonNull::new(at.cast()).ok_or_else(failed)?, len })
    }

    /// The position at its start.
    pub(super) fn position(&self) -> &AtomicUsize {
        // SAFETY: both mappings start with an aligned unsigned long that the kernel accesses atomically, and live as long as
        // `self`.
        unsafe { &*self.at.as_ptr().cast::<AtomicUsize>() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of this length, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

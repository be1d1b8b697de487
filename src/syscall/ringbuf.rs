//! The reader's side of a ring buffer map (`kernel/bpf/ringbuf.c`, 5.8).
//!
//! ```text
//! page 0            consumer position, written by us
//! page 1            producer position, written by the kernel
//! page 2..          data, mapped twice in a row, so that a record that wraps around is contiguous
//! record            u32 length (bit 31: being written, bit 30: discarded), u32 page offset, bytes, to a multiple of 8
//! ```

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Errno;
use super::error::{Error, Operation, Result};
use super::map::Map;
use crate::uapi::MapType;

/// `BPF_RINGBUF_BUSY_BIT` of `include/uapi/linux/bpf.h`.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`.
const DISCARD: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`.
const HEADER: usize = 8;

/// A ring buffer map with its memory mapped.
#[derive(Debug)]
pub struct RingBuffer {
    map: Map,
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    size: usize,
}

impl RingBuffer {
    /// Maps the memory of `map`. There must be only one reader of it at a time.
    pub fn new(map: Map) -> Result<Self> {
        if map.map_type() != MapType::RINGBUF {
            return Err(Error::Invalid(format!("{} is not a ring buffer", map.describe())));
        }
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let size = map.max_entries() as usize;
        let consumer = Mapping::new(&map, page, 0, libc::PROT_READ | libc::PROT_WRITE)?;
        let producer = Mapping::new(&map, page + 2 * size, page, libc::PROT_READ)?;
        Ok(Self { map, consumer, producer, page, size })
    }

    /// Hands every complete record to `each`, the oldest first, and gives their number. Takes `&mut self`, so that
    /// there is one reader. At most one round of the buffer, so that a fast writer cannot hold the caller.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        // SAFETY: both mappings start with an aligned unsigned long that the kernel accesses atomically, and live as
        // long as `self`.
        let (consumer, producer) = unsafe {
            (&*self.consumer.at.as_ptr().cast::<AtomicUsize>(), &*self.producer.at.as_ptr().cast::<AtomicUsize>())
        };
        let start = consumer.load(Ordering::Relaxed);
        let mut position = start;
        let mut count = 0;
        while position != producer.load(Ordering::Acquire) && position.wrapping_sub(start) < self.size {
            let offset = self.page + (position & (self.size - 1) & !7);
            // SAFETY: the offset is a multiple of 8 and lies within the first copy of the data, so the
            // header is aligned and mapped; the kernel writes it atomically.
            let header = unsafe { &*self.producer.at.as_ptr().add(offset).cast::<AtomicU32>() }.load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let len = (header & !(BUSY | DISCARD)) as usize;
            if len > self.size - HEADER {
                // Not a record the kernel could have made; do not follow it.
                break;
            }
            if header & DISCARD == 0 {
                // SAFETY: the record is complete (its header was read with acquire), at most as long as the buffer,
                // and contiguous since the data is mapped twice; the kernel does not reuse it before the consumer
                // position has passed it.
                let record = unsafe { std::slice::from_raw_parts(self.producer.at.as_ptr().add(offset + HEADER), len) };
                each(record);
                count += 1;
            }
            position = position.wrapping_add((len + HEADER).next_multiple_of(8));
            consumer.store(position, Ordering::Release);
        }
        count
    }

    /// Waits until there is something to read; says whether there is.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.map.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(errno) => Err(Error::call(Operation::Poll, self.map.describe(), errno.into())),
        }
    }

    /// The map.
    pub fn map(&self) -> &Map {
        &self.map
    }
}

impl AsFd for RingBuffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

#[derive(Debug)]
struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is shared with the kernel anyway; who may touch it is decided by `&mut self` above.
unsafe impl Send for Mapping {}
// SAFETY: as above; through `&RingBuffer` nothing is read or written.
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
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of this length, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

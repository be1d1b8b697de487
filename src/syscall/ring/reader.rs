//! The reader's side of a ring buffer.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::memory::{BUSY, DISCARD, HEADER, Mapping, Memory};
use crate::syscall::error::{Error, Operation, Result};
use crate::syscall::map::Map;

/// A ring buffer map with its memory mapped.
#[derive(Debug)]
pub struct RingBuffer {
    memory: Memory,
    consumer: Mapping,
}

impl RingBuffer {
    /// Maps the memory of `map`. There must be only one reader of it at a time.
    pub fn new(map: Map) -> Result<Self> {
        let memory = Memory::new(map)?;
        Ok(Self { consumer: memory.consumer()?, memory })
    }

    /// Goes on at `position`, up to which everything has been read.
    pub(super) fn skip_to(&mut self, position: usize) {
        self.consumer.position().store(position, Ordering::Release);
    }

    /// Hands every complete record to `each`, the oldest first, and gives their number. Takes `&mut self`, so that
    /// there is one reader. At most one round of the buffer, so that a fast writer cannot hold the caller.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        let (memory, consumer) = (&self.memory, self.consumer.position());
        let start = consumer.load(Ordering::Relaxed);
        let mut position = start;
        let mut count = 0;
        while position != memory.produced().load(Ordering::Acquire) && position.wrapping_sub(start) < memory.size {
            let header = memory.header(position).load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let len = (header & !(BUSY | DISCARD)) as usize;
            if len > memory.size - HEADER {
                // Not a record the kernel could have made; do not follow it.
                break;
            }
            if header & DISCARD == 0 {
                // SAFETY: the record is complete (its header was read with acquire), at most as long as the buffer,
                // and contiguous since the data is mapped twice; the kernel does not reuse it before the consumer
                // position has passed it.
                let record = unsafe { std::slice::from_raw_parts(memory.bytes(position), len) };
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
        let mut fds = [PollFd::new(self.map().as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(errno) => Err(Error::call(Operation::Poll, self.map().describe(), errno.into())),
        }
    }

    /// The map.
    pub fn map(&self) -> &Map {
        self.memory.map()
    }
}

impl AsFd for RingBuffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map().as_fd()
    }
}

//! Reading a ring buffer beside its reader.
//!
//! Only the reader tells the kernel what it has read. A follower has a position of its own and changes nothing: it copies
//! each record before the kernel writes over it, which the kernel does only after the reader has passed the record and the
//! whole buffer has been filled since.

use std::sync::atomic::{Ordering, fence};

use super::memory::{BUSY, DISCARD, HEADER, Memory};
use super::reader::RingBuffer;
use crate::syscall::error::Result;
use crate::syscall::map::Map;

/// A record counts as lost when no more than this part of the buffer is left until it is written over: the kernel may already
/// write a record while it still shows the position before it.
const MARGIN: usize = 8;

/// A second look at the records of a ring buffer.
#[derive(Debug)]
pub struct RingFollower {
    memory: Memory,
    position: usize,
    copy: Vec<u8>,
}

impl RingFollower {
    /// Begins with what comes from now on.
    pub fn new(map: Map) -> Result<Self> {
        let memory = Memory::new(map)?;
        let position = memory.produced().load(Ordering::Acquire);
        Ok(Self { memory, position, copy: Vec::new() })
    }

    /// Hands every complete record to `each`, the oldest first; at most one round of the buffer. Gives the number of bytes, with
    /// the records' headers, that it was too late for.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        let start = self.position;
        while self.ahead() > 0 && self.position.wrapping_sub(start) < self.memory.size {
            let header = self.memory.header(self.position).load(Ordering::Acquire);
            let len = (header & !(BUSY | DISCARD)) as usize;
            let fits = len <= self.memory.size - HEADER;
            let is_record = header & (BUSY | DISCARD) == 0 && fits;
            self.copy.clear();
            if is_record {
                let word = |index| self.memory.word(self.position, index).load(Ordering::Relaxed).to_ne_bytes();
                self.copy.extend((0..len.div_ceil(8)).flat_map(word));
            }
            // What has been read is read before the position that tells whether it was still there.
            fence(Ordering::Acquire);
            let ahead = self.ahead();
            if ahead > self.memory.size - self.memory.size / MARGIN {
                self.position = self.position.wrapping_add(ahead);
                return ahead;
            }
            if header & BUSY != 0 || !fits {
                break;
            }
            if is_record {
                each(&self.copy[..len]);
            }
            self.position = self.position.wrapping_add((len + HEADER).next_multiple_of(8));
        }
        0
    }

    /// A reader that goes on where this one is; there must not be another any more.
    pub fn reader(&self) -> Result<RingBuffer> {
        let mut reader = RingBuffer::new(self.memory.map().try_clone()?)?;
        reader.skip_to(self.position);
        Ok(reader)
    }

    /// Bytes between this position and the kernel's.
    fn ahead(&self) -> usize {
        self.memory.produced().load(Ordering::Acquire).wrapping_sub(self.position)
    }
}

//! As much of io_uring(7) as one operation at a time needs, by raw calls.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{mem, ptr};

use crate::sys::{Outcome, outcome};
use nix::errno::Errno;

/// `enum io_uring_op`, include/uapi/linux/io_uring.h.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Send = 26,
    Recv = 27,
    SendZeroCopy = 47,
}

/// `struct io_uring_params`: ten words, then `io_sqring_offsets` at 40 and `io_cqring_offsets` at 80.
type Params = [u32; 30];

/// A ring with one entry.
pub(crate) struct Ring {
    fd: RawFd,
    rings: *mut u8,
    entries: *mut [u8; 64],
    params: Params,
}

// SAFETY: the mappings are the process's, and one thread at a time uses the ring.
unsafe impl Send for Ring {}

impl Ring {
    pub(crate) fn new() -> Outcome<Self> {
        let mut params: Params = [0; 30];
        // SAFETY: the kernel reads and writes 120 bytes of parameters.
        let fd = outcome(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) } as isize)? as RawFd;
        // IORING_FEAT_SINGLE_MMAP (5.4): both rings in one mapping; sq array at params[16], cqes at params[25].
        let size = (params[16] + params[0] * 4).max(params[25] + params[1] * 16) as usize;
        // IORING_OFF_SQ_RING 0, IORING_OFF_SQES 0x1000_0000
        let (rings, entries) = (map(fd, size, 0)?, map(fd, params[0] as usize * 64, 0x1000_0000)?);
        Ok(Self { fd, rings, entries: entries.cast(), params })
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel gave the offset of an aligned word within the mapping, which lives as long as the process.
        unsafe { AtomicU32::from_ptr(self.rings.add(offset as usize).cast()) }
    }

    /// One operation from start to end: its result.
    pub(crate) fn run(&mut self, operation: Operation, fd: RawFd, buffer: &mut [u8]) -> Outcome {
        let mut entry = [0_u8; 64];
        // struct io_uring_sqe: opcode 0, fd 4, addr 16, len 24
        entry[0] = operation as u8;
        entry[4..8].copy_from_slice(&fd.to_ne_bytes());
        entry[16..24].copy_from_slice(&(buffer.as_mut_ptr() as u64).to_ne_bytes());
        entry[24..28].copy_from_slice(&(buffer.len() as u32).to_ne_bytes());
        // SAFETY: the ring has one entry, and the kernel is not reading it now.
        unsafe { ptr::write_volatile(self.entries, entry) };
        let tail = self.word(self.params[11]);
        tail.store(tail.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        // IORING_ENTER_GETEVENTS 1
        // SAFETY: the buffer outlives the call, which waits for the completion.
        let entered = unsafe { libc::syscall(libc::SYS_io_uring_enter, self.fd, 1, 1, 1, ptr::null::<u8>(), 0) };
        outcome(entered as isize)?;
        let result = self.completion().ok_or(Errno::EAGAIN)?;
        if result < 0 { Err(Errno::from_raw(-result)) } else { Ok(result.unsigned_abs() as usize) }
    }

    /// The oldest completion's result; a zero-copy send has a second one, which goes with it.
    fn completion(&self) -> Option<i32> {
        let (head, tail) = (self.word(self.params[20]), self.word(self.params[21]));
        let first = head.load(Ordering::Relaxed);
        let last = tail.load(Ordering::Acquire);
        if first == last {
            return None;
        }
        let place = self.params[25] + (first & (self.params[1] - 1)) * 16 + 8;
        let result = self.word(place).load(Ordering::Relaxed) as i32;
        head.store(last, Ordering::Release);
        Some(result)
    }
}

fn map(fd: RawFd, size: usize, offset: i64) -> Outcome<*mut u8> {
    // SAFETY: a new mapping, which disturbs no other.
    let place =
        unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, offset) };
    if place == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(place.cast()) }
}

const _: () = assert!(mem::size_of::<Params>() == 120);

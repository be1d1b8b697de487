//! As much of io_uring(7) as a reader and a proxy need, by raw calls.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Entries for operations that are handed over together.
const ENTRIES: u32 = 8;

/// `enum io_uring_op`, include/uapi/linux/io_uring.h.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    PollAdd = 6,
    Recv = 27,
    Splice = 30,
    ProvideBuffers = 31,
}

/// `IOSQE_BUFFER_SELECT`, same place.
pub(crate) const BUFFER_SELECT: u8 = 1 << 5;
/// `IORING_RECV_MULTISHOT`, for [`Entry::priority`].
pub(crate) const MULTISHOT: u16 = 1 << 1;
/// `IORING_CQE_F_MORE`: the operation goes on.
pub(crate) const MORE: u32 = 1 << 1;
/// `IORING_CQE_BUFFER_SHIFT`: the number of the buffer in a completion's flags.
pub(crate) const BUFFER_SHIFT: u32 = 16;
/// `IORING_ENTER_GETEVENTS`.
const GET_EVENTS: u32 = 1;
/// `IORING_OFF_SQES`; the rings are at 0.
const SUBMISSIONS: i64 = 0x1000_0000;

/// `struct io_uring_sqe`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) operation: u8,
    pub(crate) flags: u8,
    pub(crate) priority: u16,
    pub(crate) fd: i32,
    /// Also the first buffer's number.
    pub(crate) offset: u64,
    /// Also the offset of what is spliced from.
    pub(crate) address: u64,
    pub(crate) len: u32,
    /// Of the operation: events of a poll, or flags of splice(2).
    pub(crate) op_flags: u32,
    pub(crate) data: u64,
    pub(crate) buffer_group: u16,
    pub(crate) personality: u16,
    pub(crate) splice_from: i32,
    pub(crate) rest: [u64; 2],
}

const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    pub(crate) fn new(operation: Operation, fd: BorrowedFd<'_>) -> Self {
        Self { operation: operation as u8, fd: fd.as_raw_fd(), ..Self::default() }
    }

    /// Waits for these events, once.
    pub(crate) fn poll(fd: BorrowedFd<'_>, events: i16) -> Self {
        Self { op_flags: events.unsigned_abs().into(), ..Self::new(Operation::PollAdd, fd) }
    }

    /// Splices; neither end has an offset.
    pub(crate) fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize) -> Self {
        let none = u64::MAX;
        let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
        Self {
            splice_from: from.as_raw_fd(),
            offset: none,
            address: none,
            len: len as u32,
            op_flags: flags,
            ..Self::new(Operation::Splice, to)
        }
    }
}

/// `struct io_uring_cqe`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

/// `struct io_uring_params`: ten words, then `io_sqring_offsets` at 40 and `io_cqring_offsets` at 80.
type Params = [u32; 30];

/// A ring. Its memory stays the process's until it ends.
pub(crate) struct Ring {
    fd: OwnedFd,
    rings: *mut u8,
    entries: *mut Entry,
    params: Params,
}

impl Ring {
    pub(crate) fn new() -> io::Result<Self> {
        let mut params: Params = [0; 30];
        // SAFETY: the kernel reads and writes 120 bytes of parameters.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, params.as_mut_ptr()) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has returned a descriptor that nothing else has.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // IORING_FEAT_SINGLE_MMAP (5.4): both rings in one mapping; sq array at params[16], cqes at params[25].
        let size = (params[16] + params[0] * 4).max(params[25] + params[1] * 16) as usize;
        let entries = map(&fd, params[0] as usize * size_of::<Entry>(), SUBMISSIONS)?;
        Ok(Self { rings: map(&fd, size, 0)?, fd, entries: entries.cast(), params })
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel gave the offset of an aligned word within the mapping, which lives as long as the process.
        unsafe { AtomicU32::from_ptr(self.rings.add(offset as usize).cast()) }
    }

    /// Hands over one operation.
    ///
    /// # Safety
    ///
    /// The buffers that it names live until it has completed.
    pub(crate) unsafe fn submit(&mut self, entry: Entry) -> io::Result<()> {
        // sq ring: tail at params[11], mask at params[12]; the array of entries at params[16].
        let tail = self.word(self.params[11]);
        let at = tail.load(Ordering::Relaxed);
        let place = at & self.word(self.params[12]).load(Ordering::Relaxed);
        // SAFETY: each call hands over what it has written, so the kernel reads no entry now.
        unsafe { ptr::write_volatile(self.entries.add(place as usize), entry) };
        self.word(self.params[16] + place * 4).store(place, Ordering::Relaxed);
        tail.store(at.wrapping_add(1), Ordering::Release);
        self.enter(1, 0)
    }

    /// The next completion, which is waited for.
    pub(crate) fn wait(&mut self) -> io::Result<Completion> {
        // cq ring: head at params[20], tail at params[21], the completions at params[25].
        loop {
            let first = self.word(self.params[20]).load(Ordering::Relaxed);
            if first != self.word(self.params[21]).load(Ordering::Acquire) {
                let place = self.params[25] + (first & (self.params[1] - 1)) * 16;
                let word = |at: u32| self.word(place + at).load(Ordering::Relaxed);
                let data = u64::from(word(0)) | u64::from(word(4)) << 32;
                let completion = Completion { data, result: word(8) as i32, flags: word(12) };
                self.word(self.params[20]).store(first.wrapping_add(1), Ordering::Release);
                return Ok(completion);
            }
            self.enter(0, 1)?;
        }
    }

    /// Hands over one operation and waits for its result. No other may be underway.
    ///
    /// # Safety
    ///
    /// As for [`Ring::submit`].
    pub(crate) unsafe fn run(&mut self, entry: Entry) -> io::Result<usize> {
        // SAFETY: the caller's promise.
        unsafe { self.submit(entry)? };
        let result = self.wait()?.result;
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }

    fn enter(&self, submit: u32, wait: u32) -> io::Result<()> {
        let flags = if wait > 0 { GET_EVENTS } else { 0 };
        let (ring, none) = (self.fd.as_raw_fd(), ptr::null::<u8>());
        // SAFETY: no signal mask is given, and what entries name the callers of `submit` have promised.
        match unsafe { libc::syscall(libc::SYS_io_uring_enter, ring, submit, wait, flags, none, 0) } {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn map(fd: &OwnedFd, size: usize, offset: i64) -> io::Result<*mut u8> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping, which disturbs no other.
    let place = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, fd.as_raw_fd(), offset) };
    if place == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(place.cast()) }
}

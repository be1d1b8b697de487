//! The system calls the cases are made of, each as thin as can be: the errno is part of the value that is compared.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::time::Duration;
use std::{io, mem, ptr};

use nix::errno::Errno;

/// What a call returned, or its errno.
pub(crate) type Outcome<T = usize> = Result<T, Errno>;

/// Turns a return value of the C library into an outcome.
pub(crate) fn outcome(returned: isize) -> Outcome {
    if returned < 0 { Err(Errno::last()) } else { Ok(returned.unsigned_abs()) }
}

/// send(2), never with a SIGPIPE.
pub(crate) fn send(fd: RawFd, data: &[u8], flags: c_int) -> Outcome {
    // SAFETY: `data` is readable for its length.
    outcome(unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), flags | libc::MSG_NOSIGNAL) })
}

/// recv(2).
pub(crate) fn recv(fd: RawFd, buffer: &mut [u8], flags: c_int) -> Outcome {
    // SAFETY: `buffer` is writable for its length.
    outcome(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) })
}

/// write(2).
pub(crate) fn write(fd: RawFd, data: &[u8]) -> Outcome {
    // SAFETY: `data` is readable for its length.
    outcome(unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) })
}

/// read(2).
pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Outcome {
    // SAFETY: `buffer` is writable for its length.
    outcome(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// close(2): cases close descriptors that another thread is using, so no owned type will do.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: the cases own all their descriptors, and none is used by a type that would close it too.
    unsafe { libc::close(fd) };
}

/// shutdown(2).
pub(crate) fn shutdown(fd: RawFd, how: c_int) -> Outcome {
    // SAFETY: no memory is involved.
    outcome(unsafe { libc::shutdown(fd, how) } as isize)
}

/// Sets an option whose value is any plain structure.
pub(crate) fn set<T: Copy>(fd: RawFd, level: c_int, name: c_int, value: T) -> Outcome {
    // SAFETY: the value is readable for its size.
    let returned =
        unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), mem::size_of::<T>() as libc::socklen_t) };
    outcome(returned as isize)
}

/// Gets an option whose value is a plain structure of numbers, with the length the kernel filled.
pub(crate) fn get<T: Copy + Plain>(fd: RawFd, level: c_int, name: c_int, value: &mut T) -> Outcome {
    let mut length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, and every bit pattern is a T.
    let returned = unsafe { libc::getsockopt(fd, level, name, ptr::from_mut(value).cast(), &raw mut length) };
    outcome(returned as isize).map(|_| length as usize)
}

/// Types of which every bit pattern is a value.
///
/// # Safety
/// That must be so.
pub(crate) unsafe trait Plain {}
// SAFETY: a number.
unsafe impl Plain for c_int {}
// SAFETY: numbers.
unsafe impl<const N: usize> Plain for [u32; N] {}
// SAFETY: numbers.
unsafe impl<const N: usize> Plain for [u64; N] {}
// SAFETY: numbers.
unsafe impl Plain for libc::sockaddr_in {}

/// poll(2) on one descriptor: its events, 0 when nothing came in time.
pub(crate) fn poll(fd: RawFd, events: i16, milliseconds: c_int) -> Outcome<i16> {
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one pollfd, as the count says.
    outcome(unsafe { libc::poll(&raw mut poll, 1, milliseconds) } as isize).map(|_| poll.revents)
}

/// An ioctl(2) that answers with an int.
pub(crate) fn ioctl_int(fd: RawFd, request: libc::Ioctl) -> Outcome<c_int> {
    let mut value: c_int = 0;
    // SAFETY: the requests used here write one int.
    outcome(unsafe { libc::ioctl(fd, request, &raw mut value) } as isize).map(|_| value)
}

/// pipe2(2): read end, write end. Non-blocking or not.
pub(crate) fn pipe(flags: c_int) -> io::Result<(RawFd, RawFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    match unsafe { libc::pipe2(ends.as_mut_ptr(), flags) } {
        0 => Ok((ends[0], ends[1])),
        _ => Err(io::Error::last_os_error()),
    }
}

/// splice(2) without offsets.
pub(crate) fn splice(from: RawFd, to: RawFd, length: usize, flags: u32) -> Outcome {
    // SAFETY: no memory is involved; null offsets are allowed.
    outcome(unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), length, flags) })
}

/// sendfile(2) from the file's own offset.
pub(crate) fn sendfile(to: RawFd, from: RawFd, length: usize) -> Outcome {
    // SAFETY: no memory is involved; a null offset is allowed.
    outcome(unsafe { libc::sendfile(to, from, ptr::null_mut(), length) })
}

/// What recvmsg(2) gives beside the bytes.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// Level, type and payload of each control message.
    pub(crate) control: Vec<(c_int, c_int, Vec<u8>)>,
}

/// recvmsg(2) with room for control messages.
pub(crate) fn recvmsg(fd: RawFd, buffer: &mut [u8], flags: c_int) -> Outcome<Message> {
    let mut control = [0_u64; 64];
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(&control) as _;
    // SAFETY: the header describes buffers that outlive the call.
    outcome(unsafe { libc::recvmsg(fd, &raw mut header, flags) })?;
    let mut message = Message::default();
    // SAFETY: the header is the kernel's, and its control buffer is aligned and still there.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return pointers to whole control messages or null.
        unsafe {
            let size = (*next).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
            let payload = std::slice::from_raw_parts(libc::CMSG_DATA(next), size);
            message.control.push(((*next).cmsg_level, (*next).cmsg_type, payload.to_vec()));
            next = libc::CMSG_NXTHDR(&raw const header, next);
        }
    }
    Ok(message)
}

/// writev(2).
pub(crate) fn writev(fd: RawFd, pieces: &[&[u8]]) -> Outcome {
    let vectors: Vec<_> = pieces
        .iter()
        .map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() })
        .collect();
    // SAFETY: the pieces are readable for their lengths; writev does not write to them.
    outcome(unsafe { libc::writev(fd, vectors.as_ptr(), vectors.len() as c_int) })
}

/// readv(2).
pub(crate) fn readv(fd: RawFd, pieces: &mut [&mut [u8]]) -> Outcome {
    let vectors: Vec<_> = pieces
        .iter_mut()
        .map(|piece| libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() })
        .collect();
    // SAFETY: the pieces are writable for their lengths and borrowed for the call.
    outcome(unsafe { libc::readv(fd, vectors.as_ptr(), vectors.len() as c_int) })
}

/// An anonymous file with this content, at offset 0.
pub(crate) fn memory_file(content: &[u8]) -> RawFd {
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"semantics".as_ptr(), 0) };
    assert!(fd >= 0, "memfd_create: {}", Errno::last());
    assert_eq!(write(fd, content), Ok(content.len()));
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::lseek(fd, 0, libc::SEEK_SET) }, 0);
    fd
}

/// fork(2). The child must end with [`exit`].
pub(crate) fn fork() -> Option<libc::pid_t> {
    // SAFETY: glibc makes malloc usable in the child, and the cases touch no other lock another thread may hold.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", Errno::last());
    (pid > 0).then_some(pid)
}

/// _exit(2): ends the process without the exit handlers of the parent it was forked from.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: nothing is left to clean up in a forked child.
    unsafe { libc::_exit(code) }
}

/// kill(2); a process that is gone already is fine.
pub(crate) fn kill(pid: libc::pid_t, signal: c_int) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid, signal) };
}

/// The calling thread's id.
pub(crate) fn thread_id() -> libc::pid_t {
    // SAFETY: no memory is involved.
    unsafe { libc::gettid() }
}

/// Sends a signal to one thread of this process.
pub(crate) fn signal_thread(thread: libc::pid_t, signal: c_int) {
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
}

/// Installs a handler that does nothing, so that the signal interrupts.
pub(crate) fn handle(signal: c_int, flags: c_int) {
    extern "C" fn nothing(_: c_int) {}
    // SAFETY: all zeroes is a valid sigaction, and the handler touches nothing.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &raw const action, ptr::null_mut()), 0);
    }
}

/// waitpid(2): true when the process is gone.
pub(crate) fn wait(pid: libc::pid_t, flags: c_int) -> bool {
    // SAFETY: a null status is allowed.
    unsafe { libc::waitpid(pid, ptr::null_mut(), flags) == pid }
}

/// A process group of its own, so that a case can be ended with all it has forked.
pub(crate) fn own_process_group() {
    // SAFETY: no memory is involved.
    unsafe { libc::setpgid(0, 0) };
}

/// An epoll instance with one descriptor.
#[derive(Clone, Copy)]
pub(crate) struct Epoll(RawFd);

impl Epoll {
    pub(crate) fn new() -> Self {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::epoll_create1(0) };
        assert!(fd >= 0, "epoll_create1: {}", Errno::last());
        Self(fd)
    }

    pub(crate) fn add(self, fd: RawFd, events: c_int) -> Self {
        self.control(libc::EPOLL_CTL_ADD, fd, events);
        self
    }

    pub(crate) fn modify(self, fd: RawFd, events: c_int) {
        self.control(libc::EPOLL_CTL_MOD, fd, events);
    }

    fn control(self, operation: c_int, fd: RawFd, events: c_int) {
        let mut event = libc::epoll_event { events: events as u32, u64: 0 };
        // SAFETY: the event is readable.
        assert_eq!(unsafe { libc::epoll_ctl(self.0, operation, fd, &raw mut event) }, 0);
    }

    /// The events of the descriptor, 0 when none came in time.
    pub(crate) fn wait(self, time: Duration) -> Outcome<u32> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one event, as the count says.
        let returned = unsafe { libc::epoll_wait(self.0, &raw mut event, 1, time.as_millis() as c_int) };
        outcome(returned as isize).map(|count| if count == 0 { 0 } else { event.events })
    }
}

/// select(2) on one descriptor: readable, writable. Waits for readability alone when it has time to.
pub(crate) fn select(fd: RawFd, time: Duration) -> Outcome<(bool, bool)> {
    // SAFETY: all zeroes is a valid fd_set, and the descriptors here are small numbers below FD_SETSIZE.
    unsafe {
        let mut readable: libc::fd_set = mem::zeroed();
        libc::FD_SET(fd, &raw mut readable);
        let mut writable: libc::fd_set = mem::zeroed();
        if time.is_zero() {
            libc::FD_SET(fd, &raw mut writable);
        }
        let mut timeout = libc::timeval { tv_sec: time.as_secs() as _, tv_usec: 0 };
        let returned = libc::select(fd + 1, &raw mut readable, &raw mut writable, ptr::null_mut(), &raw mut timeout);
        outcome(returned as isize)?;
        Ok((libc::FD_ISSET(fd, &raw const readable), libc::FD_ISSET(fd, &raw const writable)))
    }
}

/// send(2) from an address where nothing is.
pub(crate) fn send_from_nowhere(fd: RawFd, length: usize) -> Outcome {
    // SAFETY: the kernel checks the address, and refusing it is what the case looks at.
    outcome(unsafe { libc::send(fd, ptr::without_provenance(8), length, libc::MSG_NOSIGNAL) })
}

/// recv(2) to an address where nothing is.
pub(crate) fn recv_to_nowhere(fd: RawFd, length: usize) -> Outcome {
    // SAFETY: the kernel checks the address, and refusing it is what the case looks at.
    outcome(unsafe { libc::recv(fd, ptr::without_provenance_mut(8), length, libc::MSG_DONTWAIT) })
}

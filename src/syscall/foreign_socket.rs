//! A socket of another process, by one more descriptor of it (pidfd_getfd(2), Linux 5.6; takes CAP_SYS_PTRACE).

use std::fs::{DirEntry, ReadDir};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::errno::Errno;
use super::error::{Error, Operation, Result};

/// `SO_MEMINFO` and `SO_COOKIE` of include/uapi/asm-generic/socket.h.
const SO_MEMINFO: libc::c_int = 55;
const SO_COOKIE: libc::c_int = 57;
/// Words of what `SO_MEMINFO` returns; the first is `SK_MEMINFO_RMEM_ALLOC` (include/uapi/linux/sock_diag.h).
const MEMORY_WORDS: usize = 9;

/// The socket.
#[derive(Debug)]
pub struct ForeignSocket(OwnedFd);

impl AsFd for ForeignSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ForeignSocket {
    /// The one that process `process` has as `descriptor`; `None` when its cookie is not `cookie`.
    pub fn open(process: u32, descriptor: u32, cookie: u64) -> Result<Option<Self>> {
        Ok(Process::open(process)?.socket(descriptor, cookie))
    }

    /// The one that process `process` has as `descriptor`; `None` when that is not a TCP socket.
    pub fn open_tcp(process: u32, descriptor: u32) -> Result<Option<Self>> {
        let socket = Process::open(process)?.take(descriptor);
        // What is not a socket has no options.
        let is_tcp = |socket: &Self| {
            socket.option::<libc::c_int>(libc::SOL_SOCKET, libc::SO_PROTOCOL).is_ok_and(|one| one == libc::IPPROTO_TCP)
        };
        Ok(socket.filter(is_tcp))
    }

    /// One more descriptor of a socket of this process.
    #[cfg(any(feature = "agent", test))]
    pub(crate) fn own(socket: BorrowedFd<'_>) -> Result<Self> {
        let copy = socket.try_clone_to_owned();
        copy.map(Self).map_err(|error| Error::Invalid(format!("cannot hold a socket twice: {error}")))
    }

    /// The number by which the kernel knows it (`SO_COOKIE`).
    pub(crate) fn cookie(&self) -> Result<u64> {
        self.option(libc::SOL_SOCKET, SO_COOKIE)
    }

    /// Whether its file is O_NONBLOCK.
    pub fn is_nonblocking(&self) -> Result<bool> {
        // SAFETY: F_GETFL takes no argument.
        let flags = unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_GETFL) };
        if flags < 0 { Err(self.failed(Errno::last())) } else { Ok(flags & libc::O_NONBLOCK != 0) }
    }

    /// Bytes of memory that unread data takes.
    pub fn unread_memory(&self) -> Result<u32> {
        let words = self.option::<[u32; MEMORY_WORDS]>(libc::SOL_SOCKET, SO_MEMINFO)?;
        Ok(words[0])
    }

    /// Tells those who wait for data that there is some, if there is (`tcp_set_rcvlowat`, net/ipv4/tcp.c): SO_RCVLOWAT
    /// is set to what it is.
    pub fn wake_readers(&self) -> Result<()> {
        let low: libc::c_int = self.option(libc::SOL_SOCKET, libc::SO_RCVLOWAT)?;
        let len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: `low` is live and `len` bytes long.
        let answer = unsafe {
            libc::setsockopt(self.0.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, (&raw const low).cast(), len)
        };
        if answer == 0 { Ok(()) } else { Err(self.failed(Errno::last())) }
    }

    /// Disconnects it.
    ///
    /// connect(2) to `AF_UNSPEC` sends a reset, and makes of every later call on the socket one that fails
    /// (`tcp_disconnect`, net/ipv4/tcp.c), also when the peer's FIN is there already; SOCK_DESTROY leaves the end of the
    /// stream readable then.
    pub fn disconnect(&self) -> Result<()> {
        let nowhere = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
        let len = size_of::<libc::sockaddr>() as libc::socklen_t;
        // SAFETY: the address is live and as long as is said.
        let answer = unsafe { libc::connect(self.0.as_raw_fd(), &raw const nowhere, len) };
        if answer == 0 { Ok(()) } else { Err(self.failed(Errno::last())) }
    }

    /// Calls setsockopt(2) with a number that has no meaning of its own: for a program that runs for this call.
    pub fn set_option(&self, level: libc::c_int, name: libc::c_int) -> Result<()> {
        let (value, len) = (0 as libc::c_int, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: `value` is live and `len` bytes long.
        let answer = unsafe { libc::setsockopt(self.0.as_raw_fd(), level, name, (&raw const value).cast(), len) };
        if answer == 0 { Ok(()) } else { Err(self.failed(Errno::last())) }
    }

    fn option<T: Default>(&self, level: libc::c_int, name: libc::c_int) -> Result<T> {
        let (mut value, mut len) = (T::default(), size_of::<T>() as libc::socklen_t);
        // SAFETY: `value` is live and writable for `len` bytes, and so is `len`; any bytes are a number.
        let answer =
            unsafe { libc::getsockopt(self.0.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) };
        if answer == 0 { Ok(value) } else { Err(self.failed(Errno::last())) }
    }

    fn failed(&self, errno: Errno) -> Error {
        Error::call(Operation::SockDestroy, "a socket of another process", errno)
    }
}

/// The descriptors of a process, one after the other: a process may have very many.
#[derive(Debug)]
pub struct Descriptors {
    process: Process,
    entries: ReadDir,
}

impl Descriptors {
    /// Those of process `process`.
    pub fn of(process: u32) -> Result<Self> {
        let directory = format!("/proc/{process}/fd");
        let entries = std::fs::read_dir(&directory)
            .map_err(|error| Error::Invalid(format!("cannot list {directory}: {error}")))?;
        Ok(Self { process: Process::open(process)?, entries })
    }
}

impl Iterator for Descriptors {
    /// A descriptor and the cookie of its socket; `None` for one of something else.
    type Item = Option<(u32, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?.ok()?;
        Some(self.socket(&entry))
    }
}

impl Descriptors {
    fn socket(&self, entry: &DirEntry) -> Option<(u32, u64)> {
        // Only of a socket one more descriptor is taken: to close one of another file may have an effect.
        let target = std::fs::read_link(entry.path()).ok()?;
        if !target.as_os_str().as_encoded_bytes().starts_with(b"socket:") {
            return None;
        }
        let descriptor = entry.file_name().to_str()?.parse().ok()?;
        Some((descriptor, self.process.take(descriptor)?.cookie().ok()?))
    }
}

/// A process whose descriptors can be taken over.
#[derive(Debug)]
struct Process(OwnedFd);

impl Process {
    fn open(process: u32) -> Result<Self> {
        // SAFETY: no addresses; the answer is a new descriptor or an error.
        let opened = unsafe { owned(libc::syscall(libc::SYS_pidfd_open, process, 0)) };
        opened.map(Self).map_err(|errno| Error::call(Operation::SockDestroy, format!("process {process}"), errno))
    }

    /// Its socket with this descriptor and this cookie.
    fn socket(&self, descriptor: u32, cookie: u64) -> Option<ForeignSocket> {
        let socket = self.take(descriptor)?;
        // What is not a socket has no options.
        let own = socket.cookie().ok()?;
        (own == cookie).then_some(socket)
    }

    /// One more descriptor of what it has as `descriptor`, which ought to be a socket.
    fn take(&self, descriptor: u32) -> Option<ForeignSocket> {
        // SAFETY: as above.
        let taken = unsafe { owned(libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), descriptor, 0)) };
        taken.ok().map(ForeignSocket)
    }
}

/// # Safety
/// `answer` is that of a system call that returns a new descriptor.
unsafe fn owned(answer: libc::c_long) -> std::result::Result<OwnedFd, Errno> {
    match i32::try_from(answer) {
        // SAFETY: the caller's promise.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Errno::last()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn a_socket_is_found_by_its_cookie_and_fails_when_disconnected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut peer = listener.accept().unwrap().0;
        let cookie = ForeignSocket::own(socket.as_fd()).unwrap().cookie().unwrap();
        let (process, fd) = (std::process::id(), socket.as_raw_fd() as u32);
        assert!(ForeignSocket::open(process, fd, cookie + 1).unwrap().is_none());
        assert!(ForeignSocket::open(process, u32::MAX, cookie).unwrap().is_none());
        assert!(ForeignSocket::open(u32::MAX, fd, cookie).is_err());
        let mut descriptors = Descriptors::of(process).unwrap();
        assert!(descriptors.any(|found| found == Some((fd, cookie))));
        assert!(Descriptors::of(u32::MAX).is_err());
        let found = ForeignSocket::open(process, fd, cookie).unwrap().unwrap();
        assert!(!found.is_nonblocking().unwrap());
        socket.set_nonblocking(true).unwrap();
        assert!(found.is_nonblocking().unwrap());
        assert_eq!(found.unread_memory().unwrap(), 0);
        peer.write_all(b"unread").unwrap();
        // They may arrive later than they are sent.
        let mut readable = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut readable, PollTimeout::NONE).unwrap();
        assert!(found.unread_memory().unwrap() > 0);
        found.wake_readers().unwrap();
        assert_eq!(socket.read(&mut [0; 8]).unwrap(), 6);
        drop(peer);
        ForeignSocket::open(process, fd, cookie).unwrap().unwrap().disconnect().unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

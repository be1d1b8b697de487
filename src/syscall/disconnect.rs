//! Ending the connection of another process's socket.
//!
//! connect(2) to `AF_UNSPEC` sends a reset, and makes of every later call on the socket one that fails (`tcp_disconnect`,
//! net/ipv4/tcp.c), also when the peer's FIN is there already; SOCK_DESTROY leaves the end of the stream readable then.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::errno::Errno;
use super::error::{Error, Operation, Result};

/// `SO_COOKIE` of include/uapi/asm-generic/socket.h.
const SO_COOKIE: libc::c_int = 57;

/// Disconnects the socket that process `process` has as `descriptor`, if its cookie is `cookie` (pidfd_getfd(2), Linux
/// 5.6; takes CAP_SYS_PTRACE). Says whether it was.
pub fn disconnect(process: u32, descriptor: u32, cookie: u64) -> Result<bool> {
    let failed = |errno| Error::call(Operation::SockDestroy, format!("a socket of process {process}"), errno);
    // SAFETY: no addresses; the answer is a new descriptor or an error.
    let pidfd = unsafe { owned(libc::syscall(libc::SYS_pidfd_open, process, 0)) }.map_err(failed)?;
    // SAFETY: as above.
    let socket = unsafe { owned(libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), descriptor, 0)) };
    let socket = socket.map_err(failed)?;
    let (mut found, mut len) = (0_u64, size_of::<u64>() as libc::socklen_t);
    // SAFETY: `found` is live and writable for `len` bytes, and so is `len`.
    let answer = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_COOKIE, (&raw mut found).cast(), &raw mut len)
    };
    if answer != 0 || found != cookie {
        return Ok(false);
    }
    let nowhere = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    // SAFETY: the address is live and as long as is said.
    let answer = unsafe {
        libc::connect(socket.as_raw_fd(), &raw const nowhere, size_of::<libc::sockaddr>() as libc::socklen_t)
    };
    if answer == 0 { Ok(true) } else { Err(failed(Errno::last())) }
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
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_whose_end_has_come_fails_after_all() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        let (mut cookie, mut len) = (0_u64, 8);
        // SAFETY: both are live and writable.
        let answer = unsafe {
            libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_COOKIE, (&raw mut cookie).cast(), &raw mut len)
        };
        assert_eq!(answer, 0);
        let (process, fd) = (std::process::id(), socket.as_raw_fd() as u32);
        assert!(!disconnect(process, fd, cookie + 1).unwrap());
        assert!(disconnect(process, fd, cookie).unwrap());
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(disconnect(process, u32::MAX, cookie).is_err());
    }
}

//! Non-blocking TCP sockets: acceleration applies to sockets that are non-blocking from birth.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, accept4, bind, getsockopt, setsockopt, socket, sockopt,
};

/// `SOMAXCONN` since Linux 5.4, include/linux/socket.h.
const BACKLOG: i32 = 4096;

/// Opens a listener. It may take over a port whose connections are in TIME_WAIT.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let fd = open(address)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        // One listener a family, so that no IPv4 peer shows as a v4-mapped one.
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    nix::sys::socket::listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd.into())
}

/// Accepts a connection; `None` when none waits. `TCP_NODELAY` is set, as every sidecar does.
pub fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    let fd = match accept4(listener, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC) {
        Ok(fd) => fd,
        // The peer has given up meanwhile.
        Err(Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true)?;
    Ok(Some(stream))
}

/// Starts a connection, from `source` if given. It is established, or has failed (`SO_ERROR`), when it is writable.
pub fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let fd = open(target)?;
    if let Some(source) = source {
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    }
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true)?;
    match nix::sys::socket::connect(stream.as_raw_fd(), &SockaddrStorage::from(target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(stream),
        Err(errno) => Err(errno.into()),
    }
}

fn open(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)
}

/// Where a redirected connection was going before REDIRECT.
pub fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    match stream.local_addr()? {
        SocketAddr::V4(_) => {
            let address = getsockopt(stream, sockopt::OriginalDst)?;
            let ip = u32::from_be(address.sin_addr.s_addr).into();
            Ok(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
        }
        SocketAddr::V6(_) => {
            let address = getsockopt(stream, sockopt::Ip6tOriginalDst)?;
            let ip = address.sin6_addr.s6_addr.into();
            Ok(SocketAddrV6::new(ip, u16::from_be(address.sin6_port), 0, address.sin6_scope_id).into())
        }
    }
}

/// What the TCP/IP stack says it has sent for a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackBytes {
    /// Payload bytes, each counted once: what the application wrote minus this went past the stack.
    pub sent: u64,
    /// Segments with payload, repetitions included.
    pub data_segments: u32,
}

impl StackBytes {
    /// Reads `TCP_INFO`. Linux 4.19 or later.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        // Offsets in struct tcp_info, include/uapi/linux/tcp.h; libc's declaration ends before them.
        const DATA_SEGS_OUT: usize = 156;
        const BYTES_SENT: usize = 200;
        const BYTES_RETRANS: usize = 208;
        const SIZE: usize = 216;
        let info: [u64; SIZE / 8] = tcp_info(socket.as_fd())?;
        Ok(Self {
            sent: info[BYTES_SENT / 8].saturating_sub(info[BYTES_RETRANS / 8]),
            data_segments: half(info[DATA_SEGS_OUT / 8], DATA_SEGS_OUT % 8),
        })
    }
}

/// The 32-bit half of a word that starts `at` bytes into it in memory.
fn half(word: u64, at: usize) -> u32 {
    let bytes = word.to_ne_bytes();
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn tcp_info<const WORDS: usize>(socket: BorrowedFd<'_>) -> io::Result<[u64; WORDS]> {
    let mut info = MaybeUninit::<[u64; WORDS]>::zeroed();
    let mut length = size_of::<[u64; WORDS]>() as libc::socklen_t;
    // SAFETY: the descriptor is open for the call, and the kernel writes at most `length` bytes into the buffer.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every bit pattern is a valid u64, and the buffer was zeroed.
    Ok(unsafe { info.assume_init() })
}
/// Makes closing the socket send RST, as its peer's failure deserves.
pub(super) fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // A socket that refuses the option is closed in the ordinary way.
    let _ = setsockopt(stream, sockopt::Linger, &linger);
}

//! sock_diag(7): destroying a TCP connection.
//!
//! ```text
//! struct nlmsghdr            0 length u32   4 type u16   6 flags u16   8 sequence u32   12 port u32
//! struct inet_diag_req_v2   16 family u8   17 protocol u8   18 extensions u8   19 0 u8   20 states u32
//!   struct inet_diag_sockid 24 own port be16   26 peer port be16   28 own address [16]   44 peer address [16]
//!                           60 interface u32   64 cookie u64
//! ```
//! (include/uapi/linux/inet_diag.h.) The answer is a `struct nlmsgerr`: an nlmsghdr and a negative errno.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::errno::Errno;
use super::error::{Error, Operation, Result};

/// `NETLINK_SOCK_DIAG` of include/uapi/linux/netlink.h.
const NETLINK_SOCK_DIAG: libc::c_int = 4;
/// `SOCK_DESTROY` of include/uapi/linux/sock_diag.h.
const SOCK_DESTROY: u16 = 21;
const REQUEST_SIZE: usize = 72;

/// A TCP socket in the calling thread's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSocketId {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// Its own port and its peer's.
    pub ports: (u16, u16),
    /// Its own address and its peer's in network byte order; of IPv4, the first 4 bytes.
    pub addresses: ([u8; 16], [u8; 16]),
    /// `SO_COOKIE`, so that no later socket with the same addresses is met.
    pub cookie: u64,
}

impl TcpSocketId {
    fn request(&self) -> [u8; REQUEST_SIZE] {
        let mut bytes = [0; REQUEST_SIZE];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &(REQUEST_SIZE as u32).to_ne_bytes());
        put(4, &SOCK_DESTROY.to_ne_bytes());
        put(6, &((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
        put(16, &[self.family, libc::IPPROTO_TCP as u8]);
        put(20, &u32::MAX.to_ne_bytes());
        put(24, &self.ports.0.to_be_bytes());
        put(26, &self.ports.1.to_be_bytes());
        put(28, &self.addresses.0);
        put(44, &self.addresses.1);
        put(64, &self.cookie.to_ne_bytes());
        bytes
    }

    /// Destroys the connection (SOCK_DESTROY, CONFIG_INET_DIAG_DESTROY): both ends get an error. Takes CAP_NET_ADMIN.
    pub fn destroy(&self) -> Result<()> {
        let failed = |errno| Error::call(Operation::SockDestroy, "a TCP connection", errno);
        // SAFETY: no addresses.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, NETLINK_SOCK_DIAG) };
        if fd < 0 {
            return Err(failed(Errno::last()));
        }
        // SAFETY: a new descriptor that nothing else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let request = self.request();
        // SAFETY: `request` is live and readable for its length.
        let sent = unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        if sent < 0 {
            return Err(failed(Errno::last()));
        }
        let mut answer = [0_u8; 256];
        // SAFETY: `answer` is live and writable for its length.
        let len = unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
        if len < 0 {
            return Err(failed(Errno::last()));
        }
        let errno = answer.get(16..20).filter(|_| len >= 20).and_then(|part| part.first_chunk());
        match errno.map(|part| i32::from_ne_bytes(*part)) {
            Some(0) => Ok(()),
            Some(errno) => Err(failed(Errno(-errno))),
            None => Err(Error::Malformed { what: "the answer of sock_diag", why: format!("it has {len} bytes") }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_kernels_form() {
        let socket = TcpSocketId {
            family: 2,
            ports: (80, 0x1234),
            addresses: ([1; 16], [2; 16]),
            cookie: 0x0102_0304_0506_0708,
        };
        let bytes = socket.request();
        assert_eq!(&bytes[..4], &72_u32.to_ne_bytes());
        assert_eq!([&bytes[4..6], &bytes[6..8]], [&21_u16.to_ne_bytes(), &5_u16.to_ne_bytes()]);
        assert_eq!(&bytes[16..18], &[2, 6]);
        assert_eq!(&bytes[24..28], &[0, 80, 0x12, 0x34]);
        assert_eq!((bytes[28], bytes[43], bytes[44], bytes[59]), (1, 1, 2, 2));
        assert_eq!(&bytes[64..], &0x0102_0304_0506_0708_u64.to_ne_bytes());
    }
}

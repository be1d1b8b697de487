//! What a sender can leave in the kernel while its receiver does not read.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::testbed::StackBytes;

/// `struct sk_msg` is 760 bytes (6.18, x86_64); kmalloc takes them from the slab of the next power of two.
const MESSAGE: u64 = 1024;
/// A sender that has left so much is not bounded by anything that plain TCP has. With the default `tcp_wmem` and `tcp_rmem` of 4
/// and 6 MiB that pins 5 to 22 MB (docs/how-to/measure.md says how this is counted).
const MOST: u64 = 48 << 20;
/// How long a full socket may take to become writable again: its bytes go on to the receiver.
const TIMEOUT: Duration = Duration::from_millis(30);
/// Indices into the answer of SO_MEMINFO, include/uapi/linux/sock_diag.h.
const RMEM_ALLOC: usize = 0;
const WMEM_QUEUED: usize = 5;

/// What the sender has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::bench) struct Left {
    /// Bytes that write(2) took.
    pub(in crate::bench) accepted: u64,
    /// Those that the stack was not given.
    pub(in crate::bench) redirected: u64,
    /// Memory of the sender's own queue.
    pub(in crate::bench) queued: u64,
}

impl Left {
    /// Nothing has stopped the sender.
    pub(in crate::bench) fn is_unbounded(&self, size: usize) -> bool {
        self.accepted + self.accepted / size.max(1) as u64 * MESSAGE >= MOST
    }

    /// Bytes of memory that both sockets pin; `receiver` is the memory of the receiver's queue. Kernels before commit
    /// d888b7af7c14 do not charge redirected bytes to the receiver.
    pub(in crate::bench) fn pinned(&self, size: usize, receiver: u64) -> u64 {
        let uncharged = if receiver < self.redirected { self.redirected } else { 0 };
        self.queued + receiver + uncharged + self.redirected.div_ceil(size.max(1) as u64) * MESSAGE
    }
}

/// Writes `message` again and again until no more is taken.
pub(super) fn fill(mut socket: impl Write + AsFd, message: &[u8]) -> io::Result<Left> {
    let before = StackBytes::of(&socket)?.sent;
    let mut left = Left::default();
    while !left.is_unbounded(message.len()) {
        match socket.write(message) {
            Ok(written) => left.accepted += written as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let timeout = PollTimeout::try_from(TIMEOUT).unwrap_or(PollTimeout::ZERO);
                if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], timeout)? == 0 {
                    break;
                }
            }
            // The kernel has no more memory, and says so only for redirected bytes.
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => break,
            Err(error) => return Err(error),
        }
    }
    let by_stack = StackBytes::of(&socket)?.sent - before + unsent(&socket)?;
    left.redirected = left.accepted.saturating_sub(by_stack);
    left.queued = memory(&socket, WMEM_QUEUED)?;
    Ok(left)
}

/// Memory of the receiver's queue.
pub(super) fn received(socket: impl AsFd) -> io::Result<u64> {
    memory(socket, RMEM_ALLOC)
}

/// One of the numbers of SO_MEMINFO.
fn memory(socket: impl AsFd, index: usize) -> io::Result<u64> {
    let mut info = [0_u32; 9];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the buffer is live and writable for `length` bytes, and so is `length`.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done == 0 { Ok(info.get(index).copied().unwrap_or(0).into()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes that the stack has been given and has not sent yet.
fn unsent(socket: impl AsFd) -> io::Result<u64> {
    // SIOCOUTQNSD, include/uapi/linux/sockios.h.
    const UNSENT: libc::Ioctl = 0x894b;
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes one int to the address given, which is live.
    match unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), UNSENT, &raw mut bytes) } {
        0 => Ok(bytes.max(0) as u64),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_not_charge_is_counted_too() {
        let left = Left { accepted: 5000, redirected: 2000, queued: 700 };
        assert_eq!(left.pinned(1000, 300), 700 + 300 + 2000 + 2 * MESSAGE);
        assert_eq!(left.pinned(1000, 3000), 700 + 3000 + 2 * MESSAGE);
        assert!(!left.is_unbounded(1000));
        assert!(Left { accepted: MOST, ..left }.is_unbounded(1 << 20));
    }
}

//! What a connection whose receiver does not read pins in the kernel.

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use sidestep::dataplane::Pairing;
use sidestep::testbed::{StackBytes, listen};

use crate::link::{ANY_PORT, meminfo, pair};
use crate::nested::NestedCgroups;

/// `struct sk_msg` is 760 bytes (6.18, x86_64); kmalloc takes them from the slab of the next power of two.
const MESSAGE: u64 = 1024;

/// Bytes of kernel memory that a connection's two sockets hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pinned {
    /// For the receiver, with what was redirected.
    received: u64,
    /// In the sender's queue.
    unsent: u64,
    /// What the kernel lets the sender's queue take (`sk_sndbuf`).
    limit: u64,
}

impl Pinned {
    /// Of two sockets after `accepted` bytes in writes of `size` since the stack had sent `before`. What was redirected
    /// is what the stack was not given; `charged` says whether the kernel counts it at the receiver.
    pub(crate) fn by(
        client: &TcpStream,
        server: &TcpStream,
        before: u64,
        accepted: usize,
        size: usize,
        charged: bool,
    ) -> Self {
        let stack = StackBytes::of(client).unwrap().sent - before + unsent(client);
        let redirected = (accepted as u64).saturating_sub(stack);
        let messages = redirected.div_ceil(size as u64);
        // SK_MEMINFO_RMEM_ALLOC, _SNDBUF and _WMEM_QUEUED, include/uapi/linux/sock_diag.h.
        let (queued, sender) = (u64::from(meminfo(server)[0]), meminfo(client));
        Self {
            received: queued + messages * MESSAGE + if charged { 0 } else { redirected },
            unsent: sender[5].into(),
            limit: sender[3].into(),
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.received + self.unsent
    }

    /// What plain TCP, which held `plain`, would hold with this sender. From one plain connection to the next the kernel
    /// sizes `sk_sndbuf` between 0.7 and 2.1 MB, by the acknowledgements that it has seen (6.18, veth, 2 MB sent). So a
    /// larger send buffer is not what acceleration takes; more than it may hold would be.
    pub(crate) fn plain_would_hold(&self, plain: &Self) -> u64 {
        plain.received + plain.unsent.max(self.unsent.min(self.limit))
    }
}

/// Whether this kernel charges redirected bytes to the receiver (since commit d888b7af7c14).
pub(crate) fn redirected_bytes_are_charged(cgroups: &NestedCgroups) -> bool {
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let listener = listen(ANY_PORT).unwrap();
    let (mut client, server) = pair(&listener, listener.local_addr().unwrap());
    let bytes = [0; 1000];
    for _ in 0..20 {
        assert_eq!(client.write(&bytes).unwrap(), bytes.len());
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(StackBytes::of(&client).unwrap().sent, 0, "not redirected");
    let charged = u64::from(meminfo(&server)[0]) >= 20_000;
    drop((client, server));
    drop(acceleration);
    charged
}

/// Bytes that the stack has been given and has not sent yet.
fn unsent(socket: &TcpStream) -> u64 {
    let mut bytes = 0_i32;
    // SAFETY: SIOCOUTQNSD (include/uapi/linux/sockios.h) writes one int to the address given, which is live.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), 0x894b, &raw mut bytes) };
    assert_eq!(done, 0, "SIOCOUTQNSD: {}", std::io::Error::last_os_error());
    bytes as u64
}

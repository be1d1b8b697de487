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

/// Bytes that the two sockets pin, after `accepted` bytes in writes of `size` since the stack had sent `before`. What was
/// redirected is what the stack was not given; `charged` says whether the kernel counts it at the receiver.
pub(crate) fn pinned(
    client: &TcpStream,
    server: &TcpStream,
    before: u64,
    accepted: usize,
    size: usize,
    charged: bool,
) -> u64 {
    let redirected = (accepted as u64).saturating_sub(StackBytes::of(client).unwrap().sent - before + unsent(client));
    let messages = redirected.div_ceil(size as u64);
    // SK_MEMINFO_RMEM_ALLOC and SK_MEMINFO_WMEM_QUEUED, include/uapi/linux/sock_diag.h.
    let (queued, waiting) = (u64::from(meminfo(server)[0]), u64::from(meminfo(client)[5]));
    queued + waiting + messages * MESSAGE + if charged { 0 } else { redirected }
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

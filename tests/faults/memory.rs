//! A receiver that does not read pins no more kernel memory than plain TCP lets it, give or take a quarter.
//!
//! Counted is what the kernel charges to the two sockets (`SO_MEMINFO`: the receiver's queue, the sender's queue) and
//! what it does not charge: the `struct sk_msg` of each redirected message.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use sidestep::dataplane::{Counter, Pairing};
use sidestep::syscall::Release;
use sidestep::testbed::{Addresses, NetNs, Pods, connect, listen};

use crate::link::{ANY_PORT, accepted, expect, meminfo, pattern};
use crate::nested::NestedCgroups;

/// `struct sk_msg` is 760 bytes (6.18, x86_64); kmalloc takes them from the slab of the next power of two.
const MESSAGE: u64 = 1024;

/// What an accelerated connection may pin of what plain TCP pins.
const RATIO: f64 = 1.25;

/// The same on kernels before 6.12: there what takes the stack behind redirected bytes needs more, by kernel and size of
/// writes up to 1.7 (docs/explanation/failure-modes.md).
const OLDER: f64 = 2.0;

fn most() -> f64 {
    let older = Release::running().is_some_and(|running| running < Release(6, 12, 0));
    if older { OLDER } else { RATIO }
}

/// How the sockets are joined and sized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Loopback,
    Veth,
    /// Buffers that the application has set to 64 KiB.
    SmallBuffers,
}

/// What a sender could leave at a receiver that does not read.
#[derive(Clone, Copy, Debug)]
struct Pinned {
    /// Bytes that send(2) took.
    accepted: usize,
    /// Bytes in memory.
    memory: u64,
}

#[test]
fn a_receiver_that_does_not_read_pins_no_more_than_plain_tcp() {
    let cgroups = NestedCgroups::new();
    let emulated = crate::support::machine::is_emulated();
    for (way, sizes) in [
        (Way::Loopback, &[1, 64, 1 << 10, 16 << 10, 64 << 10][..]),
        // Millions of single bytes are too many packets for a test.
        (Way::Veth, &[64, 1 << 10, 16 << 10, 64 << 10]),
        (Way::SmallBuffers, &[1, 64, 1 << 10, 16 << 10, 64 << 10]),
    ] {
        // Each size takes seconds in an emulator.
        for &size in sizes.iter().filter(|size| !emulated || [64, 16 << 10].contains(*size)) {
            // What the sender's buffer grows to over veth differs by a fifth from one time to the next.
            let within = (0..4).any(|_| {
                let plain = fill(way, size, || (0, 0));
                let acceleration = cgroups.accelerate(Pairing::Sequence);
                let fast = fill(way, size, || {
                    let counters = acceleration.snapshot().unwrap();
                    (counters.get(Counter::RedirectedMessages), counters.get(Counter::RedirectedBytes))
                });
                let ratio = fast.memory as f64 / plain.memory as f64;
                eprintln!(
                    "{way:?}, writes of {size}: plain TCP took {} bytes and pinned {}, accelerated {} and {}: {ratio:.2}",
                    plain.accepted, plain.memory, fast.accepted, fast.memory
                );
                // A message may fill a quarter of a buffer that the application has sized, as the kernel counts it.
                let too_large = way == Way::SmallBuffers && size > 2 * 65_536 / 4;
                assert!(too_large || acceleration.snapshot().unwrap().get(Counter::RedirectedMessages) > 0);
                ratio <= most()
            });
            assert!(within, "{way:?}, writes of {size}: more than {} of plain TCP, four times", most());
        }
    }
}

/// Writes pieces of `size` bytes to a receiver that does not read, until no more are taken. `redirected` tells how many
/// messages and bytes went past the stack.
fn fill(way: Way, size: usize, redirected: impl Fn() -> (u64, u64)) -> Pinned {
    let pods = (way == Way::Veth).then(|| Pods::without_sidecars().unwrap());
    let alone = NetNs::with_loopback().unwrap();
    let (here, there) = pods.as_ref().map_or((&alone, &alone), |pods| (&pods.client, &pods.server));
    let address = pods.as_ref().map_or(ANY_PORT, |_| SocketAddr::new(Addresses::V4.server_pod, 9000));
    let listener = there.run(|| listen(address).unwrap()).unwrap();
    if way == Way::SmallBuffers {
        setsockopt(&listener, sockopt::RcvBuf, &65_536).unwrap();
    }
    let to = listener.local_addr().unwrap();
    let client = here.run(|| connect(to, None).unwrap()).unwrap();
    if way == Way::SmallBuffers {
        setsockopt(&client, sockopt::SndBuf, &65_536).unwrap();
    }
    let server = accepted(&listener);
    let bytes = pattern(9, 12 << 20);
    let sent = write_until_full(&client, &bytes, size);
    let (messages, redirected) = redirected();
    let (receiver, sender) = (meminfo(&server), meminfo(&client));
    // SK_MEMINFO_RMEM_ALLOC and SK_MEMINFO_WMEM_QUEUED, include/uapi/linux/sock_diag.h.
    let (queued, waiting) = (u64::from(receiver[0]), u64::from(sender[5]));
    // Kernels that charge redirected bytes to the receiver have them in its number.
    let uncharged = if queued < redirected { redirected } else { 0 };
    expect(&server, &bytes[..sent]);
    Pinned { accepted: sent, memory: queued + waiting + uncharged + messages * MESSAGE }
}

/// How many bytes are taken.
fn write_until_full(mut client: &TcpStream, bytes: &[u8], size: usize) -> usize {
    let mut sent = 0;
    let mut taken = Instant::now();
    while sent < bytes.len() && taken.elapsed() < Duration::from_millis(400) {
        match client.write(&bytes[sent..(sent + size).min(bytes.len())]) {
            Ok(written) => {
                sent += written;
                taken = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(client.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(100_u8)).unwrap();
            }
            Err(error) => panic!("send: {error}"),
        }
    }
    sent
}

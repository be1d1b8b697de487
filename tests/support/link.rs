//! One connection between two non-blocking sockets of this process.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sidestep::testbed::{accept, connect};

use super::wait::timeout;

/// A port that the kernel chooses.
pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A free port, below those that the kernel gives to sockets that connect (`ip_local_port_range`, 32,768 and up): a client
/// that comes before its server could be given just this port, and would then be connected to itself.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 200) as u16 * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits for `events`; panics when they do not come.
pub(crate) fn wait(socket: impl AsFd, events: PollFlags) {
    let limit = PollTimeout::try_from(timeout()).unwrap();
    assert_eq!(poll(&mut [PollFd::new(socket.as_fd(), events)], limit), Ok(1), "hung: {events:?} did not come");
}

/// Writes all of it.
pub(crate) fn send(socket: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match (&*socket).write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, PollFlags::POLLOUT),
            Err(error) => panic!("send: {error}"),
        }
    }
}

/// Reads exactly `expected.len()` bytes and compares them.
pub(crate) fn expect(socket: &TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    let mut at = 0;
    while at < bytes.len() {
        match (&*socket).read(&mut bytes[at..]) {
            Ok(0) => panic!("end of stream after {at} of {} bytes", bytes.len()),
            Ok(read) => at += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, PollFlags::POLLIN),
            Err(error) => panic!("recv: {error}"),
        }
    }
    assert!(bytes == expected, "other bytes than were sent");
}

/// Waits for the end of the stream.
pub(crate) fn expect_end(socket: &TcpStream) {
    wait(socket, PollFlags::POLLIN);
    assert_eq!((&*socket).read(&mut [0; 16]).unwrap(), 0, "bytes after the end");
}

/// A connection to `listener`, accepted: (client, server).
pub(crate) fn pair(listener: &TcpListener, to: SocketAddr) -> (TcpStream, TcpStream) {
    let client = connect(to, None).unwrap();
    wait(&client, PollFlags::POLLOUT);
    (client, accepted(listener))
}

/// The next connection of `listener`.
pub(crate) fn accepted(listener: &TcpListener) -> TcpStream {
    wait(listener, PollFlags::POLLIN);
    accept(listener).unwrap().unwrap()
}

/// Either end sends `bytes` and the other expects them, in turn, so many times.
pub(crate) fn back_and_forth(client: &TcpStream, server: &TcpStream, bytes: &[u8], rounds: usize) {
    for _ in 0..rounds {
        send(client, bytes);
        expect(server, bytes);
        send(server, bytes);
        expect(client, bytes);
    }
}

/// The same with `len` other bytes each time.
pub(crate) fn exchange_patterns(client: &TcpStream, server: &TcpStream, len: usize, rounds: u64) {
    for round in 0..rounds {
        back_and_forth(client, server, &pattern(round, len), 1);
    }
}

/// `len` bytes that differ with the seed.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    // Steele and others, "Fast splittable pseudorandom number generators": the SplitMix64 constants.
    let mut state = seed;
    let mut word = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    (0..len.div_ceil(8)).flat_map(|_| word().to_le_bytes()).take(len).collect()
}

/// `SO_MEMINFO`: an array of u32 in the order of `SK_MEMINFO_*`.
pub(crate) fn meminfo(socket: impl AsFd) -> [u32; 9] {
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
    assert_eq!(done, 0, "SO_MEMINFO: {}", std::io::Error::last_os_error());
    info
}

/// Asks threads to end, also when an assertion fails, since they are waited for.
pub(crate) struct Finish<'a>(pub(crate) &'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

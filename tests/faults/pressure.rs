//! Memory pressure: the kernel grants sockets no more memory. Plain TCP then waits; so must an accelerated connection.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sidestep::dataplane::{Counter, Pairing};
use sidestep::testbed::{TemporaryCgroup, listen};

use crate::link::{ANY_PORT, pair, pattern};
use crate::nested::{NestedCgroups, describe};
use crate::support::cgroup::temporary;
use crate::support::wait::timeout;

/// What all TCP sockets of the group may hold, in bytes.
const LIMIT: usize = 4 << 20;

/// A memory cgroup (version 1) with a limit on TCP's memory, with this process in it.
struct Limited {
    group: TemporaryCgroup,
    home: PathBuf,
}

impl Limited {
    /// None where there is no such hierarchy.
    fn new() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = mounts.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut kind = kind.split(' ');
            let memory = kind.next() == Some("cgroup") && kind.nth(1)?.split(',').any(|option| option == "memory");
            memory.then(|| PathBuf::from(place.split(' ').nth(4).unwrap()))
        })?;
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.split_once(":memory:/")).unwrap().1.to_owned();
        let home = root.join(own);
        let limited = Self { group: temporary(&home), home };
        std::fs::write(limited.group.path().join("memory.kmem.tcp.limit_in_bytes"), LIMIT.to_string()).unwrap();
        enter(limited.group.path());
        Some(limited)
    }

    /// Whether sockets have used all since this was last asked. What is sent may go over the limit by a little.
    fn was_reached(&self) -> bool {
        let most = self.group.path().join("memory.kmem.tcp.max_usage_in_bytes");
        let used: usize = std::fs::read_to_string(&most).unwrap().trim().parse().unwrap();
        std::fs::write(&most, "0").unwrap();
        used >= LIMIT
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // Before the group goes, and with it all that is in it.
        enter(&self.home);
    }
}

fn enter(path: &Path) {
    std::fs::write(path.join("cgroup.procs"), std::process::id().to_string()).unwrap();
}

#[test]
fn sockets_without_memory_wait_and_lose_nothing() {
    let cgroups = NestedCgroups::new();
    let Some(limited) = Limited::new() else {
        eprintln!("\n*** NOT TESTED: there is no version 1 memory cgroup to limit TCP's memory with ***\n");
        return;
    };
    // Plain first, so that a difference is ours.
    streams("plain");
    assert!(limited.was_reached());
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    streams("accelerated");
    let counters = acceleration.snapshot().unwrap();
    eprintln!("{}", describe(&counters));
    assert!(limited.was_reached());
    assert!(counters.get(Counter::RedirectedMessages) > 0, "{}", describe(&counters));
}

/// Eight streams whose readers start late, so that all are full; then everything must arrive.
pub(crate) fn streams(what: &str) {
    streams_between(what, &eight_pairs());
}

/// Connections whose sockets belong to the cgroup that this process is in now.
pub(crate) fn eight_pairs() -> Vec<(TcpStream, TcpStream)> {
    let listener = listen(ANY_PORT).unwrap();
    let to = listener.local_addr().unwrap();
    (0..8).map(|_| pair(&listener, to)).collect()
}

/// The same on connections that are there.
pub(crate) fn streams_between(what: &str, pairs: &[(TcpStream, TcpStream)]) {
    const BYTES: usize = 2_000_000;
    let contents: Vec<_> = (0..pairs.len()).map(|seed| pattern(seed as u64, BYTES)).collect();
    std::thread::scope(|threads| {
        for (index, ((client, server), bytes)) in pairs.iter().zip(&contents).enumerate() {
            let size = [100, 1_000, 16_384, 65_536][index % 4];
            threads.spawn(move || write_all(what, client, bytes, size));
            threads.spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                read_all(what, server, bytes);
            });
        }
    });
}

fn wait(socket: &TcpStream, events: PollFlags) {
    poll(&mut [PollFd::new(socket.as_fd(), events)], PollTimeout::from(100_u8)).unwrap();
}

pub(crate) fn write_all(what: &str, mut socket: &TcpStream, bytes: &[u8], size: usize) {
    let mut taken = Instant::now();
    let mut at = 0;
    while at < bytes.len() {
        assert!(taken.elapsed() < timeout(), "{what}: the writer hangs after {at} bytes");
        match socket.write(&bytes[at..(at + size).min(bytes.len())]) {
            Ok(written) => {
                at += written;
                taken = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, PollFlags::POLLOUT),
            Err(error) => panic!("{what}: send of {size} after {at} bytes: {error}"),
        }
    }
}

fn read_all(what: &str, mut socket: &TcpStream, expected: &[u8]) {
    let mut got = Instant::now();
    let mut buffer = vec![0; 65_536];
    let mut at = 0;
    while at < expected.len() {
        assert!(got.elapsed() < timeout(), "{what}: the reader hangs after {at} bytes");
        match socket.read(&mut buffer) {
            Ok(0) => panic!("{what}: the end came after {at} bytes"),
            Ok(read) => {
                assert!(expected[at..].starts_with(&buffer[..read]), "{what}: other bytes at {at}");
                at += read;
                got = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, PollFlags::POLLIN),
            Err(error) => panic!("{what}: recv: {error}"),
        }
    }
}

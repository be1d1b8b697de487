//! Pairs that stay in the sockhash while they carry a stream: every byte once and in order, and more than one burst of them
//! past the stack.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use sidestep::agent::{Acceleration, Marked, TierChoice, check, choose_tier};
use sidestep::dataplane::{Config, Counter, KernelOffsets, Options, Pairing, Policy, Readers, Streams, Tier, build};
use sidestep::syscall::cgroup::Cgroup;
use sidestep::testbed::listen;

use crate::asker::unread;
use crate::link::{ANY_PORT, expect, pair, pattern, send};
use crate::nested::{NestedCgroups, describe, pairings};
use crate::support::wait::{timeout, wait_until};

/// The bytes of a connection: more than its bounds permit, several times.
const BYTES: usize = 8 << 20;

/// Starts the data plane in which streams stay, where this kernel lets them.
fn start(cgroups: &NestedCgroups, pairing: Pairing, streams: Streams, config: Config) -> Option<Acceleration> {
    let (tier, _) = choose_tier(TierChoice::Gated).unwrap();
    let Tier::Gated(KernelOffsets { readers_can_be_woken: true, epoll: Some(_), buffer_locks: Some(_), .. }) = tier
    else {
        return None;
    };
    let policy = Policy { streams, ..Policy::default() };
    let plane = build(Options { pairing, tier, readers: Readers::NonBlocking, policy }).unwrap();
    let cgroup = Cgroup::open(&cgroups.path()).unwrap();
    Some(Acceleration::start_plane(&cgroup, Marked::default(), &plane, config).unwrap())
}

/// Sends a stream in messages of `message` bytes, which a reader takes as it comes.
fn stream(seed: u64, message: usize) {
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    client.set_nodelay(true).unwrap();
    let bytes = pattern(seed, BYTES);
    thread::scope(|threads| {
        threads.spawn(|| {
            for part in bytes.chunks(message) {
                send(&client, part);
            }
        });
        // What is read at once differs, so that the queue is now empty and now full.
        let mut rest = &bytes[..];
        for size in [1000, 300_000, 70_000, 5].into_iter().cycle() {
            let (part, after) = rest.split_at(rest.len().min(size));
            expect(&server, part);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
    });
}

/// Sends as much as goes without a reader; how much that is.
fn fill(socket: &TcpStream, bytes: &[u8]) -> usize {
    let mut sent = 0;
    for part in bytes.chunks(10_000) {
        match (&*socket).write(part) {
            Ok(written) if written == part.len() => sent += written,
            Ok(written) => return sent + written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("send: {error}"),
        }
    }
    sent
}

#[test]
fn a_stream_that_stays_goes_past_the_stack_in_bursts() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        let Some(plane) = start(&cgroups, pairing, Streams::Stay, Config::default()) else { return };
        // The reader begins when no more goes, so that a burst ends at its bound.
        let listener = listen(ANY_PORT).unwrap();
        let (client, server) = pair(&listener, listener.local_addr().unwrap());
        client.set_nodelay(true).unwrap();
        let bytes = pattern(1, 20_000_000);
        let mut first_burst = 0;
        for round in 0..5 {
            let sent = fill(&client, &bytes);
            expect(&server, &bytes[..sent]);
            if round == 0 {
                first_burst = plane.snapshot().unwrap().get(Counter::RedirectedBytes);
            }
        }
        let counters = plane.snapshot().unwrap();
        assert_eq!(counters.get(Counter::Unenrolled), 0, "{}", describe(&counters));
        assert_eq!(plane.members().unwrap(), 2, "{}", describe(&counters));
        assert!(counters.get(Counter::PassBackpressure) >= 2, "{}", describe(&counters));
        assert!(counters.get(Counter::RedirectedBytes) > first_burst, "{}", describe(&counters));
    }
}

#[test]
fn streams_that_are_measured_all_the_time_arrive_in_order() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        // Phases so short that the way changes with every few messages, by chance of the clock.
        let config = Config { pace_nanos: 20_000, pace_work: 64 << 10, ..Config::default() };
        let Some(plane) = start(&cgroups, pairing, Streams::Auto, config) else { return };
        for (seed, message) in [64_000, 20_000, 3_000, 700].into_iter().enumerate() {
            stream(seed as u64, message);
        }
        let counters = plane.snapshot().unwrap();
        assert!(counters.get(Counter::RedirectedMessages) > 0, "{}", describe(&counters));
        assert!(counters.get(Counter::PassBackpressure) > 0, "{}", describe(&counters));
    }
}

#[test]
fn the_pair_of_a_stream_that_gains_nothing_leaves() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        // A message each 10 ms decides for itself how long a phase takes, in either way.
        let config = Config { pace_nanos: 50_000_000, pace_work: 64 << 10, ..Config::default() };
        let Some(plane) = start(&cgroups, pairing, Streams::Auto, config) else { return };
        let listener = listen(ANY_PORT).unwrap();
        let (client, server) = pair(&listener, listener.local_addr().unwrap());
        client.set_nodelay(true).unwrap();
        let bytes = pattern(3, 20_000_000);
        let sent = fill(&client, &bytes);
        expect(&server, &bytes[..sent]);
        let counters = plane.snapshot().unwrap();
        assert_eq!(counters.get(Counter::Unenrolled), 0, "before it is measured: {}", describe(&counters));
        wait_until("its pair leaves", || {
            send(&client, &bytes[..10_000]);
            expect(&server, &bytes[..10_000]);
            plane.snapshot().unwrap().get(Counter::Unenrolled) == 1
        });
    }
}

/// How a reader that asks FIONREAD waits for its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// Edge-triggered, as nginx: until a read is short, or FIONREAD says 0.
    Edge,
    /// Level-triggered: it reads as much as FIONREAD says.
    Level,
}

impl Asker {
    fn watch(self, socket: &TcpStream) -> Epoll {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let edge = if self == Self::Edge { EpollFlags::EPOLLET } else { EpollFlags::empty() };
        epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN | edge, 1)).unwrap();
        epoll
    }

    /// Reads `expected` as it comes.
    fn expect(self, mut socket: &TcpStream, epoll: &Epoll, expected: &[u8]) {
        let mut buffer = vec![0; 16 << 10];
        let (mut rest, deadline) = (expected, Instant::now() + timeout());
        while !rest.is_empty() {
            let limit = EpollTimeout::try_from(timeout()).unwrap();
            let events = epoll.wait(&mut [EpollEvent::empty()], limit).unwrap();
            let (left, all) = (rest.len(), expected.len());
            assert_eq!(events, 1, "{self:?}: no event comes for {left} of {all} bytes");
            assert!(Instant::now() < deadline, "{self:?}: FIONREAD shows nothing of {left} of {all} bytes");
            let mut wanted = match self {
                Self::Edge => buffer.len(),
                Self::Level => buffer.len().min(usize::try_from(unread(socket)).unwrap()),
            };
            while wanted > 0 {
                match socket.read(&mut buffer[..wanted]) {
                    Ok(read) => {
                        assert!(read > 0 && rest.starts_with(&buffer[..read]), "{self:?}: other bytes, or the end");
                        rest = &rest[read..];
                        let stops = self == Self::Level || read < wanted || unread(socket) == 0;
                        wanted = if stops { 0 } else { wanted };
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => wanted = 0,
                    Err(error) => panic!("recv: {error}"),
                }
            }
        }
    }
}

#[test]
fn readers_that_ask_how_much_there_is_never_wait_behind_a_stream_that_stays() {
    let cgroups = NestedCgroups::new();
    let config = check::configuration().unwrap();
    for asker in [Asker::Edge, Asker::Level] {
        if config.spare_askers && asker == Asker::Level {
            eprintln!("\n*** {asker:?}, FIONREAD: NOT TESTED: that of this kernel does not see redirected bytes ***\n");
            continue;
        }
        let Some(plane) = start(&cgroups, Pairing::Sequence, Streams::Stay, config) else { return };
        let listener = listen(ANY_PORT).unwrap();
        let (client, server) = pair(&listener, listener.local_addr().unwrap());
        client.set_nodelay(true).unwrap();
        let epoll = asker.watch(&server);
        // More than any reader is redirected at once, so that bytes of the stack lie behind.
        let bytes = pattern(2, 20_000_000);
        let sent = fill(&client, &bytes);
        asker.expect(&server, &epoll, &bytes[..sent]);
        let counters = plane.snapshot().unwrap();
        // Where FIONREAD does not see redirected bytes, the pair leaves before there are any.
        let is_redirected = counters.get(Counter::RedirectedBytes) > 0;
        assert_eq!(is_redirected, !config.spare_askers, "{asker:?}: {}", describe(&counters));
        assert!(counters.get(Counter::PassedBytes) > 0, "{asker:?}: {}", describe(&counters));
        if asker == Asker::Edge || config.redirect_unaccepted {
            wait_until("its pair leaves", || plane.snapshot().unwrap().get(Counter::Unenrolled) == 1);
        } else {
            assert_eq!(counters.get(Counter::Unenrolled), 0, "{}", describe(&counters));
        }
    }
}

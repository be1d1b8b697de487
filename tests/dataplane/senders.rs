//! Two threads that write on one socket without a lock of their own, while its pair leaves: the messages of each thread keep their
//! order. A pair with so much traffic does not come back, so there are other connections in each round.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use sidestep::dataplane::{Counter, Pairing};
use sidestep::testbed::listen;

use crate::link::{ANY_PORT, Finish, pair, wait};
use crate::nested::{NestedCgroups, describe};
use crate::support::machine::scale;
use crate::support::wait::timeout;

/// Pairs at a time, and rounds; fewer where the machine is emulated.
const PAIRS: usize = 3;
const ROUNDS: usize = 60;
/// What each thread sends on a connection, in records.
const RECORDS: u64 = 20_000;
/// Thread and number.
const RECORD: usize = 16;
/// Records of a message.
const LENGTHS: [u64; 4] = [1, 4, 64, 1024];
/// Bytes that may be unread: so few that the kernel takes each message as a whole.
const WINDOW: u64 = 64 << 10;

/// What the threads of one connection know of each other.
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    received: AtomicU64,
}

/// Sends numbered records, several in each message.
fn sends(mut socket: &TcpStream, thread: u64, seed: u64, progress: &Progress) {
    let (mut next, mut random) = (0, seed | 1);
    while next < RECORDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let records = LENGTHS[(random >> 60) as usize % LENGTHS.len()].min(RECORDS - next);
        let message: Vec<u8> =
            (next..next + records).flat_map(|number| [thread.to_ne_bytes(), number.to_ne_bytes()].concat()).collect();
        while progress.sent.load(Ordering::Relaxed) > progress.received.load(Ordering::Relaxed) + WINDOW {
            thread::yield_now();
        }
        progress.sent.fetch_add(message.len() as u64, Ordering::Relaxed);
        loop {
            match socket.write(&message) {
                Ok(written) => break assert_eq!(written, message.len(), "a part of a message"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, PollFlags::POLLOUT),
                Err(error) => panic!("send: {error}"),
            }
        }
        next += records;
    }
}

/// Reads all records of both threads.
fn reads(mut socket: &TcpStream, is_edge: bool, progress: &Progress) {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let edge = if is_edge { EpollFlags::EPOLLET } else { EpollFlags::empty() };
    epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN | edge, 1)).unwrap();
    let (mut next, mut buffer, mut rest) = ([0; 2], vec![0; 40_000], Vec::new());
    while next != [RECORDS; 2] {
        match socket.read(&mut buffer) {
            Ok(0) => panic!("the end, after {next:?} records"),
            Ok(read) => {
                rest.extend_from_slice(&buffer[..read]);
                for record in rest.chunks_exact(RECORD) {
                    let [thread, number] =
                        [&record[..8], &record[8..]].map(|half| u64::from_ne_bytes(half.try_into().unwrap()));
                    assert_eq!(number, next[thread as usize], "a record of thread {thread}, after {next:?}");
                    next[thread as usize] += 1;
                }
                rest.drain(..rest.len() / RECORD * RECORD);
                progress.received.fetch_add(read as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let limit = EpollTimeout::try_from(timeout()).unwrap();
                assert_eq!(epoll.wait(&mut [EpollEvent::empty()], limit), Ok(1), "hung after {next:?} records");
            }
            Err(error) => panic!("recv: {error}"),
        }
    }
}

#[test]
fn two_threads_write_on_one_socket_while_its_pair_leaves() {
    let cgroups = NestedCgroups::new();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let listener = listen(ANY_PORT).unwrap();
    let to = listener.local_addr().unwrap();
    let fewest = ((ROUNDS as f64 * scale()) as u64).max(2);
    let mut round = 0;
    let counters = loop {
        let pairs: Vec<_> = (0..PAIRS).map(|_| (pair(&listener, to), Progress::default())).collect();
        let over = AtomicBool::new(false);
        thread::scope(|threads| {
            let over = &over;
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(3 + round % 7));
                    acceleration.leave(&|_| true, Duration::from_millis(1)).unwrap();
                }
            });
            let _finish = Finish(over);
            let mut workers = Vec::new();
            for (at, ((client, server), progress)) in pairs.iter().enumerate() {
                for thread in 0..2 {
                    workers.push(
                        threads.spawn(move || sends(client, thread, round * 16 + at as u64 * 2 + thread, progress)),
                    );
                }
                workers.push(threads.spawn(move || reads(server, at % 2 == 0, progress)));
            }
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        });
        round += 1;
        let counters = acceleration.snapshot().unwrap();
        // An emulated machine may end a few rounds before any pair has left.
        let has_both = [Counter::RedirectedMessages, Counter::PassedBytes].iter().all(|what| counters.get(*what) > 0);
        if round >= fewest && (has_both || round >= ROUNDS as u64) {
            break counters;
        }
    };
    eprintln!("{}", describe(&counters));
    assert!(counters.get(Counter::RedirectedMessages) > 0, "nothing was redirected");
    assert!(counters.get(Counter::PassedBytes) > 0, "nothing took the stack");
}

//! A reader that gets one event (EPOLLET) and stops at a short read, as nginx and tokio do, must find all bytes on one path:
//! what comes by the stack behind unread redirected bytes has no event of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use sidestep::agent::Acceleration;
use sidestep::dataplane::{Counter, Pairing};
use sidestep::testbed::listen;

use crate::feature::Feature;
use crate::link::{ANY_PORT, back_and_forth, pair, pattern};
use crate::nested::{NestedCgroups, describe};
use crate::support::wait::{scaled, timeout, wait_for};

/// An event that comes has come by then: a probe comes after a second. Not longer, since any packet would wake a reader that
/// stalls.
const STALL: Duration = Duration::from_secs(10);

/// A reader that takes a short read for the last, until it is woken again.
struct Reader<'a> {
    socket: &'a TcpStream,
    epoll: Epoll,
}

impl<'a> Reader<'a> {
    fn new(socket: &'a TcpStream, edge: bool) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let wanted = EpollFlags::EPOLLIN | if edge { EpollFlags::EPOLLET } else { EpollFlags::empty() };
        epoll.add(socket, EpollEvent::new(wanted, 0)).unwrap();
        Self { socket, epoll }
    }

    /// Reads all of `expected`; the answer is where it stalls.
    fn expect(&self, expected: &[u8]) -> Result<(), String> {
        let mut buffer = vec![0; 4096];
        let mut got = 0;
        while got < expected.len() {
            if self.epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::try_from(scaled(STALL)).unwrap()).unwrap() == 0
            {
                return Err(format!("stalls after {got} of {} bytes", expected.len()));
            }
            loop {
                let read = { self.socket }.read(&mut buffer).unwrap_or(0);
                assert!(expected[got..].starts_with(&buffer[..read]), "other bytes at {got}");
                got += read;
                if read < buffer.len() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Sends `bytes` in pieces of 100 that all find room.
fn burst(mut socket: &TcpStream, bytes: &[u8]) {
    for part in bytes.chunks(100) {
        assert_eq!(socket.write(part).unwrap(), part.len());
    }
}

/// Until the last packet has arrived, which may wait for a delayed acknowledgement (Nagle; 40 ms, `TCP_ATO_MIN`): an event
/// that comes later would wake a reader that stalls.
fn let_it_arrive() {
    std::thread::sleep(Duration::from_millis(300));
}

/// Waits until the receiver for which bytes wait is armed, which the next packet brings about.
fn is_armed(acceleration: &Acceleration) {
    wait_for(|| match acceleration.snapshot().unwrap() {
        counters if counters.get(Counter::Armed) == 1 => Ok(()),
        counters => Err(describe(&counters)),
    });
}

/// On or off, seconds of idleness, seconds between probes.
fn keepalive(socket: &TcpStream) -> (bool, u32, u32) {
    let on = getsockopt(socket, sockopt::KeepAlive).unwrap();
    (on, getsockopt(socket, sockopt::TcpKeepIdle).unwrap(), getsockopt(socket, sockopt::TcpKeepInterval).unwrap())
}

#[test]
fn it_gets_a_wide_bound() {
    let cgroups = NestedCgroups::new();
    let listener = listen(ANY_PORT).unwrap();
    for edge in [true, false] {
        let acceleration = cgroups.accelerate(Pairing::Sequence);
        let (client, server) = pair(&listener, listener.local_addr().unwrap());
        let reader = Reader::new(&server, edge);
        // Twice what the narrow bound has room for, and half of what the wide one has, over loopback with default buffers.
        let bytes = pattern(4, 500 * 100);
        burst(&client, &bytes);
        let_it_arrive();
        let counters = acceleration.snapshot().unwrap();
        let narrow = counters.get(Counter::PassBackpressure) > 0;
        assert_eq!(narrow, !edge, "edge-triggered: {edge}: {}", describe(&counters));
        let read = reader.expect(&bytes);
        assert_eq!(read, Ok(()), "edge-triggered: {edge}: {}", describe(&counters));
    }
}

/// A stream that the stack would gather leaves only when nothing redirected is unread.
#[test]
fn a_stream_leaves_behind_its_unread_bytes() {
    let cgroups = NestedCgroups::new();
    let listener = listen(ANY_PORT).unwrap();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    let reader = Reader::new(&server, true);
    setsockopt(&client, sockopt::TcpNoDelay, &false).unwrap();
    // Twice what makes a stream.
    let bytes = pattern(5, 512 * 100);
    burst(&client, &bytes);
    let_it_arrive();
    let counters = acceleration.snapshot().unwrap();
    assert_eq!(reader.expect(&bytes), Ok(()), "{}", describe(&counters));
    assert_eq!(counters.get(Counter::PassStream), 0, "{}", describe(&counters));
    // Now that it has been read, the stream takes the stack, and the pair leaves.
    for _ in 0..100 {
        burst(&client, &bytes[..100]);
        assert_eq!(reader.expect(&bytes[..100]), Ok(()));
        if acceleration.members().unwrap() == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let counters = acceleration.snapshot().unwrap();
    assert!(counters.get(Counter::PassStream) > 0, "{}", describe(&counters));
    assert_eq!(acceleration.members().unwrap(), 0, "{}", describe(&counters));
}

/// At detach the same: what waits is read first, and with it what is sent meanwhile.
#[test]
fn detach_leaves_no_byte_behind_unread_ones() {
    if !Feature::IteratorStorage.required("lingering at detach") {
        return;
    }
    let cgroups = NestedCgroups::new();
    let listener = listen(ANY_PORT).unwrap();
    let mut acceleration = cgroups.accelerate(Pairing::Sequence);
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    back_and_forth(&client, &server, &pattern(1, 100), 3);
    let reader = Reader::new(&server, true);
    let bytes = pattern(6, 200 * 100);
    burst(&client, &bytes[..10_000]);
    acceleration.set_enabled(false).unwrap();
    burst(&client, &bytes[10_000..]);
    let_it_arrive();
    assert_eq!(reader.expect(&bytes), Ok(()), "{}", describe(&acceleration.snapshot().unwrap()));
    let redirected = acceleration.snapshot().unwrap().get(Counter::RedirectedMessages);
    // The queue is empty, so the switch counts.
    burst(&client, &bytes[..100]);
    assert_eq!(reader.expect(&bytes[..100]), Ok(()));
    let counters = acceleration.snapshot().unwrap();
    assert_eq!(counters.get(Counter::RedirectedMessages), redirected, "{}", describe(&counters));
    assert!(counters.get(Counter::PassOff) > 0, "{}", describe(&counters));
    assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
}

/// More than the wide bound has room for: the rest comes by the stack, and its reader is woken for it a second later.
#[test]
fn beyond_its_bound_it_is_woken_again() {
    if !Feature::SocketOptions.required("waking a reader again") {
        return;
    }
    let cgroups = NestedCgroups::new();
    let listener = listen(ANY_PORT).unwrap();
    for app in [None, Some(100)] {
        let acceleration = cgroups.accelerate(Pairing::Sequence);
        let (client, server) = pair(&listener, listener.local_addr().unwrap());
        if let Some(seconds) = app {
            setsockopt(&server, sockopt::KeepAlive, &true).unwrap();
            setsockopt(&server, sockopt::TcpKeepIdle, &seconds).unwrap();
        }
        let settings = || keepalive(&server);
        let before = settings();
        let reader = Reader::new(&server, true);
        let bytes = pattern(7, 2_200 * 100);
        burst(&client, &bytes);
        let_it_arrive();
        is_armed(&acceleration);
        let counters = acceleration.snapshot().unwrap();
        assert!(counters.get(Counter::PassBackpressure) > 0, "{}", describe(&counters));
        assert_eq!(settings(), (true, 1, 1), "probes every second while bytes wait");
        assert_eq!(reader.expect(&bytes), Ok(()), "{}", describe(&acceleration.snapshot().unwrap()));
        // The next callback after the last byte gives the settings back, and the pair has left.
        wait_for(|| if settings() == before { Ok(()) } else { Err(format!("keepalive's settings: {:?}", settings())) });
        assert_eq!(acceleration.members().unwrap(), 0, "{}", describe(&acceleration.snapshot().unwrap()));
        back_and_forth(&client, &server, &bytes[..500], 3);
    }
}

/// What the data plane has set on a socket is taken back before it is detached.
#[test]
fn detach_waits_until_its_settings_are_back() {
    if !Feature::SocketOptions.required("waking a reader again") {
        return;
    }
    let cgroups = NestedCgroups::new();
    let listener = listen(ANY_PORT).unwrap();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    let before = keepalive(&server);
    let reader = Reader::new(&server, true);
    let bytes = pattern(8, 2_200 * 100);
    burst(&client, &bytes);
    let_it_arrive();
    is_armed(&acceleration);
    assert_ne!(keepalive(&server), before);
    let detached = std::thread::scope(|threads| {
        let detach = threads.spawn(|| acceleration.stop(timeout()));
        let_it_arrive();
        assert_eq!(reader.expect(&bytes), Ok(()));
        detach.join().unwrap().unwrap()
    });
    assert_eq!(detached.remaining, 0);
    assert_eq!(keepalive(&server), before, "keepalive's settings");
}

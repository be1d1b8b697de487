//! poll, select and epoll.

use std::time::Duration;

use super::{Case, case};
use crate::log::{Log, events};
use crate::socket::{Modes, Pair, Sock, a_while, pattern, pause, soon, start};
use crate::sys::{self, Epoll, Outcome};

pub(super) const CASES: &[Case] = &[
    case("poll", level),
    case("select", select),
    case("epoll, level", epoll_level),
    case("epoll, edge: queued before ADD", edge_queued),
    case("epoll, edge: an event for each arrival", edge_arrivals),
    case("epoll, edge: a short read means drained", |log, modes| short_reads(log, modes, 20_000, 500)),
    // The most that goes past the stack, and behind it what fits the receiver's first window.
    case("epoll, edge: the same with 3.03 MiB unread", |log, modes| {
        short_reads(log, modes, (3 << 20) + 32_768, 10_001)
    }),
    case("epoll, one shot", one_shot),
    case("epoll wakes a waiting thread", |log, modes| {
        wakes(log, modes, |s| Epoll::new().add(s.0, libc::EPOLLIN | libc::EPOLLET).wait(soon()))
    }),
    case("poll wakes a waiting thread", |log, modes| {
        wakes(log, modes, |s| s.poll(libc::POLLIN, soon()).map(|events| events as u32))
    }),
    case("select wakes a waiting thread", |log, modes| {
        wakes(log, modes, |s| sys::select(s.0, soon()).map(|(readable, _)| u32::from(readable)))
    }),
    case("OUT events: full, then drained", out_events),
    case("events of FIN behind data", end_behind_data),
];

const ALL: i16 = libc::POLLIN | libc::POLLOUT | libc::POLLPRI | libc::POLLRDHUP;

fn epoll_names(outcome: Outcome<u32>) -> String {
    // The bits are poll's; EPOLLET and flags like it are never returned.
    events(outcome.map(|bits| bits as i16))
}

fn level(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let now = |what: &str| log.say(format_args!("{what}: {}", events(server.poll(ALL, Duration::ZERO))));
    now("idle");
    client.send(&pattern(100), 0).unwrap();
    pause();
    now("data");
    server.recv(50, 0).unwrap();
    now("a part read");
    server.recv(50, 0).unwrap();
    now("all read");
    client.shutdown(libc::SHUT_WR).unwrap();
    pause();
    now("FIN");
    server.shutdown(libc::SHUT_WR).unwrap();
    pause();
    now("own FIN");
}

fn select(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let now = |what: &str| {
        let ready = sys::select(server.0, Duration::ZERO);
        log.call(what, ready.map(|(readable, writable)| format!("readable {readable}, writable {writable}")));
    };
    now("idle");
    client.send(&pattern(100), 0).unwrap();
    pause();
    now("data");
    server.recv(100, 0).unwrap();
    now("all read");
    client.close();
    pause();
    now("FIN");
}

fn epoll_level(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let epoll = Epoll::new().add(server.0, libc::EPOLLIN | libc::EPOLLRDHUP);
    let now = |what: &str| log.say(format_args!("{what}: {}", epoll_names(epoll.wait(a_while()))));
    now("idle");
    client.send(&pattern(100), 0).unwrap();
    now("data");
    now("data still");
    server.recv(100, 0).unwrap();
    now("all read");
    client.close();
    now("FIN");
}

fn edge_queued(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    client.send(&data, 0).unwrap();
    pause();
    let epoll = Epoll::new().add(server.0, libc::EPOLLIN | libc::EPOLLET);
    log.say(format_args!("queued: {}", epoll_names(epoll.wait(a_while()))));
    log.say(format_args!("again: {}", epoll_names(epoll.wait(a_while()))));
    log.received("recv", server.recv(200, 0), &data);
    log.say(format_args!("all read: {}", epoll_names(epoll.wait(a_while()))));
}

fn edge_arrivals(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let epoll = Epoll::new().add(server.0, libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET);
    for round in 0..3 {
        client.send(&pattern(100), 0).unwrap();
        log.say(format_args!("arrival: {}", epoll_names(epoll.wait(a_while()))));
        log.say(format_args!("again: {}", epoll_names(epoll.wait(a_while()))));
        if round != 1 {
            log.call("read a part", server.recv(50, 0).map(|bytes| bytes.len()));
        }
    }
    client.close();
    log.say(format_args!("FIN: {}", epoll_names(epoll.wait(a_while()))));
    log.call("recv", server.recv_all(400).map(|bytes| bytes.len()));
}

/// As epoll(7) allows, and nginx and tokio do: after a read of less than was asked for, wait for the next event.
fn short_reads(log: Log, modes: Modes, length: usize, part: usize) {
    let Pair { client, server } = modes.pair();
    let epoll = Epoll::new().add(server.0, libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET);
    let data = pattern(length);
    let copy = data.clone();
    let _writer = start(move || copy.chunks(part).try_for_each(|part| client.send_all(part).map(|_| ())));
    std::thread::sleep(a_while());
    let (mut got, mut stalled) = (0, false);
    while got < data.len() && !stalled {
        stalled = epoll.wait(soon() / 5) == Ok(0);
        while let Ok(bytes) = server.recv(4096, libc::MSG_DONTWAIT) {
            if stalled {
                break;
            }
            got += bytes.len();
            if bytes.len() < 4096 {
                break;
            }
        }
    }
    log.fact("stalls", stalled);
}

fn one_shot(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let wanted = libc::EPOLLIN | libc::EPOLLONESHOT;
    let epoll = Epoll::new().add(server.0, wanted);
    client.send(&pattern(100), 0).unwrap();
    log.say(format_args!("first: {}", epoll_names(epoll.wait(a_while()))));
    client.send(&pattern(100), 0).unwrap();
    log.say(format_args!("disarmed: {}", epoll_names(epoll.wait(a_while()))));
    epoll.modify(server.0, wanted);
    log.say(format_args!("armed again: {}", epoll_names(epoll.wait(a_while()))));
}

fn wakes(log: Log, modes: Modes, wait: fn(Sock) -> Outcome<u32>) {
    let Pair { client, server } = modes.pair();
    for _ in 0..3 {
        let waiting = start(move || wait(server));
        let data = pattern(100);
        log.call("send", client.send(&data, 0));
        log.say(format_args!("woken: {}", epoll_names(waiting.within(soon()).unwrap_or(Ok(0)))));
        log.received("recv", server.recv_wait(200), &data);
    }
}

fn out_events(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let block = pattern(16 * 1024);
    let mut sent = 0;
    let mut refused = 0;
    // What is on its way to the receiver makes room once more.
    while refused < 3 {
        match client.send(&block, libc::MSG_DONTWAIT) {
            Ok(more) => (sent, refused) = (sent + more, 0),
            Err(_) => {
                refused += 1;
                pause();
            }
        }
    }
    let epoll = Epoll::new().add(client.0, libc::EPOLLOUT | libc::EPOLLET);
    log.say(format_args!("full: {}", epoll_names(epoll.wait(a_while()))));
    let waiting = start(move || epoll.wait(soon()));
    log.fact("all arrives", server.recv_all(sent).is_ok_and(|bytes| bytes.len() == sent));
    log.say(format_args!("drained: {}", epoll_names(waiting.within(soon()).unwrap_or(Ok(0)))));
    log.fact("can send again", client.send(&block, libc::MSG_DONTWAIT).is_ok());
}

fn end_behind_data(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    client.send(&data, 0).unwrap();
    client.shutdown(libc::SHUT_WR).unwrap();
    pause();
    log.say(format_args!("poll {}", events(server.poll(ALL, a_while()))));
    log.received("recv", server.recv_wait(200), &data);
    log.say(format_args!("poll {}", events(server.poll(ALL, a_while()))));
    log.received("recv", server.recv_wait(200), &[]);
}

//! What recv(2) and the calls like it give, call by call.

use super::{Case, case, case_for};
use crate::feature::Feature;
use crate::log::{Log, content};
use crate::socket::{Listener, Modes, Pair, Sock, a_while, pattern, pause, soon, start};
use crate::sys;

pub(super) const CASES: &[Case] = &[
    case("several sends, one recv", coalesce),
    case("MSG_PEEK", peek),
    case_for(Feature::TcpPeekOffset, "SO_PEEK_OFF", peek_offset),
    case("FIONREAD", unread),
    case("FIONREAD of bytes sent before accept", unread_before_accept),
    case("FIONREAD loop, as Java's available()", fionread_reader),
    case("SIOCOUTQ", outq),
    case("MSG_DONTWAIT", dont_wait),
    case("zero-length recv and send", zero_length),
    case("MSG_TRUNC", truncate),
    case("MSG_OOB", out_of_band),
    case("SO_OOBINLINE", out_of_band_inline),
    case("readv into many pieces", scatter),
    case("MSG_ERRQUEUE when empty", error_queue),
    case("bytes before accept, then after", before_accept),
    case("MSG_WAITALL", wait_all),
    case("MSG_WAITALL, first half before accept", |log, modes| wait_all_switch(log, modes, Listener::new())),
    // The first bytes make the connection established at the server: they always take the stack.
    case("MSG_WAITALL, first half by the stack", |log, modes| {
        let defers = |socket: Sock| assert_eq!(socket.set(libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 5), Ok(0));
        wait_all_switch(log, modes, Listener::with(0, defers));
    }),
    case("SO_RCVLOWAT", low_water),
    case("SO_RCVLOWAT set while bytes wait", low_water_late),
];

fn coalesce(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(300);
    for part in data.chunks(100) {
        log.call("send", client.send(part, 0));
    }
    pause();
    log.received("recv", server.recv_wait(150), &data);
    log.received("recv", server.recv_wait(1000), &data[150..]);
}

fn peek(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    for part in data.chunks(50) {
        log.call("send", client.send(part, 0));
    }
    pause();
    log.received("peek", server.recv(30, libc::MSG_PEEK), &data);
    log.received("peek", server.recv(200, libc::MSG_PEEK), &data);
    log.received("recv", server.recv(20, 0), &data);
    log.received("peek", server.recv(200, libc::MSG_PEEK), &data[20..]);
    log.received("recv", server.recv(200, 0), &data[20..]);
    log.received("peek", server.recv(1, libc::MSG_PEEK | libc::MSG_DONTWAIT), &[]);
}

fn peek_offset(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("SO_PEEK_OFF", server.set(libc::SOL_SOCKET, libc::SO_PEEK_OFF, 10));
    log.call("send", client.send(&data, 0));
    pause();
    for _ in 0..2 {
        let peeked = server.recv(10, libc::MSG_PEEK);
        let place = peeked.map(|bytes| data.windows(10).position(|window| window == bytes).unwrap_or(999));
        log.call("peek is at", place);
    }
    log.received("recv", server.recv(200, 0), &data);
}

fn unread(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    log.call("empty", server.unread());
    log.call("send", client.send(&pattern(100), 0));
    pause();
    log.call("after send", server.unread());
    server.recv(40, 0).unwrap();
    log.call("after a part", server.unread());
    server.recv(100, 0).unwrap();
    log.call("after the rest", server.unread());
}

fn unread_before_accept(log: Log, modes: Modes) {
    let listener = Listener::new();
    let client = modes.connect(listener);
    let data = pattern(200);
    log.call("send", client.send(&data[..100], 0));
    pause();
    let server = modes.accept(listener);
    log.call("FIONREAD", server.unread());
    log.call("send", client.send(&data[100..], 0));
    pause();
    log.call("FIONREAD", server.unread());
    log.received("recv", server.recv(300, 0), &data);
    log.call("FIONREAD", server.unread());
}

/// Reads only what FIONREAD reports, when poll says there is something; never more.
fn fionread_reader(log: Log, modes: Modes) {
    let listener = Listener::new();
    let client = modes.connect(listener);
    let data = pattern(40_000);
    client.send_all(&data[..3000]).unwrap();
    pause();
    let server = modes.accept(listener);
    let rest = data[3000..].to_vec();
    let writer = start(move || {
        for part in rest.chunks(1500) {
            client.send_all(part)?;
        }
        Ok(0)
    });
    let mut got = Vec::new();
    let mut stalled = false;
    while got.len() < data.len() && !stalled {
        let mut available = 0;
        let began = std::time::Instant::now();
        while available == 0 && began.elapsed() < std::time::Duration::from_secs(2) {
            server.poll(libc::POLLIN, a_while()).unwrap();
            available = server.unread().unwrap();
        }
        stalled = available == 0;
        if !stalled {
            got.extend(server.recv(available.unsigned_abs() as usize, 0).unwrap());
        }
    }
    log.fact("stalls", stalled);
    if !stalled {
        log.call("writer", writer.within(soon()).unwrap_or(Ok(1)));
        log.say(format_args!("got {}", content(&got, &data)));
    }
}

fn outq(log: Log, modes: Modes) {
    let Pair { client, .. } = modes.pair();
    log.call("send", client.send(&pattern(100), 0));
    pause();
    log.call("SIOCOUTQ", sys::ioctl_int(client.0, libc::TIOCOUTQ));
    // SIOCOUTQNSD, include/uapi/linux/sockios.h
    log.call("SIOCOUTQNSD", sys::ioctl_int(client.0, 0x894B));
}

fn dont_wait(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.received("recv", server.recv(100, libc::MSG_DONTWAIT), &[]);
    log.call("send", client.send(&data, libc::MSG_DONTWAIT));
    pause();
    log.received("recv", server.recv(200, libc::MSG_DONTWAIT), &data);
    log.received("recv", server.recv(100, libc::MSG_DONTWAIT), &[]);
}

fn zero_length(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    let empty = start(move || server.recv(0, 0));
    match empty.within(a_while()) {
        Some(outcome) => log.received("recv of nothing", outcome, &[]),
        None => log.say("recv of nothing waits"),
    }
    log.call("send of nothing", client.send(&[], 0));
    log.fact("seen", server.readable(a_while()));
    log.call("send", client.send(&data, 0));
    pause();
    log.received("recv of nothing", server.recv(0, 0), &[]);
    log.received("recv", server.recv(200, 0), &data);
}

fn truncate(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", client.send(&data, 0));
    pause();
    let mut buffer = [0; 50];
    log.call("recv", sys::recv(server.0, &mut buffer, libc::MSG_TRUNC));
    log.fact("written to the buffer", buffer != [0; 50]);
    log.received("recv", server.recv(200, 0), &data[50..]);
}

fn out_of_band(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(21);
    log.call("send", client.send(&data[..10], 0));
    log.call("send urgent", client.send(&data[10..11], libc::MSG_OOB));
    log.call("send", client.send(&data[11..], 0));
    pause();
    log.say(format_args!("poll {}", crate::log::events(server.poll(libc::POLLIN | libc::POLLPRI, a_while()))));
    log.received("recv urgent", server.recv(1, libc::MSG_OOB), &data[10..]);
    log.received("recv", server.recv(100, libc::MSG_DONTWAIT), &data);
    // SIOCATMARK, include/uapi/asm-generic/sockios.h
    log.call("at the mark", sys::ioctl_int(server.0, 0x8905));
    log.received("recv", server.recv(100, libc::MSG_DONTWAIT), &data[11..]);
}

fn out_of_band_inline(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(21);
    log.call("SO_OOBINLINE", server.set(libc::SOL_SOCKET, libc::SO_OOBINLINE, 1));
    log.call("send", client.send(&data[..10], 0));
    log.call("send urgent", client.send(&data[10..11], libc::MSG_OOB));
    log.call("send", client.send(&data[11..], 0));
    pause();
    log.received("recv", server.recv(100, libc::MSG_DONTWAIT), &data);
    log.received("recv", server.recv(100, libc::MSG_DONTWAIT), &data[10..]);
}

fn scatter(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", client.send(&data, 0));
    pause();
    let mut buffer = [0; 120];
    let mut pieces: Vec<_> = buffer.chunks_mut(7).collect();
    log.call("readv", sys::readv(server.0, &mut pieces));
    log.fact("all in place", buffer[..100] == data);
}

fn error_queue(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    log.call("send", client.send(&pattern(100), 0));
    pause();
    log.received("recv", server.recv(100, libc::MSG_ERRQUEUE), &[]);
    log.received("recv", client.recv(100, libc::MSG_ERRQUEUE), &[]);
}

fn before_accept(log: Log, modes: Modes) {
    let listener = Listener::new();
    let client = modes.connect(listener);
    let data = pattern(300);
    log.call("send", client.send(&data[..100], 0));
    pause();
    let server = modes.accept(listener);
    log.call("send", client.send(&data[100..200], 0));
    pause();
    log.received("recv", server.recv_all(200), &data);
    log.call("send", client.send(&data[200..], 0));
    log.received("recv", server.recv_all(100), &data[200..]);
}

fn wait_all(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    let reader = start(move || server.recv_wait_flags(100, libc::MSG_WAITALL));
    log.call("send", client.send(&data[..50], 0));
    pause();
    log.call("send", client.send(&data[50..], 0));
    let first = reader.within(soon()).unwrap();
    let left = 100 - first.as_ref().map_or(0, Vec::len);
    log.received("recv", first, &data);
    log.received("the rest", server.recv_all(left), &data[100 - left..]);
}

fn wait_all_switch(log: Log, modes: Modes, listener: Listener) {
    let client = modes.connect(listener);
    let data = pattern(150);
    // Where these take the stack, the reader sleeps inside tcp_recvmsg with them.
    log.call("send", client.send(&data[..50], 0));
    let server = modes.accept(listener);
    let reader = start(move || server.recv_wait_flags(150, libc::MSG_WAITALL));
    pause();
    log.call("send", client.send(&data[50..100], 0));
    pause();
    log.call("send", client.send(&data[100..], 0));
    let Some(first) = reader.within(soon()) else { return log.say("recv: never woken") };
    let left = 150 - first.as_ref().map_or(0, Vec::len);
    log.received("recv", first, &data);
    log.received("the rest", server.recv_all(left), &data[150 - left..]);
}

fn low_water(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("SO_RCVLOWAT", server.set(libc::SOL_SOCKET, libc::SO_RCVLOWAT, 100));
    log.call("send", client.send(&data[..50], 0));
    log.fact("readable", server.readable(a_while()));
    let reader = start(move || server.recv_wait(200));
    log.fact("recv returns", reader.within(a_while()).is_some());
    log.call("send", client.send(&data[50..], 0));
    log.received("recv", reader.within(soon()).unwrap_or_else(|| server.recv(200, libc::MSG_DONTWAIT)), &data);
}

fn low_water_late(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", client.send(&data[..50], 0));
    pause();
    log.call("SO_RCVLOWAT", server.set(libc::SOL_SOCKET, libc::SO_RCVLOWAT, 100));
    log.fact("readable", server.readable(a_while()));
    log.call("send", client.send(&data[50..], 0));
    log.fact("readable", server.readable(a_while()));
    log.received("recv", server.recv(200, libc::MSG_DONTWAIT), &data);
}

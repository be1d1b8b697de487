//! Waiting calls: time limits, and own shutdown while blocked.

use std::time::Duration;

use super::{Case, case};
use crate::log::Log;
use crate::socket::{Modes, Pair, a_while, pattern, pause, soon, start};
use crate::sys;

pub(super) const CASES: &[Case] = &[
    case("recv waits for data", waits),
    case("SO_RCVTIMEO", receive_timeout),
    case("SO_SNDTIMEO", send_timeout),
    case("own shutdown(SHUT_WR) while blocked in recv", |log, modes| own_shutdown(log, modes, libc::SHUT_WR)),
    case("own shutdown(SHUT_RD) while blocked in recv", |log, modes| own_shutdown(log, modes, libc::SHUT_RD)),
    case("O_NONBLOCK cleared later, then own shutdown(SHUT_WR) while blocked", cleared_later),
    case("O_NONBLOCK cleared later, then MSG_WAITALL", cleared_then_all),
    case("two threads blocked in recv", two_readers),
];

fn waits(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    for _ in 0..3 {
        let reader = start(move || server.recv_wait(200));
        log.fact("returns early", reader.within(a_while()).is_some());
        log.call("send", client.send(&data, 0));
        log.received("recv", reader.within(soon()).unwrap(), &data);
    }
}

fn time(milliseconds: i64) -> libc::timeval {
    libc::timeval { tv_sec: 0, tv_usec: milliseconds * 1000 }
}

fn receive_timeout(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("SO_RCVTIMEO", sys::set(server.0, libc::SOL_SOCKET, libc::SO_RCVTIMEO, time(100)));
    log.received("recv", server.recv(100, 0), &[]);
    log.call("send", client.send(&data[..50], 0));
    log.received("recv all of 100", server.recv_wait_flags(100, libc::MSG_WAITALL), &data);
    log.received("recv", server.recv(100, 0), &[]);
}

fn send_timeout(log: Log, modes: Modes) {
    let Pair { client, .. } = modes.pair();
    log.call("SO_SNDTIMEO", sys::set(client.0, libc::SOL_SOCKET, libc::SO_SNDTIMEO, time(200)));
    let block = pattern(64 * 1024);
    let mut blocks = 0;
    let last = loop {
        match client.send(&block, 0) {
            Ok(_) if blocks < 4096 => blocks += 1,
            other => break other,
        }
    };
    log.fact("something was taken", blocks > 0);
    log.call("then", last);
}

fn own_shutdown(log: Log, modes: Modes, how: i32) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", client.send(&data, 0));
    log.received("recv", server.recv_wait(200), &data);
    let reader = start(move || server.recv_wait(200));
    log.call("shutdown", server.shutdown(how));
    pause();
    log.call("send", client.send(&data, 0));
    log.received("recv", reader.within(soon()).unwrap(), &data);
}

fn cleared_later(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", client.send(&data, 0));
    log.received("recv", server.recv_wait(200), &data);
    server.set_nonblocking(false);
    let reader = start(move || server.recv(200, 0));
    log.call("shutdown", server.shutdown(libc::SHUT_WR));
    pause();
    log.call("send", client.send(&data, 0));
    log.received("recv", reader.within(soon()).unwrap(), &data);
}

fn cleared_then_all(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(150);
    log.call("send", client.send(&data, 0));
    log.received("recv", server.recv_wait(200), &data);
    server.set_nonblocking(false);
    let reader = start(move || server.recv(150, libc::MSG_WAITALL));
    for part in data.chunks(50) {
        log.call("send", client.send(part, 0));
        pause();
    }
    let Some(first) = reader.within(soon()) else { return log.say("recv: never woken") };
    let length = first.as_ref().map_or(0, Vec::len);
    log.received("recv", first, &data);
    log.received("the rest", server.recv_all(150 - length), &data[length..]);
}

fn two_readers(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    if modes.server_nonblocking {
        return log.say("no thread blocks");
    }
    let read = move || server.recv(1, 0).map(|bytes| bytes.len());
    let readers = [start(read), start(read)];
    log.call("send", client.send(&[1], 0));
    std::thread::sleep(Duration::from_millis(100));
    log.call("send", client.send(&[2], 0));
    log.fact("both served", readers.map(|reader| reader.within(soon())) == [Some(Ok(1)), Some(Ok(1))]);
}

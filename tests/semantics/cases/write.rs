//! How senders hand over bytes.

use super::{Case, case};
use crate::log::Log;
use crate::socket::{Modes, Pair, a_while, pattern, pause};
use crate::sys;

pub(super) const CASES: &[Case] = &[
    case("MSG_MORE", more),
    case("TCP_CORK", cork),
    case("writev of 1000 pieces", gather),
    case("Nagle: two small sends", nagle),
    case("send with a bad address", bad_address),
    case("receiver's buffer unmapped", bad_buffer),
];

fn more(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send MSG_MORE", client.send(&data[..50], libc::MSG_MORE));
    // The stack holds them back for at most 200 ms.
    log.fact("readable at once", server.readable(std::time::Duration::from_millis(50)));
    log.call("send", client.send(&data[50..], 0));
    log.received("recv", server.recv_all(100), &data);
}

fn cork(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("cork", client.set(libc::IPPROTO_TCP, libc::TCP_CORK, 1));
    log.call("send", client.send(&data, 0));
    log.fact("readable at once", server.readable(std::time::Duration::from_millis(50)));
    log.call("uncork", client.set(libc::IPPROTO_TCP, libc::TCP_CORK, 0));
    log.received("recv", server.recv_all(100), &data);
}

fn gather(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(10_000);
    let pieces: Vec<_> = data.chunks(10).collect();
    log.call("writev", sys::writev(client.0, &pieces));
    log.received("recv", server.recv_all(10_000), &data);
}

fn nagle(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("TCP_NODELAY", client.set(libc::IPPROTO_TCP, libc::TCP_NODELAY, 0));
    log.call("send", client.send(&data[..50], 0));
    log.call("send", client.send(&data[50..], 0));
    log.received("recv", server.recv_all(100), &data);
}

fn bad_address(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", sys::send_from_nowhere(client.0, 100));
    log.fact("readable", server.readable(a_while()));
    log.call("send", client.send(&data, 0));
    log.received("recv", server.recv_all(100), &data);
}

fn bad_buffer(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", client.send(&data, 0));
    pause();
    log.call("recv", sys::recv_to_nowhere(server.0, 100));
    log.received("recv", server.recv(200, libc::MSG_DONTWAIT), &data);
}

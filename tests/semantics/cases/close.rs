//! How connections end.

use nix::errno::Errno;

use super::{Case, case};
use crate::log::{Log, events};
use crate::socket::{Listener, Modes, Pair, Sock, a_while, pattern, pause, soon};
use crate::sys;

pub(super) const CASES: &[Case] = &[
    case("half-close", half_close),
    case("close after send, read late", close_after_send),
    case("close with unread data", close_with_unread),
    case("RST by the reader", reset_by_reader),
    case("send three times after a reset", send_after_reset),
    case("linger 0 after send", linger_zero_after_send),
    case("linger 2 with a slow reader", linger_two),
    case("sender exits after send", sender_exits),
    case("send after peer's close", send_after_close),
    case("send after peer's shutdown(SHUT_RD)", send_after_read_shutdown),
    case("send after own shutdown(SHUT_WR)", send_after_own_shutdown),
    case("shutdown(SHUT_RDWR) with unread data", shutdown_with_unread),
    case("both close with data under way", both_close),
    case("connect(AF_UNSPEC) and connect again", disconnect),
];

fn half_close(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", client.send(&data, 0));
    log.call("shutdown", client.shutdown(libc::SHUT_WR));
    log.received("recv", server.recv_wait(200), &data);
    log.received("recv", server.recv_wait(200), &[]);
    log.call("answer", server.send(&data[..50], 0));
    log.received("recv", client.recv_wait(200), &data);
    server.close();
    log.received("recv", client.recv_wait(200), &[]);
}

fn close_after_send(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(3000);
    for part in data.chunks(1000) {
        log.call("send", client.send(part, 0));
    }
    client.close();
    pause();
    log.received("recv", server.recv_all(4000), &data);
    log.received("recv", server.recv_wait(1), &[]);
}

fn close_with_unread(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    log.call("send", client.send(&pattern(100), 0));
    pause();
    server.close();
    pause();
    log.say(format_args!("poll {}", events(client.poll(libc::POLLIN | libc::POLLRDHUP, soon()))));
    log.received("recv", client.recv_wait(1), &[]);
    log.call("send", client.send(&[1], 0));
    pause();
    log.call("send", client.send(&[1], 0));
}

fn reset_by_reader(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    log.call("send", client.send(&pattern(100), 0));
    server.recv_wait(100).unwrap();
    server.linger(0);
    server.close();
    log.say(format_args!("poll {}", events(client.poll(libc::POLLIN | libc::POLLRDHUP, soon()))));
    log.received("recv", client.recv_wait(1), &[]);
    log.received("recv", client.recv_wait(1), &[]);
    log.call("send", client.send(&[1], 0));
}

fn send_after_reset(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    for _ in 0..4 {
        client.send_all(&data).unwrap();
        server.recv_wait(100).unwrap();
        server.send_all(&data).unwrap();
        client.recv_wait(100).unwrap();
    }
    server.linger(0);
    server.close();
    pause();
    for _ in 0..3 {
        log.call("send", client.send(&[1], 0));
    }
}

fn linger_zero_after_send(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", client.send(&data, 0));
    pause();
    client.linger(0);
    client.close();
    pause();
    log.received("recv", server.recv_wait(200), &data);
    log.received("recv", server.recv_wait(200), &[]);
    log.received("recv", server.recv_wait(200), &[]);
}

fn linger_two(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    client.linger(2);
    log.call("send", client.send(&data, 0));
    client.close();
    log.received("recv", server.recv_all(200), &data);
}

fn sender_exits(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(40_000);
    if sys::fork().is_none() {
        for part in data.chunks(4000) {
            client.send_all(part).unwrap();
        }
        sys::exit(0);
    }
    client.close();
    pause();
    log.received("recv", server.recv_all(50_000), &data);
}

fn send_after_close(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    log.call("send", client.send(&[1; 100], 0));
    server.recv_wait(100).unwrap();
    server.close();
    pause();
    log.call("send", client.send(&[1; 100], 0));
    pause();
    log.call("send", client.send(&[1; 100], 0));
    log.received("recv", client.recv_wait(1), &[]);
}

fn send_after_read_shutdown(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("shutdown", server.shutdown(libc::SHUT_RD));
    log.call("send", client.send(&data, 0));
    pause();
    log.received("recv", server.recv_wait(200), &data);
    log.received("recv", server.recv_wait(200), &[]);
}

fn send_after_own_shutdown(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", client.send(&data, 0));
    log.call("shutdown", client.shutdown(libc::SHUT_WR));
    log.call("send", client.send(&data, 0));
    log.received("recv", server.recv_all(300), &data);
}

fn shutdown_with_unread(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", client.send(&data, 0));
    pause();
    log.call("shutdown", server.shutdown(libc::SHUT_RDWR));
    log.received("recv", server.recv_wait(200), &data);
    log.received("recv", server.recv_wait(200), &[]);
    log.received("peer's recv", client.recv_wait(1), &[]);
    log.call("peer's send", client.send(&data, 0));
}

fn both_close(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", client.send(&data, 0));
    log.call("send", server.send(&data, 0));
    log.call("shutdown", client.shutdown(libc::SHUT_WR));
    log.call("shutdown", server.shutdown(libc::SHUT_WR));
    log.received("recv", client.recv_all(200), &data);
    log.received("recv", server.recv_all(200), &data);
}

fn disconnect(log: Log, modes: Modes) {
    let listener = Listener::new();
    let client = modes.connect(listener);
    let server = modes.accept(listener);
    let data = pattern(100);
    log.call("send", client.send(&data, 0));
    log.received("recv", server.recv_wait(200), &data);
    log.call("answer", server.send(&data, 0));
    pause();
    log.call("disconnect", client.disconnect());
    log.fact("the peer sees the end", server.poll(libc::POLLIN, soon()).is_ok_and(|events| events != 0));
    log.received("recv", client.recv(1, libc::MSG_DONTWAIT), &[]);
    log.call("send", client.send(&data, 0));
    match client.connect(listener.port) {
        Ok(_) => again(log, modes, listener, client, &data),
        Err(errno) => log.call("connect again", Err::<usize, Errno>(errno)),
    }
}

fn again(log: Log, modes: Modes, listener: Listener, client: Sock, data: &[u8]) {
    let server = modes.accept(listener);
    log.call("send again", client.send(data, 0));
    log.received("recv", server.recv_wait(200), data);
    log.call("answer", server.send(data, 0));
    log.received("recv", client.recv_wait(200), data);
    log.fact("more", client.readable(a_while()));
}

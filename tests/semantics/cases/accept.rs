//! Listeners, forks, and other ways to come by a socket.

use super::{Case, case, case_for};
use crate::feature::Feature;
use crate::log::Log;
use crate::socket::{Listener, Modes, Pair, pattern, pause, soon};
use crate::sys;

pub(super) const CASES: &[Case] = &[
    case("accept in a forked child", forked_accept),
    case("a socket shared by fork", shared),
    case("listener closed with unaccepted connections", unaccepted),
    case("TCP_DEFER_ACCEPT", deferred),
    case_for(Feature::Mptcp, "MPTCP", multipath),
    case("a socket connected to itself", to_itself),
];

fn forked_accept(log: Log, modes: Modes) {
    let listener = Listener::new();
    let data = pattern(100);
    if sys::fork().is_none() {
        let server = modes.accept(listener);
        server.send_all(&server.recv_all(100).unwrap()).unwrap();
        sys::exit(0);
    }
    let client = modes.connect(listener);
    log.call("send", client.send(&data, 0));
    log.received("echo", client.recv_all(200), &data);
}

fn shared(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(200);
    log.call("send", client.send(&data[..100], 0));
    let Some(child) = sys::fork() else {
        log.received("child's recv", server.recv_all(100), &data);
        sys::exit(0);
    };
    sys::wait(child, 0);
    log.call("send", client.send(&data[100..], 0));
    log.received("parent's recv", server.recv_all(100), &data[100..]);
}

fn unaccepted(log: Log, modes: Modes) {
    let listener = Listener::new();
    let client = modes.connect(listener);
    log.call("send", client.send(&pattern(100), 0));
    pause();
    listener.socket.close();
    log.fact("told", client.poll(libc::POLLIN, soon()).is_ok_and(|events| events != 0));
    log.received("recv", client.recv_wait(1), &[]);
    log.call("send", client.send(&[1], 0));
}

fn deferred(log: Log, modes: Modes) {
    let listener = Listener::with(0, |socket| {
        socket.set(libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 5).unwrap();
    });
    let client = modes.connect(listener);
    let data = pattern(300);
    log.call("send", client.send(&data[..100], 0));
    listener.socket.ready(libc::POLLIN);
    let server = modes.accept(listener);
    log.call("send", client.send(&data[100..200], 0));
    log.received("recv", server.recv_all(200), &data);
    log.call("send", client.send(&data[200..], 0));
    log.received("recv", server.recv_all(100), &data[200..]);
}

fn multipath(log: Log, modes: Modes) {
    let data = pattern(100);
    let client = modes.client_socket(libc::IPPROTO_MPTCP).unwrap();
    let listener = Listener::with(libc::IPPROTO_MPTCP, |_| {});
    log.call("connect", client.connect(listener.port));
    let server = modes.accept(listener);
    log.call("send", client.send(&data, 0));
    log.received("recv", server.recv_all(100), &data);
    log.call("answer", server.send(&data, 0));
    log.received("recv", client.recv_all(100), &data);
}

/// A simultaneous open with oneself: RFC 9293, section 3.5.
fn to_itself(log: Log, modes: Modes) {
    let socket = modes.client_socket(0).unwrap();
    socket.bind(0).unwrap();
    let data = pattern(100);
    log.call("connect", socket.connect(socket.port()));
    log.call("send", socket.send(&data, 0));
    log.received("recv", socket.recv_wait(200), &data);
}

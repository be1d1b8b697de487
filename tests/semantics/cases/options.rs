//! Socket options and what they report.

use std::time::Duration;

use super::{Case, case};
use crate::log::Log;
use crate::socket::{Modes, Pair, pattern, pause, soon};
use crate::sys;

pub(super) const CASES: &[Case] = &[
    case("TCP_INFO byte counts", tcp_info),
    case("SO_ORIGINAL_DST without a redirection", original_destination),
    case("keepalive on an idle connection", |log, modes| idle(log, modes, false)),
    case("TCP_USER_TIMEOUT with unread data", |log, modes| idle(log, modes, true)),
    case("SO_TIMESTAMP", timestamp),
    case("SO_TIMESTAMPING of transmission", transmit_timestamp),
    case("TCP_INQ", inq),
    case("TCP_ULP tls", kernel_tls),
];

fn tcp_info(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    log.call("send", client.send(&pattern(100), 0));
    server.recv_wait(200).unwrap();
    pause();
    // Offsets in struct tcp_info, include/uapi/linux/tcp.h: bytes_received at 128, bytes_sent at 200.
    let mut info = [0_u64; 27];
    sys::get(client.0, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info).unwrap();
    log.say(format_args!("bytes sent {}", info[200 / 8]));
    sys::get(server.0, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info).unwrap();
    log.say(format_args!("bytes received {}", info[128 / 8]));
}

fn original_destination(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    log.call("send", client.send(&pattern(100), 0));
    server.recv_wait(200).unwrap();
    let mut address = crate::socket::loopback(0);
    // SO_ORIGINAL_DST, include/uapi/linux/netfilter_ipv4.h; the connection was not redirected.
    let outcome = sys::get(server.0, libc::SOL_IP, 80, &mut address);
    log.fact("refused", outcome.is_err());
}

fn idle(log: Log, modes: Modes, unread: bool) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    for socket in [client, server] {
        if unread {
            socket.set(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 1000).unwrap();
        } else {
            socket.set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1).unwrap();
            for (option, value) in [(libc::TCP_KEEPIDLE, 1), (libc::TCP_KEEPINTVL, 1), (libc::TCP_KEEPCNT, 2)] {
                socket.set(libc::IPPROTO_TCP, option, value).unwrap();
            }
        }
    }
    log.call("send", client.send(&data, 0));
    if !unread {
        log.received("recv", server.recv_wait(200), &data);
    }
    std::thread::sleep(Duration::from_millis(3500));
    if unread {
        log.received("recv", server.recv_wait(200), &data);
    }
    log.call("answer", server.send(&data, 0));
    log.received("recv", client.recv_wait(200), &data);
}

fn timestamp(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    log.call("SO_TIMESTAMP", server.set(libc::SOL_SOCKET, libc::SO_TIMESTAMP, 1));
    // The kernel begins to stamp packets from a work queue (net_enable_timestamp).
    std::thread::sleep(Duration::from_millis(400));
    log.call("send", client.send(&pattern(100), 0));
    pause();
    let message = sys::recvmsg(server.0, &mut [0; 200], 0);
    log.call("control messages", message.map(|message| message.control.len()));
}

fn transmit_timestamp(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    // SOF_TIMESTAMPING_TX_SOFTWARE | _SOFTWARE | _TX_ACK, include/uapi/linux/net_tstamp.h
    let flags = 1 << 1 | 1 << 4 | 1 << 9;
    log.call("SO_TIMESTAMPING", client.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags));
    log.call("send", client.send(&pattern(100), 0));
    server.recv_wait(200).unwrap();
    log.fact("reported", client.poll(0, soon() / 10).is_ok_and(|events| events & libc::POLLERR != 0));
}

fn inq(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    // TCP_INQ, include/uapi/linux/tcp.h
    const TCP_INQ: i32 = 36;
    log.call("TCP_INQ", server.set(libc::IPPROTO_TCP, TCP_INQ, 1));
    log.call("send", client.send(&pattern(100), 0));
    pause();
    let message = sys::recvmsg(server.0, &mut [0; 40], 0);
    let told = message.map(|message| match message.control.first() {
        Some((libc::IPPROTO_TCP, TCP_INQ, payload)) => {
            format!("{:?}", payload.first_chunk().copied().map(i32::from_ne_bytes))
        }
        _ => "none".into(),
    });
    log.call("bytes left", told);
}

fn kernel_tls(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    log.call("send", client.send(&pattern(100), 0));
    server.recv_wait(200).unwrap();
    log.call("TCP_ULP", sys::set(client.0, libc::IPPROTO_TCP, libc::TCP_ULP, *b"tls"));
}

//! splice, sendfile and zero-copy.

use super::{Case, case};
use crate::log::Log;
use crate::socket::{Modes, Pair, Sock, a_while, pattern, pause, soon, start};
use crate::sys;

pub(super) const CASES: &[Case] = &[
    case("splice from a pipe to the socket", splice_in),
    case("splice from the socket, data queued", splice_queued),
    case("splice from the socket, waits for data", splice_waits),
    case("splice from the socket, 1 MiB", splice_much),
    case("sendfile", sendfile),
    case("MSG_ZEROCOPY and its notification", zero_copy),
];

fn splice_in(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(1000);
    let (from, to) = sys::pipe(0).unwrap();
    assert_eq!(sys::write(to, &data), Ok(1000));
    log.call("splice", sys::splice(from, client.0, 1000, 0));
    log.received("recv", server.recv_all(1000), &data);
}

/// Takes the spliced bytes out of the pipe.
fn spliced(server: Sock, length: usize, flags: u32) -> sys::Outcome<Vec<u8>> {
    let (from, to) = sys::pipe(libc::O_NONBLOCK).unwrap();
    sys::splice(server.0, to, length, flags)?;
    Sock(from).read(length)
}

fn splice_queued(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    log.call("send", client.send(&data, 0));
    pause();
    log.fact("readable", server.readable(a_while()));
    log.received("splice", spliced(server, 200, libc::SPLICE_F_NONBLOCK), &data);
    log.received("recv", server.recv(200, libc::MSG_DONTWAIT), &data);
}

fn splice_waits(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    let reader = start(move || {
        if modes.server_nonblocking {
            server.ready(libc::POLLIN);
        }
        spliced(server, 200, 0)
    });
    log.call("send", client.send(&data, 0));
    match reader.within(soon()) {
        Some(outcome) => log.received("splice", outcome, &data),
        None => log.say("splice hangs"),
    }
}

/// As HAProxy's splice-auto: non-blocking, after poll says so.
fn splice_much(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(1 << 20);
    let copy = data.clone();
    let _writer = start(move || {
        for part in copy.chunks(1400) {
            client.send_all(part)?;
        }
        client.shutdown(libc::SHUT_WR)
    });
    let (from, to) = sys::pipe(libc::O_NONBLOCK).unwrap();
    let mut got = Vec::new();
    let mut refused = 0;
    let outcome = loop {
        server.ready(libc::POLLIN);
        match sys::splice(server.0, to, 16 * 1024, libc::SPLICE_F_NONBLOCK) {
            Ok(0) => break Ok(got),
            Ok(length) => got.extend(Sock(from).read(length).unwrap()),
            Err(nix::errno::Errno::EAGAIN) if refused < 1000 => refused += 1,
            Err(errno) => break Err(errno),
        }
    };
    log.received("splice", outcome, &data);
}

fn sendfile(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(1 << 20);
    let file = sys::memory_file(&data);
    let writer = start(move || {
        let mut sent = 0;
        while sent < 1 << 20 {
            match sys::sendfile(client.0, file, (1 << 20) - sent) {
                Ok(more) => sent += more,
                Err(nix::errno::Errno::EAGAIN) => client.ready(libc::POLLOUT),
                Err(errno) => return Err(errno),
            }
        }
        Ok(sent)
    });
    log.received("recv", server.recv_all(1 << 20), &data);
    log.call("sendfile", writer.within(soon()).unwrap());
}

fn zero_copy(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(30_000);
    log.call("SO_ZEROCOPY", client.set(libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1));
    log.call("send", client.send(&data, libc::MSG_ZEROCOPY));
    log.received("recv", server.recv_all(data.len()), &data);
    let notified = client.poll(0, a_while()).is_ok_and(|events| events & libc::POLLERR != 0);
    log.fact("notified", notified);
    let message = sys::recvmsg(client.0, &mut [0; 8], libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT);
    log.call("notification", message.map(|message| message.control.len()));
}

//! Signals and stops.

use std::sync::Arc;
use std::time::Duration;

use super::{Case, case};
use crate::log::Log;
use crate::socket::{Modes, Pair, pattern, pause, soon, start, wait_asleep};
use crate::sys;

pub(super) const CASES: &[Case] = &[
    case("signal with SA_RESTART while blocked in recv", |log, modes| signal(log, modes, libc::SA_RESTART)),
    case("signal without SA_RESTART while blocked in recv", |log, modes| signal(log, modes, 0)),
    case("signal with SA_RESTART in a recv that was never served", first_signal),
    case("SIGSTOP and SIGCONT while blocked in recv", |log, modes| stopped(log, modes, true)),
    case("SIGSTOP and SIGCONT in a recv that was never served", |log, modes| stopped(log, modes, false)),
    case("signal with SA_RESTART while blocked in send", blocked_send),
];

fn signal(log: Log, modes: Modes, flags: i32) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    sys::handle(libc::SIGUSR1, flags);
    log.call("send", client.send(&data, 0));
    log.received("recv", server.recv_wait(200), &data);
    // By now a pair that leaves has had an acknowledgement to leave with.
    log.call("answer", server.send(&data, 0));
    log.received("recv", client.recv_wait(200), &data);
    pause();
    interrupt(log, modes, Pair { client, server });
}

fn first_signal(log: Log, modes: Modes) {
    sys::handle(libc::SIGUSR1, libc::SA_RESTART);
    interrupt(log, modes, modes.pair());
}

fn interrupt(log: Log, modes: Modes, Pair { client, server }: Pair) {
    let data = pattern(100);
    // poll(2) is never restarted (signal(7)), so only a blocking reader has something to show.
    let reader = start(move || if modes.server_nonblocking { Ok(Vec::new()) } else { server.recv(200, 0) });
    sys::signal_thread(reader.thread, libc::SIGUSR1);
    pause();
    log.call("send", client.send(&data, 0));
    log.received("recv", reader.within(soon()).unwrap(), &data);
}

fn stopped(log: Log, modes: Modes, served: bool) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    if served {
        log.call("send", client.send(&data, 0));
        log.received("recv", server.recv_wait(200), &data);
        log.call("answer", server.send(&data, 0));
        log.received("recv", client.recv_wait(200), &data);
        pause();
    }
    let Some(reader) = sys::fork() else {
        log.received("recv", server.recv_wait(200), &data);
        sys::exit(0);
    };
    wait_asleep(&format!("/proc/{reader}/stat"));
    sys::kill(reader, libc::SIGSTOP);
    std::thread::sleep(Duration::from_millis(100));
    sys::kill(reader, libc::SIGCONT);
    pause();
    // The reader's line comes first, whichever process is faster.
    let sent = client.send(&data, 0);
    sys::wait(reader, 0);
    log.call("send", sent);
}

fn blocked_send(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    sys::handle(libc::SIGUSR1, libc::SA_RESTART);
    let data = Arc::new(pattern(32 << 20));
    let sent = data.clone();
    let writer = start(move || client.send_all(&sent));
    sys::signal_thread(writer.thread, libc::SIGUSR1);
    pause();
    log.call("recv", server.recv_compared(&data));
    log.call("sent", writer.within(soon()).unwrap());
}

//! Much data, slow readers, and what they hold in memory.

use std::sync::Arc;
use std::time::Duration;

use super::{Case, case};
use crate::log::Log;
use crate::socket::{Modes, Pair, a_while, pattern, pause, soon, start};
use crate::sys;

pub(super) const CASES: &[Case] = &[
    case("100,000 writes of 1 byte, read late", many_small),
    case("64 MiB in one send", huge),
    case("non-reading receiver: bytes accepted", flood),
    case("non-reading receiver of 1-byte writes: memory pinned", flood_small),
    case("blocked sender woken by a drain", |log, modes| blocked_sender(log, modes, true)),
    case("blocked sender woken by a close", |log, modes| blocked_sender(log, modes, false)),
    case("both ends send 8 MiB at once", crossing),
    case("sizes from 1 byte to 200,000, alternating", sizes),
];

/// Of so many packets 5.10 makes room for more by looking at all of them (`tcp_collapse`), which an emulator cannot do
/// in time.
fn many_small(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(if crate::emulated() { 10_000 } else { 100_000 });
    let copy = data.clone();
    let writer = start(move || {
        for byte in copy.chunks(1) {
            client.send_all(byte)?;
        }
        client.shutdown(libc::SHUT_WR)
    });
    std::thread::sleep(Duration::from_millis(500));
    log.received("recv", server.recv_all(data.len() + 1), &data);
    log.call("writer", writer.within(soon()).unwrap());
}

fn huge(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = Arc::new(pattern(64 << 20));
    let sent = data.clone();
    let writer = start(move || {
        let first = client.send(&sent, 0)?;
        // A non-blocking sender is taken as much from as there is room for.
        client.send_all(&sent[first..]).map(|rest| first + rest)
    });
    log.call("recv", server.recv_compared(&data));
    log.call("sent", writer.within(soon()).unwrap());
}

/// Sends without waiting until nothing more is taken.
fn fill(pair: Pair, block: &[u8]) -> usize {
    let mut sent = 0;
    let mut refused = 0;
    while refused < 5 && sent < 256 << 20 {
        match pair.client.send(block, libc::MSG_DONTWAIT) {
            Ok(more) => {
                sent += more;
                refused = 0;
            }
            Err(_) => {
                refused += 1;
                pause();
            }
        }
    }
    sent
}

fn flood(log: Log, modes: Modes) {
    let pair = modes.pair();
    let sent = fill(pair, &pattern(16 * 1024));
    // Plain TCP takes about tcp_wmem[2] and the receiver's buffer; the bound says "not without end".
    log.fact("at most 16 MiB", sent <= 16 << 20);
    log.fact("all arrives", pair.server.recv_all(sent).is_ok_and(|bytes| bytes.len() == sent));
}

fn flood_small(log: Log, modes: Modes) {
    let pair = modes.pair();
    for byte in 0..20_000_u32 {
        if pair.client.send(&[byte as u8], libc::MSG_DONTWAIT).is_err() {
            break;
        }
    }
    pause();
    // SO_MEMINFO: SK_MEMINFO_RMEM_ALLOC is the first word, include/uapi/linux/sock_diag.h.
    let mut memory = [0_u32; 9];
    log.call("SO_MEMINFO", sys::get(pair.server.0, libc::SOL_SOCKET, 55, &mut memory).map(|_| 0));
    // In an emulator packets come too slowly to be made one, so there is only the bound of the receiver's buffer: the
    // kernel takes one packet more.
    if crate::emulated() {
        let limits = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").unwrap();
        let most: u32 = limits.split_whitespace().nth(2).unwrap().parse().unwrap();
        return log.fact("within tcp_rmem[2] at the receiver", memory[0] <= most + 65_536);
    }
    log.fact("at most 1 MiB at the receiver", memory[0] <= 1 << 20);
}

fn blocked_sender(log: Log, modes: Modes, drain: bool) {
    let Pair { client, server } = modes.pair();
    let data = Arc::new(pattern(48 << 20));
    let sent = data.clone();
    let writer = start(move || client.send_all(&sent));
    log.fact("is blocked", writer.within(a_while()).is_none());
    if drain {
        log.fact("all arrives", server.recv_compared(&data) == Ok(data.len().to_string()));
        log.call("sent", writer.within(soon()).unwrap());
    } else {
        server.close();
        log.fact("woken with an error", writer.within(soon()).is_some_and(|outcome| outcome.is_err()));
    }
}

fn crossing(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = Arc::new(pattern(8 << 20));
    let (one, two, three) = (data.clone(), data.clone(), data.clone());
    let writers = [start(move || client.send_all(&one)), start(move || server.send_all(&two))];
    let reader = start(move || client.recv_compared(&three));
    log.call("recv", server.recv_compared(&data));
    log.call("recv", reader.within(soon()).unwrap());
    for writer in writers {
        log.call("sent", writer.within(soon()).unwrap());
    }
}

fn sizes(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(4_000_000);
    let copy = data.clone();
    let writer = start(move || {
        let mut rest = copy.as_slice();
        for size in [1, 7, 1460, 70_000, 64, 200_000, 4096].into_iter().cycle() {
            let (part, after) = rest.split_at(size.min(rest.len()));
            client.send_all(part)?;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        Ok(0)
    });
    log.received("recv", server.recv_all(data.len()), &data);
    log.call("writer", writer.within(soon()).unwrap());
}

//! io_uring.

use super::{Case, case, case_for};
use crate::feature::Feature;
use crate::log::Log;
use crate::socket::{Modes, Pair, pattern, pause, start};
use crate::uring::{Operation, Ring};

pub(super) const CASES: &[Case] = &[
    case("io_uring send and recv", |log, modes| exchange(log, modes, Operation::Send)),
    case_for(Feature::UringZeroCopySend, "io_uring zero-copy send", |log, modes| {
        exchange(log, modes, Operation::SendZeroCopy)
    }),
    case("io_uring recv waits for data", waits),
];

fn exchange(log: Log, modes: Modes, send: Operation) {
    let Pair { client, server } = modes.pair();
    let mut data = pattern(100);
    let mut ring = Ring::new().unwrap();
    let sent = ring.run(send, client.0, &mut data);
    log.call("send", sent);
    if sent.is_err() {
        return;
    }
    let mut buffer = vec![0; 200];
    pause();
    let received = ring.run(Operation::Recv, server.0, &mut buffer);
    log.received("recv", received.map(|length| buffer[..length].to_vec()), &data);
}

fn waits(log: Log, modes: Modes) {
    let Pair { client, server } = modes.pair();
    let data = pattern(100);
    let mut ring = Ring::new().unwrap();
    let reader = start(move || {
        let mut buffer = vec![0; 200];
        ring.run(Operation::Recv, server.0, &mut buffer).map(|length| buffer[..length].to_vec())
    });
    log.call("send", client.send(&data, 0));
    log.received("recv", reader.within(crate::socket::soon()).unwrap(), &data);
}

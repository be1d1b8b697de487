//! Scenarios with readers that sleep in recv(2), or wait for events.

use sidestep::dataplane::Readers;

use super::kernel::{Message, acknowledge};
use super::pair::{Pair, R, Variant};
use super::process::{Cpu, Stop};
use super::scenario::{Scenario, arriving, large, order_reader, sends};
use super::sleep::{probes, reads_on_events, recvmsg_blocks};

/// Readers that block are served by programs of their own, and messages that take the stack keep the direction there.
fn blocking(pair: &mut Pair) {
    *pair = Pair::of(pair.architecture, Variant { readers: Readers::Any, ..Variant::USUAL });
    pair.share_sleep(false);
    pair.count_senders(1);
}

/// A reader that waits for events, and programs that can wake it.
fn events(pair: &mut Pair) {
    *pair = Pair::of(pair.architecture, Variant { wakes: true, ..Variant::USUAL });
    pair.share_sleep(true);
    pair.count_senders(1);
}

fn sleeps_until(cpu: &mut Cpu, messages: [u64; 2]) -> Result<(), Stop> {
    while cpu.messages() != messages {
        recvmsg_blocks(cpu, R)?;
    }
    Ok(())
}

const REDIRECTED_THEN_STACK: [Message; 2] = [arriving(1), large(2)];

pub(crate) const READERS: &[Scenario] = &[
    Scenario {
        name: "a reader that blocks, two redirected messages",
        before: blocking,
        processes: &[
            ("sender", |cpu| sends(cpu, &[arriving(1), arriving(2)])),
            ("reader", |cpu| sleeps_until(cpu, [2, 0])),
        ],
        mended: None,
    },
    Scenario {
        name: "a reader that blocks, a redirected message, one by the stack, leave",
        before: blocking,
        processes: &[
            ("sender", |cpu| sends(cpu, &REDIRECTED_THEN_STACK)),
            ("reader", |cpu| sleeps_until(cpu, [2, 0])),
            ("leaver", |cpu| acknowledge(cpu, R)),
        ],
        mended: Some(order_reader),
    },
];

/// The receiver acknowledges the stack's bytes only when its reader has read the redirected ones.
pub(crate) const LATE_ACKNOWLEDGEMENT: &[Scenario] = &[Scenario {
    name: "a reader of events, a redirected message, one by the stack",
    before: events,
    processes: &[
        ("sender", |cpu| sends(cpu, &REDIRECTED_THEN_STACK)),
        ("reader", |cpu| reads_on_events(cpu, [2, 0])),
        ("keepalive", probes),
    ],
    mended: Some(order_reader),
}];

//! Scenarios with readers that sleep in recv(2), or wait for events.

use sidestep::dataplane::Readers;

use super::kernel::{Message, acknowledge, peekmsg, recvmsg, sendmsg};
use super::pair::{Pair, R, S, Variant};
use super::process::{Cpu, Stop};
use super::scenario::{Scenario, arriving, large, order_reader, sends};
use super::sleep::{probes, reads_on_events, recvmsg_blocks, recvmsg_waits_for_all};

/// Readers that block are served by programs of their own, and messages that take the stack keep the direction there.
fn blocking(pair: &mut Pair) {
    *pair = Pair::of(pair.architecture, Variant { readers: Readers::Any, ..Variant::USUAL });
    pair.share_sleep(false);
    pair.count_senders(1);
}

/// A reader that waits for events.
fn events(pair: &mut Pair) {
    *pair = Pair::of(pair.architecture, Variant::USUAL);
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
const THEN_STACK_AGAIN: [Message; 3] = [arriving(1), large(2), arriving(3)];

fn waits_for_all(cpu: &mut Cpu, messages: u64) -> Result<(), Stop> {
    while cpu.messages()[0] < messages {
        recvmsg_waits_for_all(cpu, R, messages)?;
    }
    Ok(())
}

/// Readers that look at their bytes before they take them (MSG_PEEK).
pub(crate) const PEEKS: &[Scenario] = &[Scenario {
    name: "a reader that peeks, behind a message by the stack",
    before: |pair| pair.send_by_stack(S, 1),
    processes: &[
        ("sender", |cpu| [2, 3].into_iter().try_for_each(|number| sendmsg(cpu, S, arriving(number)))),
        ("reader", |cpu| {
            peekmsg(cpu, R)?;
            recvmsg(cpu, R)?;
            peekmsg(cpu, R)?;
            recvmsg(cpu, R)
        }),
    ],
    corrected: Some(order_reader),
}];

/// Readers that block until they have all they want (MSG_WAITALL). A call that reads the stack sees the stack alone.
pub(crate) const WAITS_FOR_ALL: &[Scenario] = &[Scenario {
    name: "a reader that waits for all, a redirected message, two by the stack",
    before: blocking,
    processes: &[("sender", |cpu| sends(cpu, &THEN_STACK_AGAIN)), ("reader", |cpu| waits_for_all(cpu, 3))],
    corrected: Some(order_reader),
}];

pub(crate) const READERS: &[Scenario] = &[
    Scenario {
        name: "a reader that blocks, two redirected messages",
        before: blocking,
        processes: &[
            ("sender", |cpu| sends(cpu, &[arriving(1), arriving(2)])),
            ("reader", |cpu| sleeps_until(cpu, [2, 0])),
        ],
        corrected: None,
    },
    Scenario {
        name: "a reader that blocks, a redirected message, one by the stack, leave",
        before: blocking,
        processes: &[
            ("sender", |cpu| sends(cpu, &REDIRECTED_THEN_STACK)),
            ("reader", |cpu| sleeps_until(cpu, [2, 0])),
            ("leaver", |cpu| acknowledge(cpu, R)),
        ],
        corrected: Some(order_reader),
    },
];

/// The receiver acknowledges the stack's bytes when they arrive.
pub(crate) const ACKNOWLEDGED: &[Scenario] = &[Scenario {
    name: "a reader of events, a redirected message, one by the stack, acknowledged at once",
    before: acknowledged_events,
    processes: &[
        ("sender", |cpu| sends(cpu, &REDIRECTED_THEN_STACK)),
        ("reader", |cpu| reads_on_events(cpu, [2, 0])),
        ("keepalive", probes),
    ],
    corrected: Some(order_reader),
}];

fn acknowledged_events(pair: &mut Pair) {
    events(pair);
    pair.share(R);
    pair.acknowledges = true;
}

/// The receiver acknowledges the stack's bytes only when its reader has read the redirected ones.
pub(crate) const LATE_ACKNOWLEDGEMENT: &[Scenario] = &[Scenario {
    name: "a reader of events, a redirected message, one by the stack",
    before: events,
    processes: &[
        ("sender", |cpu| sends(cpu, &REDIRECTED_THEN_STACK)),
        ("reader", |cpu| reads_on_events(cpu, [2, 0])),
        ("keepalive", probes),
    ],
    corrected: Some(order_reader),
}];

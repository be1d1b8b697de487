//! Scenarios of three messages.

use super::kernel::{Message, acknowledge, recvmsg, sendmsg};
use super::pair::{R, S};
use super::process::{Cpu, Stop};
use super::scenario::{Scenario, arriving, large, leaving_and_unread, marks_and_leaves, order_reader};

fn sends_three(cpu: &mut Cpu, messages: [Message; 3]) -> Result<(), Stop> {
    messages.into_iter().try_for_each(|message| sendmsg(cpu, S, message))
}

fn reads(cpu: &mut Cpu, times: usize) -> Result<(), Stop> {
    (0..times).try_for_each(|_| recvmsg(cpu, R))
}

pub(crate) const THREE_MESSAGES: &[Scenario] = &[
    Scenario {
        name: "three messages, gate against reader",
        before: |pair| pair.send_by_stack(S, 1),
        processes: &[
            ("sender", |cpu| sends_three(cpu, [arriving(2), arriving(3), arriving(4)])),
            ("reader", |cpu| reads(cpu, 3)),
        ],
        corrected: Some(order_reader),
    },
    Scenario {
        name: "three messages, the second by the stack, gate against reader",
        before: |_| (),
        processes: &[
            ("sender", |cpu| sends_three(cpu, [arriving(1), large(2), arriving(3)])),
            ("reader", |cpu| reads(cpu, 3)),
        ],
        corrected: Some(order_reader),
    },
    Scenario {
        name: "three messages, gate against leave, for a mark",
        before: |_| (),
        processes: &[
            ("sender", |cpu| sends_three(cpu, [arriving(1), arriving(2), arriving(3)])),
            ("leaver", |cpu| marks_and_leaves(cpu, R)),
        ],
        corrected: None,
    },
    Scenario {
        name: "three messages, gate against leave, with a message unread",
        before: leaving_and_unread,
        processes: &[
            ("sender", |cpu| sends_three(cpu, [arriving(2), arriving(3), arriving(4)])),
            ("reader", |cpu| reads(cpu, 1)),
            ("leaver", |cpu| acknowledge(cpu, R)),
        ],
        corrected: Some(order_reader),
    },
];

//! Scenarios in which the programs are replaced between two messages (src/agent/lifecycle/upgrade.rs).

use super::event::{Change, Order};
use super::kernel::{acknowledge, recvmsg, sendmsg};
use super::pair::{Pair, R, S, Variant};
use super::process::{Cpu, Stop};
use super::programs;
use super::scenario::{Named, Scenario, arriving, leaving_and_unread, mark, order_reader};

/// Programs of equal layout that read kernel memory in another way.
const OTHER: Variant = Variant { casts: false, ..Variant::USUAL };

/// `prog_array_map` takes a new program with one exchange (`bpf_fd_array_map_update_elem`).
fn replaces(cpu: &mut Cpu) -> Result<(), Stop> {
    let verdict = cpu.pair.verdict.expect("programs are replaced");
    cpu.update(verdict, Change::Set(1), Order::Full).map(drop)
}

/// An upgrade to another layout: the agent turns the old programs' switch off, sleeps, and the drain comes by.
fn retires(cpu: &mut Cpu) -> Result<(), Stop> {
    let switch = cpu.pair.switch.expect("the switch is shared");
    cpu.store(switch, 0)?;
    cpu.pause()?;
    programs::drain(cpu, R)
}

fn equal_layout(pair: &mut Pair) {
    pair.prepare_upgrade(OTHER);
}

fn sends_two(cpu: &mut Cpu) -> Result<(), Stop> {
    sendmsg(cpu, S, arriving(1))?;
    sendmsg(cpu, S, arriving(2))
}

/// The link of the cgroup takes a new program with one exchange (`cgroup_bpf_replace`), and each end runs the one that it finds there.
fn replaces_callbacks(cpu: &mut Cpu) -> Result<(), Stop> {
    let attached = cpu.pair.attached.expect("programs are replaced");
    cpu.update(attached, Change::Set(1), Order::Full).map(drop)
}

fn callbacks_of_equal_layout(pair: &mut Pair) {
    pair.prepare_upgrade_of_callbacks(OTHER);
}

const SENDER: Named = ("sender", sends_two);
const UPGRADE: Named = ("upgrade", replaces);

pub(crate) const UPGRADES: &[Scenario] = &[
    Scenario {
        name: "programs of equal layout, gate against leave",
        before: equal_layout,
        processes: &[
            SENDER,
            UPGRADE,
            ("leaver", |cpu| {
                mark(cpu)?;
                acknowledge(cpu, R)
            }),
        ],
        corrected: None,
    },
    Scenario {
        name: "programs of equal layout, gate against reader",
        before: |pair| {
            equal_layout(pair);
            pair.send_by_stack(S, 1);
        },
        processes: &[
            ("sender", |cpu| {
                sendmsg(cpu, S, arriving(2))?;
                sendmsg(cpu, S, arriving(3))
            }),
            UPGRADE,
            ("reader", |cpu| {
                recvmsg(cpu, R)?;
                recvmsg(cpu, R)
            }),
        ],
        corrected: Some(order_reader),
    },
    Scenario {
        name: "callbacks of equal layout, both ends leave for a mark",
        before: callbacks_of_equal_layout,
        processes: &[
            ("sender", |cpu| sendmsg(cpu, S, arriving(1))),
            ("upgrade", replaces_callbacks),
            ("leaver", |cpu| {
                mark(cpu)?;
                acknowledge(cpu, R)?;
                acknowledge(cpu, R)
            }),
        ],
        corrected: None,
    },
    Scenario {
        name: "programs of another layout, the old ones are drained",
        before: |pair| pair.share_switch(),
        processes: &[SENDER, ("drain", retires)],
        corrected: None,
    },
    Scenario {
        name: "programs of another layout, the old ones are drained, with a message unread",
        before: |pair| {
            pair.share_switch();
            pair.begin_with(pair.ends[R].queue, 1);
        },
        processes: &[
            ("sender", |cpu| sendmsg(cpu, S, arriving(2))),
            ("drain", retires),
            ("reader", |cpu| recvmsg(cpu, R)),
        ],
        corrected: Some(order_reader),
    },
];

/// The callbacks of one end under both programs, and a message unread.
pub(crate) const CALLBACKS_UNREAD: &[Scenario] = &[Scenario {
    name: "callbacks of equal layout, with a message unread",
    before: |pair| {
        callbacks_of_equal_layout(pair);
        leaving_and_unread(pair);
    },
    processes: &[
        ("sender", |cpu| sendmsg(cpu, S, arriving(2))),
        ("upgrade", replaces_callbacks),
        ("leaver", |cpu| {
            acknowledge(cpu, R)?;
            acknowledge(cpu, R)
        }),
        ("reader", |cpu| recvmsg(cpu, R)),
    ],
    corrected: Some(order_reader),
}];

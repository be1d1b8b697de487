//! The scenarios: who does what at the same time, and what there is before.

use super::kernel::{Message, acknowledge, recvmsg, sendmsg};
use super::memory::Architecture;
use super::pair::{Pair, R, S, UNENROLLING};
use super::process::{Cpu, Process, Stop};
use super::programs;
use super::search::{Found, search};

/// Too large for an empty queue: the gate lets it take the stack.
const LARGE: u32 = 1 << 20;

/// A name, and what that process does.
type Named = (&'static str, fn(&mut Cpu) -> Result<(), Stop>);

#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    before: fn(&mut Pair),
    processes: &'static [Named],
    /// On arm64 the kernel lacks an order, without which this fails. This adds it.
    pub(crate) mended: Option<fn(&mut Pair)>,
}

fn message(number: u64) -> Message {
    Message { number, size: 1, arrives: false }
}

/// The agent marks both ends (`programs::members`).
fn mark(cpu: &mut Cpu) -> Result<(), Stop> {
    for end in [S, R] {
        let leaving = cpu.pair.ends[end].leaving;
        cpu.store(leaving, 1)?;
    }
    Ok(())
}

/// Both ends have been marked for long, and the receiver has a redirected message unread.
fn marked_and_unread(pair: &mut Pair) {
    for end in [S, R] {
        pair.begin_with(pair.ends[end].leaving, 1);
    }
    pair.begin_with(pair.ends[R].queue, 1);
}

fn reads_twice(cpu: &mut Cpu) -> Result<(), Stop> {
    recvmsg(cpu, R)?;
    recvmsg(cpu, R)
}

const SENDER: Named = ("sender", |cpu| sendmsg(cpu, S, message(1)));
const SECOND: Named = ("sender", |cpu| sendmsg(cpu, S, message(2)));
const READER: Named = ("reader", |cpu| recvmsg(cpu, R));
const LEAVER: Named = ("leaver", |cpu| acknowledge(cpu, R));
const DRAIN: Named = ("drain", |cpu| programs::drain(cpu, R));

pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "gate against leave, for an option",
        before: |pair| pair.set_option(R),
        processes: &[
            SENDER,
            ("leaver", |cpu| {
                sendmsg(cpu, R, message(1))?;
                acknowledge(cpu, R)
            }),
        ],
        mended: None,
    },
    Scenario {
        name: "gate against leave, for a mark",
        before: |_| (),
        processes: &[SENDER, LEAVER, ("agent", mark)],
        mended: None,
    },
    Scenario {
        name: "gate against leave, with a message unread",
        before: |pair| {
            pair.begin_with(pair.ends[R].queue, 1);
            let flags = pair.words[pair.ends[R].flags].initial;
            pair.begin_with(pair.ends[R].flags, flags | UNENROLLING);
        },
        processes: &[SECOND, LEAVER, READER],
        mended: None,
    },
    Scenario {
        name: "gate against leave, marked before, with a message unread",
        before: marked_and_unread,
        processes: &[SECOND, LEAVER, READER],
        mended: None,
    },
    Scenario {
        name: "gate against drain, marked",
        before: marked_and_unread,
        processes: &[SECOND, DRAIN, READER],
        mended: None,
    },
    Scenario {
        name: "gate against drain, switched off",
        before: |pair| {
            pair.switch_off();
            pair.begin_with(pair.ends[R].queue, 1);
        },
        processes: &[SECOND, DRAIN, READER],
        mended: None,
    },
    Scenario {
        name: "gate against reader",
        before: |pair| pair.send_by_stack(S, 1),
        processes: &[SECOND, ("reader", reads_twice)],
        mended: Some(|pair| pair.orders_owner = true),
    },
    Scenario {
        name: "the reader's own look",
        before: |_| (),
        processes: &[
            ("sender", |cpu| {
                sendmsg(cpu, S, message(1))?;
                sendmsg(cpu, S, Message { number: 2, size: LARGE, arrives: true })
            }),
            ("reader", reads_twice),
        ],
        mended: Some(|pair| pair.orders_looks = true),
    },
];

impl Scenario {
    /// Whether it runs this program of ours.
    pub(crate) fn runs(&self, program: &str) -> bool {
        let has = |wanted: &str| self.processes.iter().any(|(name, _)| *name == wanted);
        match program {
            "sock_ops" => has("leaver"),
            "drain" => has("drain"),
            _ => true,
        }
    }

    /// Tries all schedules, with the kernel as it is. `change` has the last word on the programs and the kernel.
    pub(crate) fn search(&self, architecture: Architecture, change: impl FnOnce(&mut Pair)) -> Found {
        let mut pair = Pair::new(architecture);
        (self.before)(&mut pair);
        change(&mut pair);
        let processes = self.processes.iter().map(|(name, script)| Process::new(name, &pair, Box::new(script)));
        search(architecture, &pair.words, &mut processes.collect::<Vec<_>>())
    }

    /// The same with a kernel that lacks no order.
    pub(crate) fn search_mended(&self, architecture: Architecture, change: impl FnOnce(&mut Pair)) -> Found {
        self.search(architecture, |pair| {
            if let Some(mend) = self.mended {
                mend(pair);
            }
            change(pair);
        })
    }
}

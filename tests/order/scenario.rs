//! The scenarios: who does what at the same time, and what there is before.

use super::kernel::{Message, THREAD, acknowledge, recvmsg, sendmsg, sock_hash_update};
use super::memory::Architecture;
use super::pair::{Pair, R, S, UNDERWAY, UNENROLLING};
use super::process::{Cpu, Process, Stop};
use super::programs;
use super::search::{Found, search};
use super::walk::{Walked, walk};

/// Too large for an empty queue: the gate of programs that can wake a reader lets it take the stack.
const LARGE: u32 = 1 << 20;

/// A name, and what that process does.
pub(crate) type Named = (&'static str, fn(&mut Cpu) -> Result<(), Stop>);

#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) before: fn(&mut Pair),
    pub(crate) processes: &'static [Named],
    /// The kernel lacks something, on arm64 an order, without which this fails. This adds it.
    pub(crate) corrected: Option<fn(&mut Pair)>,
}

pub(crate) fn message(number: u64) -> Message {
    Message { number, size: 1, arrives: false }
}

/// The agent marks both ends (`programs::members`).
pub(crate) fn mark(cpu: &mut Cpu) -> Result<(), Stop> {
    for end in [S, R] {
        let leaving = cpu.pair.ends[end].leaving;
        cpu.store(leaving, 1)?;
    }
    Ok(())
}

/// Both ends have been marked for long, and the receiver has a redirected message unread.
pub(crate) fn marked_and_unread(pair: &mut Pair) {
    for end in [S, R] {
        pair.begin_with(pair.ends[end].leaving, 1);
    }
    pair.begin_with(pair.ends[R].queue, 1);
}

/// The receiver's end is about to leave, and has a redirected message unread.
pub(crate) fn leaving_and_unread(pair: &mut Pair) {
    pair.begin_with(pair.ends[R].queue, 1);
    pair.set_flags(R, UNENROLLING);
}

/// The agent marks both ends; an acknowledgement comes on its processor.
pub(crate) fn marks_and_leaves(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    mark(cpu)?;
    acknowledge(cpu, end)
}

fn reads_twice(cpu: &mut Cpu) -> Result<(), Stop> {
    recvmsg(cpu, R)?;
    recvmsg(cpu, R)
}

const SENDER: Named = ("sender", |cpu| sendmsg(cpu, S, message(1)));
const SECOND: Named = ("sender", |cpu| sendmsg(cpu, S, message(2)));
const THREAD_2: Named = ("thread 2", |cpu| sendmsg(cpu, S, message(THREAD + 1)));
const READS_AND_SENDS: Named = ("thread 2", |cpu| {
    recvmsg(cpu, R)?;
    sendmsg(cpu, S, message(THREAD + 1))
});
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
        corrected: None,
    },
    Scenario {
        name: "gate against leave, for a mark",
        before: |_| (),
        processes: &[SENDER, LEAVER, ("agent", mark)],
        corrected: None,
    },
    Scenario {
        name: "gate against leave, with a message unread",
        before: leaving_and_unread,
        processes: &[SECOND, LEAVER, READER],
        corrected: None,
    },
    Scenario {
        name: "gate against leave, marked before, with a message unread",
        before: marked_and_unread,
        processes: &[SECOND, LEAVER, READER],
        corrected: None,
    },
    Scenario {
        name: "gate against drain, marked",
        before: marked_and_unread,
        processes: &[SECOND, DRAIN, READER],
        corrected: None,
    },
    Scenario {
        name: "gate against drain, switched off",
        before: |pair| {
            pair.switch_off();
            pair.begin_with(pair.ends[R].queue, 1);
        },
        processes: &[SECOND, DRAIN, READER],
        corrected: None,
    },
    Scenario {
        name: "gate against reader",
        before: |pair| pair.send_by_stack(S, 1),
        processes: &[SECOND, ("reader", reads_twice)],
        corrected: Some(|pair| pair.orders_owner = true),
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
        corrected: Some(|pair| pair.orders_looks = true),
    },
];

/// A pair that joins the sockhash late, while its reader may be inside plain TCP's recv(2).
pub(crate) const LATE: &[Scenario] = &[
    Scenario {
        name: "a receiver joins late",
        before: Pair::join_late,
        processes: &[
            ("sender", |cpu| {
                sendmsg(cpu, S, arriving(1))?;
                sendmsg(cpu, S, large(2))
            }),
            ("reader", reads_twice),
            JOINS,
        ],
        corrected: Some(order_reader),
    },
    Scenario {
        name: "a receiver joins late, between messages",
        before: Pair::join_late,
        processes: &[
            ("sender", |cpu| {
                sendmsg(cpu, S, arriving(1))?;
                sendmsg(cpu, S, arriving(2))?;
                sendmsg(cpu, S, large(3))
            }),
            ("reader", reads_twice),
            JOINS,
        ],
        corrected: Some(order_reader),
    },
];

const JOINS: Named = ("agent", |cpu| sock_hash_update(cpu, R));

/// Two threads that send at the same time. They are apart from [`ALL`], which are searched with each mutant: these are larger.
pub(crate) const TWO_SENDERS: &[Scenario] = &[
    Scenario {
        name: "two senders, the other end leaves, with a message unread",
        before: |pair| {
            pair.share(S);
            leaving_and_unread(pair);
        },
        processes: &[SECOND, READS_AND_SENDS, LEAVER],
        corrected: None,
    },
    Scenario {
        name: "two senders, drain, marked, with a message unread",
        before: |pair| {
            pair.share(S);
            marked_and_unread(pair);
        },
        processes: &[SECOND, READS_AND_SENDS, DRAIN],
        corrected: None,
    },
    Scenario {
        name: "two senders, drain, switched off, with a message unread",
        before: |pair| {
            pair.share(S);
            pair.switch_off();
            pair.begin_with(pair.ends[R].queue, 1);
        },
        processes: &[SECOND, READS_AND_SENDS, DRAIN],
        corrected: None,
    },
    Scenario {
        name: "a sender at each end, one leaves for an option",
        before: |pair| {
            pair.share(R);
            pair.set_option(R);
        },
        processes: &[SENDER, ("answer", |cpu| sendmsg(cpu, R, message(1))), LEAVER],
        corrected: None,
    },
];

/// Two threads whose messages take the stack for several reasons, while one of them may be underway past it, and a reader that may be
/// late.
pub(crate) const TWO_SENDERS_READ: &[Scenario] = &[
    Scenario {
        name: "two senders, a message of each by the stack, gate against reader",
        before: |pair| pair.share(S),
        processes: &[
            ("sender", |cpu| {
                sendmsg(cpu, S, arriving(1))?;
                sendmsg(cpu, S, large(2))
            }),
            ("thread 2", |cpu| sendmsg(cpu, S, large(THREAD + 1))),
            READER,
        ],
        corrected: Some(order_reader),
    },
    Scenario {
        name: "two senders, a mark, gate against reader",
        before: |pair| pair.share(S),
        processes: &[
            ("sender", |cpu| {
                sendmsg(cpu, S, arriving(1))?;
                mark(cpu)?;
                sendmsg(cpu, S, arriving(2))
            }),
            ("thread 2", |cpu| sendmsg(cpu, S, arriving(THREAD + 1))),
            READER,
        ],
        corrected: Some(order_reader),
    },
];

/// Both threads' socket has redirected a message before, so that one may be underway; that one has been read.
fn has_redirected(pair: &mut Pair) {
    pair.share(S);
    pair.set_flags(S, UNDERWAY);
    pair.begin_with(pair.ends[S].sent, 1);
}

/// Two threads find that the pair leaves. All that has been redirected is read, and what they see of each other could be taken for a message
/// that is underway.
pub(crate) const UNSURE: &[Scenario] = &[
    Scenario {
        name: "two senders, leave, nothing unread",
        before: |pair| {
            has_redirected(pair);
            pair.set_flags(R, UNENROLLING);
        },
        processes: &[SENDER, THREAD_2, LEAVER],
        corrected: None,
    },
    Scenario {
        name: "two senders, drain, switched off, nothing unread",
        before: |pair| {
            has_redirected(pair);
            pair.switch_off();
        },
        processes: &[SENDER, THREAD_2, DRAIN],
        corrected: None,
    },
];

/// Two senders, and a mark that comes meanwhile. On arm64 each takes minutes.
pub(crate) const TWO_SENDERS_MARKED: &[Scenario] = &[
    Scenario {
        name: "two senders, the other end leaves for a mark",
        before: |pair| pair.share(S),
        processes: &[SENDER, THREAD_2, ("leaver", |cpu| marks_and_leaves(cpu, R))],
        corrected: None,
    },
    Scenario {
        name: "two senders, their own end leaves for a mark",
        before: |pair| pair.share(S),
        processes: &[SENDER, THREAD_2, ("leaver", |cpu| marks_and_leaves(cpu, S))],
        corrected: None,
    },
];

pub(crate) const fn arriving(number: u64) -> Message {
    Message { number, size: 1, arrives: true }
}

pub(crate) const fn large(number: u64) -> Message {
    Message { number, size: LARGE, arrives: true }
}

/// Sends messages one after the other.
pub(crate) fn sends(cpu: &mut Cpu, messages: &[Message]) -> Result<(), Stop> {
    for message in messages {
        sendmsg(cpu, S, *message)?;
    }
    cpu.end_sending()
}

/// Reads a few times at any time, and then all that there is.
pub(crate) fn reads_all(cpu: &mut Cpu, messages: [u64; 2]) -> Result<(), Stop> {
    for _ in 0..3 {
        recvmsg(cpu, R)?;
    }
    cpu.wait_for_senders()?;
    // From the queue, from the stack, and from the stack once more when a reference made the socket look as if it had a queue.
    for _ in 0..3 {
        recvmsg(cpu, R)?;
    }
    cpu.has_received(messages)
}

/// The drain comes by at the entry while it is there.
fn drains(cpu: &mut Cpu) -> Result<(), Stop> {
    for _ in 0..3 {
        let member = cpu.pair.ends[R].member;
        if cpu.ask(member)? != 0 {
            programs::drain(cpu, R)?;
        }
    }
    Ok(())
}

const MIXED: Named = ("sender", |cpu| {
    sends(cpu, &[arriving(1), arriving(2), large(3), arriving(4), arriving(5), large(6), arriving(7)])
});
const MIXED_BEHIND: Named =
    ("sender", |cpu| sends(cpu, &[arriving(2), arriving(3), large(4), arriving(5), arriving(6)]));
const MIXED_2: Named = ("thread 2", |cpu| sends(cpu, &[arriving(THREAD + 1), large(THREAD + 2), arriving(THREAD + 3)]));
const LEAVES: Named = ("leaver", |cpu| {
    for _ in 0..3 {
        acknowledge(cpu, R)?;
    }
    Ok(())
});

/// Longer ones, for random schedules.
pub(crate) const LONG: &[Scenario] = &[
    Scenario {
        name: "seven messages, reader, leave for a mark",
        before: |pair| pair.count_senders(1),
        processes: &[MIXED, ("reader", |cpu| reads_all(cpu, [7, 0])), LEAVES, ("agent", mark)],
        corrected: Some(order_reader),
    },
    Scenario {
        name: "six messages, reader, drain, marked",
        before: |pair| {
            pair.count_senders(1);
            marked_and_unread(pair);
        },
        processes: &[MIXED_BEHIND, ("reader", |cpu| reads_all(cpu, [6, 0])), ("drain", drains)],
        corrected: Some(order_reader),
    },
    Scenario {
        name: "two senders, ten messages, reader, leave for a mark",
        before: |pair| {
            pair.share(S);
            pair.count_senders(2);
        },
        processes: &[MIXED, MIXED_2, ("reader", |cpu| reads_all(cpu, [7, 3])), LEAVES, ("agent", mark)],
        corrected: Some(order_reader),
    },
    Scenario {
        name: "two senders, nine messages, reader, drain, switched off",
        before: |pair| {
            pair.share(S);
            pair.count_senders(2);
            pair.switch_off();
            pair.begin_with(pair.ends[R].queue, 1);
        },
        processes: &[MIXED_BEHIND, MIXED_2, ("reader", |cpu| reads_all(cpu, [6, 3])), ("drain", drains)],
        corrected: Some(order_reader),
    },
];

pub(crate) fn order_reader(pair: &mut Pair) {
    let is_weak = pair.architecture == Architecture::Arm;
    (pair.orders_owner, pair.orders_looks) = (is_weak, is_weak);
}

impl Scenario {
    /// Takes random schedules with a kernel that has what is missing, while `goes_on` says so of their number.
    pub(crate) fn walk(
        &self,
        architecture: Architecture,
        seed: u64,
        goes_on: impl FnMut(u64) -> bool,
        change: impl FnOnce(&mut Pair),
    ) -> Walked {
        let mut pair = Pair::new(architecture);
        (self.before)(&mut pair);
        if let Some(correct) = self.corrected {
            correct(&mut pair);
        }
        change(&mut pair);
        let processes = self.processes.iter().map(|(name, script)| Process::new(name, &pair, Box::new(script)));
        walk(architecture, &pair.words, &mut processes.collect::<Vec<_>>(), seed, goes_on)
    }

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
        self.search_from(Pair::new(architecture), change)
    }

    /// The same with a pair of other programs.
    pub(crate) fn search_from(&self, mut pair: Pair, change: impl FnOnce(&mut Pair)) -> Found {
        let architecture = pair.architecture;
        (self.before)(&mut pair);
        change(&mut pair);
        let processes = self.processes.iter().map(|(name, script)| Process::new(name, &pair, Box::new(script)));
        search(architecture, &pair.words, &mut processes.collect::<Vec<_>>())
    }

    /// The same with a kernel that lacks no order.
    pub(crate) fn search_corrected(&self, architecture: Architecture, change: impl FnOnce(&mut Pair)) -> Found {
        self.search(architecture, |pair| {
            self.correct(pair);
            change(pair);
        })
    }

    /// The kernel lacks no order.
    pub(crate) fn correct(&self, pair: &mut Pair) {
        if let Some(correct) = self.corrected {
            correct(pair);
        }
    }
}

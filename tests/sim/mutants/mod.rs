//! Our programs with one check dropped: the verifier refuses the mutant, or a history breaks a promise.
//!
//! The checks are those that the programs name (`require`, `permit`, `guard`); every other condition must be one of
//! [`CHOICES`]. [`EQUIVALENT`] says which mutants behave as the original does, and why.

use std::collections::BTreeSet;
use std::thread;

use sidestep::agent::program_specs;
use sidestep::asm::{self, Insn, opcode as op};
use sidestep::dataplane::{DataPlane, Pairing};
use sidestep::verifier_sim::spec::{Kernel, Options, ProgramSpec};
use sidestep::verifier_sim::verify;

use super::history::{CONFIG, Connect, Insns, Means, Op, Simulation, gated};
use super::pairing::histories as random_histories;

/// Labels of jumps that are not checks: they choose the callback, how an address is written, or how the kernel is asked to
/// probe; they give up acceleration, or keep it for streams that are faster with it.
const CHOICES: &[&str] = &[
    "rtt",
    "active",
    "passive",
    "request",
    "packet",
    "state",
    // Another tool's flags.
    "recover",
    "recovered",
    "unpaired",
    "waiting",
    "else",
    "end_if",
    "global",
    "node_local",
    "peer_left",
    "answered",
    "no_stream",
    "keepalive_done",
    "asks_or_not",
    // A network or port of the policy, where there is one.
    "outside",
    "port_above",
];

/// A check whose loss no history can notice: the only form of the programs that is meant, or nothing; the end of its name,
/// behind that of its program; and why.
type Equivalent = (&'static str, &'static str, &'static str);

const EQUIVALENT: &[Equivalent] = &[
    // A load of kernel memory fails only where there is none. What it loads is then zero, which the next check refuses: no
    // cookie is 0, no file without flags is O_NONBLOCK, no list head is at 0. In these histories memory never goes away.
    ("", "probe/there is memory", "the load of a living object does not fail"),
    ("", "number_of/the copy is made", "the copy is from the program's own stack"),
    ("", "unenroll/own/psock/it is in a sockhash", "the next load is from nowhere: it fails, or finds no list's head"),
    ("", "unenroll/peer/psock/it is in a sockhash", "the next load is from nowhere; then the socket only stays longer"),
    (
        "",
        "backpressure/psock/it is in a sockhash",
        "without a psock the peer is in no sockhash, and redirection finds no socket",
    ),
    ("", "watch/psock/it is in a sockhash", "who has been taken out by its peer sees that before"),
    ("", "in_flight/psock/it is in a sockhash", "who sends has a psock"),
    ("", "active/own/it has a socket", "a socket that connects has a file"),
    ("", "active/own/it has a file", "a socket that connects has a file"),
    ("", "readers/sender/it has a socket", "a socket that sends has a file"),
    ("", "readers/sender/it has a file", "a socket that sends has a file"),
    ("", "readers/receiver/it has a socket", "the load through the null pointer fails, or is null as well"),
    ("", "readers/receiver/it has a file", "the load through the null pointer fails, or is null as well"),
    (
        "",
        "sk_msg/the message has a socket",
        "a message has a socket, which the verifier knows (sk_msg_is_valid_access)",
    ),
    ("", "references/the second reference may be a map's", "the last look at the references asks the same"),
    ("", "references/no reference came or went meanwhile", "nothing happens between two instructions"),
    ("", "foreign/it is paired", "the simulated kernel has no such callbacks"),
    // A pair that leaves a few messages sooner or later: the tests of faults count them.
    ("", "readers/its FIONREAD sees the stack's bytes", "histories do not ask FIONREAD; the semantics suite does"),
    ("", "readers/it has not sent yet", "a pair that leaves a little later"),
    ("", "readers/and may set O_NONBLOCK before it does", "a pair that leaves a little sooner"),
    // Backed up by another check.
    (
        "",
        "gate/the peer's storage is still the peer's",
        "a peer that is gone is in no sockhash, and a successor with its addresses has other sequence numbers",
    ),
    ("", "redirect/the peer is in the sockhash", "the verdict is SK_PASS in any case; only the counters err"),
    ("", "enroll/the sockhash takes it", "redirection to a socket that is in no sockhash finds no socket"),
    ("", "sk_msg/it waits for its peer", "a socket that does not wait has no record to adopt"),
    ("", "adopt/it is whole, and for us", "a damaged answer has a wrong storage, whose cookie the gate compares"),
    (
        "",
        "probation/unclaimed/it is ours",
        "a record that an attacker has made after the handshake, of a peer that is closed",
    ),
    ("", "proof/the packet is marked", "no mark is 0, so that the comparison refuses it, too"),
    ("", "announcement/no other socket has filled it in", "what an attacker has filled has no proof"),
    ("", "record/an active end has filled it in", "an empty record does not verify"),
    ("", "listener/it had no file before it was established", "a socket that has called connect has no proof either"),
    ("", "answer/the map has room", "the map is never full here; then the active end keeps to the stack"),
    ("", "state/it is not that of the handshake", "an answer is looked for once more"),
    ("", "state/it has given an answer", "an end that has given none has nothing to remove"),
    ("", "state/it is closed", "only the counter of bytes by the stack errs; tests/dataplane compares it"),
    ("", "state/the answer has been read", "the callback of a close comes once more"),
    ("", "claim/it is whole", "a damaged record has a wrong storage, whose cookie the gate compares"),
    ("", "sk_msg/it is paired", "who has no peer has no address of its storage and its socket, and no member's key"),
    (
        "",
        "sk_msg/a paired one may still redirect",
        "who has no peer has no address of its storage and its socket, and no member's key",
    ),
    ("", "order/it has been quiet before", "LAST_SEQ is then 0, which a sequence number is only by chance"),
    (
        "calls",
        "readers/receiver/it does not block",
        "before the first redirected message, the order's look at the reader asks the same",
    ),
    (
        "telling",
        "readers/receiver/it does not block",
        "before the first redirected message, the order's look at the reader asks the same",
    ),
    ("", "request/switch/it is on", "an announcement does no harm: each end asks for the switch itself"),
    (
        "",
        "backpressure/it finds room in any empty queue",
        "without epoll's fields, as here, both ways lead to the same place",
    ),
    (
        "",
        "deferral/nothing speaks for the stack while messages wait",
        "without epoll's fields, as here, both ways lead to the same place",
    ),
    // Only what happens while a program runs, or a second thread on one socket, could tell; histories have neither.
    ("", "unenroll/the peer has not sent meanwhile", "a peer that sends while we look at the queues"),
    ("loads", "awake/it does not block", "the readers' look at the receiver has asked in the same run"),
    ("loads", "awake/it has a socket", "the readers' look at the receiver has asked in the same run"),
    ("loads", "awake/it has a file", "the readers' look at the receiver has asked in the same run"),
    (
        "",
        "order/no thread is inside a call",
        "a reader that does not block looks at the stack once in a call; here O_NONBLOCK that is set meanwhile counts at once",
    ),
    ("loads", "order/and nothing has taken the stack since", "for both reasons above"),
    ("", "unenroll/the pair is to leave", "a program that runs meanwhile would redirect; here none does"),
    ("sequence", "active/switch/it is on", "the switch goes off between SYN and answer, one step here"),
    ("", "own/references/it is in two maps", "a second thread that sends on the socket; here there is one"),
    ("", "in_flight/references/it is in two maps", "a second thread that sends on the socket; here there is one"),
    ("", "in_flight/references/no thread is underway", "a pair that leaves a little later"),
    ("calls", "own/references/no thread is underway", "without the callbacks of packets it hardly happens"),
    ("calls", "unenroll/own/our last message was alone", "without the callbacks of packets it hardly happens"),
    // Who looks once too often, or leaves a little sooner or later, does no harm.
    ("", "in_flight/the pair is to leave", "a pair that does not leave may know it as well"),
    ("", "packet/it may be armed", "all is read, and no probes are to be given up: it is looked at once more"),
    ("", "left/unread/bytes of the stack are unread", "a reader that is told once too often"),
    ("", "watch/it is armed", "a reader that is told once too often"),
    ("", "watch/unread/bytes of the stack are unread", "a socket that is armed for nothing"),
    // Keepalive's settings: the tests of faults compare them.
    ("", "disarm/it is armed", "keepalive's settings"),
    ("", "disarm/keepalive was off", "keepalive's settings"),
    ("", "arm/keepalive that was on is remembered", "keepalive's settings"),
    ("", "watch/it is not armed yet", "keepalive's settings"),
    // A sender that is armed, and an armed peer: the tests of stalls and of faults measure them.
    ("", "packet/no data, whose sender may have to be armed", "a sender that is armed"),
    ("", "watch/what it sends takes the stack", "a sender that is armed"),
    ("", "watch/redirected messages were unread when the last one looked", "a sender that is armed"),
    ("", "watch/this sender is not armed yet", "a sender that is armed"),
    ("", "unenroll/an armed peer is waited for", "its settings would stay when the program goes"),
    // Keepalive for connection tracking, which is off here: the tests of stalls have it.
    ("", "renew/it probes for us", "keepalive for connection tracking"),
    ("", "renew/its times are not those of an armed socket", "keepalive for connection tracking"),
    ("", "renew/its time has changed", "keepalive for connection tracking"),
    ("", "renew/its interval has changed, too", "keepalive for connection tracking"),
    ("", "times/the application probes", "keepalive for connection tracking"),
    ("", "times/soon enough", "keepalive for connection tracking"),
    ("", "times/and often enough", "keepalive for connection tracking"),
    ("", "times/a long interval is replaced", "keepalive for connection tracking"),
    ("", "give_back/we have set its times", "keepalive for connection tracking"),
    ("", "give_back/what the application has set since stays", "keepalive for connection tracking"),
    ("", "probes/it does not probe for us", "keepalive for connection tracking"),
    ("", "probes/its time is still ours", "keepalive for connection tracking"),
    ("", "receiver/a half-closed connection defers", "connection tracking: the tests of stalls have it"),
    // What does not happen in these histories.
    (
        "",
        "unenroll/the peer's storage is still the peer's",
        "the storage of a peer that is gone belongs to one that leaves at that time",
    ),
    (
        "",
        "own_storage/a socket that connects again leaves first",
        "a socket that connects again: the semantics tests have it",
    ),
    ("", "forget/it may be in the sockhash", "a socket that connects again"),
    ("", "active/one without a record leaves again", "an LRU map always has room"),
    (
        "",
        "request/it is a listener's request",
        "a client that asks for its first window, and would leave a useless record",
    ),
    ("", "memory/its protocol has no memory to run out of", "memory pressure: the tests of faults have it"),
    ("", "memory/its protocol knows no pressure", "memory pressure"),
    ("", "memory/TCP is not under pressure", "memory pressure"),
];

/// With direct loads the programs call a kernel function, of which the verifier simulator says nothing, so that what only
/// the verifier refuses is judged in the other form of the same checks.
const NULL_CHECKS: &[&str] = &[
    "count/there are counters",
    "it has a storage",
    "there is a record",
    "there is a socket",
    "there is memory for it",
];

/// How many histories a mutant must survive for its entry in [`EQUIVALENT`] to excuse it.
const FIRST: usize = 500;

/// One check of a program.
struct Check {
    sock_ops: bool,
    /// Behind that of its program.
    name: String,
    check: asm::Check,
}

impl Check {
    fn ends_with(&self, end: &str) -> bool {
        self.name.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('/'))
    }

    /// Whether an entry of [`EQUIVALENT`] is about this check of programs in these forms.
    fn is(&self, (form, end, _): &Equivalent, forms: [&str; 2]) -> bool {
        (form.is_empty() || forms.contains(form)) && self.ends_with(end)
    }
}

fn is_conditional(insn: Insn) -> bool {
    let class = insn.code & op::CLASS_MASK;
    let operation = insn.code & op::OP_MASK;
    (class == op::JMP || class == op::JMP32) && !matches!(operation, op::JA | op::CALL | op::EXIT | op::JCOND)
}

/// The checks of a program; a condition that is neither one nor a choice is a mistake.
fn checks(program: &asm::Program, name: &str) -> Vec<Check> {
    for (slot, insn) in program.insns().iter().enumerate().filter(|(_, insn)| is_conditional(**insn)) {
        if program.checks().iter().any(|check| check.slots.contains(&slot)) {
            continue;
        }
        let target = (slot as i64 + 1 + i64::from(insn.off)) as usize;
        let labels: Vec<_> = program.labels_at(target).collect();
        assert!(
            labels.iter().any(|label| CHOICES.contains(label)),
            "{}: a condition to {labels:?} has no name",
            program.origin(slot).unwrap()
        );
    }
    let named = |check: &asm::Check| Check {
        sock_ops: name == "sock_ops",
        name: format!("{name}/{}", check.name),
        check: check.clone(),
    };
    program.checks().iter().map(named).collect()
}

/// Whether a kernel refuses the mutant for another reason than that code which is not reached any more is left in it.
fn refused(spec: &ProgramSpec, mutant: &asm::Program, check: &Check) -> bool {
    let mut spec = spec.clone();
    for slot in &check.check.slots {
        spec.insns[*slot] = mutant.insns()[*slot];
    }
    [Kernel::V6_1, Kernel::V6_18].into_iter().any(|kernel| {
        let verdict = verify(&spec, &Options { kernel, ..Options::default() });
        verdict.rejection().is_some_and(|rejection| !rejection.rule.contains("unreachable"))
    })
}

/// The mutants that nothing catches and no entry of [`EQUIVALENT`] excuses; adds the entries that excuse one to `excused`.
fn survivors(plane: &DataPlane, means: Means, histories: &[Vec<Op>], excused: &mut BTreeSet<usize>) -> Vec<String> {
    let original = Insns::of(plane);
    // Else every mutant would be caught.
    for ops in histories {
        Simulation::new(plane, &original, CONFIG).run(ops).unwrap();
    }
    let specs = program_specs(plane).unwrap();
    let forms = [plane.options.pairing.name(), means.name()];
    let mut all = checks(&plane.sock_ops, "sock_ops");
    all.extend(checks(&plane.sk_msg, "sk_msg"));
    assert!(all.len() > 60, "only {} checks", all.len());
    let (first, rest) = histories.split_at(FIRST);
    let mut survivors = Vec::new();
    for check in all {
        if means == Means::Loads && NULL_CHECKS.iter().any(|end| check.ends_with(end)) {
            continue;
        }
        let program = if check.sock_ops { &plane.sock_ops } else { &plane.sk_msg };
        let without = program.without(&check.check);
        let mut mutant = original.clone();
        *(if check.sock_ops { &mut mutant.sock_ops } else { &mut mutant.sk_msg }) = without.insns().to_vec();
        let caught = |ops: &Vec<Op>| Simulation::new(plane, &mutant, CONFIG).run(ops).is_err();
        if refused(&specs[usize::from(!check.sock_ops)], &without, &check) || first.iter().any(caught) {
            continue;
        }
        let known: Vec<_> = (0..EQUIVALENT.len()).filter(|entry| check.is(&EQUIVALENT[*entry], forms)).collect();
        if !known.is_empty() {
            excused.extend(known);
        } else if !rest.iter().any(caught) {
            survivors.push(format!("{} ({})", check.name, check.check.origin));
        }
    }
    survivors
}

/// A reader that has been looked at, and then sleeps for more on stack bytes (SO_RCVLOWAT sent them there).
fn falls_asleep() -> Vec<Op> {
    const SERVER: u8 = 0;
    const CLIENT: u8 = 1;
    let mut ops = vec![Op::Connect(Connect::plain()), Op::Handshake(SERVER), Op::Accept(SERVER)];
    ops.extend([Op::Send(CLIENT, 10), Op::FinishSend(CLIENT), Op::Recv(SERVER, 10)]);
    ops.extend([Op::StepRecv(SERVER); 3]);
    ops.extend([Op::RcvLowAt(SERVER, 2), Op::Send(CLIENT, 10), Op::RcvLowAt(SERVER, 1)]);
    ops.extend([Op::NonBlocking(SERVER, false), Op::Deliver(CLIENT), Op::RecvAll(SERVER, 100)]);
    ops.extend([Op::StepRecv(SERVER); 3]);
    ops.extend([Op::Send(CLIENT, 10), Op::FinishSend(CLIENT)]);
    ops
}

#[test]
fn a_program_that_drops_a_check_is_caught() {
    let mut histories = vec![falls_asleep()];
    histories.extend(random_histories(10_000));
    let planes = [
        (Pairing::FourTuple, Means::Calls),
        (Pairing::Sequence, Means::Calls),
        (Pairing::Sequence, Means::TellingCalls),
        (Pairing::Sequence, Means::Loads),
    ];
    let excused: BTreeSet<usize> = thread::scope(|scope| {
        let workers = planes.map(|(pairing, means)| {
            let histories = &histories;
            scope.spawn(move || {
                let mut excused = BTreeSet::new();
                let plane = gated(pairing, means);
                let survivors = survivors(&plane, means, histories, &mut excused);
                assert_eq!(survivors, Vec::<String>::new(), "{}, {}", plane.options, means.name());
                excused
            })
        });
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let unused: Vec<_> = EQUIVALENT.iter().enumerate().filter(|(index, _)| !excused.contains(index)).collect();
    assert_eq!(unused, [], "no check is like these any more");
}

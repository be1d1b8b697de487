//! Our programs with one check dropped: the verifier refuses the mutant, or a history breaks a promise.
//!
//! A check is a conditional jump. One that leads to a refusal is dropped when it is never taken, one that leads around a
//! refusal ([`PERMISSIONS`]) when it is always taken. [`EQUIVALENT`] says which mutants behave as the original does, and why.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::thread;

use sidestep::agent::program_specs;
use sidestep::asm::{self, Insn, opcode as op};
use sidestep::dataplane::{DataPlane, Pairing};
use sidestep::verifier_sim::spec::{Kernel, Options, ProgramSpec};
use sidestep::verifier_sim::verify;

use super::history::{CONFIG, Connect, Insns, Means, Op, Simulation, gated};
use super::pairing::histories as random_histories;

/// Labels to which a check jumps when it is satisfied.
const PERMISSIONS: &[&str] = &[
    "paired",
    "ends_known",
    "nonblocking",
    "sender_nonblocking",
    "receiver_nonblocking",
    "awake_nonblocking",
    "nobody_sleeps",
    "look_for_reader",
    "quiet",
    "memory_calm",
    "queue_empty",
    "queue_bounded",
    "staying",
    "same_peer",
    "leave",
    "nobody_underway",
    "entered",
    "first_connection",
    "confirmed",
];

/// Labels of jumps that are no checks: they choose the callback, how an address is written, or how the kernel is asked to
/// probe; they give up acceleration, or keep it for streams that are faster with it.
const CHOICES: &[&str] = &[
    "rtt",
    "active",
    "passive",
    "request",
    "waiting",
    "ipv6",
    "global",
    "node_local",
    "peer_left",
    "answered",
    "no_stream",
    "keepalive_done",
    "long_enough",
];

/// A check whose loss nobody can notice: its label, a part of the line of Rust that emits it, and why. Before the label may
/// stand the only form of the programs that is meant (and a slash), behind it the check's number among those of the same
/// label and line (with a `#`).
type Equivalent = (&'static str, &'static str, &'static str);

const EQUIVALENT: &[Equivalent] = &[
    // A load of kernel memory fails only where there is none. What it loads is then zero, which the next check refuses: no
    // cookie is 0, no file without flags is O_NONBLOCK, no list head is at 0. In these histories memory never goes away.
    ("out", "offsets.read(", "the load of a living object does not fail"),
    ("pass_stale", "offsets.read(", "the load of a living object does not fail"),
    ("stays", "offsets.read(", "the load of a living object does not fail"),
    ("told", "offsets.read(", "the load of a living object does not fail"),
    ("out", "queue(", "the load of a living object does not fail"),
    ("stays", "queue(", "the load of a living object does not fail"),
    ("pass_stale", "queue(", "the load of a living object does not fail"),
    ("out", "offsets.storage_head(", "the load of a living object does not fail"),
    ("pass_stale", "offsets.storage_head(", "the load of a living object does not fail"),
    ("stays", "offsets.storage_head(", "the load of a living object does not fail"),
    ("out", "pairing::request_key(", "the load of a living object does not fail"),
    ("out", "offsets.behind(", "the copy is from the program's own stack"),
    ("out", "psock(a, offsets, R8, R8, peer_gone, stay);", "the load of a living object does not fail"),
    ("stays", "psock(a, offsets, R8, R8, peer_gone, stay);", "the load of a living object does not fail"),
    ("out", "psock(a, offsets, R9, R9, unguarded, out);", "the load of a living object does not fail"),
    ("pass_stale", "psock(", "the load of a living object does not fail"),
    (
        "out",
        "psock(a, offsets, R8, R9, stay, stay);",
        "the next load is from nowhere: it fails, or finds no list's head",
    ),
    ("stays", "psock(a, offsets, R8, R9, stay, stay);", "the next load is from nowhere, and finds no list's head"),
    ("settling", "psock(a, offsets, R8, R8, done, done);", "the load of a living object does not fail"),
    ("settling", "offsets.read(", "the load of a living object does not fail"),
    ("peer_gone", "psock(", "the next load is from nowhere; then the socket only stays longer"),
    ("pass_absent", "psock(", "without a psock the peer is in no sockhash, and redirection finds nobody"),
    ("out", "a.jump(Cond::Eq, R3, 0, no_file);", "a socket that connects has a file"),
    ("pass_stale", "a.jump(Cond::Eq, R3, 0, no_file);", "a socket that sends has a file"),
    (
        "not_accepted",
        "a.jump(Cond::Eq, R3, 0, no_file);",
        "the load through the null pointer fails, or is null as well",
    ),
    (
        "out",
        "a.jump(Cond::Eq, R2, 0, out);",
        "a message has a socket, which the verifier knows (sk_msg_is_valid_access)",
    ),
    // Backed up by another check.
    (
        "pass_stale",
        "a.jump(Cond::Ne, R1, R2, stale);",
        "a peer that is gone is in no sockhash, and a successor with its addresses has other sequence numbers",
    ),
    (
        "pass_absent",
        "a.jump(Cond::Ne, R0, flags::SK_PASS, absent);",
        "the verdict is SK_PASS in any case; only the counters err",
    ),
    ("refused", "a.jump(Cond::Ne, R0, 0, refused);", "redirection to a socket that is in no sockhash finds nobody"),
    (
        "pass_unpaired",
        "a.jump(Cond::Ne, R1, socket::WAITING, unpaired);",
        "a socket that does not wait has no record to adopt",
    ),
    ("pass_unpaired#1", "pairing::adopt(", "another's record does not verify: its check is bound to another cookie"),
    ("pass_unpaired#2", "pairing::adopt(", "a record without a claim verifies only by chance, damaged as well"),
    ("pass_unpaired#3", "pairing::adopt(", "a damaged half has a wrong storage, whose cookie the gate compares"),
    ("sequence/lost#1", "pairing::adopt(", "another's record does not verify: its check is bound to another cookie"),
    ("lost#2", "pairing::adopt(", "a damaged half has a wrong storage, whose cookie the gate compares"),
    ("stays#1", "pairing::adopt(", "another's record does not verify: its check is bound to another cookie"),
    ("stays#2", "pairing::adopt(", "a damaged half has a wrong storage, whose cookie the gate compares"),
    (
        "unclaimed",
        "pairing::adopt(",
        "a record without a claim does not verify: the socket only stays in the sockhash, and its messages pass",
    ),
    ("plain#0", "pairing::claim(", "each record has one passive end, which claims it once"),
    ("plain#1", "pairing::claim(", "a damaged half has a wrong storage, whose cookie the gate compares"),
    ("by_address", "pairing.confirm(", "one of the two numbers proves as much as both"),
    ("confirmed", "pairing.confirm(", "the first number has proved it"),
    ("plain#1", "pairing.confirm(", "IPv4 addresses differ in their second half"),
    ("plain#2", "pairing.confirm(", "the record was found by that address"),
    ("plain#3", "pairing.confirm(", "IPv4 addresses differ in their second half"),
    ("plain#5", "pairing.confirm(", "the record was found by that port"),
    (
        "paired",
        "a.jump(Cond::Eq, R1, socket::PAIRED, paired);",
        "who has no peer has no address of its storage and its socket, and no member's key",
    ),
    (
        "look_for_reader",
        "a.jump(Cond::Set, R1, socket::QUIET, look);",
        "LAST_SEQ is then 0, which a sequence number is only by chance",
    ),
    (
        "calls/receiver_nonblocking",
        "a.jump(Cond::Set, R1, net::O_NONBLOCK, nonblocking);",
        "before the first redirected message, awake_nonblocking asks the same",
    ),
    ("out#0", "require_enabled(a, out);", "an announcement harms nobody: each end asks for the switch itself"),
    (
        "queue_bounded",
        "a.jump(Cond::Le, R1, FIRST_BYTES, bounded);",
        "without epoll's fields, as here, both ways lead to the same place",
    ),
    (
        "watchers",
        "deferral::require_none(a, watchers);",
        "without epoll's fields, as here, both ways lead to the same place",
    ),
    (
        "pass_off",
        "a.jump(Cond::Ne, R1, socket::PAIRED, off);",
        "who has no peer has no address of its storage and its socket, and no member's key",
    ),
    // Only what happens while a program runs, or a second thread on one socket, could tell; histories have neither.
    ("out", "a.jump(Cond::Ne, R1, R2, stay);", "a peer that sends while we look at the queues"),
    (
        "loads/awake_nonblocking",
        "a.jump(Cond::Set, R1, net::O_NONBLOCK, nonblocking);",
        "receiver_nonblocking has asked in the same run",
    ),
    ("loads/nobody_sleeps", "a.jump(Cond::Eq, R3, 0, no_file);", "receiver_nonblocking has asked in the same run"),
    (
        "pass_busy",
        "a.jump32(Cond::Ne, R1, 0, busy);",
        "a reader that does not block looks at the stack once in a call; here O_NONBLOCK that is set meanwhile counts at once",
    ),
    ("loads/quiet", "a.jump32(Cond::Eq, R1, R9, quiet);", "for both reasons above"),
    (
        "leave",
        "a.jump(Cond::Set, R9, socket::UNENROLLING, go);",
        "a program that runs meanwhile would redirect; here none does",
    ),
    ("sequence/out#1", "require_enabled(a, out);", "the switch goes off between SYN and answer, one step here"),
    ("settling", "a.jump(Cond::Ne, R1, 2, done);", "a second thread that sends on the socket; here there is one"),
    ("stays", "a.jump(Cond::Ne, R1, R2, stay);", "a peer that sends while we look at the queues"),
    ("calls/nobody_underway", "a.jump(Cond::Eq, R1, 1, nobody);", "without the callbacks of packets it hardly happens"),
    ("calls/out", "a.jump(Cond::Eq, R1, 0, stay);", "without the callbacks of packets it hardly happens"),
    // Who looks once too often, or leaves a little sooner or later, harms nobody.
    ("settling", "a.jump(Cond::Eq, R1, 0, done);", "a pair that does not leave may know it as well"),
    ("known", "a.jump(Cond::Ne, R1, socket::WAITING, known);", "who has a peer has no record, and only stays longer"),
    (
        "out",
        "a.jump(Cond::Eq, R1, 0, out);",
        "all is read, and no probes are to be given up: it is looked at once more",
    ),
    ("out", "pairing::adopt(a, pairing, out, stay);", "a record without a claim does not verify"),
    ("told", "a.jump32(Cond::Eq, R1, R8, none);", "a reader that is told once too often"),
    ("telling/out", "a.jump(Cond::Eq, R8, 0, out);", "a reader that is told once too often"),
    ("nothing_redirected", "psock(", "who has been taken out by its peer sees that before"),
    ("all_read", "a.jump32(Cond::Eq, R1, R8, none);", "a socket that is armed for nothing"),
    // Keepalive's settings: the tests of faults compare them.
    ("not_armed", "a.jump(Cond::Eq, R1, 0, unarmed);", "keepalive's settings"),
    ("kept_alive", "a.jump(Cond::Set, R8, socket::KEPT_ALIVE, kept);", "keepalive's settings"),
    ("no_keepalive_yet", "a.jump(Cond::Eq, R1, 0, off);", "keepalive's settings"),
    ("armed_already", "a.jump(Cond::Set, R8, socket::ARMED, armed);", "keepalive's settings"),
    // What does not happen in these histories.
    (
        "sequence/out",
        "a.jump(Cond::Ne, R1, socket::PAIRED, out);",
        "who is plain has no psock; only one whose record was damaged could lose somebody else's callbacks",
    ),
    (
        "same_peer",
        "a.jump(Cond::Eq, R1, R2, same);",
        "the storage of a peer that is gone belongs to one that leaves at that time",
    ),
    (
        "first_connection",
        "a.jump(Cond::Eq, R1, 0, fresh);",
        "a socket that connects again: the semantics tests have it",
    ),
    ("out", "policy::forget_last_connection(", "a socket that connects again"),
    ("entered", "a.jump(Cond::Eq, R0, 0, entered);", "an LRU map always has room"),
    (
        "out",
        "a.jump(Cond::Ne, R1, 0, out);",
        "a client that asks for its first window, and would leave a useless record",
    ),
    ("memory_calm", "a.jump(Cond::Eq, R9, 0, calm);", "memory pressure: the tests of faults have it"),
    ("pass_pressure", "a.jump(Cond::Ne, R9, 0, pressure);", "memory pressure"),
    ("pass_stale", "offsets.follow(a, R9, 0, stale);", "memory pressure"),
];

/// With direct loads the programs call a kernel function, of which the verifier simulator says nothing, so that what only
/// the verifier refuses is judged in the other form of the same checks.
const NULL_CHECKS: &[&str] = &["count(", "count_message(", "count_passed(", "Cond::Eq, R0, 0", "Cond::Eq, R8, 0"];

/// How many histories a mutant must survive for its entry in [`EQUIVALENT`] to excuse it.
const FIRST: usize = 500;

/// One check of a program.
struct Check {
    sock_ops: bool,
    slot: usize,
    /// All labels at the place to which it jumps.
    labels: Vec<String>,
    /// The line of Rust that emitted it, and the text of that line.
    place: String,
    line: String,
    always: bool,
    /// How the two ends find each other, and how kernel memory is read.
    forms: [&'static str; 2],
    /// How many checks of this label and line come before it in the program.
    number: usize,
}

impl Check {
    /// Whether an entry of [`EQUIVALENT`] is about this check.
    fn is(&self, (label, line, _): &Equivalent) -> bool {
        let (form, label) = label.split_once('/').map_or((None, *label), |(form, label)| (Some(form), label));
        let (label, number) = label.split_once('#').map_or((label, None), |(label, number)| (label, Some(number)));
        form.is_none_or(|form| self.forms.contains(&form))
            && self.labels.iter().any(|own| own == label)
            && self.line.contains(line)
            && number.is_none_or(|number| number == self.number.to_string())
    }
}

impl fmt::Display for Check {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}#{} at slot {}, {}: `{}`", self.labels.join("|"), self.number, self.slot, self.place, self.line)
    }
}

fn is_conditional(insn: Insn) -> bool {
    let class = insn.code & op::CLASS_MASK;
    let operation = insn.code & op::OP_MASK;
    (class == op::JMP || class == op::JMP32) && !matches!(operation, op::JA | op::CALL | op::EXIT | op::JCOND)
}

fn checks(program: &asm::Program, sock_ops: bool, forms: [&'static str; 2]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (slot, insn) in program.insns().iter().enumerate().filter(|(_, insn)| is_conditional(**insn)) {
        let target = (slot as i64 + 1 + i64::from(insn.off)) as usize;
        let labels: Vec<String> = program.labels_at(target).map(str::to_owned).collect();
        let among = |names: &[&str]| labels.iter().any(|label| names.contains(&label.as_str()));
        if among(CHOICES) {
            continue;
        }
        let origin = program.origin(slot).unwrap();
        let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(origin.file())).unwrap();
        let line = source.lines().nth(origin.line() as usize - 1).unwrap().trim().to_owned();
        let always = among(PERMISSIONS);
        let place = format!("{}:{}", origin.file(), origin.line());
        let number = checks.iter().filter(|other: &&Check| other.labels == labels && other.line == line).count();
        checks.push(Check { sock_ops, slot, labels, place, line, always, forms, number });
    }
    checks
}

/// The same program without the check.
fn drop_check(insns: &mut [Insn], check: &Check) {
    let off = if check.always { insns[check.slot].off } else { 0 };
    insns[check.slot] = Insn { code: op::JMP | op::JA, dst: 0, src: 0, off, imm: 0 };
}

/// Whether a kernel refuses the mutant for another reason than that code which nobody reaches any more is left in it.
fn refused(spec: &ProgramSpec, check: &Check) -> bool {
    let mut mutant = spec.clone();
    drop_check(&mut mutant.insns, check);
    [Kernel::V6_1, Kernel::V6_18].into_iter().any(|kernel| {
        let verdict = verify(&mutant, &Options { kernel, ..Options::default() });
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
    let mut all = checks(&plane.sock_ops, true, forms);
    all.extend(checks(&plane.sk_msg, false, forms));
    assert!(all.len() > 60, "only {} checks", all.len());
    let (first, rest) = histories.split_at(FIRST);
    let mut survivors = Vec::new();
    for check in all {
        if means == Means::Loads && NULL_CHECKS.iter().any(|line| check.line.contains(line)) {
            continue;
        }
        let mut mutant = original.clone();
        drop_check(if check.sock_ops { &mut mutant.sock_ops } else { &mut mutant.sk_msg }, &check);
        let caught = |ops: &Vec<Op>| Simulation::new(plane, &mutant, CONFIG).run(ops).is_err();
        if refused(&specs[usize::from(!check.sock_ops)], &check) || first.iter().any(caught) {
            continue;
        }
        if let Some(known) = EQUIVALENT.iter().position(|entry| check.is(entry)) {
            excused.insert(known);
        } else if !rest.iter().any(caught) {
            survivors.push(check.to_string());
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

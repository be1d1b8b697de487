//! Our programs in the simulated kernel: every byte arrives once, in order, at the right socket.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Settings, RngAlgorithm, TestRng, TestRunner};

use sidestep::asm::{Insn, opcode as op};
use sidestep::dataplane::{DataPlane, Pairing};

use super::history::{CONFIG, Connect, Insns, Op, Simulation, gated, history};

/// The same histories in every run.
fn histories(count: usize) -> Vec<Vec<Op>> {
    let mut runner = TestRunner::new_with_rng(Settings::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let strategy = history(300);
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_in_order_by_sequence(ops in history(300), direct: bool) {
        let plane = gated(Pairing::Sequence, direct);
        Simulation::new(&plane, &Insns::of(&plane), CONFIG).run(&ops).unwrap();
    }

    #[test]
    fn every_byte_arrives_in_order_by_four_tuple(ops in history(300), direct: bool) {
        let plane = gated(Pairing::FourTuple, direct);
        Simulation::new(&plane, &Insns::of(&plane), CONFIG).run(&ops).unwrap();
    }
}

#[test]
fn histories_do_redirect_and_both_ways_to_load_decide_alike() {
    for pairing in [Pairing::Sequence, Pairing::FourTuple] {
        let redirected = [false, true].map(|direct| {
            let plane = gated(pairing, direct);
            let insns = Insns::of(&plane);
            let mut redirected = 0;
            for mut ops in histories(100) {
                // What is looked at once by calls and each time by loads.
                ops.retain(|op| !matches!(op, Op::NonBlocking(..) | Op::Options(..)));
                let mut simulation = Simulation::new(&plane, &insns, CONFIG);
                simulation.run(&ops).unwrap();
                redirected += simulation.redirected;
            }
            redirected
        });
        assert!(redirected[0] > 5_000, "{pairing:?}: {redirected:?} bytes");
        assert_eq!(redirected[0], redirected[1], "{pairing:?}");
    }
}

fn caught(plane: &DataPlane, insns: &Insns, histories: &[Vec<Op>]) -> bool {
    histories.iter().any(|ops| Simulation::new(plane, insns, CONFIG).run(ops).is_err())
}

/// Whether this is a jump that may or may not be taken.
fn is_check(insn: Insn) -> bool {
    let class = insn.code & op::CLASS_MASK;
    let operation = insn.code & op::OP_MASK;
    (class == op::JMP || class == op::JMP32) && !matches!(operation, op::JA | op::CALL | op::EXIT | op::JCOND)
}

/// Labels at which the checks of the gate refuse a message: the check is dropped when the jump is never taken.
const REFUSALS: &[&str] = &[
    "leave_for_option",
    "pass_off",
    "pass_unpaired",
    "pass_leaving",
    "pass_stale",
    "pass_order",
    "pass_busy",
    "pass_state",
    "pass_unaccepted",
    "pass_backpressure",
    "pass_absent",
];

/// Labels at which a check is satisfied: it is dropped when the jump is always taken.
const PERMISSIONS: &[&str] =
    &["ends_known", "sender_nonblocking", "receiver_nonblocking", "awake_nonblocking", "queue_empty", "paired"];

/// Checks that another check backs up, so that dropping one alone changes nothing an application can see:
///
/// - `pass_stale`: fault-safe loads do not fail here, and a peer that is gone is also absent from the sockhash;
/// - `pass_absent`: a peer without a psock is not in the sockhash, and the redirect helper itself finds nobody;
/// - `pass_unpaired`, `paired`: an unclaimed record does not verify, and an unpaired socket's peer has no storage;
/// - `pass_unaccepted`: the load through the null pointer fails;
/// - `pass_busy`: a reader that does not block never looks at the stack twice in one call.
const BACKED_UP: [&str; 6] = ["pass_stale", "pass_absent", "pass_unpaired", "paired", "pass_unaccepted", "pass_busy"];

#[test]
fn a_gate_that_drops_a_check_is_caught() {
    for direct in [false, true] {
        // Whether the receiver blocks is looked at in two places: loads look each time in the first, calls only once.
        let twice = if direct { "awake_nonblocking" } else { "receiver_nonblocking" };
        drop_each_check(&gated(Pairing::Sequence, direct), twice);
    }
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

fn drop_each_check(plane: &DataPlane, twice: &str) {
    let original = Insns::of(plane);
    let mut histories = histories(10_000);
    histories.push(falls_asleep());
    let mut survivors = Vec::new();
    let mut dropped = 0;
    for (slot, insn) in original.sk_msg.iter().enumerate().filter(|(_, insn)| is_check(**insn)) {
        let target = (slot as i64 + 1 + i64::from(insn.off)) as usize;
        let label =
            plane.sk_msg.labels_at(target).find(|label| REFUSALS.contains(label) || PERMISSIONS.contains(label));
        let Some(label) = label.filter(|label| !BACKED_UP.contains(label) && *label != twice) else { continue };
        let off = if PERMISSIONS.contains(&label) { insn.off } else { 0 };
        let mut mutant = original.clone();
        mutant.sk_msg[slot] = Insn { code: op::JMP | op::JA, dst: 0, src: 0, off, imm: 0 };
        dropped += 1;
        if !caught(plane, &mutant, &histories) {
            let origin = plane.sk_msg.origin(slot).unwrap();
            survivors.push(format!("{label}: slot {slot}, {}:{}", origin.file(), origin.line()));
        }
    }
    assert!(dropped >= 10, "only {dropped} checks were dropped");
    assert_eq!(survivors, Vec::<String>::new());
}

//! Random programs.

use sidestep::uapi::ProgType as Of;
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify;

use super::judges::{Judges, place};
use super::rules::{OF_PACKET, looping};
use crate::random::sandbox::Random;
use crate::types::places::Place;

/// What random programs are made of; each uses r6 (the context) and the stack.
const PIECES: [&str; 40] = [
    "r1 = r6",
    "r1 = r10\nr1 += -16",
    "r1 = r10\nr1 += -32",
    "r1 = r10\nr1 += -8",
    "r2 = 0",
    "r2 = 4",
    "r2 = r10\nr2 += -32",
    "r3 = r10\nr3 += -16",
    "r3 = r10\nr3 += -64",
    "r3 = 0",
    "r4 = 8",
    "r4 = 16",
    "*(u64 *)(r10 -16) = 0",
    "*(u64 *)(r10 -64) = 0\n*(u64 *)(r10 -56) = 0",
    "*(u64 *)(r10 -8) = r6",
    "r1 = r6\nr2 = 0\nr3 = r10\nr3 += -16\ncall @bpf_dynptr_from_skb",
    "r1 = r10\nr1 += -16\ncall @bpf_dynptr_size",
    "r1 = r10\nr1 += -16\nr2 = r10\nr2 += -32\ncall @bpf_dynptr_clone",
    "r1 = r10\nr1 += -16\nr2 = 0\nr3 = 0\nr4 = 14\ncall @bpf_dynptr_slice",
    "r1 = r10\nr1 += -16\nr2 = 0\nr3 = 0\nr4 = 14\ncall @bpf_dynptr_slice_rdwr",
    "r1 = r10\nr1 += -32\nr2 = 2\nr3 = 9\ncall @bpf_dynptr_adjust",
    "r7 = r0",
    "if r0 == 0x0 goto pc+1\nr8 = *(u8 *)(r0 +1)",
    "if r7 == 0x0 goto pc+1\nr8 = *(u8 *)(r7 +3)",
    "if r7 == 0x0 goto pc+1\n*(u8 *)(r7 +0) = 1",
    "r0 = *(u8 *)(r7 +0)",
    "r1 = r6\nr2 = 8\ncall bpf_skb_pull_data#39",
    "r1 = r10\nr1 += -16\nr2 = 0\nr3 = r10\nr3 += -64\nr4 = 8\nr5 = 0\ncall bpf_dynptr_write#202",
    "call @bpf_rcu_read_lock",
    "call @bpf_rcu_read_unlock",
    "call @bpf_preempt_disable",
    "call @bpf_preempt_enable",
    "r1 = 1\ncall @bpf_task_from_pid",
    "if r0 == 0x0 goto pc+2\nr1 = r0\ncall @bpf_task_release",
    "r1 = r7\ncall @bpf_task_release",
    "if r7 == 0x0 goto pc+2\nr1 = r7\ncall @bpf_task_release",
    "if r7 == 0x0 goto pc+1\nr8 = *(u64 *)(r7 +0)",
    "r1 = r10\nr1 += -8\nr2 = 0\nr3 = 10\ncall @bpf_iter_num_new",
    "r1 = r10\nr1 += -8\ncall @bpf_iter_num_next",
    "r1 = r10\nr1 += -8\ncall @bpf_iter_num_destroy",
];

/// A random program: pieces one behind the other, some of them in a loop over an iterator. Half of them close what they open.
fn random(numbers: &mut Random) -> String {
    let mut text = "r6 = r1\nr7 = 0\nr8 = 0".to_owned();
    let mut body = String::new();
    for _ in 0..numbers.next() % 7 {
        body.push('\n');
        body.push_str(PIECES[numbers.next() as usize % PIECES.len()]);
    }
    match numbers.next() % 4 {
        0 => text.push_str(&format!("\n{}", looping(body.trim(), "").replacen("r6 = 0\n", "", 1))),
        1 => text
            .push_str(&format!("\nr1 = r10\nr1 += -8\nr2 = 0\nr3 = 9\ncall @bpf_iter_num_new{body}\n{}", PIECES[39])),
        2 => text.push_str(&format!("\n{OF_PACKET}{body}")),
        _ => text.push_str(&body),
    }
    if numbers.next().is_multiple_of(2) {
        text.push_str("\nr7 = 0");
    }
    text.push_str("\nr0 = 0\nexit");
    text
}

/// Judges so many random programs of a type: no one that the kernel refuses is accepted, nor the other way round.
fn compare(judges: &Judges, place: &Place, seed: u64, count: u32) -> (u32, u32) {
    let mut numbers = Random::new(seed);
    let (mut accepted, mut unsupported) = (0, 0);
    for _ in 0..count {
        let text = random(&mut numbers);
        let program = judges.program(place, &text);
        let ours = verify(&program, &judges.options);
        if matches!(ours, Verdict::Unsupported(_)) {
            unsupported += 1;
            continue;
        }
        let theirs = judges.oracle.verdict(&program);
        let log = theirs.as_ref().err().cloned().unwrap_or_default();
        assert_eq!(ours.is_accept(), theirs.is_ok(), "{place}: {} ({})\n{text}\n{log}", ours.word(), ours.reason());
        accepted += u32::from(theirs.is_ok());
    }
    (accepted, unsupported)
}

#[test]
fn random_calls_are_judged_as_the_kernel_judges_them() {
    let Some(judges) = Judges::new("random_calls_are_judged_as_the_kernel_judges_them") else { return };
    for prog in [Of::SCHED_CLS, Of::CGROUP_SKB] {
        let (accepted, _) = compare(&judges, &place(prog), 7, 1500);
        assert!(accepted > 100, "{prog}: {accepted}");
    }
}

/// `SIM_COUNT=100000 SIM_SEED=7 cargo test --release --test sim -- --ignored --nocapture many_random_calls`
#[test]
#[ignore = "as many programs as SIM_COUNT says"]
fn many_random_calls() {
    let Some(judges) = Judges::new("many_random_calls") else { return };
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let count = number("SIM_COUNT", 20_000) as u32;
    for prog in [Of::SCHED_CLS, Of::CGROUP_SKB, Of::SOCKET_FILTER] {
        let (accepted, unsupported) = compare(&judges, &place(prog), number("SIM_SEED", 1), count);
        println!("{prog}: {count} programs, {accepted} accepted, {unsupported} not judged, no disagreement");
    }
}

//! The simulator judges as the kernel does, on random programs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};
use sidestep::asm;
use sidestep::syscall::possible_cpus;
use sidestep::verifier_sim::spec::{Options, ProgType, ProgramSpec};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::{verify, verify_with_log};

use crate::kernel::{Oracle, available};
use crate::random::sandbox::Random;
use crate::random::{self, maps};
use crate::strategies::programs;

/// The longest that any program of the generator may take, also on a busy machine without optimisation.
const LONGEST: Duration = Duration::from_secs(20);

pub(crate) fn options() -> Options {
    Options { cpus: possible_cpus().map_or(0, |cpus| cpus as u32), ..Options::default() }
}

proptest! {
    #![proptest_config(Config { failure_persistence: Some(Box::new(FileFailurePersistence::Off)), ..Config::default() })]

    #[test]
    fn a_verdict_comes_soon_and_is_the_same_with_a_log(program in programs()) {
        let start = Instant::now();
        let verdict = verify(&program, &options());
        prop_assert!(start.elapsed() < LONGEST, "{:?}", start.elapsed());
        let (again, log) = verify_with_log(&program, &options());
        prop_assert_eq!(&verdict, &again);
        prop_assert!(!log.is_empty() || !verdict.is_accept());
    }

    #[test]
    fn a_rejection_names_an_instruction_of_the_program(program in programs()) {
        if let Verdict::Reject(rejection) = verify(&program, &options()) {
            prop_assert!(!rejection.rule.is_empty());
            prop_assert!(rejection.insn.is_none_or(|insn| insn < program.insns.len()));
            prop_assert!(rejection.path.iter().all(|insn| *insn < program.insns.len()));
        }
    }
}

/// Shows a program on which the two disagree.
fn report(program: &ProgramSpec, ours: &Verdict, theirs: &Result<(), String>) -> String {
    let mut text = Vec::new();
    asm::write_text(&program.insns, &mut text).unwrap();
    let log = theirs.as_ref().err().map_or("", |log| &log[log.len().saturating_sub(800)..]);
    // As `fixtures/verifier/` wants it.
    format!(
        "; ours: {} ({})\n; type: {}\n; {} on: 6.18\n{}{log}",
        ours.word(),
        ours.reason(),
        program.prog_type,
        if theirs.is_ok() { "accepted" } else { "refused" },
        String::from_utf8_lossy(&text)
    )
}

/// `None` when both agree or we have no opinion.
fn disagreement(oracle: &Oracle, program: &ProgramSpec) -> Option<String> {
    let ours = verify(program, &options());
    if matches!(ours, Verdict::Unsupported(_)) {
        return None;
    }
    let theirs = oracle.verdict(program);
    (ours.is_accept() != theirs.is_ok()).then(|| report(program, &ours, &theirs))
}

#[test]
fn random_programs_are_judged_as_the_kernel_judges_them() {
    if !available("random_programs_are_judged_as_the_kernel_judges_them") {
        return;
    }
    let oracle = Oracle::new(maps);
    let config =
        Config { cases: 400, failure_persistence: Some(Box::new(FileFailurePersistence::Off)), ..Config::default() };
    proptest!(config, |(program in programs())| {
        if let Some(report) = disagreement(&oracle, &program) {
            return Err(TestCaseError::fail(report));
        }
    });
}

/// The rule that decided, without its numbers.
fn rule(verdict: &Verdict) -> String {
    let reason = verdict.rejection().map_or("accepted", |rejection| &rejection.rule);
    reason.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).take(60).collect()
}

/// `SIM_SECONDS=600 SIM_SEED=7 cargo test --release --test sim -- --ignored --nocapture long_agreement`
#[test]
#[ignore = "runs as long as SIM_SECONDS says"]
fn long_agreement() {
    if !available("long_agreement") {
        return;
    }
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let end = Instant::now() + Duration::from_secs(number("SIM_SECONDS", 60));
    let mut numbers = Random::new(number("SIM_SEED", 1));
    let oracle = Oracle::new(maps);
    let mut reasons: HashMap<String, u64> = HashMap::new();
    let mut own_time = Duration::ZERO;
    let (mut judged, mut accepted, mut unsupported, mut bad) = (0u64, 0u64, 0u64, Vec::new());
    while Instant::now() < end && bad.len() < 20 {
        let choices: Vec<u32> = (0..numbers.next() as usize % 140).map(|_| numbers.next()).collect();
        let prog_type = if numbers.next() & 1 == 0 { ProgType::SK_MSG } else { ProgType::SOCK_OPS };
        let mut program = random::program(prog_type, &choices);
        judged += 1;
        let start = Instant::now();
        let verdict = verify(&program, &options());
        own_time += start.elapsed();
        accepted += u64::from(verdict.is_accept());
        *reasons.entry(rule(&verdict)).or_default() += 1;
        unsupported += u64::from(matches!(verdict, Verdict::Unsupported(_)));
        if disagreement(&oracle, &program).is_none() {
            continue;
        }
        // Shorten the list of choices, then keep what is left.
        let mut choices = choices;
        let mut step = choices.len() / 2;
        while step > 0 {
            let mut at = 0;
            while at + step <= choices.len() {
                let mut shorter = choices.clone();
                shorter.drain(at..at + step);
                let smaller = random::program(prog_type, &shorter);
                if disagreement(&oracle, &smaller).is_some() {
                    (choices, program) = (shorter, smaller);
                } else {
                    at += step;
                }
            }
            step /= 2;
        }
        let report = disagreement(&oracle, &program).unwrap_or_default();
        eprintln!("---\n{report}");
        bad.push(report);
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (rule, count) in reasons.iter().take(25) {
        eprintln!("{count:>8} {rule}");
    }
    eprintln!(
        "{judged} programs ({own_time:.1?} in the simulator), {accepted} accepted, {unsupported} not judged, {} disagreements",
        bad.len()
    );
    assert!(bad.is_empty(), "{} disagreements, shown above", bad.len());
}

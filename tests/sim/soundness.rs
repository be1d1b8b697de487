//! What the simulator accepts never goes wrong.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sidestep::verifier_sim::interp::Fault;
use sidestep::verifier_sim::spec::{Kernel, Options, ProgType, ProgramSpec};
use sidestep::verifier_sim::verify;

use crate::random;
use crate::random::sandbox::{self, Random};
use crate::strategies::programs;

/// Runs of each accepted program, each in a world of its own.
const RUNS: u64 = 6;

/// Runs an accepted program; whether it could be run, or what went wrong.
fn run(program: &ProgramSpec, seed: u64) -> Result<bool, String> {
    match sandbox::execute(program, seed) {
        Ok(outcome) if program.prog_type == ProgType::SOCK_OPS && outcome.r0 > 1 => {
            Err(format!("a sock_ops program returned {:#x}", outcome.r0))
        }
        Ok(_) => Ok(true),
        Err(trap) if matches!(trap.fault, Fault::UnknownHelper(_)) => Ok(false),
        Err(trap) => Err(trap.to_string()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn accepted_programs_never_fault(
        program in programs(),
        seed in any::<u64>(),
        kernel in prop::sample::select(vec![Kernel::V5_10, Kernel::V6_1, Kernel::V6_12, Kernel::V6_18, Kernel::V6_18]),
    ) {
        if verify(&program, &Options { kernel, cpus: 2, ..Options::default() }).is_accept() {
            for round in 0..RUNS {
                let result = run(&program, seed.wrapping_add(round));
                prop_assert!(result.is_ok(), "{:?} on {kernel}\n{}", result, text(&program));
            }
        }
    }
}

fn text(program: &ProgramSpec) -> String {
    let mut text = Vec::new();
    sidestep::asm::write_text(&program.insns, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// The property above would hold of a generator whose programs are all refused.
#[test]
fn about_half_of_the_programs_are_accepted_and_run() {
    let mut runner = TestRunner::deterministic();
    let (mut accepted, mut ran, mut faulted) = (0, 0, 0);
    const PROGRAMS: usize = 2000;
    for seed in 0..PROGRAMS {
        let program = programs().new_tree(&mut runner).unwrap().current();
        if verify(&program, &Options { cpus: 2, ..Options::default() }).is_accept() {
            accepted += 1;
            ran += usize::from(run(&program, seed as u64).unwrap());
        } else if run(&program, seed as u64).is_err() {
            faulted += 1;
        }
    }
    let share = accepted * 100 / PROGRAMS;
    eprintln!("{share} % of {PROGRAMS} programs are accepted; {ran} of those ran, and {faulted} of the others fault");
    assert!((40..=60).contains(&share), "{share} % accepted");
    assert!(ran * 100 > accepted * 98, "{ran} of {accepted} ran");
    // The sandbox does find faults where there are some.
    assert!(faulted > PROGRAMS / 50, "only {faulted} of the refused programs faulted");
}

/// `SIM_SECONDS=600 SIM_SEED=7 cargo test --release --test sim -- --ignored --nocapture long_soundness`
#[test]
#[ignore = "runs as long as SIM_SECONDS says"]
fn long_soundness() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(number("SIM_SECONDS", 60));
    let mut numbers = Random::new(number("SIM_SEED", 1));
    let (mut judged, mut accepted, mut ran) = (0_u64, 0_u64, 0_u64);
    while std::time::Instant::now() < end {
        let choices: Vec<u32> = (0..numbers.next() as usize % 140).map(|_| numbers.next()).collect();
        let prog_type = if numbers.next() & 1 == 0 { ProgType::SK_MSG } else { ProgType::SOCK_OPS };
        let program = random::program(prog_type, &choices);
        let kernel = Kernel::ALL[numbers.next() as usize % Kernel::ALL.len()];
        judged += 1;
        if verify(&program, &Options { kernel, cpus: 2, ..Options::default() }).is_accept() {
            accepted += 1;
            for _ in 0..RUNS {
                match run(&program, numbers.next().into()) {
                    Ok(done) => ran += u64::from(done),
                    Err(fault) => panic!("{fault} on {kernel}\n{}", text(&program)),
                }
            }
        }
    }
    eprintln!("{judged} programs, {accepted} accepted, {ran} runs without a fault");
}

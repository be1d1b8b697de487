//! The simulator walks as many instructions as the kernel: it cuts the same paths short.

use sidestep::verifier_sim::spec::{ProgType, ProgramSpec};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify;

use crate::agreement::options;
use crate::kernel::{Oracle, available};
use crate::large;
use crate::random::sandbox::Random;
use crate::random::{self, maps};

/// How the counts of a group of accepted programs compare.
#[derive(Default)]
struct Comparison {
    programs: u32,
    equal: u32,
    /// Further apart than a tenth: both counts.
    far: Vec<(u64, u64)>,
    disagreements: Vec<String>,
}

impl Comparison {
    fn add(&mut self, oracle: &Oracle, program: &ProgramSpec, name: String) {
        let ours = verify(program, &options());
        if matches!(ours, Verdict::Unsupported(_)) {
            return;
        }
        let theirs = oracle.processed(program);
        let (Verdict::Accept(stats), Ok(theirs)) = (&ours, &theirs) else {
            if ours.is_accept() != theirs.is_ok() {
                let log = theirs.as_ref().err().map_or("accepts", |log| &log[log.len().saturating_sub(300)..]);
                self.disagreements.push(format!("{name}: ours {} ({}), kernel: {log}", ours.word(), ours.reason()));
            }
            return;
        };
        let ours = stats.insns_processed;
        self.programs += 1;
        self.equal += u32::from(ours == *theirs);
        if ours.abs_diff(*theirs) * 10 > *theirs {
            self.far.push((ours, *theirs));
        }
        if std::env::var_os("SIM_COUNTS").is_some() && ours != *theirs {
            eprintln!("{name}: {ours} here, {theirs} in the kernel");
        }
    }

    /// At least 95 of 100 counts are equal, and the others are close.
    fn check(&self, what: &str) {
        eprintln!("{what}: {} of {} counts are equal; far apart: {:?}", self.equal, self.programs, self.far);
        assert!(self.disagreements.is_empty(), "{what}:\n{}", self.disagreements.join("\n"));
        assert!(self.programs > 0, "{what}: no program was accepted");
        assert!(self.equal * 100 >= self.programs * 95 && self.far.is_empty(), "{what}: too few counts are equal");
    }
}

fn seed() -> u64 {
    std::env::var("SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[test]
fn small_programs_take_as_many_instructions_as_in_the_kernel() {
    if !available("small_programs_take_as_many_instructions_as_in_the_kernel") {
        return;
    }
    let oracle = Oracle::new(maps);
    let mut numbers = Random::new(seed());
    let mut comparison = Comparison::default();
    for round in 0..3000 {
        let choices: Vec<u32> = (0..numbers.next() as usize % 140).map(|_| numbers.next()).collect();
        let prog_type = if numbers.next() & 1 == 0 { ProgType::SK_MSG } else { ProgType::SOCK_OPS };
        comparison.add(&oracle, &random::program(prog_type, &choices), format!("program {round}"));
    }
    comparison.check("small programs");
}

#[test]
fn large_programs_take_as_many_instructions_as_in_the_kernel() {
    if !available("large_programs_take_as_many_instructions_as_in_the_kernel") {
        return;
    }
    let oracle = Oracle::new(maps);
    let mut comparison = Comparison::default();
    for (size, programs) in [(100, 200), (1000, 40), (4000, 10), (20_000, 3), (100_000, 1)] {
        for round in 0..programs {
            let seed = seed() * 1_000_000 + size as u64 + round;
            comparison.add(&oracle, &large::program(seed, size), format!("seed {seed}, {size} instructions"));
        }
    }
    comparison.check("large programs");
}

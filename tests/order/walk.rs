//! Random schedules of scenarios that are too long for all of them.

use super::event::{Accesses, Word};
use super::memory::{Architecture, Memory};
use super::process::Process;
use super::search::{Failure, State, Step, describe, ending, require_declared, steps};

/// A generator of numbers that needs no crate (Marsaglia's xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32) % limit
    }
}

/// How likely each processor goes on, and how likely its stores arrive. If all were alike, no processor would ever be late by much.
struct Pace {
    weights: Vec<[u32; 2]>,
}

impl Pace {
    fn new(processes: usize, random: &mut Random) -> Self {
        let mut weight = || 1 << (3 * random.below(5));
        Self { weights: (0..processes).map(|_| [weight(), weight()]).collect() }
    }

    fn weight(&self, step: &Step) -> u32 {
        match *step {
            Step::Answered { cpu, .. } => self.weights[cpu][0],
            Step::Arrived { cpu, .. } => self.weights[cpu][1],
        }
    }
}

/// What walks have found.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) walks: u64,
    pub(crate) steps: u64,
    /// The first schedule that ends in something that must never happen.
    pub(crate) failure: Option<Failure>,
}

/// Takes random schedules of `processes` until one fails, or `goes_on` says no to their number so far.
pub(crate) fn walk(
    architecture: Architecture,
    words: &[Word],
    processes: &mut [Process],
    seed: u64,
    mut goes_on: impl FnMut(u64) -> bool,
) -> Walked {
    let mut random = Random(seed | 1 << 63);
    let mut walked = Walked::default();
    while walked.failure.is_none() && goes_on(walked.walks) {
        walked.walks += 1;
        let taken = walk_once(architecture, words, processes, &mut random, &mut walked.steps);
        walked.failure = taken.err().map(|(what, schedule)| {
            let schedule = schedule.iter().map(|step| describe(step, words, processes)).collect();
            Failure { what, schedule }
        });
    }
    if walked.failure.is_none() {
        require_declared(processes);
    }
    walked
}

fn walk_once(
    architecture: Architecture,
    words: &[Word],
    processes: &mut [Process],
    random: &mut Random,
    steps_taken: &mut u64,
) -> Result<(), (String, Vec<Step>)> {
    // Once a process accesses one word more, later walks interleave that, too.
    let known: Vec<Accesses> = processes.iter().map(|process| process.accesses).collect();
    let loads: Vec<_> = known.iter().map(|accesses| accesses.loads).collect();
    let mut memory = Memory::new(architecture, words.iter().map(|word| word.initial), &loads);
    memory.forgets = true;
    let mut state = State { memory, at: vec![Process::START; processes.len()] };
    let mut schedule = Vec::new();
    let mut pace = Pace::new(processes.len(), random);
    loop {
        let mut open = steps(&state, processes, &known);
        if let Some(what) = ending(&state, open.is_empty(), processes) {
            return Err((what, schedule));
        }
        if open.is_empty() {
            return Ok(());
        }
        // Not so often that a processor is never late by a whole message.
        if random.below(64) == 0 {
            pace = Pace::new(processes.len(), random);
        }
        let all: u32 = open.iter().map(|(step, _)| pace.weight(step)).sum();
        let mut at = random.below(all);
        let chosen = open.iter().position(|(step, _)| {
            let weight = pace.weight(step);
            let is_here = at < weight;
            at = at.wrapping_sub(weight);
            is_here
        });
        let (step, next) = open.swap_remove(chosen.expect("the weights of all are counted"));
        *steps_taken += 1;
        schedule.push(step);
        state = next;
    }
}

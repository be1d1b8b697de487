//! The simulator judges as the kernel does, on our own programs with a few instructions changed: programs that are almost
//! right, and longer than the random ones.

use sidestep::agent::{map_specs, program_specs, simulated_offsets};
use sidestep::asm;
use sidestep::asm::Insn;
use sidestep::asm::opcode as op;
use sidestep::dataplane::{Options as Variant, build};
use sidestep::syscall::possible_cpus;
use sidestep::verifier_sim::spec::{Options, ProgramSpec};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify;

use crate::kernel::{Oracle, available};
use crate::random::sandbox::Random;

/// Mutants of each program; `SIM_MUTANTS` asks for more.
const MUTANTS: usize = 40;

/// Immediates that sit at the edges of what the programs' checks allow.
const NUMBERS: [i32; 16] = [0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 63, 64, 255, -1, -8, i32::MAX];
/// Program flags: none, strict alignment, a checkpoint wherever one can be, contradictory ranges are errors.
const FLAGS: [u32; 8] = [0, 0, 0, 0, 0, 1 << 0, 1 << 3, 1 << 7];

struct Mutator(Random);

impl Mutator {
    fn below(&mut self, end: usize) -> usize {
        self.0.next() as usize % end.max(1)
    }

    /// The program with up to three instructions changed; its 64-bit loads stay.
    fn mutant(&mut self, original: &ProgramSpec) -> ProgramSpec {
        let mut program = original.clone();
        program.prog_flags = FLAGS[self.below(FLAGS.len())];
        for _ in 0..=self.below(3) {
            let at = self.below(program.insns.len());
            let wide = |at: usize| program.insns.get(at).is_some_and(|insn| insn.code == op::LD | op::IMM | op::DW);
            if wide(at) || (at > 0 && wide(at - 1)) {
                continue;
            }
            let other = program.insns[self.below(program.insns.len())];
            let insn = self.changed(program.insns[at], other);
            if insn.code != op::LD | op::IMM | op::DW && insn.code != 0 {
                program.insns[at] = insn;
            }
        }
        program
    }

    fn changed(&mut self, mut insn: Insn, other: Insn) -> Insn {
        match self.below(8) {
            0 => insn.dst = self.below(11) as u8,
            1 => insn.src = self.below(11) as u8,
            2 => insn.off = insn.off.wrapping_add([-8, -4, -1, 1, 4, 8][self.below(6)]),
            3 => insn.imm = NUMBERS[self.below(NUMBERS.len())],
            4 => insn.imm = insn.imm.wrapping_add([-8, -1, 1, 8][self.below(4)]),
            // Another operation, another size, register or immediate, another class.
            5 => insn.code ^= [0x08, 0x10, 0x18, 0x20, 0x40, 0x80, 0x03][self.below(7)],
            6 => insn = other,
            // Nothing at all.
            _ => insn = Insn { code: op::JMP | op::JA, ..Insn::default() },
        }
        insn
    }
}

/// Shows a mutant on which the two disagree.
fn report(program: &ProgramSpec, ours: &Verdict, theirs: &Result<(), String>) -> String {
    let mut text = Vec::new();
    asm::write_text(&program.insns, &mut text).unwrap();
    let log = theirs.as_ref().err().map_or("accepts", |log| &log[log.len().saturating_sub(500)..]);
    let text = String::from_utf8_lossy(&text);
    format!("{} flags {:#x}: ours {} ({})\n{text}{log}", program.name, program.prog_flags, ours.word(), ours.reason())
}

#[test]
fn mutants_of_our_programs_are_judged_as_the_kernel_judges_them() {
    if !available("mutants_of_our_programs_are_judged_as_the_kernel_judges_them") {
        return;
    }
    let wanted = std::env::var("SIM_MUTANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(MUTANTS);
    let options = Options { cpus: possible_cpus().map_or(0, |cpus| cpus as u32), ..Options::default() };
    let mut mutator = Mutator(Random::new(1));
    let (mut accepted, mut judged) = (0, 0);
    for variant in Variant::all(simulated_offsets().unwrap()) {
        let plane = build(variant).unwrap();
        let oracle = Oracle::new(|| map_specs(&plane));
        for original in program_specs(&plane).unwrap() {
            for _ in 0..wanted {
                let mutant = mutator.mutant(&original);
                let ours = verify(&mutant, &options);
                if matches!(ours, Verdict::Unsupported(_)) {
                    continue;
                }
                let theirs = oracle.verdict(&mutant);
                assert_eq!(ours.is_accept(), theirs.is_ok(), "{}", report(&mutant, &ours, &theirs));
                judged += 1;
                accepted += usize::from(ours.is_accept());
            }
        }
    }
    // A run in which nothing is accepted, or everything, would show little.
    assert!(accepted * 10 > judged && accepted < judged, "{accepted} of {judged} accepted");
}

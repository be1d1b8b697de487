//! Programs without one of their barriers: a schedule breaks a promise, or [`REASONS`] says why none can.

use sidestep::asm::opcode::{ALU64, ATOMIC, FETCH, MOV, STX};
use sidestep::asm::{Insn, Program};

use super::memory::Architecture::{self, Arm, X86};
use super::pair::Pair;
use super::scenario::{ALL, Scenario, UNSURE};

/// Barriers that no schedule misses, and why.
pub(crate) const REASONS: &[(&[Architecture], &str, &[&str])] = &[
    (
        &[X86, Arm],
        "these reasons to defer are not those for which a pair leaves or is drained: then the leaver sees the sender's reference",
        &[
            "sk_msg: gate/stream.rs, 1",
            "sk_msg: gate/endpoints.rs, 1",
            "sk_msg: gate/endpoints.rs, 2",
            "sk_msg: gate/endpoints.rs, 3",
            "sk_msg: gate/mod.rs, 3",
        ],
    ),
    (
        &[X86],
        "an own UNENROLLING comes from an earlier system call, behind which locks are taken, or from a mark, which the sender sees as well",
        &["sock_ops: membership/unenroll.rs, 1"],
    ),
    (&[Arm], "counting SENT up is a full barrier by itself", &["sk_msg: gate/mod.rs, 2"]),
    (
        &[Arm],
        "the callback holds the lock under which messages enter and leave its end's queue, and which its own sender takes again before \
         it gives its reference back",
        &["sock_ops: membership/unenroll.rs, 2"],
    ),
];

/// A barrier of a program.
#[derive(Clone, Debug)]
pub(crate) struct Barrier {
    program: &'static str,
    slot: usize,
    /// The program, the file that emitted it, and which of that file's barriers it is.
    pub(crate) name: String,
}

/// Whether an instruction is a barrier: an atomic addition that fetches for arm64, one of 0 for x86_64.
fn is_barrier(architecture: Architecture, program: &Program, slot: usize) -> bool {
    let insn = program.insns()[slot];
    if insn.code & 0xe7 != STX | ATOMIC {
        return false;
    }
    match (architecture, slot.checked_sub(1).map(|before| program.insns()[before])) {
        (Arm, _) => insn.imm & FETCH != 0,
        (X86, Some(before)) => before.code == ALU64 | MOV && before.dst == insn.src && before.imm == 0,
        (X86, None) => false,
    }
}

/// The sk_msg program without the check of this name.
pub(crate) fn drop_check(pair: &mut Pair, name: &str) {
    let program = pair.original("sk_msg");
    let check = program.checks().iter().find(|check| check.name == name).unwrap();
    let insns = program.without(check).insns().to_vec();
    pair.set_program("sk_msg", insns);
}

/// How that ends in one of these scenarios, whose kernel lacks no order.
pub(crate) fn caught_without(
    architecture: Architecture,
    check: &str,
    scenarios: &[Scenario],
) -> Option<(&'static str, String)> {
    scenarios.iter().find_map(|scenario| {
        let found = scenario.search_corrected(architecture, |pair| drop_check(pair, check));
        found.failure.map(|failure| (scenario.name, failure.what))
    })
}

/// All barriers of the programs that scenarios run.
pub(crate) fn barriers(architecture: Architecture) -> Vec<Barrier> {
    let pair = Pair::new(architecture);
    let mut all = Vec::new();
    for program in ["sk_msg", "sock_ops", "drain"] {
        let original = pair.original(program);
        let mut files: Vec<&str> = Vec::new();
        for slot in (0..original.insns().len()).filter(|slot| is_barrier(architecture, original, *slot)) {
            let file = original.origin(slot).unwrap().file().trim_start_matches("src/dataplane/");
            files.push(file);
            let number = files.iter().filter(|this| **this == file).count();
            all.push(Barrier { program, slot, name: format!("{program}: {file}, {number}") });
        }
    }
    all
}

impl Barrier {
    /// Takes its order away: on arm64 the addition stays, and does not fetch.
    fn drop_from(&self, pair: &mut Pair) {
        let mut insns = pair.original(self.program).insns().to_vec();
        let insn = &mut insns[self.slot];
        match pair.architecture {
            Arm => insn.imm &= !FETCH,
            X86 => *insn = Insn::NOP,
        }
        pair.set_program(self.program, insns);
    }

    /// The scenario in which a schedule shows that it is gone, and how that ends.
    pub(crate) fn caught_by(&self, architecture: Architecture) -> Option<(&'static str, String)> {
        // Of two threads that send, only those who take the pair out have barriers of their own.
        let unsure: &[Scenario] = if self.program == "sk_msg" { &[] } else { UNSURE };
        ALL.iter().chain(unsure).filter(|scenario| scenario.runs(self.program)).find_map(|scenario| {
            let found = scenario.search_corrected(architecture, |pair| self.drop_from(pair));
            found.failure.map(|failure| (scenario.name, failure.what))
        })
    }

    /// Why no schedule can.
    pub(crate) fn reason(&self, architecture: Architecture) -> Option<&'static str> {
        let applies = |(architectures, _, names): &&(&[Architecture], &'static str, &[&str])| {
            architectures.contains(&architecture) && names.contains(&self.name.as_str())
        };
        REASONS.iter().find(applies).map(|(_, why, _)| *why)
    }
}

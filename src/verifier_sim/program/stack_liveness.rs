//! Which stack slots may still be read after an instruction: pruning need not compare the others.
//!
//! Where reads happen is only found out on the walk, since pointers to the stack travel. Each read is noted at its
//! instruction (a read of a caller's stack at the caller's call) and flows backwards through the function to where the slot is
//! written whole. For a state of which every continuation has been walked nothing is missing then.

use crate::asm::Insn;
use crate::asm::opcode as op;
use crate::verifier_sim::program::successors;
use crate::verifier_sim::state::stack::{SLOT_SIZE, locate};

/// Live slots per instruction, slot `n` as bit `n`.
#[derive(Debug, Default)]
pub(in crate::verifier_sim) struct StackLiveness {
    live: Vec<u64>,
    before: Vec<Vec<u32>>,
}

/// The slot that the instruction overwrites whole, as a bit.
fn killed(insn: &Insn) -> u64 {
    let store = matches!(insn.code, code if code == op::STX | op::MEM | op::DW || code == op::ST | op::MEM | op::DW);
    let off = i64::from(insn.off);
    if store && insn.dst == 10 && (-512..0).contains(&off) && off % SLOT_SIZE as i64 == 0 {
        1 << locate(off).0
    } else {
        0
    }
}

impl StackLiveness {
    /// Nothing is read yet.
    pub(in crate::verifier_sim) fn new(insns: &[Insn]) -> Self {
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); insns.len()];
        for at in 0..insns.len() {
            for next in successors(insns, at, false).into_iter().flatten() {
                if let Some(list) = before.get_mut(next) {
                    list.push(at as u32);
                }
            }
        }
        Self { live: vec![0; insns.len()], before }
    }

    /// Instruction `at` reads `slots` of its function's stack.
    pub(in crate::verifier_sim) fn read(&mut self, insns: &[Insn], at: usize, slots: u64) {
        if self.live[at] | slots == self.live[at] {
            return;
        }
        self.live[at] |= slots;
        let mut todo = vec![at as u32];
        while let Some(at) = todo.pop() {
            let live = self.live[at as usize];
            for &previous in &self.before[at as usize] {
                let passed = live & !killed(&insns[previous as usize]);
                let known = &mut self.live[previous as usize];
                if *known | passed != *known {
                    *known |= passed;
                    todo.push(previous);
                }
            }
        }
    }

    /// The slots that are read at `at` or later, before they are written.
    pub(in crate::verifier_sim) fn at(&self, at: usize) -> u64 {
        self.live[at]
    }
}

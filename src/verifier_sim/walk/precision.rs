//! Which numbers have decided something (`mark_chain_precision`, `backtrack_insn`, `propagate_precision`).
//!
//! A scalar whose value never mattered after a checkpoint need not be alike in a state that the checkpoint covers. So when
//! a number decides (a comparison whose outcome is known, an offset of a pointer, a size), the path is walked back to
//! where the number comes from, and every checkpoint on the way notes the registers and stack slots that hold its origin.

use std::fmt;

use crate::asm::opcode as op;
use crate::asm::{Disasm, Insn};
use crate::verifier_sim::program::Aux;
use crate::verifier_sim::state::{FP, MAX_FRAMES, State};
use crate::verifier_sim::walk::describe::Shown;
use crate::verifier_sim::walk::env::Env;
use crate::verifier_sim::walk::history::{Place, Visited};

/// r1 to r5.
const ARGUMENTS: u16 = 0x3e;
/// r0 to r9: all that can hold a scalar.
const SCALARS: u16 = 0x3ff;

/// Registers and stack slots of one frame, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::verifier_sim) struct Mask {
    pub(in crate::verifier_sim) regs: u16,
    pub(in crate::verifier_sim) slots: u64,
}

impl Mask {
    pub(in crate::verifier_sim) const ALL: Self = Self { regs: SCALARS, slots: u64::MAX };

    fn is_empty(self) -> bool {
        self.regs == 0 && self.slots == 0
    }
}

impl fmt::Display for Mask {
    /// As the kernel's log has it: `regs=r1,r2 stack=-8,-16`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let regs = (0..16).filter(|reg| self.regs & 1 << reg != 0).map(|reg| format!("r{reg}"));
        let slots = (0..64).filter(|slot| self.slots & 1 << slot != 0).map(|slot| format!("-{}", (slot + 1) * 8));
        let (regs, slots) = (regs.collect::<Vec<_>>().join(","), slots.collect::<Vec<_>>().join(","));
        write!(out, "regs={regs} stack={slots}")
    }
}

/// The registers and slots of each frame of `state` that hold scalars.
pub(in crate::verifier_sim) fn scalars_of(state: &State) -> Vec<Mask> {
    let of = |frame: &std::rc::Rc<crate::verifier_sim::state::Frame>| {
        let regs = (0..FP).filter(|reg| frame.regs[*reg].is_scalar()).fold(0, |mask, reg| mask | 1 << reg);
        let slots = frame.stack.iter().enumerate().filter(|(_, slot)| slot.is_scalar_spill());
        Mask { regs, slots: slots.fold(0, |mask, (slot, _)| mask | 1 << slot) }
    };
    state.frames.iter().map(of).collect()
}

/// The origin that is looked for (`struct backtrack_state`).
#[derive(Clone, Debug)]
struct Wanted {
    /// The frame of the instruction that is looked at.
    frame: usize,
    masks: [Mask; MAX_FRAMES],
}

/// What decided cannot be followed: every scalar has to count.
struct Lost;

impl Wanted {
    fn new(frame: usize) -> Self {
        Self { frame, masks: [Mask::default(); MAX_FRAMES] }
    }

    fn is_empty(&self) -> bool {
        self.masks[..=self.frame].iter().all(|mask| mask.is_empty())
    }

    fn regs(&mut self) -> &mut u16 {
        &mut self.masks[self.frame].regs
    }

    fn has(&self, reg: u8) -> bool {
        self.masks[self.frame].regs & bit(reg) != 0
    }

    fn contains(&self, place: Place) -> bool {
        match place {
            Place::Reg(frame, reg) => self.masks[frame].regs & 1 << reg != 0,
            Place::Slot(frame, slot) => self.masks[frame].slots & 1 << slot != 0,
        }
    }

    /// One of several linked scalars decides: then all of them do.
    fn add_linked(&mut self, places: &[Place]) {
        if !places.iter().any(|place| self.contains(*place)) {
            return;
        }
        for place in places {
            match *place {
                Place::Reg(frame, reg) => self.masks[frame].regs |= 1 << reg,
                Place::Slot(frame, slot) => self.masks[frame].slots |= 1 << slot,
            }
        }
    }

    /// What was wanted after `insn` is now wanted before it. `behind` is the instruction to which the path went from it.
    fn pass(
        &mut self,
        insn: &Insn,
        visited: Visited,
        linked: &[Place],
        (behind, aux): (usize, &[Aux]),
    ) -> Result<(), Lost> {
        let calls_back = |at: usize| aux.get(at).is_some_and(|aux| aux.calls_back);
        let at = visited.insn as usize;
        self.add_linked(linked);
        let (dst, src) = (bit(insn.dst), bit(insn.src));
        let register = insn.code & op::X != 0;
        match insn.code & op::CLASS_MASK {
            op::ALU | op::ALU64 => {
                if !self.has(insn.dst) {
                    return Ok(());
                }
                let operation = insn.code & op::OP_MASK;
                if operation == op::MOV {
                    *self.regs() &= !dst;
                }
                // The frame pointer is not a scalar.
                if register && usize::from(insn.src) != FP && !matches!(operation, op::END | op::NEG) {
                    *self.regs() |= src;
                }
                return Ok(());
            }
            op::LDX => return self.pass_load(insn.dst, visited),
            op::STX if insn.code & op::MODE_MASK == op::ATOMIC => match insn.imm {
                op::LOAD_ACQ => return self.pass_load(insn.dst, visited),
                op::CMPXCHG => self.pass_fetch(0, visited),
                imm if imm != op::STORE_REL && imm & op::FETCH != 0 => self.pass_fetch(insn.src, visited),
                _ => return self.pass_store(insn, visited),
            },
            op::STX | op::ST => return self.pass_store(insn, visited),
            op::JMP | op::JMP32 => match insn.code & op::OP_MASK {
                op::CALL if insn.src == op::PSEUDO_CALL && !visited.is_assumed() => return self.pass_entry(),
                op::CALL if calls_back(at) && behind != at + 1 => return self.pass_callback(),
                op::CALL => {
                    *self.regs() &= !bit(0);
                    if *self.regs() & ARGUMENTS != 0 {
                        return Err(Lost);
                    }
                }
                op::EXIT => {
                    // Backwards into the function that returned: its r0 is the caller's, but not if a helper had called it. Then
                    // the path is at the helper's call again, whose arguments the callback did not set.
                    let callback = calls_back(behind);
                    let result = if callback { 0 } else { *self.regs() & bit(0) };
                    *self.regs() &= !(bit(0) | if callback { ARGUMENTS } else { 0 });
                    if *self.regs() & ARGUMENTS != 0 || self.frame + 1 >= MAX_FRAMES {
                        return Err(Lost);
                    }
                    self.frame += 1;
                    *self.regs() |= result;
                    return Ok(());
                }
                op::JA | op::JCOND => {}
                _ if register => {
                    if *self.regs() & (dst | src) == 0 {
                        return Ok(());
                    }
                    let (left, right) = visited.operands_on_stack();
                    *self.regs() |= if left { 0 } else { dst } | if right { 0 } else { src };
                }
                _ => {}
            },
            _ => {
                let was_wanted = self.has(insn.dst);
                *self.regs() &= !dst;
                // What is in the packet is not followed.
                let packet = matches!(insn.code & op::MODE_MASK, op::ABS | op::IND);
                return if was_wanted && packet { Err(Lost) } else { Ok(()) };
            }
        }
        self.add_linked(linked);
        Ok(())
    }

    fn pass_load(&mut self, loaded: u8, visited: Visited) -> Result<(), Lost> {
        if self.has(loaded) {
            *self.regs() &= !bit(loaded);
            if let Some((frame, slot)) = visited.stack_slot() {
                self.masks[frame].slots |= 1 << slot;
            }
        }
        Ok(())
    }

    /// The register now holds what was in the slot. Linux 6.18 follows the register further, as if it had not changed;
    /// here both count, so that nothing is missing.
    fn pass_fetch(&mut self, fetched: u8, visited: Visited) {
        if let Some((frame, slot)) = visited.stack_slot().filter(|_| self.has(fetched)) {
            self.masks[frame].slots |= 1 << slot;
        }
    }

    fn pass_store(&mut self, insn: &Insn, visited: Visited) -> Result<(), Lost> {
        if self.has(insn.dst) {
            // A pointer that was subtracted from another.
            return Err(Lost);
        }
        let Some((frame, slot)) = visited.stack_slot() else { return Ok(()) };
        if self.masks[frame].slots & 1 << slot != 0 {
            self.masks[frame].slots &= !(1 << slot);
            if insn.code & op::CLASS_MASK == op::STX {
                *self.regs() |= bit(insn.src);
            }
        }
        Ok(())
    }

    /// Backwards out of a callback: the helper sets its arguments.
    fn pass_callback(&mut self) -> Result<(), Lost> {
        self.leave().map(drop)
    }

    /// Backwards out of a function: its arguments are the caller's.
    fn pass_entry(&mut self) -> Result<(), Lost> {
        let arguments = self.leave()?;
        *self.regs() |= arguments;
        Ok(())
    }

    /// Goes to the caller of this function, which wants nothing but its arguments; these.
    fn leave(&mut self) -> Result<u16, Lost> {
        let mask = self.masks[self.frame];
        if mask.regs & !ARGUMENTS != 0 || mask.slots != 0 || self.frame == 0 {
            return Err(Lost);
        }
        self.masks[self.frame] = Mask::default();
        self.frame -= 1;
        Ok(mask.regs)
    }
}

fn bit(reg: u8) -> u16 {
    1u16.checked_shl(reg.into()).unwrap_or(0)
}

impl Env<'_> {
    /// The numbers in the registers `regs` (as bits) decide what the current instruction does.
    pub(in crate::verifier_sim) fn mark_precise(&mut self, regs: u16) {
        if regs != 0 {
            let mut wanted = Wanted::new(self.cur.depth());
            *wanted.regs() = regs;
            self.backtrack(wanted, self.history.len().saturating_sub(1));
        }
    }

    /// The number in a stack slot decides what the current instruction does.
    pub(in crate::verifier_sim) fn mark_slot_precise(&mut self, frame: usize, slot: usize) {
        let mut wanted = Wanted::new(self.cur.depth());
        wanted.masks[frame].slots = 1 << slot;
        self.backtrack(wanted, self.history.len().saturating_sub(1));
    }

    /// The current path ends at a state that checkpoint `number` covers: what decided behind the checkpoint decides here.
    pub(in crate::verifier_sim) fn propagate_precision(&mut self, number: u32) {
        let mut wanted = Wanted::new(self.cur.depth());
        self.log_propagation(number);
        let (scalars, precise) = self.explored.masks(number);
        for (frame, (scalars, precise)) in scalars.iter().zip(precise).enumerate() {
            let (regs, slots) = (scalars.regs & precise.regs, scalars.slots & precise.slots);
            wanted.masks[frame] = Mask { regs, slots };
        }
        self.backtrack(wanted, self.history.len());
    }

    /// The line of the log for an instruction that is looked at (`backtrack_insn`).
    fn log_origin(&mut self, wanted: &Wanted, at: usize) {
        if self.log.is_some() {
            let mask = wanted.masks[wanted.frame];
            let text = Disasm::at(self.insns, at).map(|insn| insn.to_string()).unwrap_or_default();
            self.log_line(&format!("mark_precise: frame{}: {mask} before {at}: {text}", wanted.frame));
        }
    }

    /// The lines of the log for a checkpoint that is passed: what had not decided anything before.
    fn log_checkpoint(&mut self, number: u32, wanted: &Wanted) {
        if self.log.is_none() {
            return;
        }
        for frame in (0..=wanted.frame).rev() {
            let (state, precise) = self.explored.described(number);
            let precise = precise.get(frame).copied();
            let state = state.map(|state| self.describe_frame(state, frame, Shown::ALL, precise)).unwrap_or_default();
            self.log_line(&format!("mark_precise: frame{frame}: parent state {}: {state}", wanted.masks[frame]));
        }
    }

    /// The line of the log for a part of the path: the instructions between two checkpoints.
    fn log_segment(&mut self, frame: usize, (last, first): (i64, usize), behind: i64) {
        if self.log.is_some() {
            let line = format!("mark_precise: frame{frame}: last_idx {last} first_idx {first} subseq_idx {behind} ");
            self.log_line(&line);
        }
    }

    /// The line of the log for what decided behind the checkpoint that covers the current state (`propagate_precision`).
    fn log_propagation(&mut self, number: u32) {
        if self.log.is_none() {
            return;
        }
        let (scalars, precise) = self.explored.masks(number);
        let masks = scalars.iter().zip(precise).map(|(a, b)| (a.regs & b.regs, a.slots & b.slots));
        let lines = masks.enumerate().rev().filter(|(_, (regs, slots))| *regs != 0 || *slots != 0);
        let lines: Vec<String> = lines
            .map(|(frame, (regs, slots))| {
                let regs = (0..FP).filter(|reg| regs & 1 << reg != 0).map(|reg| format!("r{reg}"));
                let slots = (0..64).filter(|slot| slots & 1 << slot != 0).map(|slot| format!("fp-{}", (slot + 1) * 8));
                let all: Vec<_> = regs.chain(slots).collect();
                format!("frame {frame}: propagating {}", all.join(","))
            })
            .collect();
        for line in lines {
            self.log_line(&line);
        }
    }

    /// Walks back from the first `end` instructions of the path to where all that is wanted comes from.
    fn backtrack(&mut self, mut wanted: Wanted, mut end: usize) {
        let mut next = self.cur.parent;
        let mut following = self.at;
        // The segment's last instruction, and the first of the one behind it.
        let (mut last, mut behind) = (self.at as i64, -1);
        while !wanted.is_empty() {
            let first = next.map_or(0, |number| self.explored.insn(number));
            self.log_segment(wanted.frame, (last, first), behind);
            let begin = next.map_or(self.cur.begin, |number| self.explored.history(number));
            while end > begin {
                end -= 1;
                let visited = self.history.at(end);
                let insn = self.insns[visited.insn as usize];
                self.log_origin(&wanted, visited.insn as usize);
                let followed = (following, self.aux.as_slice());
                following = visited.insn as usize;
                if wanted.pass(&insn, visited, self.history.linked(end), followed).is_err() {
                    self.explored.mark_all_precise(self.cur.parent);
                    return;
                }
                if wanted.is_empty() {
                    return;
                }
            }
            let Some(number) = next else {
                // Written in a way that was not followed, as through a pointer to the stack of unknown offset.
                self.explored.mark_all_precise(self.cur.parent);
                return;
            };
            let masks = &mut wanted.masks[..=wanted.frame];
            next = self.explored.mark_precise(number, masks);
            self.log_checkpoint(number, &wanted);
            let before = self.explored.history(number).checked_sub(1);
            last = before.map_or(-1, |before| i64::from(self.history.at(before).insn));
            behind = first as i64;
        }
    }
}

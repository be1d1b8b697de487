//! The instructions of the current path, in order, and what each did that the search for the origin of a number needs
//! (`struct bpf_jmp_history_entry`).

use crate::verifier_sim::walk::env::Env;

/// The instruction saved a register in a stack slot or loaded one from there; the low bits say which.
const STACK: u16 = 1 << 15;
/// The first operand of a comparison points to the stack.
const LEFT_IS_STACK: u16 = 1 << 14;
/// The second one does.
const RIGHT_IS_STACK: u16 = 1 << 13;
/// The kernel has an entry for the instruction.
const RECORDED: u16 = 1 << 12;
/// The function that the instruction calls was taken to be right, and not walked.
const ASSUMED: u16 = 1 << 11;
/// Bits of a slot's number; the frame's are above them.
const SLOT_BITS: u16 = 6;

/// Where a scalar is: a register or a stack slot of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Place {
    /// Frame and register.
    Reg(usize, usize),
    /// Frame and slot.
    Slot(usize, usize),
}

/// One instruction of the path.
#[derive(Clone, Copy, Debug)]
pub(in crate::verifier_sim) struct Visited {
    /// The instruction.
    pub(in crate::verifier_sim) insn: u32,
    flags: u16,
}

impl Visited {
    /// Frame and slot of the register that it saved or loaded.
    pub(in crate::verifier_sim) fn stack_slot(self) -> Option<(usize, usize)> {
        let slot = self.flags & ((1 << SLOT_BITS) - 1);
        let frame = self.flags >> SLOT_BITS & 7;
        (self.flags & STACK != 0).then_some((frame.into(), slot.into()))
    }

    /// Whether it called a function that was not walked.
    pub(in crate::verifier_sim) fn is_assumed(self) -> bool {
        self.flags & ASSUMED != 0
    }

    /// Whether the operands of a comparison point to the stack.
    pub(in crate::verifier_sim) fn operands_on_stack(self) -> (bool, bool) {
        (self.flags & LEFT_IS_STACK != 0, self.flags & RIGHT_IS_STACK != 0)
    }
}

/// The current path.
#[derive(Debug, Default)]
pub(in crate::verifier_sim) struct History {
    visited: Vec<Visited>,
    /// Scalars that learnt from each other in a comparison, and where on the path that was.
    linked: Vec<(usize, Vec<Place>)>,
}

impl History {
    pub(in crate::verifier_sim) fn len(&self) -> usize {
        self.visited.len()
    }

    pub(in crate::verifier_sim) fn is_empty(&self) -> bool {
        self.visited.is_empty()
    }

    /// The numbers of the instructions.
    pub(in crate::verifier_sim) fn insns(&self) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator {
        self.visited.iter().map(|visited| visited.insn as usize)
    }

    /// The entry at `place`.
    pub(in crate::verifier_sim) fn at(&self, place: usize) -> Visited {
        self.visited[place]
    }

    /// The scalars that the instruction at `place` linked.
    pub(in crate::verifier_sim) fn linked(&self, place: usize) -> &[Place] {
        self.linked.binary_search_by_key(&place, |(at, _)| *at).map_or(&[], |found| &self.linked[found].1)
    }

    /// Goes back to where the path had `len` instructions.
    pub(in crate::verifier_sim) fn truncate(&mut self, len: usize) {
        self.visited.truncate(len);
        while self.linked.last().is_some_and(|(at, _)| *at >= len) {
            self.linked.pop();
        }
    }
}

impl Env<'_> {
    /// The path goes through the current instruction.
    pub(in crate::verifier_sim) fn enter_insn(&mut self) {
        let aux = &mut self.aux[self.at];
        aux.seen = true;
        let flags = if aux.jump_point { RECORDED } else { 0 };
        self.cur.history += u32::from(aux.jump_point);
        self.history.visited.push(Visited { insn: self.at as u32, flags });
    }

    fn record(&mut self, flags: u16) {
        if let Some(last) = self.history.visited.last_mut() {
            self.cur.history += u32::from(last.flags & RECORDED == 0);
            last.flags |= flags | RECORDED;
        }
    }

    /// The instruction saves a register in this slot, or loads it from there.
    pub(in crate::verifier_sim) fn record_stack_access(&mut self, frame: usize, slot: usize) {
        self.record(STACK | (frame as u16) << SLOT_BITS | slot as u16);
    }

    /// The instruction calls a function that is not walked.
    pub(in crate::verifier_sim) fn record_assumed(&mut self) {
        if let Some(last) = self.history.visited.last_mut() {
            last.flags |= ASSUMED;
        }
    }

    /// The instruction compares pointers to the stack.
    pub(in crate::verifier_sim) fn record_stack_operands(&mut self, left: bool, right: bool) {
        if left || right {
            self.record(if left { LEFT_IS_STACK } else { 0 } | if right { RIGHT_IS_STACK } else { 0 });
        }
    }

    /// What the comparison shows of one of these scalars holds for all.
    pub(in crate::verifier_sim) fn record_linked(&mut self, places: &[Place]) {
        if places.len() > 1 {
            self.record(0);
            self.history.linked.push((self.history.visited.len() - 1, places.to_vec()));
        }
    }
}

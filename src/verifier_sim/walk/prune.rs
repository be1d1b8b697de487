//! Cutting paths short whose state an earlier path already covered (`is_state_visited`, `states_equal`).

use std::collections::HashMap;
use std::rc::Rc;

use crate::asm::Insn;
use crate::asm::opcode as op;
use crate::verifier_sim::program::is_may_goto;
use crate::verifier_sim::spec::Kernel;
use crate::verifier_sim::state::reg::{ADD_CONST, Kind, Reg};
use crate::verifier_sim::state::stack::{Byte, SLOT_SIZE, Slot};
use crate::verifier_sim::state::{Frame, REGS, State};
use crate::verifier_sim::stop::{Step, reject};
use crate::verifier_sim::walk::env::Env;

/// What a look at the earlier states of an instruction gave.
pub(in crate::verifier_sim) enum Visit {
    /// An earlier path covers this one.
    Covered,
    /// The path goes on.
    New,
}

/// One kept state (`struct bpf_verifier_state_list`).
struct Checkpoint {
    /// `None` once it has been given up as useless.
    state: Option<Box<State>>,
    /// Paths through here that are not finished, this side of the next checkpoint.
    branches: u32,
    /// How often it covered a path, and how often not.
    hits: u32,
    misses: u32,
    parent: Option<u32>,
    /// How much of the trail led here.
    trail: usize,
    /// Registers of the current function whose numbers have decided something since, as bits.
    precise: u16,
}

/// All kept states.
#[derive(Default)]
pub(in crate::verifier_sim) struct Explored {
    checkpoints: Vec<Checkpoint>,
    /// By instruction, the newest last.
    at: HashMap<usize, Vec<u32>>,
}

impl Explored {
    /// One more path leads on from this checkpoint.
    pub(in crate::verifier_sim) fn add_branch(&mut self, checkpoint: u32) {
        self.checkpoints[checkpoint as usize].branches += 1;
    }

    /// A path from this checkpoint is finished.
    pub(in crate::verifier_sim) fn end_branch(&mut self, checkpoint: u32) {
        let mut next = Some(checkpoint);
        while let Some(index) = next {
            let checkpoint = &mut self.checkpoints[index as usize];
            checkpoint.branches -= 1;
            next = if checkpoint.branches == 0 { checkpoint.parent } else { None };
        }
    }

    /// How many states are kept.
    pub(in crate::verifier_sim) fn kept(&self) -> u64 {
        self.checkpoints.iter().filter(|checkpoint| checkpoint.state.is_some()).count() as u64
    }

    fn add(&mut self, insn: usize, state: State, trail: usize) -> u32 {
        let index = self.checkpoints.len() as u32;
        let parent = state.parent;
        let state = Some(Box::new(state));
        self.checkpoints.push(Checkpoint { state, branches: 1, hits: 0, misses: 0, parent, trail, precise: 0 });
        self.at.entry(insn).or_default().push(index);
        index
    }
}

/// How alike two states must be (`enum exact_level`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Likeness {
    /// The old one covers the new one.
    Covers,
    /// They are the same up to the choice of ids.
    Same,
}

/// A checkpoint that covers nothing is given up after so many looks, plus so many for each time it did.
const PATIENCE: u32 = 3;
/// The same for checkpoints of loops that the kernel cuts off.
const LOOP_PATIENCE: u32 = 64;

impl Env<'_> {
    /// Looks at the states that earlier paths had at the current instruction, and keeps this one if it is worth it.
    pub(in crate::verifier_sim) fn visit(&mut self) -> Step<Visit> {
        let at = self.at;
        let forced = self.checkpoint_always || self.aux[at].force_checkpoint;
        let jumps = self.work.jumps - self.work.jumps_at_checkpoint;
        let insns = self.work.insns - self.work.insns_at_checkpoint;
        let mut keep = forced || (jumps >= 2 && insns >= 8);
        let mut list = self.explored.at.remove(&at).unwrap_or_default();
        let mut covered = false;
        let mut index = list.len();
        while index > 0 {
            index -= 1;
            let number = list[index];
            let looping = self.explored.checkpoints[number as usize].branches > 0;
            if self.covers(number, looping)? {
                self.explored.checkpoints[number as usize].hits += 1;
                covered = true;
                break;
            }
            // The first rounds of a loop are not worth a checkpoint.
            if looping && !forced && jumps < 20 && insns < 100 {
                keep = false;
            }
            let checkpoint = &mut self.explored.checkpoints[number as usize];
            checkpoint.misses += u32::from(keep);
            let patience = if self.aux[at].force_checkpoint && looping { LOOP_PATIENCE } else { PATIENCE };
            if checkpoint.misses > checkpoint.hits * patience + patience {
                checkpoint.state = None;
                list.remove(index);
            }
        }
        self.explored.at.insert(at, list);
        if covered {
            return Ok(Visit::Covered);
        }
        if keep {
            self.work.jumps_at_checkpoint = self.work.jumps;
            self.work.insns_at_checkpoint = self.work.insns;
            let number = self.explored.add(at, self.cur.clone(), self.trail.len());
            self.cur.parent = Some(number);
        }
        Ok(Visit::New)
    }

    /// Whether checkpoint `number` covers the current state.
    fn covers(&self, number: u32, looping: bool) -> Step<bool> {
        let Some(old) = self.explored.checkpoints[number as usize].state.as_deref() else { return Ok(false) };
        if !looping {
            return Ok(self.alike(old, Likeness::Covers));
        }
        let cur = &self.cur;
        let cut_off = is_may_goto(&self.insns[self.at]);
        if cut_off && old.may_goto_depth != cur.may_goto_depth && self.alike(old, Likeness::Covers) {
            return Ok(true);
        }
        let maybe = old.depth() == cur.depth()
            && (0..REGS).all(|reg| {
                let (old, cur) = (&old.top().regs[reg], &cur.top().regs[reg]);
                old.same_but_ids(cur) && (old.id, old.ref_id) == (cur.id, cur.ref_id)
            });
        if maybe && old.may_goto_depth == cur.may_goto_depth && self.alike(old, Likeness::Same) {
            reject!("infinite loop detected at insn {}", self.at);
        }
        Ok(false)
    }

    /// Compares `old` with the current state.
    fn alike(&self, old: &State, how: Likeness) -> bool {
        let cur = &self.cur;
        if old.frames.len() != cur.frames.len() || old.refs.len() != cur.refs.len() {
            return false;
        }
        let mut ids = Ids::new(self.next_id);
        match (old.lock, cur.lock) {
            (None, None) => {}
            (Some(a), Some(b)) if a.map == b.map && ids.same(a.id, b.id) => {}
            _ => return false,
        }
        if !old.refs.iter().zip(&cur.refs).all(|(a, b)| ids.same(a.id, b.id)) {
            return false;
        }
        (0..old.frames.len()).all(|number| {
            let (a, b) = (&old.frames[number], &cur.frames[number]);
            let at = cur.frames.get(number + 1).map_or(self.at, |callee| callee.callsite);
            a.callsite == b.callsite && self.frames_alike(a, b, at, &mut ids, how)
        })
    }

    fn frames_alike(&self, old: &Rc<Frame>, cur: &Rc<Frame>, at: usize, ids: &mut Ids, how: Likeness) -> bool {
        let live = self.aux[at].live;
        let live = if self.kernel >= Kernel::V6_18 || how == Likeness::Covers { live } else { u16::MAX };
        let regs = (0..REGS).all(|reg| live & (1 << reg) == 0 || regs_alike(&old.regs[reg], &cur.regs[reg], ids, how));
        // Only of a state whose every continuation was walked it is known what they read.
        let complete = how == Likeness::Covers && !self.has_may_goto;
        let slots = if complete { self.stack_reads.at(at) } else { u64::MAX };
        regs && self.stacks_alike(old, cur, slots, ids, how)
    }

    fn stacks_alike(&self, old: &Frame, cur: &Frame, live: u64, ids: &mut Ids, how: Likeness) -> bool {
        let uninit = self.may_read_uninit_stack();
        old.stack.iter().enumerate().all(|(index, slot)| {
            if how == Likeness::Same && index >= cur.stack.len() {
                return false;
            }
            live & 1 << index == 0 || slots_alike(slot, cur.slot(index), uninit, ids, how)
        })
    }
}

/// Which id of the current state stands for which of the old one.
struct Ids {
    pairs: Vec<(u32, u32)>,
    /// For scalars that have no id: a number no id has had.
    fresh: u32,
}

impl Ids {
    fn new(last: u32) -> Self {
        Self { pairs: Vec::new(), fresh: last }
    }

    /// Whether `cur` can stand for `old` (`check_ids`).
    fn same(&mut self, old: u32, cur: u32) -> bool {
        if old == 0 || cur == 0 {
            return old == cur;
        }
        for (known_old, known_cur) in &self.pairs {
            if *known_old == old {
                return *known_cur == cur;
            }
            if *known_cur == cur {
                return false;
            }
        }
        self.pairs.push((old, cur));
        true
    }

    /// The same for scalars, where an old one without links covers any (`check_scalar_ids`).
    fn same_scalars(&mut self, old: u32, cur: u32) -> bool {
        if old == 0 {
            return true;
        }
        let cur = if cur == 0 {
            self.fresh += 1;
            self.fresh
        } else {
            cur
        };
        self.same(old, cur) && (old & ADD_CONST == 0 || self.same(old & !ADD_CONST, cur & !ADD_CONST))
    }
}

/// `regsafe`, where every number counts.
fn regs_alike(old: &Reg, cur: &Reg, ids: &mut Ids, how: Likeness) -> bool {
    let exact = |ids: &mut Ids| old.same_but_ids(cur) && ids.same(old.id, cur.id) && ids.same(old.ref_id, cur.ref_id);
    if how == Likeness::Same {
        return exact(ids);
    }
    if old.kind == Kind::NotInit {
        return true;
    }
    if old.kind != cur.kind || old.flags != cur.flags {
        return false;
    }
    let within = || old.val.ranges_contain(&cur.val) && old.val.bits.contains(cur.val.bits);
    match old.kind {
        Kind::Scalar => {
            let (far_old, far_cur) = (old.id & ADD_CONST, cur.id & ADD_CONST);
            if old.id != 0 && (far_old != far_cur || (far_old != 0 && old.off != cur.off)) {
                return false;
            }
            ids.same_scalars(old.id, cur.id) && within()
        }
        Kind::MapValue | Kind::Mem => {
            (old.off, old.arg, old.map_uid) == (cur.off, cur.arg, cur.map_uid)
                && within()
                && ids.same(old.id, cur.id)
                && ids.same(old.ref_id, cur.ref_id)
        }
        Kind::Packet => {
            let (a, b) = (old.range(), cur.range());
            let known = if a < 0 || b < 0 { a == b } else { a <= b };
            known && old.off == cur.off && ids.same(old.id, cur.id) && within()
        }
        _ => exact(ids),
    }
}

/// The number that the whole slot is, if it is one.
fn as_scalar(slot: &Slot, uninit: bool) -> Option<Reg> {
    if slot.bytes[0] == Byte::Spill && slot.reg.is_scalar() {
        return Some(slot.reg);
    }
    let misc = slot.bytes.iter().all(|byte| *byte == Byte::Misc || (*byte == Byte::Invalid && uninit));
    misc.then_some(Reg::UNKNOWN)
}

/// `stacksafe` for one slot.
fn slots_alike(old: &Slot, cur: &Slot, uninit: bool, ids: &mut Ids, how: Likeness) -> bool {
    if old.bytes[0] == Byte::Dynptr {
        let (a, b) = (&old.reg, &cur.reg);
        return old.bytes == cur.bytes && old.same_dynptr_half(cur) && ids.same(a.ref_id, b.ref_id);
    }
    if how == Likeness::Same {
        return old.bytes == cur.bytes && (!old.is_spill() || regs_alike(&old.reg, &cur.reg, ids, how));
    }
    // Slots of which nothing can be read cover everything.
    let unread = |byte: &Byte| *byte == Byte::Invalid || (*byte == Byte::Misc && uninit);
    if old.bytes.iter().all(unread) {
        return true;
    }
    if let (Some(old), Some(cur)) = (as_scalar(old, uninit), as_scalar(cur, uninit)) {
        return regs_alike(&old, &cur, ids, how);
    }
    let bytes = (0..SLOT_SIZE).all(|index| {
        let (a, b) = (old.bytes[index], cur.bytes[index]);
        a == b || unread(&a) || (a == Byte::Misc && b == Byte::Zero)
    });
    bytes && (!old.is_spill() || regs_alike(&old.reg, &cur.reg, ids, how))
}

impl Env<'_> {
    /// The way out of a loop that the kernel cuts off: the loop is walked again from here, later.
    pub(in crate::verifier_sim) fn push_may_goto(&mut self, next: usize) -> Step {
        let mut state = self.cur.clone();
        state.may_goto_depth += 1;
        // What changed since the last time round will go on changing: widen it, so that the rounds come to an end.
        if let Some((previous, precise)) = self.previous_round() {
            widen(&previous, &mut state, precise);
        }
        self.push_state(state, next)
    }

    /// The numbers in `regs` decide what happens at the current instruction, so in loops that the kernel cuts off they must
    /// not be forgotten: finds out which registers of earlier checkpoints they come from (`mark_chain_precision`). What
    /// came through the stack or another function is not followed.
    pub(in crate::verifier_sim) fn mark_precise(&mut self, regs: u16) {
        if !self.has_may_goto {
            return;
        }
        let mut wanted = regs;
        let mut at = self.trail.len().saturating_sub(1);
        let mut next = self.cur.parent;
        while let Some(number) = next {
            let begin = self.explored.checkpoints[number as usize].trail;
            while at > begin {
                at -= 1;
                wanted = origins(&self.insns[self.trail[at] as usize], wanted);
            }
            let checkpoint = &mut self.explored.checkpoints[number as usize];
            wanted &= !checkpoint.precise;
            if wanted == 0 {
                return;
            }
            checkpoint.precise |= wanted;
            next = checkpoint.parent;
        }
    }

    /// The state of the unfinished round before this one, at the same instruction with the same callers, and the registers
    /// whose numbers have decided something since.
    fn previous_round(&self) -> Option<(State, u16)> {
        let list = self.explored.at.get(&self.at)?;
        let own = self.cur.parent;
        list.iter().rev().filter(|number| Some(**number) != own).find_map(|number| {
            let checkpoint = &self.explored.checkpoints[*number as usize];
            let state = checkpoint.state.as_deref().filter(|_| checkpoint.branches > 0)?;
            let callers = state.frames.len() == self.cur.frames.len()
                && state.frames.iter().zip(&self.cur.frames).all(|(a, b)| a.callsite == b.callsite);
            callers.then(|| (state.clone(), checkpoint.precise))
        })
    }
}

/// The registers from which the numbers in `regs` come when `insn` has been executed (`backtrack_insn`).
fn origins(insn: &Insn, regs: u16) -> u16 {
    let bit = |reg: u8| 1u16.checked_shl(reg.into()).unwrap_or(0);
    let (dst, src) = (bit(insn.dst), bit(insn.src));
    let register = insn.code & op::X != 0;
    match insn.code & op::CLASS_MASK {
        op::ALU | op::ALU64 if regs & dst == 0 => regs,
        op::ALU | op::ALU64 if insn.code & op::OP_MASK == op::MOV => regs & !dst | if register { src } else { 0 },
        op::ALU | op::ALU64 if insn.code & op::OP_MASK != op::END && register => regs | src,
        op::ALU | op::ALU64 | op::ST => regs,
        op::STX if insn.code & op::MODE_MASK == op::ATOMIC => 0,
        op::STX => regs,
        op::JMP | op::JMP32 => match insn.code & op::OP_MASK {
            op::JA | op::JCOND => regs,
            // r0 to r5 are new after a helper. Other functions are not followed.
            op::CALL if insn.src == 0 => regs & !0x3f,
            op::CALL | op::EXIT => 0,
            _ if register && regs & (dst | src) != 0 => regs | dst | src,
            _ => regs,
        },
        _ => regs & !dst,
    }
}

/// Forgets the numbers in which `state` differs from `old`, but not those in `precise` (`widen_imprecise_scalars`).
fn widen(old: &State, state: &mut State, precise: u16) {
    let changed = |old: &Reg, cur: &Reg| old.is_scalar() && cur.is_scalar() && old.val != cur.val;
    let top = old.depth();
    for (number, old) in old.frames.iter().enumerate() {
        let kept = if number == top { precise } else { 0 };
        for reg in 0..REGS {
            if kept & (1 << reg) == 0 && changed(&old.regs[reg], &state.frames[number].regs[reg]) {
                state.frame_mut(number).regs[reg] = Reg::UNKNOWN;
            }
        }
        for (index, old) in old.stack.iter().enumerate() {
            let slot = *state.frames[number].slot(index);
            if old.is_spill() && slot.is_spill() && changed(&old.reg, &slot.reg) {
                state.frame_mut(number).slot_mut(index).reg = Reg::UNKNOWN;
            }
        }
    }
}

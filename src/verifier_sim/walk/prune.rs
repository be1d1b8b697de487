//! Cutting paths short whose state an earlier path already covered (`is_state_visited`, `states_equal`).

use std::rc::Rc;

use crate::verifier_sim::program::is_may_goto;
use crate::verifier_sim::spec::Kernel;
use crate::verifier_sim::state::reg::{ADD_CONST, Kind, Reg};
use crate::verifier_sim::state::stack::{Byte, SLOT_SIZE, Slot};
use crate::verifier_sim::state::{Frame, REGS, State};
use crate::verifier_sim::stop::{Step, reject};
use crate::verifier_sim::walk::env::Env;
use crate::verifier_sim::walk::precision::{Mask, scalars_of};

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
    /// Then it is here, if there is a log that may have to show it.
    given_up: Option<Box<State>>,
    /// Paths through here that are not finished, this side of the next checkpoint.
    branches: u32,
    /// How often it covered a path, and how often not.
    hits: u32,
    misses: u32,
    parent: Option<u32>,
    /// The instruction before which it was made.
    insn: usize,
    /// How much of the history led here.
    history: usize,
    /// Of each frame, what holds a scalar.
    scalars: Vec<Mask>,
    /// Of each frame, the scalars that have decided something since.
    precise: Vec<Mask>,
}

/// All kept states.
#[derive(Default)]
pub(in crate::verifier_sim) struct Explored {
    checkpoints: Vec<Checkpoint>,
    /// By instruction and call, the newest last. As many lists as instructions, so that some share one (`explored_state`).
    lists: Vec<Vec<u32>>,
    /// States of the functions that were judged before.
    made: usize,
    /// States in memory, as the kernel counts them, and the most there were.
    held: u64,
    peak: u64,
    /// The longest list that was searched.
    most: u64,
}

impl Explored {
    /// None yet, for a program of this length.
    pub(in crate::verifier_sim) fn new(insns: usize) -> Self {
        Self { lists: vec![Vec::new(); insns], ..Self::default() }
    }

    /// How much of the history led to the checkpoint.
    pub(in crate::verifier_sim) fn history(&self, number: u32) -> usize {
        self.checkpoints[number as usize].history
    }

    /// What holds a scalar in the checkpoint's frames, and which of them have decided something.
    pub(in crate::verifier_sim) fn masks(&self, number: u32) -> (&[Mask], &[Mask]) {
        let checkpoint = &self.checkpoints[number as usize];
        (&checkpoint.scalars, &checkpoint.precise)
    }

    /// The scalars among `wanted` decide; leaves there those of which that was not known yet. Returns the checkpoint before.
    pub(in crate::verifier_sim) fn mark_precise(&mut self, number: u32, wanted: &mut [Mask]) -> Option<u32> {
        let checkpoint = &mut self.checkpoints[number as usize];
        for (wanted, (scalars, precise)) in
            wanted.iter_mut().zip(checkpoint.scalars.iter().zip(&mut checkpoint.precise))
        {
            wanted.regs &= scalars.regs & !precise.regs;
            wanted.slots &= scalars.slots & !precise.slots;
            precise.regs |= wanted.regs;
            precise.slots |= wanted.slots;
        }
        checkpoint.parent
    }

    /// All scalars count in the checkpoint and in those before it.
    pub(in crate::verifier_sim) fn mark_all_precise(&mut self, number: Option<u32>) {
        let mut next = number;
        while let Some(number) = next {
            let checkpoint = &mut self.checkpoints[number as usize];
            if checkpoint.precise.iter().all(|mask| *mask == Mask::ALL) {
                return;
            }
            checkpoint.precise.fill(Mask::ALL);
            next = checkpoint.parent;
        }
    }

    /// One more path leads on from this checkpoint.
    pub(in crate::verifier_sim) fn add_branch(&mut self, checkpoint: u32) {
        self.checkpoints[checkpoint as usize].branches += 1;
    }

    /// The state of a checkpoint and what has decided something in it, for the log.
    pub(in crate::verifier_sim) fn described(&self, number: u32) -> (Option<&State>, &[Mask]) {
        let checkpoint = &self.checkpoints[number as usize];
        (checkpoint.state.as_deref().or(checkpoint.given_up.as_deref()), &checkpoint.precise)
    }

    /// The instruction before which a checkpoint was made.
    pub(in crate::verifier_sim) fn insn(&self, number: u32) -> usize {
        self.checkpoints[number as usize].insn
    }

    /// How many states were made, the most that were kept at a time, and the most for one instruction.
    pub(in crate::verifier_sim) fn totals(&self) -> (usize, u64, u64) {
        (self.made + self.checkpoints.len(), self.peak, self.most)
    }

    /// Another function is judged: earlier states do not cover its (`free_states`).
    pub(in crate::verifier_sim) fn begin_function(&mut self) {
        self.made += self.checkpoints.len();
        self.checkpoints.clear();
        self.lists.iter_mut().for_each(Vec::clear);
    }

    /// How many states are kept.
    pub(in crate::verifier_sim) fn kept(&self) -> u64 {
        self.checkpoints.iter().filter(|checkpoint| checkpoint.state.is_some()).count() as u64
    }

    fn add(&mut self, insn: usize, state: State, history: usize) -> u32 {
        let index = self.checkpoints.len() as u32;
        let list = self.list(insn, &state);
        let (parent, scalars) = (state.parent, scalars_of(&state));
        let precise = vec![Mask::default(); scalars.len()];
        let state = Some(Box::new(state));
        self.checkpoints.push(Checkpoint {
            state,
            given_up: None,
            branches: 1,
            hits: 0,
            misses: 0,
            parent,
            insn,
            history,
            scalars,
            precise,
        });
        self.lists[list].push(index);
        self.held += 1;
        self.peak = self.peak.max(self.held);
        index
    }

    /// Number of the list that has the checkpoints of `insn` in functions called from the same place.
    fn list(&self, insn: usize, state: &State) -> usize {
        // `BPF_MAIN_FUNC`: where the main program was called from.
        let callsite = if state.depth() == 0 { u32::MAX } else { state.top().callsite as u32 };
        (insn as u32 ^ callsite) as usize % self.lists.len()
    }
}

/// How alike two states must be (`enum exact_level`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExactLevel {
    /// The old one covers the new one, as far as it matters to what comes after.
    Covers,
    /// The old one covers the new one in everything.
    CoversAll,
    /// They are the same up to the choice of ids.
    Same,
}

/// Entries of a path's history after which a checkpoint is always made.
const MAX_HISTORY: u32 = 40;
/// A checkpoint that covers nothing is given up after so many looks, plus so many for each time it did.
const MISSES: u32 = 3;
/// The same for checkpoints of loops that the kernel cuts off.
const LOOP_MISSES: u32 = 64;

impl Env<'_> {
    /// Looks at the states that earlier paths had at the current instruction, and keeps this one if it is worth it.
    pub(in crate::verifier_sim) fn visit(&mut self) -> Step<Visit> {
        let at = self.at;
        let forced = self.checkpoint_always || self.aux[at].force_checkpoint || self.cur.history > MAX_HISTORY;
        let jumps = self.work.jumps - self.work.jumps_at_checkpoint;
        let insns = self.work.insns - self.work.insns_at_checkpoint;
        let mut keep = forced || (jumps >= 2 && insns >= 8);
        let own_list = self.explored.list(at, &self.cur);
        let mut list = std::mem::take(&mut self.explored.lists[own_list]);
        let mut covered = None;
        let mut index = list.len();
        let mut searched = 0;
        while index > 0 {
            index -= 1;
            searched += 1;
            let number = list[index];
            if self.explored.checkpoints[number as usize].insn != at {
                continue;
            }
            let looping = self.explored.checkpoints[number as usize].branches > 0;
            if self.covers(number, looping)? {
                self.explored.checkpoints[number as usize].hits += 1;
                covered = Some(number);
                break;
            }
            // The first rounds of a loop are not worth a checkpoint.
            if looping && !forced && jumps < 20 && insns < 100 {
                keep = false;
            }
            let checkpoint = &mut self.explored.checkpoints[number as usize];
            checkpoint.misses += u32::from(keep);
            let misses = if self.aux[at].force_checkpoint && looping { LOOP_MISSES } else { MISSES };
            if checkpoint.misses > checkpoint.hits * misses + misses {
                let state = checkpoint.state.take();
                if !looping {
                    self.explored.held -= 1;
                } else if self.log.is_some() {
                    checkpoint.given_up = state;
                }
                list.remove(index);
            }
        }
        self.explored.lists[own_list] = list;
        if let Some(number) = covered {
            self.propagate_precision(number);
            return Ok(Visit::Covered);
        }
        self.explored.most = self.explored.most.max(searched);
        if keep {
            self.work.jumps_at_checkpoint = self.work.jumps;
            self.work.insns_at_checkpoint = self.work.insns;
            self.cur.history = 0;
            let number = self.explored.add(at, self.cur.clone(), self.history.len());
            self.log_checkpoint_made(number);
            self.cur.parent = Some(number);
        }
        Ok(Visit::New)
    }

    /// The current path is finished, and with it the checkpoints from which it was the last.
    pub(in crate::verifier_sim) fn end_branch(&mut self) {
        let mut next = self.cur.parent;
        while let Some(number) = next {
            let checkpoint = &mut self.explored.checkpoints[number as usize];
            checkpoint.branches -= 1;
            if checkpoint.branches > 0 {
                return;
            }
            next = checkpoint.parent;
            if checkpoint.state.is_none() {
                self.explored.held -= 1;
                checkpoint.given_up = None;
            }
            self.log_checkpoint_done(number);
        }
    }

    /// Whether checkpoint `number` covers the current state.
    fn covers(&mut self, number: u32, looping: bool) -> Step<bool> {
        let checkpoint = &self.explored.checkpoints[number as usize];
        let Some(old) = checkpoint.state.as_deref() else { return Ok(false) };
        let precise = &checkpoint.precise;
        if !looping {
            // Of such a loop not all that decides has been seen when a part of it is finished.
            let how = if self.has_open_loops { ExactLevel::CoversAll } else { ExactLevel::Covers };
            return Ok(self.alike(old, precise, how));
        }
        let cur = &self.cur;
        let cut_off = is_may_goto(&self.insns[self.at]);
        if cut_off && old.may_goto_depth != cur.may_goto_depth && self.alike(old, precise, ExactLevel::CoversAll) {
            return Ok(true);
        }
        if self.aux[self.at].moves_iterator {
            return Ok(self.iterates_on() && self.alike(old, precise, ExactLevel::CoversAll));
        }
        if self.aux[self.at].calls_back {
            return Ok(self.alike(old, precise, ExactLevel::CoversAll));
        }
        // Another entry into a function that the kernel calls later is not another round of a loop.
        let entries = (old.top().async_depth, cur.top().async_depth);
        if entries.0 != 0 && entries.0 != entries.1 {
            return Ok(false);
        }
        let maybe = old.depth() == cur.depth()
            && (0..REGS).all(|reg| {
                let (old, cur) = (&old.top().regs[reg], &cur.top().regs[reg]);
                old.same_but_ids(cur) && (old.id, old.ref_id) == (cur.id, cur.ref_id)
            });
        let rounds = (old.may_goto_depth, old.callback_unroll_depth) == (cur.may_goto_depth, cur.callback_unroll_depth);
        if maybe && rounds && self.alike(old, precise, ExactLevel::Same) && !self.cur.has_moved_on(old) {
            self.log_endless(number);
            reject!("infinite loop detected at insn {}", self.at);
        }
        Ok(false)
    }

    /// Compares `old` with the current state.
    fn alike(&self, old: &State, precise: &[Mask], how: ExactLevel) -> bool {
        let cur = &self.cur;
        if (old.speculative && !cur.speculative)
            || old.frames.len() != cur.frames.len()
            || old.refs.len() != cur.refs.len()
            || (old.rcu_lock, old.preempt_locks, old.may_sleep) != (cur.rcu_lock, cur.preempt_locks, cur.may_sleep)
        {
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
            let precise = if how == ExactLevel::Covers { precise[number] } else { Mask::ALL };
            a.callsite == b.callsite
                && a.callback_depth <= b.callback_depth
                && self.frames_alike((a, precise), b, at, &mut ids, how)
        })
    }

    fn frames_alike(
        &self,
        (old, precise): (&Rc<Frame>, Mask),
        cur: &Rc<Frame>,
        at: usize,
        ids: &mut Ids,
        how: ExactLevel,
    ) -> bool {
        let live = self.aux[at].live;
        let live = if self.kernel >= Kernel::V6_18 || how != ExactLevel::Same { live } else { u16::MAX };
        let alike = |reg: usize, ids: &mut Ids| {
            regs_alike(&old.regs[reg], &cur.regs[reg], precise.regs & 1 << reg != 0, ids, how)
        };
        let regs = (0..REGS).all(|reg| live & (1 << reg) == 0 || alike(reg, ids));
        // Only of a state whose every continuation was walked it is known what they read.
        let complete = how == ExactLevel::Covers;
        let slots = if complete { self.stack_reads.at(at) } else { u64::MAX };
        regs && self.stacks_alike((old, precise.slots), cur, slots, ids, how)
    }

    fn stacks_alike(
        &self,
        (old, precise): (&Frame, u64),
        cur: &Frame,
        live: u64,
        ids: &mut Ids,
        how: ExactLevel,
    ) -> bool {
        let uninit = self.may_read_uninit_stack();
        old.stack.iter().enumerate().all(|(index, slot)| {
            if how == ExactLevel::Same && index >= cur.stack.len() {
                return false;
            }
            // The kernel takes a slot that the current path has not reached for another one, whatever may be read there.
            let read = |byte: &Byte| *byte != Byte::Invalid && (*byte != Byte::Misc || !uninit);
            if live & 1 << index != 0 && index >= cur.stack.len() && slot.bytes.iter().any(read) {
                return false;
            }
            live & 1 << index == 0 || slots_alike(slot, cur.slot(index), precise & 1 << index != 0, uninit, ids, how)
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

/// `regsafe`; `precise` says whether the number in `old` has decided something.
fn regs_alike(old: &Reg, cur: &Reg, precise: bool, ids: &mut Ids, how: ExactLevel) -> bool {
    let exact = |ids: &mut Ids| old.same_but_ids(cur) && ids.same(old.id, cur.id) && ids.same(old.ref_id, cur.ref_id);
    if how == ExactLevel::Same {
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
        Kind::Scalar if !precise => true,
        Kind::Scalar => {
            let (far_old, far_cur) = (old.id & ADD_CONST, cur.id & ADD_CONST);
            if old.id != 0 && (far_old != far_cur || (far_old != 0 && old.off != cur.off)) {
                return false;
            }
            ids.same_scalars(old.id, cur.id) && within()
        }
        Kind::MapKey | Kind::MapValue | Kind::Mem => {
            (old.off, old.arg, old.map_uid) == (cur.off, cur.arg, cur.map_uid)
                && within()
                && ids.same(old.id, cur.id)
                && ids.same(old.ref_id, cur.ref_id)
        }
        Kind::Packet | Kind::PacketMeta => {
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
fn slots_alike(old: &Slot, cur: &Slot, precise: bool, uninit: bool, ids: &mut Ids, how: ExactLevel) -> bool {
    if old.bytes[0] == Byte::Dynptr {
        let (a, b) = (&old.reg, &cur.reg);
        return old.bytes == cur.bytes && old.same_dynptr_half(cur) && ids.same(a.ref_id, b.ref_id);
    }
    if old.is_iterator() {
        let (a, b) = (&old.reg, &cur.reg);
        return old.bytes == cur.bytes && (a.arg, a.off) == (b.arg, b.off) && ids.same(a.ref_id, b.ref_id);
    }
    if how == ExactLevel::Same {
        return old.bytes == cur.bytes && (!old.is_spill() || regs_alike(&old.reg, &cur.reg, precise, ids, how));
    }
    // Slots of which nothing can be read cover everything.
    let unread = |byte: &Byte| *byte == Byte::Invalid || (*byte == Byte::Misc && uninit);
    if old.bytes.iter().all(unread) {
        return true;
    }
    if let (Some(old), Some(cur)) = (as_scalar(old, uninit), as_scalar(cur, uninit)) {
        return regs_alike(&old, &cur, precise, ids, how);
    }
    let bytes = (0..SLOT_SIZE).all(|index| {
        let (a, b) = (old.bytes[index], cur.bytes[index]);
        a == b || unread(&a) || (a == Byte::Misc && b == Byte::Zero)
    });
    bytes && (!old.is_spill() || regs_alike(&old.reg, &cur.reg, precise, ids, how))
}

impl Env<'_> {
    /// The way out of a loop that the kernel cuts off: the loop is walked again from here, later.
    pub(in crate::verifier_sim) fn push_may_goto(&mut self, next: usize) -> Step {
        let mut state = self.cur.clone();
        state.may_goto_depth += 1;
        // What changed since the last time round will go on changing: widen it, so that the rounds come to an end.
        self.widen_round(&mut state);
        self.push_state(state, next)
    }

    /// An iterator has another element: the same for the state of this round.
    pub(in crate::verifier_sim) fn widen_round(&self, state: &mut State) {
        if let Some((previous, precise)) = self.previous_round(self.at, self.cur.parent) {
            widen(&previous, state, &precise);
        }
    }

    /// A round of a callback is over, and the path is back at the call `at`: the same.
    pub(in crate::verifier_sim) fn widen_callback(&mut self, at: usize) {
        if let Some((previous, precise)) = self.previous_round(at, None) {
            widen(&previous, &mut self.cur, &precise);
        }
    }

    /// The state of the unfinished round before this one, at the same instruction with the same callers, and the registers
    /// whose numbers have decided something since. Checkpoint `own` is the one of this round.
    fn previous_round(&self, at: usize, own: Option<u32>) -> Option<(State, Vec<Mask>)> {
        let list = &self.explored.lists[self.explored.list(at, &self.cur)];
        list.iter().rev().filter(|number| Some(**number) != own).find_map(|number| {
            let checkpoint = &self.explored.checkpoints[*number as usize];
            let state = checkpoint.state.as_deref().filter(|_| checkpoint.branches > 0 && checkpoint.insn == at)?;
            let callers = state.frames.len() == self.cur.frames.len()
                && state.frames.iter().zip(&self.cur.frames).all(|(a, b)| a.callsite == b.callsite);
            callers.then(|| (state.clone(), checkpoint.precise.clone()))
        })
    }
}

/// Forgets the numbers in which `state` differs from `old`, but not those in `precise` (`widen_imprecise_scalars`).
fn widen(old: &State, state: &mut State, precise: &[Mask]) {
    let changed = |old: &Reg, cur: &Reg| old.is_scalar() && cur.is_scalar() && old.val != cur.val;
    for (number, old) in old.frames.iter().enumerate() {
        let kept = precise[number];
        for reg in 0..REGS {
            if kept.regs & 1 << reg == 0 && changed(&old.regs[reg], &state.frames[number].regs[reg]) {
                state.frame_mut(number).regs[reg] = Reg::UNKNOWN;
            }
        }
        for (index, old) in old.stack.iter().enumerate() {
            let slot = *state.frames[number].slot(index);
            if kept.slots & 1 << index == 0 && old.is_spill() && slot.is_spill() && changed(&old.reg, &slot.reg) {
                state.frame_mut(number).slot_mut(index).reg = Reg::UNKNOWN;
            }
        }
    }
}

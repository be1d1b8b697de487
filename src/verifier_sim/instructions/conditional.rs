//! Conditional jumps (`check_cond_jmp_op`).

use crate::asm::Insn;
use crate::asm::opcode as op;
use crate::verifier_sim::instructions::alu;
use crate::verifier_sim::instructions::object::Kept;
use crate::verifier_sim::instructions::packet;
use crate::verifier_sim::numbers::condition::{self, Cond};
use crate::verifier_sim::numbers::scalar;
use crate::verifier_sim::program::record::FieldKind;
use crate::verifier_sim::spec::{Kernel, MapType};
use crate::verifier_sim::state::reg::{ADD_CONST, ADD_CONST32, Flags, Kind, MAX_VAR_OFF, Reg};
use crate::verifier_sim::state::{FP, State};
use crate::verifier_sim::stop::{Step, reject};
use crate::verifier_sim::walk::Flow;
use crate::verifier_sim::walk::env::Env;
use crate::verifier_sim::walk::history::Place;

/// Registers and stack slots that one comparison can speak of (`LINKED_REGS_MAX`); the links of further ones are cut.
const MAX_LINKED: usize = 6;

impl Env<'_> {
    /// A conditional jump.
    pub(in crate::verifier_sim) fn conditional(&mut self, insn: &Insn) -> Step<Flow> {
        if insn.code & op::OP_MASK == op::JCOND {
            return self.may_goto(insn);
        }
        let Some(cond) = Cond::from_operation(insn.code & op::OP_MASK) else {
            reject!("invalid BPF_JMP/JMP32 opcode {:x}", insn.code & op::OP_MASK);
        };
        let immediate = insn.code & op::X == 0;
        let low = insn.code & op::CLASS_MASK == op::JMP32;
        let unused = if immediate { i32::from(insn.src) } else { insn.imm };
        if self.kernel < Kernel::V6_12 && unused != 0 {
            reject!("BPF_JMP/JMP32 uses reserved fields");
        }
        self.check_source(insn.dst)?;
        if unused != 0 {
            reject!("BPF_JMP/JMP32 uses reserved fields");
        }
        let left = *self.reg(insn.dst);
        let right = if immediate {
            Reg { val: alu::immediate(insn.imm), ..Reg::known(0) }
        } else {
            self.check_source(insn.src)?;
            let right = *self.reg(insn.src);
            if !(left.is_packet_any() && right.is_packet_any()) && self.is_secret(insn.src) {
                reject!("R{} pointer comparison prohibited", insn.src);
            }
            right
        };
        let target = crate::verifier_sim::program::jump_target(self.at, insn) as usize;
        let next = self.at + 1;
        let on_stack = |reg: &Reg| reg.kind == Kind::Stack;
        self.record_stack_operands(on_stack(&left), !immediate && on_stack(&right));
        let predicted = predict(cond, &left, &right, low);
        if predicted.is_some() {
            let operand = |reg: &Reg, number: u8| if reg.is_scalar() { 1 << number } else { 0 };
            let second = if immediate { 0 } else { operand(&right, insn.src) };
            self.mark_precise(operand(&left, insn.dst));
            self.mark_precise(second);
        }
        if let Some(taken) = predicted {
            self.push_speculation(insn, if taken { next } else { target })?;
            self.log_state();
        }
        match predicted {
            Some(true) => return Ok(Flow::To(target)),
            Some(false) => return Ok(Flow::To(next)),
            None => {}
        }
        self.split(insn, cond, low, &left, &right, target)?;
        self.log_state();
        Ok(Flow::To(next))
    }

    /// Goes on with the branch where the condition does not hold, and remembers the other.
    fn split(&mut self, insn: &Insn, cond: Cond, low: bool, left: &Reg, right: &Reg, target: usize) -> Step {
        let immediate = insn.code & op::X == 0;
        let mut linked = Vec::new();
        if !immediate && right.is_scalar() && right.id != 0 {
            self.collect_linked(right.id, &mut linked);
        }
        if left.is_scalar() && left.id != 0 {
            self.collect_linked(left.id, &mut linked);
        }
        self.record_linked(&linked);
        // Links may have been cut, also of the operands.
        let left = *self.reg(insn.dst);
        let right = if immediate { *right } else { *self.reg(insn.src) };
        let same = !immediate && insn.src == insn.dst;
        let (mut jumped, mut fell) = ((left, right), (left, right));
        if left.is_scalar() && right.is_scalar() {
            refine_pair(cond.negated(), &mut fell, low, same, self.kernel);
            refine_pair(cond, &mut jumped, low, same, self.kernel);
            for reg in [&mut jumped.0, &mut jumped.1, &mut fell.0, &mut fell.1] {
                self.check_bounds(reg, "branch")?;
            }
        }
        let (dst, src) = (usize::from(insn.dst), usize::from(insn.src));
        let kernel = self.kernel;
        let mut other = self.cur.clone();
        let kept = Kept { maps: &self.maps, objects: &self.objects };
        for (state, pair) in [(&mut other, &jumped), (&mut self.cur, &fell)] {
            let regs = &mut state.top_mut().regs;
            if !immediate {
                regs[src] = pair.1;
            }
            regs[dst] = pair.0;
            if !immediate && pair.1.is_scalar() && pair.1.id != 0 {
                sync_linked(state, src, &linked, kernel);
            }
            let again = state.top().regs[dst];
            if again.is_scalar() && again.id != 0 {
                sync_linked(state, dst, &linked, kernel);
            }
        }
        if !low && !immediate {
            share_non_null(cond, (dst, &left), (src, &right), &mut other, &mut self.cur, kept);
        }
        let against_zero = !low && immediate && insn.imm == 0 && matches!(cond, Cond::Eq | Cond::Ne);
        if against_zero && left.may_be_null() {
            decide_null(&mut other, &left, cond == Cond::Eq, kept);
            decide_null(&mut self.cur, &left, cond == Cond::Ne, kept);
        } else {
            let packets = !low
                && !immediate
                && packet::learn(cond, (insn.dst, &left), (insn.src, &right), &mut other, &mut self.cur);
            if !packets && self.is_secret(insn.dst) {
                reject!("R{} pointer comparison prohibited", insn.dst);
            }
        }
        self.push_state(other, target)
    }

    /// Finds the scalars linked with `id`, and cuts the links of those that are too many (`collect_linked_regs`).
    fn collect_linked(&mut self, id: u32, linked: &mut Vec<Place>) {
        let id = id & !ADD_CONST;
        let member = |reg: &Reg| reg.is_scalar() && reg.id & !ADD_CONST == id;
        let mut excess = Vec::new();
        for (number, frame) in self.cur.frames.iter().enumerate().rev() {
            let at = self.cur.frames.get(number + 1).map_or(self.at, |callee| callee.callsite);
            // Linux 6.18 leaves out what nothing reads any more.
            let live = if self.kernel >= Kernel::V6_18 { self.aux[at].live } else { u16::MAX };
            let regs = (0..FP).filter(|index| live & 1 << index != 0 && member(&frame.regs[*index]));
            let regs = regs.map(|index| Place::Reg(number, index));
            let spills = frame.stack.iter().enumerate();
            let slots = spills
                .filter(|(_, slot)| slot.is_spill() && member(&slot.reg))
                .map(|(index, _)| Place::Slot(number, index));
            for place in regs.chain(slots) {
                if linked.len() < MAX_LINKED { linked.push(place) } else { excess.push(place) }
            }
        }
        for place in excess {
            reg_at(place, &mut self.cur).unlink();
        }
    }

    /// A loop that the kernel cuts off after some time: both ways are possible, but not forever.
    fn may_goto(&mut self, insn: &Insn) -> Step<Flow> {
        if insn.code != op::JMP | op::JCOND || insn.src != 0 || insn.dst != 0 || insn.imm != 0 {
            reject!("invalid may_goto off {} imm {}", insn.off, insn.imm);
        }
        if insn.off == 0 && self.kernel < Kernel::V6_18 {
            reject!("invalid may_goto off 0 imm 0");
        }
        let next = self.at + 1;
        let target = crate::verifier_sim::program::jump_target(self.at, insn) as usize;
        self.push_may_goto(next)?;
        Ok(Flow::To(target))
    }
}

/// A pointer that may be NULL turned out to be NULL or not, and with it all that have its id (`mark_ptr_or_null_regs`).
fn decide_null(state: &mut State, pointer: &Reg, is_null: bool, kept: Kept<'_>) {
    let id = pointer.id;
    if is_null && pointer.ref_id != 0 && pointer.ref_id == id {
        state.refs.retain(|held| held.id != id);
    }
    state.for_each_reg(
        |reg| reg.may_be_null() && reg.id == id,
        |reg| {
            // Pointers to elements of lists and trees point to their nodes.
            if (reg.off != 0 && !reg.is_object()) || !reg.val.bits.is(0) {
                return;
            }
            if is_null {
                *reg = Reg::known(0);
                return;
            }
            mark_not_null(reg, kept);
            if !kept.has_lock(reg) {
                reg.id = 0;
            }
        },
    );
}

/// The pointer was found not to be NULL (`mark_ptr_not_null_reg`).
fn mark_not_null(reg: &mut Reg, kept: Kept<'_>) {
    let maps = kept.maps;
    reg.flags.remove(Flags::MAYBE_NULL);
    if reg.kind != Kind::MapValue {
        return;
    }
    let map = &maps[reg.arg as usize];
    if let Some(inner) = map.inner {
        reg.kind = Kind::ConstMapPtr;
        reg.arg = inner;
        let fields = &maps[inner as usize];
        if fields.field(FieldKind::Timer).is_some() || fields.field(FieldKind::Workqueue).is_some() {
            reg.map_uid = reg.id;
        }
    } else if map.holds_sockets() || map.kind() == MapType::XSKMAP {
        reg.kind = if map.holds_sockets() { Kind::Socket } else { Kind::XdpSock };
        reg.arg = 0;
    }
}

fn reg_at(place: Place, state: &mut State) -> &mut Reg {
    match place {
        Place::Reg(frame, index) => &mut state.frame_mut(frame).regs[index],
        Place::Slot(frame, index) => &mut state.frame_mut(frame).slot_mut(index).reg,
    }
}

/// Refines two operands. When they are the same register, the kernel takes what each learns from the other for true of it,
/// although the condition cannot hold (Linux 6.8 to 6.18; earlier ones learn nothing from a register of any value).
fn refine_pair(cond: Cond, pair: &mut (Reg, Reg), low: bool, same: bool, kernel: Kernel) {
    if same && kernel < Kernel::V6_12 {
        return;
    }
    condition::refine(cond, &mut pair.0.val, &mut pair.1.val, low);
    if same {
        pair.0.val.intersect_ranges(&pair.1.val);
        pair.1.val = pair.0.val;
    }
    pair.0.val.sync();
    pair.1.val.sync();
}

/// Carries what a comparison showed of register `known` to the scalars linked with it (`sync_linked_regs`).
fn sync_linked(state: &mut State, known: usize, linked: &[Place], kernel: Kernel) {
    let depth = state.depth();
    let source = state.top().regs[known];
    for place in linked {
        if matches!(*place, Place::Reg(frame, index) if (frame, index) == (depth, known)) {
            continue;
        }
        let reg = *reg_at(*place, state);
        if !reg.is_scalar() || reg.id & !ADD_CONST != source.id & !ADD_CONST {
            continue;
        }
        if (reg.id ^ source.id) & ADD_CONST == ADD_CONST {
            // One moved in 32 bits and the other in 64: they say nothing of each other.
            continue;
        }
        let distant = (reg.id | source.id) & ADD_CONST != 0 && reg.off != source.off;
        let updated = if distant {
            let mut updated = Reg { off: reg.off, id: reg.id, ..source };
            scalar::add_known(&mut updated.val, i64::from(reg.off) - i64::from(source.off), kernel);
            if kernel >= Kernel::V6_18 {
                if (reg.id | source.id) & ADD_CONST32 != 0 {
                    updated.val.zero_extend32();
                }
                updated.val.sync();
            }
            updated
        } else {
            source
        };
        *reg_at(*place, state) = updated;
    }
}

/// Whether the pointer cannot be NULL, also after arithmetic (`reg_not_null`).
fn not_null(reg: &Reg) -> bool {
    if reg.may_be_null() || reg.val.smin <= -MAX_VAR_OFF || reg.val.smax >= MAX_VAR_OFF {
        return false;
    }
    match reg.kind {
        Kind::Socket | Kind::SockCommon | Kind::TcpSock | Kind::MapKey | Kind::MapValue | Kind::ConstMapPtr => true,
        Kind::Mem => !reg.flags.contains(Flags::UNTRUSTED),
        Kind::BtfId => reg.is_trusted(),
        _ => false,
    }
}

/// What is known of a comparison of any two operands (`is_branch_taken`).
fn predict(cond: Cond, left: &Reg, right: &Reg, low: bool) -> Option<bool> {
    if left.is_packet_any() && right.is_packet_any() && !low {
        return packet::predict(cond, left, right);
    }
    if left.is_scalar() && right.is_scalar() {
        return condition::predict(cond, &left.val, &right.val, low);
    }
    if low {
        return None;
    }
    let is_const = |reg: &Reg| reg.is_scalar() && reg.val.is_known(false);
    let (pointer, number) = if is_const(right) { (left, right) } else { (right, left) };
    if !is_const(number) || !not_null(pointer) || !number.val.bits.is(0) {
        return None;
    }
    match cond {
        Cond::Eq => Some(false),
        Cond::Ne => Some(true),
        _ => None,
    }
}

/// A pointer that equals one that is not NULL is not NULL either.
fn share_non_null(
    cond: Cond,
    left: (usize, &Reg),
    right: (usize, &Reg),
    jumped: &mut State,
    fell: &mut State,
    kept: Kept<'_>,
) {
    let equal = match cond {
        Cond::Eq => jumped,
        Cond::Ne => fell,
        _ => return,
    };
    let pointer = |reg: &Reg| !reg.is_scalar() && reg.kind != Kind::BtfId;
    if !pointer(left.1) || !pointer(right.1) {
        return;
    }
    let mut clear = |number: usize| mark_not_null(&mut equal.top_mut().regs[number], kept);
    match (left.1.may_be_null(), right.1.may_be_null()) {
        (false, true) => clear(right.0),
        (true, false) => clear(left.0),
        _ => {}
    }
}

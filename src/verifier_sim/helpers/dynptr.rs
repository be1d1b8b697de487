//! Dynptrs: descriptors of memory that helpers keep in two slots of the stack (`process_dynptr_func`).

use crate::uapi::helper::DynptrKind;
use crate::verifier_sim::helpers::call::Call;
use crate::verifier_sim::instructions::mem::{Access, Direction};
use crate::verifier_sim::state::Reference;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::state::stack::{Byte, SLOT_SIZE, STACK_SIZE, Slot};
use crate::verifier_sim::stop::{Step, Stop, reject};
use crate::verifier_sim::walk::env::Env;

/// A dynptr on the stack that an argument of a helper points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) struct Dynptr {
    /// The frame.
    frame: usize,
    /// The slot with the lower address; the other is the one before it.
    slot: usize,
    /// What it describes.
    pub(in crate::verifier_sim) kind: DynptrKind,
    /// What slices of the dynptr carry.
    pub(in crate::verifier_sim) id: u32,
    /// The reference, if it holds one.
    pub(in crate::verifier_sim) ref_id: u32,
}

/// Makes a slot one half of a dynptr. The saved register carries what is known of it.
fn half(kind: DynptrKind, first: bool, id: u32, ref_id: u32) -> Slot {
    let reg = Reg { arg: kind as u32, off: i32::from(first), id, ref_id, ..Reg::NOT_INIT };
    Slot { bytes: [Byte::Dynptr; SLOT_SIZE], reg }
}

impl Slot {
    /// Whether it is one half of a dynptr.
    fn is_dynptr(&self) -> bool {
        self.bytes[0] == Byte::Dynptr
    }

    /// Whether it is the half with the lower address.
    fn is_first(&self) -> bool {
        self.reg.off != 0
    }

    /// Whether two halves are of the same kind of dynptr, apart from its ids.
    pub(in crate::verifier_sim) fn same_dynptr_half(&self, other: &Self) -> bool {
        self.reg.arg == other.reg.arg && self.reg.off == other.reg.off
    }
}

impl Env<'_> {
    /// The slot at which a dynptr begins, which must be at a constant, aligned place (`dynptr_get_spi`).
    fn dynptr_slot(&self, ptr: &Reg) -> Step<usize> {
        if !ptr.val.bits.is_known() {
            reject!("dynptr has to be at a constant offset");
        }
        let off = ptr.place();
        let fits = (-(STACK_SIZE as i64)..=-2 * SLOT_SIZE as i64).contains(&off);
        if !fits || off % SLOT_SIZE as i64 != 0 {
            reject!("cannot pass in dynptr at an offset={off}");
        }
        Ok((-off as usize - 1) / SLOT_SIZE)
    }

    /// A call writes so many slots of the stack, one by one, from where the register points.
    pub(in crate::verifier_sim) fn write_slots(&mut self, base: u8, count: usize) -> Step {
        for slot in 0..count {
            let (off, size) = ((slot * SLOT_SIZE) as i16, SLOT_SIZE as u32);
            let direction = Direction::Write;
            self.access(&Access { base, off, size, direction, value: None, aligned: false, sign: false })?;
        }
        Ok(())
    }

    /// A helper makes a dynptr where the register points.
    pub(in crate::verifier_sim) fn make_dynptr(&mut self, number: u8, kind: DynptrKind) -> Step {
        let ptr = *self.reg(number);
        let slot = match self.dynptr_slot(&ptr) {
            Err(Stop::Reject(rule)) => reject!("{rule}\nDynptr has to be an uninitialized dynptr"),
            slot => slot?,
        };
        self.write_slots(number, 2)?;
        let frame = ptr.arg as usize;
        let id = self.new_id();
        let ref_id = match kind {
            DynptrKind::Local | DynptrKind::Skb | DynptrKind::Xdp => 0,
            DynptrKind::Ringbuf => {
                self.check_reference_in_callback()?;
                let ref_id = self.new_id();
                self.cur.refs.push(Reference { id: ref_id, insn: self.at });
                ref_id
            }
        };
        *self.cur.frame_mut(frame).slot_mut(slot) = half(kind, true, id, ref_id);
        *self.cur.frame_mut(frame).slot_mut(slot - 1) = half(kind, false, id, ref_id);
        self.log_stack_write(frame, slot);
        self.log_stack_write(frame, slot - 1);
        Ok(())
    }

    /// A helper uses the dynptr that the register points to; `wanted` says of which kind it must be.
    pub(in crate::verifier_sim) fn use_dynptr(
        &mut self,
        index: usize,
        wanted: Option<DynptrKind>,
        call: &mut Call,
    ) -> Step {
        let ptr = *self.reg(index as u8 + 1);
        let unacquired = || format!("arg {} is an unacquired reference", index + 1);
        let slot = match (self.dynptr_slot(&ptr), wanted) {
            (Err(Stop::Reject(rule)), Some(_)) => reject!("{rule}\n{}", unacquired()),
            (slot, _) => slot?,
        };
        let frame = ptr.arg as usize;
        if wanted.is_some() && self.cur.frames[frame].slot(slot).reg.ref_id == 0 {
            reject!("{}", unacquired());
        }
        let (first, second) = (*self.cur.frames[frame].slot(slot), *self.cur.frames[frame].slot(slot - 1));
        if !first.is_dynptr() || !second.is_dynptr() || !first.is_first() {
            reject!("Expected an initialized dynptr as arg #{index}");
        }
        if let Some(kind) = wanted.filter(|kind| first.reg.arg != *kind as u32) {
            reject!("Expected a dynptr of type {} as arg #{index}", kind.name());
        }
        let begin = -((slot as i64 + 1) * SLOT_SIZE as i64);
        self.note_stack_read(frame, begin, begin + 2 * SLOT_SIZE as i64);
        let Some(kind) = DynptrKind::from_number(first.reg.arg) else {
            reject!("Expected an initialized dynptr as arg #{index}")
        };
        call.dynptr = Some(Dynptr { frame, slot, kind, id: first.reg.id, ref_id: first.reg.ref_id });
        Ok(())
    }

    /// The record of a dynptr is handed over: neither it nor its slices may be used any more.
    pub(in crate::verifier_sim) fn release_dynptr(&mut self, dynptr: Dynptr, helper: i32) -> Step {
        self.release(dynptr.ref_id, helper)?;
        self.forget_dynptr(dynptr.frame, dynptr.slot);
        Ok(())
    }

    /// A write to a slot destroys the dynptr there, whole, unless that would lose a reference
    /// (`destroy_if_dynptr_stack_slot`).
    pub(in crate::verifier_sim) fn overwrite_dynptr(&mut self, frame: usize, index: usize) -> Step {
        let slot = self.cur.frames[frame].slot(index);
        if !slot.is_dynptr() {
            return Ok(());
        }
        if slot.reg.arg == DynptrKind::Ringbuf as u32 {
            reject!("cannot overwrite referenced dynptr");
        }
        let (first, id) = (if slot.is_first() { index } else { index + 1 }, slot.reg.id);
        self.scratched_slots |= 1 << first | 1 << (first - 1);
        self.forget_dynptr(frame, first);
        let leaks = self.may_leak_pointers();
        self.cur.for_each_reg(
            |reg| reg.kind == Kind::Mem && (reg.flags - Flags::MAYBE_NULL).is_empty() && reg.map_uid == id,
            |reg| *reg = if leaks { Reg::UNKNOWN } else { Reg::NOT_INIT },
        );
        Ok(())
    }

    fn forget_dynptr(&mut self, frame: usize, first: usize) {
        for slot in [first, first - 1] {
            self.log_stack_write(frame, slot);
            *self.cur.frame_mut(frame).slot_mut(slot) = Slot::EMPTY;
        }
    }

    /// The first byte in `min..max` of a frame's stack that belongs to a dynptr.
    pub(in crate::verifier_sim) fn find_dynptr(&self, frame: usize, min: i64, max: i64) -> Option<i64> {
        let frame = &self.cur.frames[frame];
        (min..max).find(|off| frame.slot(crate::verifier_sim::state::stack::locate(*off).0).is_dynptr())
    }
}

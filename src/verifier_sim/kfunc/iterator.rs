//! Iterators that a program keeps on its stack and moves on in a loop (`process_iter_arg`, `process_iter_next_call`).
//!
//! How many elements there are is not known. So at each move the path goes on as if there were no more, and one with another
//! element is put aside. The rounds are over when an earlier one began in the same state.

use crate::verifier_sim::kfunc::Call;
use crate::verifier_sim::kfunc::table::Properties;
use crate::verifier_sim::state::Reference;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::state::stack::{Byte, SLOT_SIZE, STACK_SIZE, Slot, iterator};
use crate::verifier_sim::stop::{Step, reject};
use crate::verifier_sim::types::{KernelTypes, structure_number};
use crate::verifier_sim::walk::env::Env;

impl Env<'_> {
    /// Checks the iterator of structure `of` behind argument `index`, makes it or destroys it.
    pub(super) fn check_iterator(&mut self, types: &KernelTypes, index: usize, of: u32, call: &mut Call) -> Step {
        let number = index as u8 + 1;
        let ptr = *self.reg(number);
        if ptr.kind != Kind::Stack {
            reject!("arg#{index} expected pointer to an iterator on stack");
        }
        let label = String::from_utf8_lossy(types.name(of)).replacen("bpf_", "", 1);
        let count = (types.size(of).unwrap_or(0) as usize / SLOT_SIZE).max(1);
        let frame = ptr.arg as usize;
        let new = call.has(Properties::ITER_NEW);
        let wrong = if new { "expected uninitialized" } else { "expected an initialized" };
        let Some(slot) = iterator_slot(&ptr, count) else { reject!("{wrong} {label} as arg #{index}") };
        let slots = (slot + 1 - count)..=slot;
        if new {
            if slots.clone().any(|slot| self.cur.frames[frame].slot(slot).bytes.contains(&Byte::Iterator)) {
                reject!("{wrong} {label} as arg #{index}");
            }
            self.write_slots(number, count)?;
            self.check_reference_in_callback()?;
            let id = self.new_id();
            self.cur.refs.push(Reference { id, insn: self.at });
            let flags = if call.has(Properties::RCU_PROTECTED) { Flags::RCU } else { Flags::empty() };
            for each in slots {
                let ref_id = if each == slot { id } else { 0 };
                let reg =
                    Reg { arg: structure_number(types, of), off: iterator::ACTIVE, ref_id, flags, ..Reg::NOT_INIT };
                *self.cur.frame_mut(frame).slot_mut(each) = Slot { bytes: [Byte::Iterator; SLOT_SIZE], reg };
                self.scratched_slots |= 1 << each;
                self.log_stack_write(frame, each);
            }
            return Ok(());
        }
        for each in slots.clone().rev() {
            let found = self.cur.frames[frame].slot(each);
            if found.is_iterator() && found.reg.flags.contains(Flags::UNTRUSTED) {
                reject!("expected an RCU CS when using {}", call.name);
            }
            let same = found.reg.arg == structure_number(types, of);
            if !found.is_iterator() || !same || (each == slot) != (found.reg.ref_id != 0) {
                reject!("{wrong} {label} as arg #{index}");
            }
        }
        let begin = -((slot as i64 + 1) * SLOT_SIZE as i64);
        self.note_stack_read(frame, begin, begin + (count * SLOT_SIZE) as i64);
        call.iterator = Some((frame, slot));
        call.ref_id = self.cur.frames[frame].slot(slot).reg.ref_id;
        if call.has(Properties::ITER_DESTROY) {
            self.release(call.ref_id, 0)?;
            for each in slots {
                *self.cur.frame_mut(frame).slot_mut(each) = Slot::EMPTY;
                self.scratched_slots |= 1 << each;
                self.log_stack_write(frame, each);
            }
        }
        Ok(())
    }

    /// How far an element may be trusted.
    pub(super) fn trust_of_element(&self, call: &Call) -> Flags {
        let Some((frame, slot)) = call.iterator else { return Flags::empty() };
        let protected = self.cur.frames[frame].slot(slot).reg.flags.contains(Flags::RCU);
        if protected { Flags::RCU } else { Flags::TRUSTED }
    }

    /// The iterator has moved on: there is another element, or none.
    pub(super) fn fork_iterator(&mut self, call: &Call) -> Step {
        let Some((frame, slot)) = call.iterator else { return Ok(()) };
        if self.cur.frames[frame].slot(slot).reg.off == iterator::ACTIVE {
            let mut state = self.cur.clone();
            state.frame_mut(frame).slot_mut(slot).reg.map_uid += 1;
            self.widen_round(&mut state);
            state.top_mut().regs[0].flags.remove(Flags::MAYBE_NULL);
            self.push_state(state, self.at + 1)?;
        }
        self.cur.frame_mut(frame).slot_mut(slot).reg.off = iterator::DRAINED;
        *self.reg_mut(0) = Reg::known(0);
        Ok(())
    }

    /// Whether the iterator in r1 may have more elements: then an equal state of an earlier round covers this one.
    pub(in crate::verifier_sim) fn iterates_on(&self) -> bool {
        let ptr = self.reg(1);
        let slot = iterator_slot(ptr, 1).filter(|_| ptr.kind == Kind::Stack);
        slot.is_some_and(|slot| {
            let slot = self.cur.frames[ptr.arg as usize].slot(slot);
            slot.is_iterator() && slot.reg.off == iterator::ACTIVE
        })
    }
}

/// The slot with the lowest address of an iterator of `count` slots (`iter_get_spi`).
fn iterator_slot(ptr: &Reg, count: usize) -> Option<usize> {
    let off = i64::from(ptr.off).wrapping_add(ptr.val.value(false)? as i64);
    let bytes = (count * SLOT_SIZE) as i64;
    let fits = (-(STACK_SIZE as i64)..=-bytes).contains(&off) && off % SLOT_SIZE as i64 == 0;
    fits.then(|| (-off) as usize / SLOT_SIZE - 1)
}

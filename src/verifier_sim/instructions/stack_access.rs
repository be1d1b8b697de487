//! Loads from and stores to the stack (`check_stack_read`, `check_stack_write`).

use crate::asm::opcode as op;
use crate::verifier_sim::instructions::mem::{Access, Direction};
use crate::verifier_sim::spec::Kernel;
use crate::verifier_sim::state::reg::{Kind, MAX_VAR_OFF, Reg};
use crate::verifier_sim::state::stack::{Byte, SLOT_SIZE, STACK_SIZE, locate, reads_low_part, scrub_byte};
use crate::verifier_sim::stop::{Step, reject};
use crate::verifier_sim::walk::env::Env;

/// What is stored.
enum Stored<'a> {
    /// A register.
    Reg(u8, &'a Reg),
    /// The immediate of a store.
    Imm(i32),
    /// Something that is not known: the result of an atomic operation, or what a helper writes.
    Unknown,
}

impl Env<'_> {
    /// An access through a pointer to a frame's stack.
    pub(in crate::verifier_sim) fn access_stack(&mut self, access: &Access, ptr: &Reg, off: i32) -> Step {
        self.check_stack_bounds(access.base, ptr, off, i64::from(access.size), access.direction, false)?;
        let known = ptr.val.bits.is_known();
        let frame = ptr.arg as usize;
        let fixed = i64::from(off) + ptr.val.bits.value as i64;
        let size = access.size as usize;
        if access.direction == Direction::Write {
            let insn = self.insns[self.at];
            let value = access.value.map(|number| (number, *self.reg(number)));
            let stored = match &value {
                Some((number, reg)) => Stored::Reg(*number, reg),
                None if insn.code & op::CLASS_MASK == op::ST && insn.code & op::MODE_MASK == op::MEM => {
                    Stored::Imm(insn.imm)
                }
                None => Stored::Unknown,
            };
            return if known {
                self.write_stack_fixed(frame, fixed, size, &stored)
            } else {
                let (min, max) =
                    (ptr.val.smin + i64::from(off), ptr.val.smax + i64::from(off) + i64::from(access.size));
                self.write_stack_range(frame, min, max, &stored)
            };
        }
        let range = (ptr.val.smin + i64::from(off), ptr.val.smax + i64::from(off) + i64::from(access.size));
        let (min, max) = if known { (fixed, fixed + i64::from(access.size)) } else { range };
        self.note_stack_read(frame, min, max);
        let loaded = if known {
            self.read_stack_fixed(frame, fixed, size, access.value.is_some())?
        } else {
            if access.value.is_none() {
                reject!(
                    "variable offset stack pointer cannot be passed into helper function; var_off={} off={off} size={size}",
                    ptr.val.bits
                );
            }
            self.read_stack_range(access.base, ptr, off, access.size)?
        };
        let Some(value) = access.value else { return Ok(()) };
        let mut loaded = loaded;
        if size < SLOT_SIZE && loaded.is_scalar() {
            if access.sign {
                loaded.val.sign_extend64(access.size);
            } else {
                loaded.val.truncate(access.size);
            }
        }
        *self.reg_mut(value) = loaded;
        Ok(())
    }

    /// The access lies in the stack, wherever in its range the pointer is (`check_stack_access_within_bounds`).
    pub(in crate::verifier_sim) fn check_stack_bounds(
        &mut self,
        number: u8,
        ptr: &Reg,
        off: i32,
        size: i64,
        direction: Direction,
        helper: bool,
    ) -> Step {
        let known = ptr.val.bits.is_known();
        let extra = match direction {
            // Before Linux 6.15.
            _ if helper && self.kernel < Kernel::V6_18 => " indirect access to",
            Direction::Read => " read from",
            Direction::Write => " write to",
        };
        let off = i64::from(off);
        let (min, max) = if known {
            let min = (ptr.val.bits.value as i64).wrapping_add(off);
            (min, min.wrapping_add(size))
        } else {
            if ptr.val.smax >= MAX_VAR_OFF || ptr.val.smin <= -MAX_VAR_OFF {
                reject!("invalid unbounded variable-offset{extra} stack R{number}");
            }
            (ptr.val.smin + off, ptr.val.smax + off + size)
        };
        let frame = &self.cur.frames[ptr.arg as usize];
        let lowest = if direction == Direction::Write || self.may_read_uninit_stack() {
            -(STACK_SIZE as i64)
        } else {
            -((frame.stack.len() * SLOT_SIZE) as i64)
        };
        if min < lowest || min > -1 || max > 0 || size < 0 {
            if known {
                reject!("invalid{extra} stack R{number} off={min} size={size}");
            }
            reject!("invalid variable-offset{extra} stack R{number} var_off={} off={off} size={size}", ptr.val.bits);
        }
        self.use_stack(ptr.arg as usize, min);
        Ok(())
    }

    /// The frame's function needs stack down to `min`.
    fn use_stack(&mut self, frame: usize, min: i64) {
        let subprog = self.cur.frames[frame].subprog;
        let depth = &mut self.subprogs[subprog].stack_depth;
        *depth = (*depth).max((-min) as u32);
        // Only a slot that is really new is worth unsharing the frame for.
        let last = locate(min).0;
        if self.cur.frames[frame].stack.len() <= last {
            self.cur.frame_mut(frame).slot_mut(last);
        }
    }

    /// The bytes `min..max` of a frame's stack are read: here, or by a function that was called from there.
    pub(in crate::verifier_sim) fn note_stack_read(&mut self, frame: usize, min: i64, max: i64) {
        let at = self.cur.frames.get(frame + 1).map_or(self.at, |callee| callee.callsite);
        let slots = (min..max).fold(0, |slots, off| slots | 1u64 << locate(off).0);
        self.stack_reads.read(self.insns, at, slots);
        self.log_stack_read(frame, slots);
    }

    fn write_stack_fixed(&mut self, frame: usize, off: i64, size: usize, stored: &Stored<'_>) -> Step {
        let (index, byte) = locate(off);
        let current = self.cur.depth();
        let leaks = self.may_leak_pointers();
        if !leaks {
            // What was there decides whether the write is permitted.
            self.note_stack_read(frame, off, off + 1);
        }
        let slot = self.cur.frames[frame].slot(index);
        if !leaks && slot.is_spill() && !slot.is_scalar_spill() && size != SLOT_SIZE {
            reject!("attempt to corrupt spilled pointer on stack");
        }
        if self.may_speculate() {
            // A store that the processor may pass by (`sanitize_stack_spill`).
            let spills = matches!(stored, Stored::Reg(_, reg) if !reg.is_scalar());
            let known = |kind: &Byte| matches!(kind, Byte::Misc | Byte::Zero);
            let plain = slot.bytes[byte + 1 - size..=byte].iter().all(known);
            self.aux[self.at].barrier_behind |= spills || !plain;
        }
        self.overwrite_dynptr(frame, index)?;
        self.scratched_slots |= 1 << index;
        if size == SLOT_SIZE {
            self.log_stack_write(frame, index);
        }
        let whole = off % SLOT_SIZE as i64 == 0;
        match stored {
            Stored::Reg(number, reg) if whole && reg.is_scalar() => {
                let fits = reg.val.width() as usize <= size * 8;
                if fits {
                    self.link_before_copy(*number);
                }
                let mut saved = *self.reg(*number);
                if !fits {
                    saved.id = 0;
                }
                self.cur.frame_mut(frame).slot_mut(index).save(&saved, size);
                self.record_stack_access(frame, index);
            }
            Stored::Imm(imm) if whole => {
                let value = Reg::known(i64::from(*imm) as u64);
                self.cur.frame_mut(frame).slot_mut(index).save(&value, size);
                self.record_stack_access(frame, index);
            }
            Stored::Reg(_, reg) if !reg.is_scalar() => {
                if size != SLOT_SIZE {
                    reject!("invalid size of register spill");
                }
                if frame != current && reg.kind == Kind::Stack {
                    reject!("cannot spill pointers to stack into stack frame of the caller");
                }
                self.cur.frame_mut(frame).slot_mut(index).save(reg, size);
                self.record_stack_access(frame, index);
            }
            _ => {
                let zero = match stored {
                    Stored::Reg(_, reg) => reg.is_null(),
                    Stored::Imm(imm) => *imm == 0,
                    Stored::Unknown => false,
                };
                if let (true, Stored::Reg(number, _)) = (zero, stored) {
                    self.mark_precise(1 << number);
                }
                let slot = self.cur.frame_mut(frame).slot_mut(index);
                slot.scrub();
                for at in 0..size {
                    slot.bytes[byte - at] = if zero { Byte::Zero } else { Byte::Misc };
                }
            }
        }
        Ok(())
    }

    /// A store to somewhere in `min..max`: each byte there may have changed.
    fn write_stack_range(&mut self, frame: usize, min: i64, max: i64, stored: &Stored<'_>) -> Step {
        let zero = match stored {
            Stored::Reg(_, reg) => reg.is_null(),
            Stored::Imm(imm) => *imm == 0,
            Stored::Unknown => false,
        };
        let (leaks, uninit) = (self.may_leak_pointers(), self.may_read_uninit_stack());
        if !leaks {
            self.note_stack_read(frame, min, max);
        }
        for off in min..max {
            self.overwrite_dynptr(frame, locate(off).0)?;
        }
        let mut zero_kept = false;
        for off in min..max {
            let (index, byte) = locate(off);
            let slot = self.cur.frame_mut(frame).slot_mut(index);
            let was = slot.bytes[byte];
            self.scratched_slots |= 1 << index;
            if !leaks && !matches!(was, Byte::Misc | Byte::Zero) {
                reject!("spilled ptr in range of var-offset stack write; insn {}, ptr off: {off}", self.at);
            }
            if zero && was == Byte::Spill && slot.is_scalar_spill() && slot.reg.val.bits.is(0) {
                zero_kept = true;
                continue;
            }
            slot.scrub();
            if was == Byte::Invalid && !uninit {
                reject!("uninit stack in range of var-offset write prohibited for !root; insn {}, off: {off}", self.at);
            }
            zero_kept |= zero && was == Byte::Zero;
            slot.bytes[byte] = if zero && was == Byte::Zero { Byte::Zero } else { Byte::Misc };
        }
        if let (true, Stored::Reg(number, _)) = (zero_kept, stored) {
            self.mark_precise(1 << number);
        }
        Ok(())
    }

    fn read_stack_fixed(&mut self, frame: usize, off: i64, size: usize, into_reg: bool) -> Step<Reg> {
        let (index, byte) = locate(off);
        let slot = &self.cur.frames[frame].slot(index).clone();
        self.scratched_slots |= 1 << index;
        if slot.is_spill() {
            let saved = slot.bytes.iter().rev().take_while(|byte| **byte == Byte::Spill).count();
            if size == SLOT_SIZE && saved == SLOT_SIZE {
                if !into_reg && !self.may_leak_pointers() && !slot.reg.is_scalar() {
                    reject!("leaking pointer from stack off {off}");
                }
                self.record_stack_access(frame, index);
                return Ok(slot.reg);
            }
            if !slot.reg.is_scalar() {
                reject!("invalid size of register fill");
            }
            if !into_reg {
                return Ok(Reg::UNKNOWN);
            }
            if size <= saved && reads_low_part(off, size, saved, self.kernel) {
                let mut reg = slot.reg;
                if reg.val.width() as usize > size * 8 {
                    reg.unlink();
                }
                self.record_stack_access(frame, index);
                return Ok(reg);
            }
            self.check_initialised(slot, off, byte, size)?;
            let kinds = || slot.bytes[byte + 1 - size..=byte].iter();
            let all = |wanted: Byte| kinds().all(|kind| *kind == wanted);
            let saved_zero = all(Byte::Spill) && slot.reg.val.bits.is(0);
            if saved_zero {
                self.record_stack_access(frame, index);
            }
            let zero = saved_zero || all(Byte::Zero);
            return Ok(if zero { Reg::known(0) } else { Reg::UNKNOWN });
        }
        self.check_initialised(slot, off, byte, size)?;
        let zero = slot.bytes[byte + 1 - size..=byte].iter().all(|kind| *kind == Byte::Zero);
        Ok(if zero { Reg::known(0) } else { Reg::UNKNOWN })
    }

    fn check_initialised(
        &self,
        slot: &crate::verifier_sim::state::stack::Slot,
        off: i64,
        byte: usize,
        size: usize,
    ) -> Step {
        for at in 0..size {
            let invalid = match slot.bytes[byte - at] {
                Byte::Invalid => !self.may_read_uninit_stack(),
                Byte::Spill => !slot.is_spill(),
                Byte::Dynptr | Byte::Iterator => true,
                Byte::Misc | Byte::Zero => false,
            };
            if invalid {
                reject!("invalid read from stack off {off}+{at} size {size}");
            }
        }
        Ok(())
    }

    /// A load from somewhere in a range.
    fn read_stack_range(&mut self, number: u8, ptr: &Reg, off: i32, size: u32) -> Step<Reg> {
        self.check_stack_readable(number, ptr, off, size, false)?;
        let (min, max) = (ptr.val.smin + i64::from(off), ptr.val.smax + i64::from(off) + i64::from(size));
        let frame = &self.cur.frames[ptr.arg as usize];
        let scratched = &mut self.scratched_slots;
        let zero = (min..max).all(|off| {
            let (index, byte) = locate(off);
            *scratched |= 1 << index;
            frame.slot(index).bytes[byte] == Byte::Zero
        });
        Ok(if zero { Reg::known(0) } else { Reg::UNKNOWN })
    }

    /// Every byte that may be read is initialised; what a helper is given may also be changed by it
    /// (`check_stack_range_initialized`).
    pub(in crate::verifier_sim) fn check_stack_readable(
        &mut self,
        number: u8,
        ptr: &Reg,
        off: i32,
        size: u32,
        changes: bool,
    ) -> Step {
        let known = ptr.val.bits.is_known();
        let off = i64::from(off);
        let (min, max) = if known {
            let min = ptr.val.bits.value as i64 + off;
            (min, min + i64::from(size))
        } else {
            if !self.may_leak_pointers() {
                reject!("R{number} variable offset stack access prohibited for !root, var_off={}", ptr.val.bits);
            }
            (ptr.val.smin + off, ptr.val.smax + off + i64::from(size))
        };
        let (leaks, uninit) = (self.may_leak_pointers(), self.may_read_uninit_stack());
        let frame = ptr.arg as usize;
        self.note_stack_read(frame, min, max);
        for at in min..max {
            let (index, byte) = locate(at);
            let slot = *self.cur.frames[frame].slot(index);
            match slot.bytes[byte] {
                Byte::Misc => {}
                kind if kind == Byte::Zero || (kind == Byte::Invalid && uninit) => {
                    if changes {
                        self.cur.frame_mut(frame).slot_mut(index).bytes[byte] = Byte::Misc;
                    }
                }
                _ if slot.is_spill() && (slot.reg.is_scalar() || leaks) => {
                    if changes {
                        let slot = self.cur.frame_mut(frame).slot_mut(index);
                        slot.reg = Reg::UNKNOWN;
                        slot.bytes.iter_mut().for_each(scrub_byte);
                    }
                }
                _ => {
                    let distance = at - min;
                    if known {
                        reject!("invalid read from stack R{number} off {min}+{distance} size {size}");
                    }
                    let bits = ptr.val.bits;
                    reject!("invalid read from stack R{number} var_off {bits}+{distance} size {size}");
                }
            }
        }
        Ok(())
    }

    /// A helper writes every byte in the range.
    pub(in crate::verifier_sim) fn clobber_stack(&mut self, frame: usize, min: i64, size: u32) -> Step {
        for off in min..min + i64::from(size) {
            self.write_stack_fixed(frame, off, 1, &Stored::Unknown)?;
        }
        Ok(())
    }
}

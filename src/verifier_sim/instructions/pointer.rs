//! Arithmetic on pointers (`adjust_ptr_min_max_vals`).

use crate::asm::Insn;
use crate::asm::opcode as op;
use crate::verifier_sim::state::reg::{Flags, Kind, MAX_VAR_OFF, Reg};
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::walk::env::Env;

/// Offsets must stay far from overflow, before and after.
fn check_sane(reg: &Reg, type_name: &str) -> Step {
    let value = reg.val.bits.value as i64;
    if reg.val.bits.is_known() && (value >= MAX_VAR_OFF || value <= -MAX_VAR_OFF) {
        reject!("math between {type_name} pointer and {value} is not allowed");
    }
    let off = i64::from(reg.off);
    if off >= MAX_VAR_OFF || off <= -MAX_VAR_OFF {
        reject!("{type_name} pointer offset {off} is not allowed");
    }
    let smin = reg.val.smin;
    if smin == i64::MIN {
        reject!("math between {type_name} pointer and register with unbounded min value is not allowed");
    }
    if smin >= MAX_VAR_OFF || smin <= -MAX_VAR_OFF {
        reject!("value {smin} makes {type_name} pointer be out of bounds");
    }
    Ok(())
}

impl Env<'_> {
    /// dst = pointer op number. `pointer_first` says whether dst was the pointer.
    pub(in crate::verifier_sim) fn move_pointer(
        &mut self,
        insn: &Insn,
        ptr: &Reg,
        num: &Reg,
        pointer_first: bool,
    ) -> Step {
        let dst = insn.dst;
        if insn.code & op::X != 0 {
            self.mark_precise(1 << if pointer_first { insn.src } else { dst });
        }
        let operation = insn.code & op::OP_MASK;
        let known = num.val.bits.is_known();
        let (by, from) = (&num.val, &ptr.val);
        if (known && (by.smin != by.smax || by.umin != by.umax)) || by.smin > by.smax || by.umin > by.umax {
            // Contradictory ranges: this path is dead.
            *self.reg_mut(dst) = Reg::UNKNOWN;
            return Ok(());
        }
        if insn.code & op::CLASS_MASK != op::ALU64 {
            if operation == op::SUB && self.may_leak_pointers() {
                *self.reg_mut(dst) = Reg::UNKNOWN;
                return Ok(());
            }
            reject!("R{dst} 32-bit pointer arithmetic prohibited");
        }
        let type_name = ptr.type_name();
        if ptr.may_be_null() {
            reject!("R{dst} pointer arithmetic on {type_name} prohibited, null-check it first");
        }
        match ptr.kind {
            Kind::Ctx | Kind::MapKey | Kind::MapValue | Kind::Stack | Kind::BtfId | Kind::Mem | Kind::Buf => {}
            Kind::Packet | Kind::PacketMeta | Kind::Func => {}
            Kind::FlowKeys if known => {}
            Kind::ConstMapPtr if known && by.smin == 0 && operation == op::ADD => {}
            _ => reject!("R{dst} pointer arithmetic on {type_name} prohibited"),
        }
        if ptr.kind == Kind::Mem && ptr.flags.contains(Flags::UNTRUSTED) {
            // Loads through it fault safely wherever it points, so the kernel keeps no track, whatever the operation: dst
            // stays what it was, pointer or number.
            return Ok(());
        }
        // A number takes over the fixed offset of the pointer for this check, as in the kernel: numbers have none.
        check_sane(&Reg { off: 0, ..*num }, &type_name)?;
        check_sane(ptr, &type_name)?;
        if self.may_speculate() && !known {
            unsupported!("variable pointer arithmetic without CAP_PERFMON is not simulated");
        }
        let mut result = *ptr;
        if ptr.kind == Kind::Stack && !pointer_first {
            // Linux up to 6.18 forgets here which frame's stack it is, and takes the main program's.
            result.arg = 0;
        }
        let out = &mut result.val;
        out.forget32();
        match operation {
            op::ADD => {
                let fixed = i64::from(ptr.off).checked_add(by.smin).and_then(|off| i32::try_from(off).ok());
                match fixed.filter(|_| known) {
                    Some(fixed) => result.off = fixed,
                    None => {
                        (out.smin, out.smax) = match (from.smin.checked_add(by.smin), from.smax.checked_add(by.smax)) {
                            (Some(min), Some(max)) => (min, max),
                            _ => (i64::MIN, i64::MAX),
                        };
                        (out.umin, out.umax) = match (from.umin.checked_add(by.umin), from.umax.checked_add(by.umax)) {
                            (Some(min), Some(max)) => (min, max),
                            _ => (0, u64::MAX),
                        };
                        out.bits = from.bits.add(by.bits);
                        if ptr.is_packet() {
                            // What was learned of the packet's length does not hold for the new offset.
                            result.id = self.new_id();
                            result.arg = 0;
                        }
                    }
                }
            }
            op::SUB => {
                if !pointer_first {
                    reject!("R{dst} tried to subtract pointer from scalar");
                }
                if ptr.kind == Kind::Stack {
                    reject!("R{dst} subtraction from stack pointer prohibited");
                }
                let fixed = i64::from(ptr.off).checked_sub(by.smin).and_then(|off| i32::try_from(off).ok());
                match fixed.filter(|_| known) {
                    Some(fixed) => result.off = fixed,
                    None => {
                        (out.smin, out.smax) = match (from.smin.checked_sub(by.smax), from.smax.checked_sub(by.smin)) {
                            (Some(min), Some(max)) => (min, max),
                            _ => (i64::MIN, i64::MAX),
                        };
                        (out.umin, out.umax) = if from.umin < by.umax {
                            (0, u64::MAX)
                        } else {
                            (from.umin - by.umax, from.umax.wrapping_sub(by.umin))
                        };
                        out.bits = from.bits.sub(by.bits);
                        if ptr.is_packet() {
                            result.id = self.new_id();
                            if by.smin < 0 {
                                result.arg = 0;
                            }
                        }
                    }
                }
            }
            op::AND | op::OR | op::XOR => {
                reject!(
                    "R{dst} bitwise operator {} on pointer prohibited",
                    crate::verifier_sim::instructions::alu::operator(operation)
                );
            }
            _ => reject!(
                "R{dst} pointer arithmetic with {} operator prohibited",
                crate::verifier_sim::instructions::alu::operator(operation)
            ),
        }
        check_sane(&result, &type_name)?;
        result.val.sync();
        if self.may_speculate() {
            self.check_moved(dst, &result)?;
            self.check_masking(insn, (ptr, &result), num, pointer_first)?;
        }
        *self.reg_mut(dst) = result;
        Ok(())
    }
}

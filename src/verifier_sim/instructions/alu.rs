//! Arithmetic instructions (`check_alu_op`).

use crate::asm::Insn;
use crate::asm::opcode as op;
use crate::verifier_sim::byte_order::swaps;
use crate::verifier_sim::numbers::bounds::Bounds;
use crate::verifier_sim::numbers::scalar::{self, Bitwise};
use crate::verifier_sim::spec::Kernel;
use crate::verifier_sim::state::reg::{ADD_CONST, ADD_CONST32, ADD_CONST64, Reg};
use crate::verifier_sim::stop::{Step, reject};
use crate::verifier_sim::walk::env::Env;

/// Offset of a MOV that casts between address spaces (`BPF_ADDR_SPACE_CAST`).
const ADDR_SPACE_CAST: i16 = 1;

/// The operator as the kernel's messages spell it.
pub(in crate::verifier_sim) fn operator(operation: u8) -> &'static str {
    match operation {
        op::ADD => "+=",
        op::SUB => "-=",
        op::MUL => "*=",
        op::DIV => "/=",
        op::OR => "|=",
        op::AND => "&=",
        op::LSH => "<<=",
        op::RSH => ">>=",
        op::NEG => "neg",
        op::MOD => "%=",
        op::XOR => "^=",
        op::MOV => "=",
        op::ARSH => "s>>=",
        _ => "endian",
    }
}

impl Env<'_> {
    /// One arithmetic instruction.
    pub(in crate::verifier_sim) fn alu(&mut self, insn: &Insn) -> Step {
        match insn.code & op::OP_MASK {
            op::NEG | op::END => self.unary(insn)?,
            op::MOV => self.mov(insn)?,
            operation if operation < op::END => self.binary(insn)?,
            operation => reject!("invalid BPF_ALU opcode {operation:x}"),
        }
        let mut dst = *self.reg(insn.dst);
        self.check_bounds(&mut dst, "alu")?;
        *self.reg_mut(insn.dst) = dst;
        Ok(())
    }

    fn unary(&mut self, insn: &Insn) -> Step {
        let immediate = insn.code & op::X == 0;
        let alu64 = insn.code & op::CLASS_MASK == op::ALU64;
        let neg = insn.code & op::OP_MASK == op::NEG;
        if neg {
            if !immediate || insn.src != 0 || insn.off != 0 || insn.imm != 0 {
                reject!("BPF_NEG uses reserved fields");
            }
        } else if insn.src != 0 || insn.off != 0 || !matches!(insn.imm, 16 | 32 | 64) || (alu64 && !immediate) {
            reject!("BPF_END uses reserved fields");
        }
        self.check_source(insn.dst)?;
        if self.is_secret(insn.dst) {
            reject!("R{} pointer arithmetic prohibited", insn.dst);
        }
        self.check_destination(insn.dst)?;
        let kernel = self.kernel;
        let dst = self.reg_mut(insn.dst);
        if !neg && dst.is_scalar() && kernel >= Kernel::V6_18 {
            let size = insn.imm as u32 / 8;
            let swaps = swaps(insn.code) != Some(false);
            if swaps || size < 8 {
                dst.unlink();
            }
            if swaps {
                dst.val.bits = dst.val.bits.swap_bytes(size);
                dst.val.forget_ranges();
            }
            if size < 8 {
                dst.val.truncate(size);
            }
            dst.val.sync();
        } else if neg && dst.is_scalar() && kernel >= Kernel::V6_18 {
            let mut val = dst.val;
            scalar::neg(&mut val, kernel);
            if !alu64 {
                val.zero_extend32();
            }
            val.sync();
            *dst = Reg { val, ..Reg::UNKNOWN };
        } else {
            *dst = Reg::UNKNOWN;
        }
        Ok(())
    }

    fn mov(&mut self, insn: &Insn) -> Step {
        let alu64 = insn.code & op::CLASS_MASK == op::ALU64;
        if insn.code & op::X == 0 {
            if insn.src != 0 || insn.off != 0 {
                reject!("BPF_MOV uses reserved fields");
            }
            self.check_destination(insn.dst)?;
            let value = if alu64 { i64::from(insn.imm) as u64 } else { u64::from(insn.imm as u32) };
            *self.reg_mut(insn.dst) = Reg::known(value);
            return Ok(());
        }
        let extending = self.kernel >= Kernel::V6_12;
        if alu64 && extending && insn.off == ADDR_SPACE_CAST {
            if insn.imm != 1 && insn.imm != 1 << 16 {
                reject!("addr_space_cast insn can only convert between address space 1 and 0");
            }
            // Programs with an arena never come this far.
            reject!("addr_space_cast insn can only be used in a program that has an associated arena");
        }
        let widths: &[i16] = match (extending, alu64) {
            (false, _) => &[0],
            (true, false) => &[0, 8, 16],
            (true, true) => &[0, 8, 16, 32],
        };
        if !widths.contains(&insn.off) || insn.imm != 0 {
            reject!("BPF_MOV uses reserved fields");
        }
        self.check_source(insn.src)?;
        self.check_destination(insn.dst)?;
        let sign_bits = insn.off as u32;
        let src = *self.reg(insn.src);
        if alu64 && sign_bits == 0 {
            self.link_before_copy(insn.src);
            *self.reg_mut(insn.dst) = *self.reg(insn.src);
            return Ok(());
        }
        if self.is_secret(insn.src) {
            let what = if alu64 { "sign-extension part of pointer" } else { "partial copy of pointer" };
            reject!("R{} {what}", insn.src);
        }
        let mut result = Reg::UNKNOWN;
        if src.is_scalar() {
            // A copy that changes nothing stays linked to its source.
            let unchanged = if sign_bits == 0 { src.val.width() <= 32 } else { src.val.umax < 1u64 << (sign_bits - 1) };
            if unchanged {
                self.link_before_copy(insn.src);
            }
            result = *self.reg(insn.src);
            if !unchanged {
                result.unlink();
            }
            match (sign_bits, alu64) {
                (0, _) => {}
                (bits, true) => result.val.sign_extend64(bits / 8),
                (bits, false) => result.val.sign_extend32(bits / 8),
            }
        }
        if !alu64 {
            result.val.zero_extend32();
            result.val.sync();
        }
        *self.reg_mut(insn.dst) = result;
        Ok(())
    }

    /// Gives a scalar that is about to be copied an id, so that what a later comparison shows of one copy holds for all.
    pub(in crate::verifier_sim) fn link_before_copy(&mut self, number: u8) {
        let reg = *self.reg(number);
        if !reg.is_scalar() {
            return;
        }
        if reg.id & ADD_CONST != 0 {
            self.reg_mut(number).unlink();
        }
        if self.reg(number).id == 0 && !reg.val.bits.is_known() {
            let id = self.new_id();
            self.reg_mut(number).id = id;
        }
    }

    fn binary(&mut self, insn: &Insn) -> Step {
        let operation = insn.code & op::OP_MASK;
        let immediate = insn.code & op::X == 0;
        let division = matches!(operation, op::DIV | op::MOD);
        let signed = insn.off == 1 && division && self.kernel >= Kernel::V6_12;
        let unused = if immediate { i32::from(insn.src) } else { insn.imm };
        if unused != 0 || (insn.off != 0 && !signed) {
            reject!("BPF_ALU uses reserved fields");
        }
        if !immediate {
            self.check_source(insn.src)?;
        }
        self.check_source(insn.dst)?;
        if division && immediate && insn.imm == 0 {
            reject!("div by zero");
        }
        if immediate && matches!(operation, op::LSH | op::RSH | op::ARSH) {
            let width = if insn.code & op::CLASS_MASK == op::ALU64 { 64 } else { 32 };
            if insn.imm < 0 || insn.imm >= width {
                reject!("invalid shift {}", insn.imm);
            }
        }
        self.check_destination(insn.dst)?;
        self.combine(insn, operation)
    }

    /// dst op= operand, for numbers and pointers (`adjust_reg_min_max_vals`).
    fn combine(&mut self, insn: &Insn, operation: u8) -> Step {
        let immediate = insn.code & op::X == 0;
        let dst = *self.reg(insn.dst);
        let src = if immediate { Reg::known(i64::from(insn.imm) as u64) } else { *self.reg(insn.src) };
        match (dst.is_scalar(), src.is_scalar()) {
            (true, true) => {
                self.check_numbers(insn)?;
                self.combine_scalars(insn, operation, dst, &src)
            }
            (false, true) => self.move_pointer(insn, &dst, &src, true),
            (true, false) => self.move_pointer(insn, &src, &dst, false),
            (false, false) => {
                if operation == op::SUB && self.may_leak_pointers() {
                    *self.reg_mut(insn.dst) = Reg::UNKNOWN;
                    return Ok(());
                }
                reject!("R{} pointer {} pointer prohibited", insn.dst, operator(operation));
            }
        }
    }

    fn combine_scalars(&mut self, insn: &Insn, operation: u8, mut dst: Reg, src: &Reg) -> Step {
        let alu32 = insn.code & op::CLASS_MASK == op::ALU;
        let kernel = self.kernel;
        let umax_before = dst.val.umax;
        let width = if alu32 { 32 } else { 64 };
        let by = src.val.umax;
        let computable = match operation {
            op::ADD | op::SUB | op::AND | op::OR | op::XOR | op::MUL => true,
            op::LSH | op::RSH | op::ARSH => src.val.is_known(alu32) && by < width,
            _ => false,
        };
        if computable {
            if matches!(operation, op::AND | op::OR) && src.val.is_known(false) {
                self.fork_all_or_nothing(insn, &mut dst)?;
            }
            let val = &mut dst.val;
            let by = if alu32 { u64::from(src.val.umax32) } else { by } as u32;
            match operation {
                op::ADD => scalar::add(val, &src.val, kernel),
                op::SUB => scalar::sub(val, &src.val, kernel),
                op::MUL => scalar::mul(val, &src.val, kernel),
                op::AND => scalar::bitwise(val, &src.val, Bitwise::And),
                op::OR => scalar::bitwise(val, &src.val, Bitwise::Or),
                op::XOR => scalar::bitwise(val, &src.val, Bitwise::Xor),
                op::LSH => scalar::shl(val, by, alu32),
                op::RSH => scalar::shr(val, by, alu32),
                _ => scalar::sar(val, by, alu32),
            }
            if alu32 {
                val.zero_extend32();
            }
            val.sync();
        } else {
            dst = Reg::UNKNOWN;
        }
        // A linked scalar plus a constant stays linked, at a distance.
        let same = insn.code & op::X != 0 && insn.src == insn.dst;
        match link_distance(operation, alu32, umax_before, src, kernel) {
            Some(distance) if dst.id != 0 && dst.id & ADD_CONST == 0 && !same => {
                dst.id |= if alu32 { ADD_CONST32 } else { ADD_CONST64 };
                dst.off = distance;
            }
            _ => dst.unlink(),
        }
        *self.reg_mut(insn.dst) = dst;
        Ok(())
    }

    /// A number that is 0 or -1 is usually the sign of another: both cases are walked apart, so that masks become exact.
    fn fork_all_or_nothing(&mut self, insn: &Insn, dst: &mut Reg) -> Step {
        if self.kernel < Kernel::V6_18 {
            return Ok(());
        }
        if (dst.val.smin, dst.val.smax) != (-1, 0) && (dst.val.smin32, dst.val.smax32) != (-1, 0) {
            return Ok(());
        }
        let mut branch = self.cur.clone();
        let zero = &mut branch.top_mut().regs[usize::from(insn.dst)];
        if (dst.val.smin, dst.val.smax) == (-1, 0) {
            *zero = Reg::known(0);
            *dst = Reg::known(u64::MAX);
        } else {
            zero.val.set_known32(0);
            dst.val.set_known32(u32::MAX);
        }
        self.push_state(branch, self.at)
    }
}

/// How far an addition or subtraction of a constant moves a linked scalar, if the link survives it.
fn link_distance(operation: u8, alu32: bool, umax_before: u64, src: &Reg, kernel: Kernel) -> Option<i32> {
    if kernel < Kernel::V6_12 || !matches!(operation, op::ADD | op::SUB) {
        return None;
    }
    if kernel < Kernel::V6_18 {
        let value = src.val.value(false).filter(|value| operation == op::ADD && !alu32 && *value <= i32::MAX as u64)?;
        return Some(value as i32);
    }
    let value = src.val.value(alu32)?;
    let distance = if alu32 {
        (umax_before <= u64::from(u32::MAX)).then_some(value as u32 as i32)?
    } else {
        i32::try_from(value as i64).ok()?
    };
    if operation == op::SUB { distance.checked_neg() } else { Some(distance) }
}

/// The bounds of the constant `imm` of an instruction.
pub(in crate::verifier_sim) fn immediate(imm: i32) -> Bounds {
    Bounds::known(i64::from(imm) as u64)
}

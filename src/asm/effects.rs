//! Which registers an instruction reads and writes.

use super::opcode as op;
use super::{Insn, Reg, Regs};

/// What one instruction does to registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// Read before anything is written.
    pub(super) reads: Regs,
    /// Written, or lost.
    pub(super) writes: Regs,
    /// The part of `writes` that holds nothing afterwards.
    pub(super) loses: Regs,
}

impl Effects {
    /// The effects of a slot; of a 64-bit load, those of its first slot. A call reads the first `arguments` of R1 to R5.
    pub(super) fn of(insn: Insn, arguments: u8) -> Self {
        let (dst, src) = (reg(insn.dst), reg(insn.src));
        let operand = if insn.code & op::X == op::X { src } else { Regs::NONE };
        let new = |reads: Regs, writes: Regs| Self { reads, writes, loses: Regs::NONE };
        match insn.code & op::CLASS_MASK {
            op::ALU | op::ALU64 => match insn.code & op::OP_MASK {
                op::MOV => new(operand, dst),
                // Its source bit says which byte order, not which operand.
                op::NEG | op::END => new(dst, dst),
                _ => new(dst | operand, dst),
            },
            op::LD if insn.code & op::MODE_MASK == op::IMM => new(Regs::NONE, dst),
            // Legacy packet access is a call in disguise: the socket buffer is in R6, the result in R0.
            op::LD => {
                let index = if insn.code & op::MODE_MASK == op::IND { src } else { Regs::NONE };
                Self { reads: index | Regs::of(Reg::R6), writes: Regs::SCRATCH, loses: Regs::ARGUMENTS }
            }
            op::LDX => new(src, dst),
            op::ST => new(dst, Regs::NONE),
            op::STX if insn.code & op::MODE_MASK == op::ATOMIC => Self::of_atomic(insn, dst, src),
            op::STX => new(dst | src, Regs::NONE),
            op::JMP | op::JMP32 => match insn.code & op::OP_MASK {
                op::JA | op::JCOND => Self::default(),
                op::CALL if insn.code & op::CLASS_MASK == op::JMP => {
                    Self { reads: Regs::arguments(arguments), writes: Regs::SCRATCH, loses: Regs::ARGUMENTS }
                }
                op::EXIT if insn.code & op::CLASS_MASK == op::JMP => new(Regs::of(Reg::R0), Regs::NONE),
                _ => new(dst | operand, Regs::NONE),
            },
            _ => Self::default(),
        }
    }

    fn of_atomic(insn: Insn, dst: Regs, src: Regs) -> Self {
        let (reads, writes) = match insn.imm {
            op::LOAD_ACQ => (src, dst),
            op::CMPXCHG => (dst | src | Regs::of(Reg::R0), Regs::of(Reg::R0)),
            imm if imm != op::STORE_REL && imm & op::FETCH != 0 => (dst | src, src),
            _ => (dst | src, Regs::NONE),
        };
        Self { reads, writes, loses: Regs::NONE }
    }
}

/// The register with this number; none for a number that no register has.
fn reg(number: u8) -> Regs {
    Reg::from_number(number).map_or(Regs::NONE, Regs::of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::Reg::*;
    use crate::asm::{AluOp, Asm, AtomicOp, Cond, FP, Size};

    /// Reads, writes and losses of the one instruction that is emitted.
    fn effects(emit: impl FnOnce(&mut Asm)) -> [String; 3] {
        let mut a = Asm::new();
        emit(&mut a);
        a.exit();
        let Effects { reads, writes, loses } = Effects::of(a.finish().unwrap().insns()[0], 2);
        [reads, writes, loses].map(|set| set.to_string())
    }

    #[test]
    fn arithmetic() {
        assert_eq!(effects(|a| a.mov(R1, R2)), ["r2", "r1", ""]);
        assert_eq!(effects(|a| a.mov(R1, 7)), ["", "r1", ""]);
        assert_eq!(effects(|a| a.alu32(AluOp::Add, R1, R2)), ["r1, r2", "r1", ""]);
        assert_eq!(effects(|a| a.to_be(R3, 16)), ["r3", "r3", ""]);
        assert_eq!(effects(|a| a.neg(R3)), ["r3", "r3", ""]);
    }

    #[test]
    fn memory() {
        assert_eq!(effects(|a| a.load(Size::W, R1, R2, 0)), ["r2", "r1", ""]);
        assert_eq!(effects(|a| a.store(Size::W, FP, -8, R2)), ["r2, r10", "", ""]);
        assert_eq!(effects(|a| a.store(Size::W, R1, 0, 5)), ["r1", "", ""]);
        let atomic = |operation| effects(|a| a.atomic(operation, Size::DW, R1, 0, R2));
        assert_eq!(atomic(AtomicOp::Add { fetch: false }), ["r1, r2", "", ""]);
        assert_eq!(atomic(AtomicOp::Add { fetch: true }), ["r1, r2", "r2", ""]);
        assert_eq!(atomic(AtomicOp::CmpXchg), ["r0, r1, r2", "r0", ""]);
        assert_eq!(atomic(AtomicOp::Xchg), ["r1, r2", "r2", ""]);
        assert_eq!(atomic(AtomicOp::LoadAcquire), ["r1", "r2", ""]);
        assert_eq!(atomic(AtomicOp::StoreRelease), ["r1, r2", "", ""]);
        assert_eq!(effects(|a| a.load_imm64(R9, 1)), ["", "r9", ""]);
        assert_eq!(effects(|a| a.ld_ind(Size::W, R2, 0)), ["r2, r6", "r0, r1, r2, r3, r4, r5", "r1, r2, r3, r4, r5"]);
    }

    #[test]
    fn jumps_and_calls() {
        assert_eq!(effects(|a| a.call(1)), ["r1, r2", "r0, r1, r2, r3, r4, r5", "r1, r2, r3, r4, r5"]);
        assert_eq!(effects(Asm::exit), ["r0", "", ""]);
        let jump = |a: &mut Asm| {
            let label = a.label("next");
            a.jump(Cond::Eq, R1, R2, label);
            a.bind(label);
        };
        assert_eq!(effects(jump), ["r1, r2", "", ""]);
    }
}

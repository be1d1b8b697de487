//! Arithmetic, moves and byte order (RFC 9669, section 4.1 and 4.2).

use super::{Asm, Item};
use crate::asm::opcode as op;
use crate::asm::{AluOp, Insn, Operand, Reg};

/// The 64-bit method and its 32-bit twin, which clears the upper half of `dst`.
macro_rules! alu {
    ($($name:ident $name32:ident $op:ident $sign:literal;)*) => {$(
        #[doc = concat!("`dst ", $sign, " operand` on 64 bits.")]
        #[track_caller]
        pub fn $name(&mut self, dst: Reg, operand: impl Into<Operand>) {
            self.alu(AluOp::$op, dst, operand);
        }

        #[doc = concat!("`dst ", $sign, " operand` on the lower 32 bits; the upper become 0.")]
        #[track_caller]
        pub fn $name32(&mut self, dst: Reg, operand: impl Into<Operand>) {
            self.alu32(AluOp::$op, dst, operand);
        }
    )*};
}

impl Asm {
    alu! {
        mov mov32 Mov "=";
        add add32 Add "+=";
        sub sub32 Sub "-=";
        mul mul32 Mul "*=";
        div div32 Div "/=";
        sdiv sdiv32 Sdiv "s/=";
        modulo modulo32 Mod "%=";
        smod smod32 Smod "s%=";
        or or32 Or "|=";
        and and32 And "&=";
        xor xor32 Xor "^=";
        lsh lsh32 Lsh "<<=";
        rsh rsh32 Rsh ">>=";
        arsh arsh32 Arsh "s>>=";
    }

    /// A 64-bit operation chosen at run time.
    #[track_caller]
    pub fn alu(&mut self, operation: AluOp, dst: Reg, operand: impl Into<Operand>) {
        self.emit_alu(op::ALU64, operation, dst, operand.into());
    }

    /// A 32-bit operation chosen at run time.
    #[track_caller]
    pub fn alu32(&mut self, operation: AluOp, dst: Reg, operand: impl Into<Operand>) {
        self.emit_alu(op::ALU, operation, dst, operand.into());
    }

    #[track_caller]
    #[cold]
    fn emit_alu(&mut self, class: u8, operation: AluOp, dst: Reg, operand: Operand) {
        let (code, off) = operation.code();
        let (source, src, imm) = operand.parts();
        self.emit(Item::Plain(Insn { code: class | source | code, dst: dst.number(), src, off, imm }));
    }

    /// `dst = -dst` on 64 bits.
    #[track_caller]
    pub fn neg(&mut self, dst: Reg) {
        self.emit(Item::Plain(Insn { code: op::ALU64 | op::NEG, dst: dst.number(), ..Insn::default() }));
    }

    /// `dst = -dst` on the lower 32 bits; the upper become 0.
    #[track_caller]
    pub fn neg32(&mut self, dst: Reg) {
        self.emit(Item::Plain(Insn { code: op::ALU | op::NEG, dst: dst.number(), ..Insn::default() }));
    }

    /// `dst` = the lower 8, 16 or 32 `bits` of `src`, sign-extended to 64.
    #[track_caller]
    pub fn mov_sx(&mut self, dst: Reg, src: Reg, bits: u8) {
        self.emit_mov_sx(op::ALU64, dst, src, bits, &[8, 16, 32]);
    }

    /// `dst` = the lower 8 or 16 `bits` of `src`, sign-extended to 32; the upper half becomes 0.
    #[track_caller]
    pub fn mov32_sx(&mut self, dst: Reg, src: Reg, bits: u8) {
        self.emit_mov_sx(op::ALU, dst, src, bits, &[8, 16]);
    }

    #[track_caller]
    fn emit_mov_sx(&mut self, class: u8, dst: Reg, src: Reg, bits: u8, allowed: &[u8]) {
        if !allowed.contains(&bits) {
            self.invalid(format!("cannot sign-extend from {bits} bits"), "use 8, 16, or (64-bit move only) 32");
        }
        let code = class | op::X | op::MOV;
        self.emit(Item::Plain(Insn { code, dst: dst.number(), src: src.number(), off: i16::from(bits), imm: 0 }));
    }

    /// Host to big endian (or back) on the lower 16, 32 or 64 `bits`; the rest become 0.
    #[track_caller]
    pub fn to_be(&mut self, dst: Reg, bits: u8) {
        self.emit_swap(op::ALU | op::X | op::END, dst, bits);
    }

    /// Host to little endian (or back) on the lower 16, 32 or 64 `bits`; the rest become 0.
    #[track_caller]
    pub fn to_le(&mut self, dst: Reg, bits: u8) {
        self.emit_swap(op::ALU | op::K | op::END, dst, bits);
    }

    /// Swaps the bytes of the lower 16, 32 or 64 `bits` on any machine; the rest become 0.
    #[track_caller]
    pub fn bswap(&mut self, dst: Reg, bits: u8) {
        self.emit_swap(op::ALU64 | op::K | op::END, dst, bits);
    }

    #[track_caller]
    fn emit_swap(&mut self, code: u8, dst: Reg, bits: u8) {
        if !matches!(bits, 16 | 32 | 64) {
            self.invalid(format!("cannot swap {bits} bits"), "use 16, 32 or 64");
        }
        self.emit(Item::Plain(Insn { code, dst: dst.number(), imm: i32::from(bits), ..Insn::default() }));
    }
}

//! Loads, stores, atomics and 64-bit immediates (RFC 9669, section 5).

use super::{Asm, Item, Label};
use crate::asm::opcode as op;
use crate::asm::{AtomicOp, Insn, MapRef, Operand, Reg, Size};

impl Asm {
    /// `dst = *(size *)(base + off)`, zero-extended.
    #[track_caller]
    #[cold]
    pub fn load(&mut self, size: Size, dst: Reg, base: Reg, off: i16) {
        let code = op::LDX | op::MEM | size.code();
        self.emit(Item::Plain(Insn { code, dst: dst.number(), src: base.number(), off, imm: 0 }));
    }

    /// `dst = *(size *)(base + off)`, sign-extended; 1, 2 or 4 bytes.
    #[track_caller]
    pub fn load_sx(&mut self, size: Size, dst: Reg, base: Reg, off: i16) {
        if size == Size::DW {
            self.invalid("an 8-byte load has no sign to extend".into(), "use load() for 8 bytes");
        }
        let code = op::LDX | op::MEMSX | size.code();
        self.emit(Item::Plain(Insn { code, dst: dst.number(), src: base.number(), off, imm: 0 }));
    }

    /// `*(size *)(base + off) = value`.
    #[track_caller]
    pub fn store(&mut self, size: Size, base: Reg, off: i16, value: impl Into<Operand>) {
        self.emit_store(size, base, off, value.into());
    }

    #[track_caller]
    #[cold]
    fn emit_store(&mut self, size: Size, base: Reg, off: i16, value: Operand) {
        let (class, src, imm) = match value {
            Operand::Reg(reg) => (op::STX, reg.number(), 0),
            Operand::Imm(imm) => (op::ST, 0, imm),
        };
        self.emit(Item::Plain(Insn { code: class | op::MEM | size.code(), dst: base.number(), src, off, imm }));
    }

    /// An atomic operation on `*(size *)(base + off)` with `src`; 4 or 8 bytes, load-acquire and store-release any size.
    #[track_caller]
    pub fn atomic(&mut self, operation: AtomicOp, size: Size, base: Reg, off: i16, src: Reg) {
        if !operation.allows(size) {
            self.invalid(
                format!("{operation:?} works on 4 or 8 bytes, not on {}", size.bytes()),
                "use Size::W or Size::DW",
            );
        }
        // A load names its destination in `dst` like any other load.
        let (dst, src) = match operation {
            AtomicOp::LoadAcquire => (src, base),
            _ => (base, src),
        };
        let code = op::STX | op::ATOMIC | size.code();
        self.emit(Item::Plain(Insn { code, dst: dst.number(), src: src.number(), off, imm: operation.code() }));
    }

    /// `dst = value`, in two slots.
    #[track_caller]
    pub fn load_imm64(&mut self, dst: Reg, value: i64) {
        let (low, high) = (value as i32, (value >> 32) as i32);
        self.emit(Item::Wide(wide(dst, 0, low), high));
    }

    /// `dst` = the map, as helpers take it.
    #[track_caller]
    pub fn load_map(&mut self, dst: Reg, map: MapRef) {
        self.emit(Item::Map(wide(dst, op::PSEUDO_MAP_FD, map.0 as i32), 0, map));
    }

    /// `dst` = the address of byte `offset` of the value of a one-entry array map.
    #[track_caller]
    pub fn load_map_value(&mut self, dst: Reg, map: MapRef, offset: u32) {
        self.emit(Item::Map(wide(dst, op::PSEUDO_MAP_VALUE, map.0 as i32), offset as i32, map));
    }

    /// `dst` = the address of the subprogram at `label`, as callbacks take it.
    #[track_caller]
    pub fn load_func(&mut self, dst: Reg, label: Label) {
        self.emit(Item::Func(wide(dst, op::PSEUDO_FUNC, 0), label));
    }

    /// `dst` = the address of a kernel variable, by its id in the kernel's BTF or, with `object`, in that of a module.
    #[track_caller]
    pub fn load_ksym(&mut self, dst: Reg, btf_id: i32, object: i32) {
        self.emit(Item::Wide(wide(dst, op::PSEUDO_BTF_ID, btf_id), object));
    }

    /// Legacy packet access: `r0 = *(size *)skb[offset]`, in network order; r6 must hold the skb. 1, 2 or 4 bytes.
    #[track_caller]
    pub fn ld_abs(&mut self, size: Size, offset: i32) {
        self.check_legacy(size);
        self.emit(Item::Plain(Insn { code: op::LD | op::ABS | size.code(), imm: offset, ..Insn::default() }));
    }

    /// Legacy packet access: `r0 = *(size *)skb[src + offset]`, in network order; r6 must hold the skb. 1, 2 or 4 bytes.
    #[track_caller]
    pub fn ld_ind(&mut self, size: Size, src: Reg, offset: i32) {
        self.check_legacy(size);
        let code = op::LD | op::IND | size.code();
        self.emit(Item::Plain(Insn { code, src: src.number(), imm: offset, ..Insn::default() }));
    }

    #[track_caller]
    fn check_legacy(&mut self, size: Size) {
        if size == Size::DW {
            self.invalid("legacy packet access has no 8-byte form".into(), "use Size::B, Size::H or Size::W");
        }
    }
}

fn wide(dst: Reg, src: u8, imm: i32) -> Insn {
    Insn { code: op::LD | op::IMM | op::DW, dst: dst.number(), src, off: 0, imm }
}

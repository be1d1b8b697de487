//! Random instructions: any bits, and any call of the builder.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sidestep::asm::{AluOp, Asm, AtomicOp, Cond, Insn, MapRef, Operand, Reg, Size};

/// Any slot, valid or not.
pub(crate) fn insn() -> impl Strategy<Value = Insn> {
    let opcode = prop_oneof![any::<u8>(), Just(0x18), Just(0xdb), Just(0x85)];
    let off = prop_oneof![Just(0), Just(1), Just(8), any::<i16>()];
    let imm = prop_oneof![Just(0), -1..=0x120, any::<i32>()];
    (opcode, 0..16u8, 0..16u8, off, imm).prop_map(|(code, dst, src, off, imm)| Insn { code, dst, src, off, imm })
}

/// Any slots; a first slot of a 64-bit load is often followed by a proper second one.
pub(crate) fn insns() -> impl Strategy<Value = Vec<Insn>> {
    vec(prop_oneof![4 => insn(), 1 => any::<i32>().prop_map(|imm| Insn { imm, ..Insn::default() })], 0..40)
}

/// One call of the builder that needs no label.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Alu(AluOp, Reg, Operand, bool),
    Neg(Reg, bool),
    MovSx(Reg, Reg, u8),
    Mov32Sx(Reg, Reg, u8),
    ToBe(Reg, u8),
    ToLe(Reg, u8),
    Bswap(Reg, u8),
    Load(Size, Reg, Reg, i16),
    LoadSx(Size, Reg, Reg, i16),
    Store(Size, Reg, i16, Operand),
    Atomic(AtomicOp, Size, Reg, i16, Reg),
    Imm64(Reg, i64),
    Map(Reg, u16),
    MapValue(Reg, u16, u32),
    Ksym(Reg, i32),
    LdAbs(Size, i32),
    LdInd(Size, Reg, i32),
    Helper(i32),
    Kfunc(i32),
    Jump(Cond, Reg, Operand, bool),
    Goto,
    MayGoto,
    Subprogram,
    LoadFunc(Reg),
    Exit,
}

pub(crate) fn reg() -> impl Strategy<Value = Reg> {
    select(&Reg::ALL[..])
}

pub(crate) fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![reg().prop_map(Operand::Reg), any::<i32>().prop_map(Operand::Imm)]
}

fn size() -> impl Strategy<Value = Size> {
    select(&Size::ALL[..])
}

fn narrow() -> impl Strategy<Value = Size> {
    select(&Size::ALL[..3])
}

fn memory() -> impl Strategy<Value = Call> {
    let wide = select(&[Size::W, Size::DW][..]);
    let atomic = (select(&AtomicOp::ALL[..]), size(), wide, reg(), any::<i16>(), reg());
    prop_oneof![
        (size(), reg(), reg(), any::<i16>()).prop_map(|(s, d, b, o)| Call::Load(s, d, b, o)),
        (narrow(), reg(), reg(), any::<i16>()).prop_map(|(s, d, b, o)| Call::LoadSx(s, d, b, o)),
        (size(), reg(), any::<i16>(), operand()).prop_map(|(s, b, o, v)| Call::Store(s, b, o, v)),
        atomic.prop_map(|(op, any, wide, b, o, s)| Call::Atomic(op, if op.allows(any) { any } else { wide }, b, o, s)),
        (reg(), any::<i64>()).prop_map(|(d, v)| Call::Imm64(d, v)),
        (reg(), any::<u16>()).prop_map(|(d, m)| Call::Map(d, m)),
        (reg(), any::<u16>(), any::<u32>()).prop_map(|(d, m, o)| Call::MapValue(d, m, o)),
        (reg(), any::<i32>()).prop_map(|(d, id)| Call::Ksym(d, id)),
        (narrow(), any::<i32>()).prop_map(|(s, o)| Call::LdAbs(s, o)),
        (narrow(), reg(), any::<i32>()).prop_map(|(s, r, o)| Call::LdInd(s, r, o)),
    ]
}

fn flow() -> impl Strategy<Value = Call> {
    let jump = (select(&Cond::ALL[..]), reg(), operand(), any::<bool>());
    prop_oneof![
        4 => jump.prop_map(|(c, d, o, narrow)| Call::Jump(c, d, o, narrow)),
        1 => Just(Call::Goto),
        1 => Just(Call::MayGoto),
        1 => Just(Call::Subprogram),
        1 => reg().prop_map(Call::LoadFunc),
        1 => Just(Call::Exit),
        1 => prop_oneof![0..220, any::<i32>()].prop_map(Call::Helper),
        1 => any::<i32>().prop_map(Call::Kfunc),
    ]
}

/// Any call of the builder.
pub(crate) fn call() -> impl Strategy<Value = Call> {
    let bits = || select(&[16u8, 32, 64][..]);
    prop_oneof![
        4 => (select(&AluOp::ALL[..]), reg(), operand(), any::<bool>()).prop_map(|(a, d, o, n)| Call::Alu(a, d, o, n)),
        1 => (reg(), any::<bool>()).prop_map(|(d, narrow)| Call::Neg(d, narrow)),
        1 => (reg(), reg(), select(&[8u8, 16, 32][..])).prop_map(|(d, s, b)| Call::MovSx(d, s, b)),
        1 => (reg(), reg(), select(&[8u8, 16][..])).prop_map(|(d, s, b)| Call::Mov32Sx(d, s, b)),
        1 => (reg(), bits()).prop_map(|(d, b)| Call::ToBe(d, b)),
        1 => (reg(), bits()).prop_map(|(d, b)| Call::ToLe(d, b)),
        1 => (reg(), bits()).prop_map(|(d, b)| Call::Bswap(d, b)),
        8 => memory(),
        8 => flow(),
    ]
}

/// Makes the call; whatever needs a label gets this one.
pub(crate) fn make(a: &mut Asm, call: &Call, label: sidestep::asm::Label) {
    match *call {
        Call::Alu(op, dst, operand, false) => a.alu(op, dst, operand),
        Call::Alu(op, dst, operand, true) => a.alu32(op, dst, operand),
        Call::Neg(dst, false) => a.neg(dst),
        Call::Neg(dst, true) => a.neg32(dst),
        Call::MovSx(dst, src, bits) => a.mov_sx(dst, src, bits),
        Call::Mov32Sx(dst, src, bits) => a.mov32_sx(dst, src, bits),
        Call::ToBe(dst, bits) => a.to_be(dst, bits),
        Call::ToLe(dst, bits) => a.to_le(dst, bits),
        Call::Bswap(dst, bits) => a.bswap(dst, bits),
        Call::Load(size, dst, base, off) => a.load(size, dst, base, off),
        Call::LoadSx(size, dst, base, off) => a.load_sx(size, dst, base, off),
        Call::Store(size, base, off, value) => a.store(size, base, off, value),
        Call::Atomic(op, size, base, off, src) => a.atomic(op, size, base, off, src),
        Call::Imm64(dst, value) => a.load_imm64(dst, value),
        Call::Map(dst, map) => a.load_map(dst, MapRef(map.into())),
        Call::MapValue(dst, map, off) => a.load_map_value(dst, MapRef(map.into()), off),
        Call::Ksym(dst, id) => a.load_ksym(dst, id, 0),
        Call::LdAbs(size, off) => a.ld_abs(size, off),
        Call::LdInd(size, src, off) => a.ld_ind(size, src, off),
        Call::Helper(id) => a.call(id),
        Call::Kfunc(id) => a.call_kfunc(id, 0),
        Call::Jump(cond, dst, operand, false) => a.jump(cond, dst, operand, label),
        Call::Jump(cond, dst, operand, true) => a.jump32(cond, dst, operand, label),
        Call::Goto => a.goto(label),
        Call::MayGoto => a.may_goto(label),
        Call::Subprogram => a.call_sub(label),
        Call::LoadFunc(dst) => a.load_func(dst, label),
        Call::Exit => a.exit(),
    }
}

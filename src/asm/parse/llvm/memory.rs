//! Loads, stores and atomics in LLVM's words. Registers of 4 bytes or fewer are `w`; older LLVMs write `r`, which is read, too.

use super::super::cursor::Cursor;
use super::super::memory::{Place, SIGNED, UNSIGNED, address, atomic, place, size, update};
use super::ParseError;
use crate::asm::opcode as op;
use crate::asm::{AtomicOp, Insn};

/// The register of a memory access of this size: `w1`, or `r1` where it may be one of 64 bits.
fn reg(cursor: &mut Cursor<'_>, size: u8) -> Result<u8, ParseError> {
    cursor.reg(if size != op::DW && cursor.sees_reg('w') { 'w' } else { 'r' })
}

/// `u32 *)(r1 + 0x4) = w2` or `= 0x5`, behind `*(`.
pub(super) fn store(cursor: &mut Cursor<'_>) -> Result<Insn, ParseError> {
    let Place { size, reg: dst, off } = place(cursor)?;
    cursor.expect("=", "`*(u32 *)(r10 - 0x8) = w1`")?;
    if cursor.sees_reg('r') || cursor.sees_reg('w') {
        return Ok(Insn { code: op::STX | op::MEM | size, dst, src: reg(cursor, size)?, off, imm: 0 });
    }
    Ok(Insn { code: op::ST | op::MEM | size, dst, src: 0, off, imm: cursor.imm()? })
}

/// The size of an atomic operation that computes; LLVM knows 4 and 8 bytes.
fn computing(place: Place, start: &Cursor<'_>) -> Result<Place, ParseError> {
    if matches!(place.size, op::W | op::DW) {
        return Ok(place);
    }
    Err(start.error("there are atomic operations on 4 and 8 bytes".into(), "`lock *(u64 *)(r1 + 0x0) += r2`"))
}

/// `*(u64 *)(r1 + 0x0) += r2`, behind `lock`.
pub(super) fn lock(cursor: &mut Cursor<'_>) -> Result<Insn, ParseError> {
    let example = "`lock *(u64 *)(r1 + 0x0) += r2`";
    let start = cursor.clone();
    cursor.expect("*(", example)?;
    let Place { size, reg: dst, off } = computing(place(cursor)?, &start)?;
    let operation = update(cursor, example)?;
    Ok(atomic(operation, size, dst, reg(cursor, size)?, off))
}

/// `((u32 *)(r1 + 0x0), w2)`, behind `store_release`.
pub(super) fn store_release(cursor: &mut Cursor<'_>) -> Result<Insn, ParseError> {
    let example = "`store_release((u32 *)(r1 + 0x0), w2)`";
    cursor.expect("((", example)?;
    let Place { size, reg: dst, off } = place(cursor)?;
    cursor.expect(",", example)?;
    let src = reg(cursor, size)?;
    cursor.expect(")", example)?;
    Ok(atomic(AtomicOp::StoreRelease, size, dst, src, off))
}

/// What a register can be given from memory; `None` if something else is next.
pub(super) fn value(cursor: &mut Cursor<'_>, kind: char, dst: u8) -> Result<Option<Insn>, ParseError> {
    let start = cursor.clone();
    let (size, insn) = if cursor.accept("*(") {
        load(cursor, dst, &start)?
    } else if cursor.accept("load_acquire((") {
        let Place { size, reg, off } = place(cursor)?;
        cursor.expect(")", "`w1 = load_acquire((u32 *)(r2 + 0x0))`")?;
        (size, atomic(AtomicOp::LoadAcquire, size, dst, reg, off))
    } else if cursor.accept("atomic_fetch_") {
        fetching(cursor, dst, &start)?
    } else if cursor.accept("xchg") {
        exchange(cursor, AtomicOp::Xchg, dst)?
    } else if cursor.accept("cmpxchg") {
        exchange(cursor, AtomicOp::CmpXchg, dst)?
    } else {
        return Ok(None);
    };
    let signed = insn.code & op::CLASS_MASK == op::LDX && insn.code & op::MODE_MASK == op::MEMSX;
    let packet = insn.code & op::CLASS_MASK == op::LD;
    if kind == 'w' && (size == op::DW || signed || packet) {
        return Err(start.error("this gives all 64 bits of a register".into(), "`r1 = *(u64 *)(r2 + 0x0)`"));
    }
    Ok(Some(insn))
}

/// `u32 *)(r1 + 0x4)`, `s8 *)(r1 + 0x4)`, `u16 *)skb[0xc]`, `u8 *)skb[r1]`, behind `*(`.
fn load(cursor: &mut Cursor<'_>, dst: u8, start: &Cursor<'_>) -> Result<(u8, Insn), ParseError> {
    let behind = cursor.clone();
    if let Ok(size) = size(cursor, &SIGNED) {
        let (src, off) = address(cursor)?;
        return Ok((size, Insn { code: op::LDX | op::MEMSX | size, dst, src, off, imm: 0 }));
    }
    *cursor = behind;
    let size = size(cursor, &UNSIGNED)?;
    if !cursor.accept("skb[") {
        let (src, off) = address(cursor)?;
        return Ok((size, Insn { code: op::LDX | op::MEM | size, dst, src, off, imm: 0 }));
    }
    let example = "`r0 = *(u16 *)skb[0xc]`";
    if dst != 0 || size == op::DW {
        return Err(start.error("legacy packet access loads r0 with at most 4 bytes".into(), example));
    }
    let (mode, src, imm) =
        if cursor.sees_reg('r') { (op::IND, cursor.reg('r')?, 0) } else { (op::ABS, 0, cursor.imm()?) };
    cursor.expect("]", example)?;
    Ok((size, Insn { code: op::LD | mode | size, dst: 0, src, off: 0, imm }))
}

/// `add((u64 *)(r1 + 0x0), r2)`, behind `atomic_fetch_`.
fn fetching(cursor: &mut Cursor<'_>, dst: u8, start: &Cursor<'_>) -> Result<(u8, Insn), ParseError> {
    let example = "`r2 = atomic_fetch_add((u64 *)(r1 + 0x0), r2)`";
    let fetch = true;
    let names = [
        ("add((", AtomicOp::Add { fetch }),
        ("and((", AtomicOp::And { fetch }),
        ("or((", AtomicOp::Or { fetch }),
        ("xor((", AtomicOp::Xor { fetch }),
    ];
    let found = names.iter().find(|(name, _)| cursor.accept(name)).map(|(_, operation)| *operation);
    let operation = found.ok_or_else(|| cursor.error("expected an atomic operation".into(), example))?;
    let Place { size, reg: address, off } = computing(place(cursor)?, start)?;
    cursor.expect(",", example)?;
    same(cursor, size, dst)?;
    cursor.expect(")", example)?;
    Ok((size, atomic(operation, size, address, dst, off)))
}

/// `32_32(r1 + 0x20, w3)`, `_64(r1 - 0x4, r0, r3)`, behind `xchg` and `cmpxchg`.
fn exchange(cursor: &mut Cursor<'_>, operation: AtomicOp, dst: u8) -> Result<(u8, Insn), ParseError> {
    let compares = operation == AtomicOp::CmpXchg;
    let example = if compares { "`r0 = cmpxchg_64(r1 + 0x0, r0, r2)`" } else { "`r2 = xchg_64(r1 + 0x0, r2)`" };
    let size = if cursor.accept("32_32") {
        op::W
    } else {
        cursor.expect("_64", example)?;
        op::DW
    };
    cursor.expect("(", example)?;
    let (address, off) = (cursor.reg('r')?, cursor.offset()?);
    cursor.expect(",", example)?;
    let src = if compares {
        if dst != 0 {
            return Err(cursor.error("compare-and-exchange returns its result in r0".into(), example));
        }
        same(cursor, size, 0)?;
        cursor.expect(",", example)?;
        reg(cursor, size)?
    } else {
        same(cursor, size, dst)?;
        dst
    };
    cursor.expect(")", example)?;
    Ok((size, atomic(operation, size, address, src, off)))
}

/// The register that the result goes to, once more.
fn same(cursor: &mut Cursor<'_>, size: u8, dst: u8) -> Result<(), ParseError> {
    cursor.same_reg(if size != op::DW && cursor.sees_reg('w') { 'w' } else { 'r' }, dst)
}

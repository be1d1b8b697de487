//! Loads, stores, atomics and 64-bit immediates.

use super::ParseError;
use super::cursor::Cursor;
use crate::asm::opcode as op;
use crate::asm::{AtomicOp, Insn};

/// A place in memory: `(u32 *)(r1 +4)`.
pub(super) struct Place {
    pub(super) size: u8,
    pub(super) reg: u8,
    pub(super) off: i16,
}

pub(super) const UNSIGNED: [(&str, u8); 4] = [("u8", op::B), ("u16", op::H), ("u32", op::W), ("u64", op::DW)];
pub(super) const SIGNED: [(&str, u8); 3] = [("s8", op::B), ("s16", op::H), ("s32", op::W)];
const EXAMPLE: &str = "`*(u32 *)(r10 -8)`";

/// `u32 *)`, behind the opening parenthesis.
pub(super) fn size(cursor: &mut Cursor<'_>, sizes: &[(&str, u8)]) -> Result<u8, ParseError> {
    let found = sizes.iter().find(|(word, _)| cursor.accept(word)).map(|(_, size)| *size);
    let found = found.ok_or_else(|| cursor.error("expected the type of a memory access".into(), EXAMPLE))?;
    cursor.expect("*)", EXAMPLE)?;
    Ok(found)
}

/// `(r1 +4)`
pub(super) fn address(cursor: &mut Cursor<'_>) -> Result<(u8, i16), ParseError> {
    cursor.expect("(", EXAMPLE)?;
    let reg = cursor.reg('r')?;
    let off = cursor.offset()?;
    cursor.expect(")", EXAMPLE)?;
    Ok((reg, off))
}

/// `u32 *)(r1 +4)`, behind the opening parenthesis.
pub(super) fn place(cursor: &mut Cursor<'_>) -> Result<Place, ParseError> {
    let size = size(cursor, &UNSIGNED)?;
    let (reg, off) = address(cursor)?;
    Ok(Place { size, reg, off })
}

/// `u32 *)(r1 +4) = r2` or `= 5`, behind `*(`.
pub(super) fn store(cursor: &mut Cursor<'_>) -> Result<Insn, ParseError> {
    let Place { size, reg: dst, off } = place(cursor)?;
    cursor.expect("=", "`*(u32 *)(r10 -8) = r1`")?;
    if cursor.sees_reg('r') {
        return Ok(Insn { code: op::STX | op::MEM | size, dst, src: cursor.reg('r')?, off, imm: 0 });
    }
    Ok(Insn { code: op::ST | op::MEM | size, dst, src: 0, off, imm: cursor.imm()? })
}

pub(super) fn atomic(operation: AtomicOp, size: u8, dst: u8, src: u8, off: i16) -> Insn {
    Insn { code: op::STX | op::ATOMIC | size, dst, src, off, imm: operation.code() }
}

/// The operator of an atomic update that does not fetch.
pub(super) fn update(cursor: &mut Cursor<'_>, example: &'static str) -> Result<AtomicOp, ParseError> {
    let fetch = false;
    let signs = [
        ("+=", AtomicOp::Add { fetch }),
        ("&=", AtomicOp::And { fetch }),
        ("|=", AtomicOp::Or { fetch }),
        ("^=", AtomicOp::Xor { fetch }),
    ];
    let found = signs.iter().find(|(sign, _)| cursor.accept(sign)).map(|(_, operation)| *operation);
    found.ok_or_else(|| cursor.error("expected an atomic operator".into(), example))
}

/// `*(u64 *)(r1 +0) += r2`, behind `lock`.
pub(super) fn lock(cursor: &mut Cursor<'_>) -> Result<Insn, ParseError> {
    let example = "`lock *(u64 *)(r1 +0) += r2`";
    cursor.expect("*(", example)?;
    let Place { size, reg, off } = place(cursor)?;
    let operation = update(cursor, example)?;
    Ok(atomic(operation, size, reg, cursor.reg('r')?, off))
}

/// `((u32 *)(r1 +0), r2)`, behind `store_release`.
pub(super) fn store_release(cursor: &mut Cursor<'_>) -> Result<Insn, ParseError> {
    let example = "`store_release((u32 *)(r1 +0), r2)`";
    cursor.expect("((", example)?;
    let Place { size, reg, off } = place(cursor)?;
    cursor.expect(",", example)?;
    let src = cursor.reg('r')?;
    cursor.expect(")", example)?;
    Ok(atomic(AtomicOp::StoreRelease, size, reg, src, off))
}

/// What a register can be given from memory or from two slots; `None` if something else is next.
pub(super) fn value(cursor: &mut Cursor<'_>, dst: u8) -> Result<Option<(Insn, Option<Insn>)>, ParseError> {
    if cursor.accept("*(") {
        return load(cursor, dst).map(|insn| Some((insn, None)));
    }
    if cursor.accept("load_acquire((") {
        let Place { size, reg, off } = place(cursor)?;
        cursor.expect(")", "`r1 = load_acquire((u32 *)(r2 +0))`")?;
        return Ok(Some((atomic(AtomicOp::LoadAcquire, size, dst, reg, off), None)));
    }
    if cursor.accept("atomic") {
        return fetching(cursor, dst).map(|insn| Some((insn, None)));
    }
    wide(cursor, dst)
}

/// `u32 *)(r1 +4)`, `s8 *)(r1 +4)`, `u16 *)skb[12]`, `u8 *)skb[r1 + 4]`, behind `*(`.
fn load(cursor: &mut Cursor<'_>, dst: u8) -> Result<Insn, ParseError> {
    let start = cursor.clone();
    if let Ok(size) = size(cursor, &SIGNED) {
        let (src, off) = address(cursor)?;
        return Ok(Insn { code: op::LDX | op::MEMSX | size, dst, src, off, imm: 0 });
    }
    *cursor = start.clone();
    let size = size(cursor, &UNSIGNED)?;
    if !cursor.accept("skb[") {
        let (src, off) = address(cursor)?;
        return Ok(Insn { code: op::LDX | op::MEM | size, dst, src, off, imm: 0 });
    }
    if dst != 0 {
        return Err(start.error("legacy packet access always loads r0".into(), "`r0 = *(u16 *)skb[12]`"));
    }
    let (mode, src) = if cursor.sees_reg('r') {
        let src = cursor.reg('r')?;
        cursor.expect("+", "`r0 = *(u16 *)skb[r1 + 12]`")?;
        (op::IND, src)
    } else {
        (op::ABS, 0)
    };
    let imm = cursor.imm()?;
    cursor.expect("]", "`r0 = *(u16 *)skb[12]`")?;
    Ok(Insn { code: op::LD | mode | size, dst: 0, src, off: 0, imm })
}

/// `64_fetch_add((u64 *)(r1 +0), r2)`, `_xchg(...)`, `_cmpxchg((u32 *)(r1 +0), r0, r2)`, behind `atomic`.
fn fetching(cursor: &mut Cursor<'_>, dst: u8) -> Result<Insn, ParseError> {
    let example = "`r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)`";
    let start = cursor.clone();
    let eight_bytes = cursor.accept("64");
    let fetch = true;
    let names = [
        ("_fetch_add((", AtomicOp::Add { fetch }),
        ("_fetch_and((", AtomicOp::And { fetch }),
        ("_fetch_or((", AtomicOp::Or { fetch }),
        ("_fetch_xor((", AtomicOp::Xor { fetch }),
        ("_xchg((", AtomicOp::Xchg),
        ("_cmpxchg((", AtomicOp::CmpXchg),
    ];
    let found = names.iter().find(|(name, _)| cursor.accept(name)).map(|(_, operation)| *operation);
    let operation = found.ok_or_else(|| cursor.error("expected an atomic operation".into(), example))?;
    let Place { size, reg, off } = place(cursor)?;
    if eight_bytes != (size == op::DW) {
        return Err(start.error("`atomic64` goes with `u64` and `atomic` with the rest".into(), example));
    }
    cursor.expect(",", example)?;
    // The result goes to r0 for compare-and-exchange, else to the register whose value went in.
    let src = if operation == AtomicOp::CmpXchg {
        cursor.same_reg('r', 0)?;
        cursor.expect(",", example)?;
        cursor.reg('r')?
    } else {
        let src = cursor.clone().reg('r')?;
        cursor.same_reg('r', dst)?;
        src
    };
    if operation == AtomicOp::CmpXchg && dst != 0 {
        return Err(start.error("compare-and-exchange returns its result in r0".into(), example));
    }
    cursor.expect(")", example)?;
    Ok(atomic(operation, size, reg, src, off))
}

/// `0x1234`, `map[fd:3]`, `map[fd:3][0]+8`, `map[idx:0]`, `btf[id:77]`, `subprog[+5]`
fn wide(cursor: &mut Cursor<'_>, dst: u8) -> Result<Option<(Insn, Option<Insn>)>, ParseError> {
    let mut ahead = cursor.clone();
    let (src, low, high) = if ahead.accept("0x") {
        let value = cursor.unsigned()?;
        (0, value as i32, (value >> 32) as i32)
    } else if cursor.accept("map[fd:") {
        map(cursor, op::PSEUDO_MAP_FD, op::PSEUDO_MAP_VALUE)?
    } else if cursor.accept("map[idx:") {
        map(cursor, op::PSEUDO_MAP_IDX, op::PSEUDO_MAP_IDX_VALUE)?
    } else if cursor.accept("btf[id:") {
        let id = cursor.imm()?;
        cursor.expect("]", "`r1 = btf[id:77]`")?;
        (op::PSEUDO_BTF_ID, id, 0)
    } else if cursor.accept("subprog[") {
        let distance = cursor.imm()?;
        cursor.expect("]", "`r1 = subprog[+5]`")?;
        (op::PSEUDO_FUNC, distance, 0)
    } else {
        return Ok(None);
    };
    let insn = Insn { code: op::LD | op::IMM | op::DW, dst, src, off: 0, imm: low };
    Ok(Some((insn, Some(Insn { imm: high, ..Insn::default() }))))
}

/// `3]` or `3][0]+8`, with the pseudo sources for the map and for its value.
fn map(cursor: &mut Cursor<'_>, whole: u8, in_value: u8) -> Result<(u8, i32, i32), ParseError> {
    let example = "`r1 = map[fd:3]` or `r1 = map[fd:3][0]+8`";
    let number = cursor.imm()?;
    cursor.expect("]", example)?;
    if !cursor.accept("[0]+") {
        return Ok((whole, number, 0));
    }
    let offset = cursor.signed(0..=i64::from(u32::MAX))?;
    Ok((in_value, number, offset as u32 as i32))
}

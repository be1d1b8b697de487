//! One instruction: jumps, calls, arithmetic. What touches memory is in `memory`.

use super::cursor::Cursor;
use super::{ParseError, memory};
use crate::asm::opcode as op;
use crate::asm::{AluOp, Cond, Insn};
use crate::uapi::helper::{helper_id, short_name};

/// An instruction, with its second slot if it is a 64-bit immediate load.
type Parsed = Result<(Insn, Option<Insn>), ParseError>;

/// Longer signs first, so that no sign hides behind its beginning.
pub(super) const ALU_SIGNS: [(&str, AluOp); 14] = [
    ("s>>=", AluOp::Arsh),
    ("<<=", AluOp::Lsh),
    (">>=", AluOp::Rsh),
    ("s/=", AluOp::Sdiv),
    ("s%=", AluOp::Smod),
    ("+=", AluOp::Add),
    ("-=", AluOp::Sub),
    ("*=", AluOp::Mul),
    ("/=", AluOp::Div),
    ("%=", AluOp::Mod),
    ("|=", AluOp::Or),
    ("&=", AluOp::And),
    ("^=", AluOp::Xor),
    ("=", AluOp::Mov),
];

/// Longer signs first, as above.
pub(super) const COND_SIGNS: [(&str, Cond); 11] = [
    ("s>=", Cond::Sge),
    ("s<=", Cond::Sle),
    ("s>", Cond::Sgt),
    ("s<", Cond::Slt),
    ("==", Cond::Eq),
    ("!=", Cond::Ne),
    (">=", Cond::Ge),
    ("<=", Cond::Le),
    (">", Cond::Gt),
    ("<", Cond::Lt),
    ("&", Cond::Set),
];

pub(super) fn statement(cursor: &mut Cursor<'_>) -> Parsed {
    if cursor.accept(".slot") {
        return slot(cursor).map(alone);
    }
    if cursor.sees_reg('w') {
        return assignment(cursor, 'w');
    }
    if cursor.sees_reg('r') {
        return assignment(cursor, 'r');
    }
    if cursor.accept("*(") {
        return memory::store(cursor).map(alone);
    }
    let start = cursor.clone();
    match cursor.take(|c| c.is_ascii_lowercase() || c == '_') {
        "exit" => Ok(Insn { code: op::JMP | op::EXIT, ..Insn::default() }),
        "goto" => near(cursor, op::JMP | op::JA),
        "may_goto" => near(cursor, op::JMP | op::JCOND),
        "gotol" => {
            pc(cursor)?;
            Ok(Insn { code: op::JMP32 | op::JA, imm: cursor.imm()?, ..Insn::default() })
        }
        "if" => condition(cursor),
        "call" => call(cursor),
        "lock" => memory::lock(cursor),
        "store_release" => memory::store_release(cursor),
        _ => Err(start.error("this is not an instruction".into(), "`r1 += 8`, `exit`, `goto pc+1`")),
    }
    .map(alone)
}

pub(super) fn alone(insn: Insn) -> (Insn, Option<Insn>) {
    (insn, None)
}

/// The bits of a slot in hex, in little-endian encoding.
fn slot(cursor: &mut Cursor<'_>) -> Result<Insn, ParseError> {
    let start = cursor.clone();
    let digits = cursor.take(|c| c.is_ascii_hexdigit());
    match u64::from_str_radix(digits, 16) {
        Ok(bits) if digits.len() == 2 * Insn::SIZE => Ok(Insn::decode::<byteorder::LittleEndian>(bits.to_be_bytes())),
        _ => Err(start.error("a slot is 16 hex digits".into(), "`.slot 9500000000000000`")),
    }
}

fn pc(cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
    cursor.expect("pc", "`goto pc+1`")
}

fn near(cursor: &mut Cursor<'_>, code: u8) -> Result<Insn, ParseError> {
    pc(cursor)?;
    Ok(Insn { code, off: cursor.offset()?, ..Insn::default() })
}

/// `r1 == 0x0 goto pc+5`, `w1 s> w2 goto pc-3`
fn condition(cursor: &mut Cursor<'_>) -> Result<Insn, ParseError> {
    let (kind, class) = if cursor.sees_reg('w') { ('w', op::JMP32) } else { ('r', op::JMP) };
    let dst = cursor.reg(kind)?;
    let cond = COND_SIGNS.iter().find(|(sign, _)| cursor.accept(sign)).map(|(_, cond)| cond.code());
    let cond = cond.ok_or_else(|| cursor.error("expected a comparison operator".into(), "`if r1 == 0x0 goto pc+1`"))?;
    let (source, src, imm) = operand(cursor, kind)?;
    cursor.expect("goto", "`if r1 == 0x0 goto pc+1`")?;
    let jump = near(cursor, class | source | cond)?;
    Ok(Insn { dst, src, imm, ..jump })
}

/// `pc+3`, `bpf_map_lookup_elem#1`, `bpf_map_lookup_elem`, `kernel-function#77`, `unknown#999`
fn call(cursor: &mut Cursor<'_>) -> Result<Insn, ParseError> {
    let insn = Insn { code: op::JMP | op::CALL, ..Insn::default() };
    let start = cursor.clone();
    let name = cursor.take(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    // `pc-3` is one word, since a kernel function's placeholder has a dash.
    if name == "pc" || name.starts_with("pc-") {
        *cursor = start;
        pc(cursor)?;
        return Ok(Insn { src: op::PSEUDO_CALL, imm: cursor.imm()?, ..insn });
    }
    if !cursor.accept("#") {
        let missing = || start.error(format!("there is no helper `{name}`"), "`call bpf_map_lookup_elem#1`");
        return helper_id(name).map(|imm| Insn { imm, ..insn }).ok_or_else(missing);
    }
    let imm = cursor.imm()?;
    if name == "kernel-function" {
        return Ok(Insn { src: op::PSEUDO_KFUNC_CALL, imm, ..insn });
    }
    let right = short_name(imm).map_or_else(|| "unknown".into(), |short| format!("bpf_{short}"));
    if name == right {
        return Ok(Insn { imm, ..insn });
    }
    let example = "`call bpf_map_lookup_elem#1`; a kernel function is `call kernel-function#ID`";
    Err(start.error(format!("helper {imm} is {right}"), example))
}

/// A register or an immediate, as source bit, source register and immediate.
pub(super) fn operand(cursor: &mut Cursor<'_>, kind: char) -> Result<(u8, u8, i32), ParseError> {
    if cursor.sees_reg(kind) { Ok((op::X, cursor.reg(kind)?, 0)) } else { Ok((op::K, 0, cursor.imm()?)) }
}

/// Everything that starts with the register it writes.
fn assignment(cursor: &mut Cursor<'_>, kind: char) -> Parsed {
    let class = if kind == 'w' { op::ALU } else { op::ALU64 };
    let dst = cursor.reg(kind)?;
    let sign = ALU_SIGNS.iter().find(|(sign, _)| cursor.accept(sign)).map(|(_, operation)| *operation);
    let operation = sign.ok_or_else(|| cursor.error("expected an operator".into(), "`r1 += 8`"))?;
    if operation == AluOp::Mov {
        if let Some(off) = sign_extension(cursor) {
            let src = cursor.reg(kind)?;
            return Ok(alone(Insn { code: class | op::X | op::MOV, dst, src, off, imm: 0 }));
        }
        if negation(cursor) {
            cursor.same_reg(kind, dst)?;
            return Ok(alone(Insn { code: class | op::NEG, dst, ..Insn::default() }));
        }
        if kind == 'r' && !cursor.sees_reg('r') {
            if let Some(parsed) = memory::value(cursor, dst)? {
                return Ok(parsed);
            }
            if let Some(insn) = swap_or_cast(cursor, dst)? {
                return Ok(alone(insn));
            }
        }
    }
    let (code, off) = operation.code();
    let (source, src, imm) = operand(cursor, kind)?;
    Ok(alone(Insn { code: class | source | code, dst, src, off, imm }))
}

pub(super) fn sign_extension(cursor: &mut Cursor<'_>) -> Option<i16> {
    [("(s8)", 8), ("(s16)", 16), ("(s32)", 32)].iter().find(|(cast, _)| cursor.accept(cast)).map(|(_, off)| *off)
}

/// Skips a minus that stands before a register rather than before a number.
pub(super) fn negation(cursor: &mut Cursor<'_>) -> bool {
    let mut ahead = cursor.clone();
    let found = ahead.accept("-") && (ahead.sees_reg('r') || ahead.sees_reg('w'));
    if found {
        *cursor = ahead;
    }
    found
}

/// `be16 r1`, `le64 r1`, `bswap32 r1`, `addr_space_cast(r1, 1, 0)`
pub(super) fn swap_or_cast(cursor: &mut Cursor<'_>, dst: u8) -> Result<Option<Insn>, ParseError> {
    if cursor.accept("addr_space_cast(") {
        let example = "`r1 = addr_space_cast(r2, 0, 1)`";
        let src = cursor.reg('r')?;
        cursor.expect(",", example)?;
        let upper = cursor.signed(0..=i64::from(u16::MAX))?;
        cursor.expect(",", example)?;
        let lower = cursor.signed(0..=i64::from(u16::MAX))?;
        cursor.expect(")", example)?;
        let imm = (upper << 16 | lower) as i32;
        return Ok(Some(Insn { code: op::ALU64 | op::MOV | op::X, dst, src, off: 1, imm }));
    }
    let swaps = [("bswap", op::ALU64 | op::END), ("be", op::ALU | op::X | op::END), ("le", op::ALU | op::END)];
    let Some((_, code)) = swaps.iter().find(|(word, _)| cursor.accept(word)) else { return Ok(None) };
    let imm = cursor.imm()?;
    cursor.same_reg('r', dst)?;
    Ok(Some(Insn { code: *code, dst, imm, ..Insn::default() }))
}

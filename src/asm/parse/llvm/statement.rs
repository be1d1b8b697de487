//! One instruction in LLVM's words: jumps, calls, arithmetic. What touches memory is in `memory`.

use super::super::cursor::Cursor;
use super::super::statement::{ALU_SIGNS, COND_SIGNS, alone, negation, operand, sign_extension, swap_or_cast};
use super::{ParseError, Parsed, memory, slots};
use crate::asm::opcode as op;
use crate::asm::{AluOp, Insn};

/// An instruction. Where its bytes stand in front of it (`has_bytes`), they say what the words leave out.
pub(super) fn statement(cursor: &mut Cursor<'_>, slot: usize, has_bytes: bool) -> Parsed {
    if cursor.accept(".byte") {
        return byte_directive(cursor);
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
            let imm = cursor.imm()?;
            annotation(cursor);
            Ok(Insn { code: op::JMP32 | op::JA, imm, ..Insn::default() })
        }
        "gotox" => Ok(Insn { code: op::JMP | op::JA | op::X, dst: cursor.reg('r')?, ..Insn::default() }),
        "if" => condition(cursor),
        "call" => call(cursor, slot, has_bytes),
        "callx" => Ok(Insn { code: op::JMP | op::CALL | op::X, dst: cursor.reg('r')?, ..Insn::default() }),
        "lock" => memory::lock(cursor),
        "store_release" => memory::store_release(cursor),
        "ld_pseudo" => return pseudo(cursor),
        _ => Err(start.error("this is not an instruction".into(), "`r1 += 0x8`, `exit`, `goto +0x1`")),
    }
    .map(alone)
}

/// `0x95, 0x0, ...`: 8 bytes, or the 16 of a 64-bit immediate load.
fn byte_directive(cursor: &mut Cursor<'_>) -> Parsed {
    let start = cursor.clone();
    let mut bytes = Vec::new();
    loop {
        bytes.push(cursor.signed(0..=i64::from(u8::MAX))? as u8);
        if !cursor.accept(",") {
            break;
        }
    }
    slots(&bytes).ok_or_else(|| {
        let example = "`.byte 0x95, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0`";
        start.error("an instruction is 8 bytes, or 16 for a 64-bit immediate load".into(), example)
    })
}

/// `<LBB0_2>`, the name of the place that the distance before it leads to.
fn annotation(cursor: &mut Cursor<'_>) {
    if cursor.accept("<") {
        cursor.take(|c| c != '>');
        cursor.accept(">");
    }
}

fn near(cursor: &mut Cursor<'_>, code: u8) -> Result<Insn, ParseError> {
    let off = cursor.offset()?;
    annotation(cursor);
    Ok(Insn { code, off, ..Insn::default() })
}

/// `r1 == 0x0 goto +0x5`, `w1 s> w2 goto -0x3 <LBB0_1>`
fn condition(cursor: &mut Cursor<'_>) -> Result<Insn, ParseError> {
    let (kind, class) = if cursor.sees_reg('w') { ('w', op::JMP32) } else { ('r', op::JMP) };
    let example = "`if r1 == 0x0 goto +0x1`";
    let dst = cursor.reg(kind)?;
    let cond = COND_SIGNS.iter().find(|(sign, _)| cursor.accept(sign)).map(|(_, cond)| cond.code());
    let cond = cond.ok_or_else(|| cursor.error("expected a comparison operator".into(), example))?;
    let (source, src, imm) = operand(cursor, kind)?;
    cursor.expect("goto", example)?;
    let jump = near(cursor, class | source | cond)?;
    Ok(Insn { dst, src, imm, ..jump })
}

/// `0x6` is a helper; `5f` is the subprogram at slot 5, which is ahead, and `5b` the same behind.
fn call(cursor: &mut Cursor<'_>, slot: usize, has_bytes: bool) -> Result<Insn, ParseError> {
    let insn = Insn { code: op::JMP | op::CALL, ..Insn::default() };
    let start = cursor.clone();
    let word = cursor.take(|c| c.is_ascii_alphanumeric());
    let (target, ahead) = match (word.strip_suffix('f'), word.strip_suffix('b')) {
        _ if word.starts_with("0x") => (None, false),
        (Some(target), _) => (target.parse::<u32>().ok(), true),
        (_, Some(target)) => (target.parse::<u32>().ok(), false),
        _ => (None, false),
    };
    let Some(target) = target else {
        *cursor = start.clone();
        let imm = cursor.imm()?;
        if imm < 0 && !has_bytes {
            let problem = "no helper has a negative number, and this does not say which subprogram is called";
            return Err(start.error(problem.into(), "`call 5b` for the one at slot 5, or a listing with bytes"));
        }
        return Ok(Insn { imm, ..insn });
    };
    let distance = i64::from(target) - (slot as i64 + 1);
    match i32::try_from(distance) {
        Ok(imm) if ahead == (imm >= 0) => Ok(Insn { src: op::PSEUDO_CALL, imm, ..insn }),
        _ => Err(start.error(format!("slot {target} is not in this direction"), "`call 5f` ahead, `call 5b` behind")),
    }
}

/// `r1, 0x1, 0x3`: a 64-bit immediate load with a pseudo source.
fn pseudo(cursor: &mut Cursor<'_>) -> Parsed {
    let example = "`ld_pseudo r1, 0x1, 0x3`";
    let dst = cursor.reg('r')?;
    cursor.expect(",", example)?;
    let src = cursor.signed(1..=15)? as u8;
    cursor.expect(",", example)?;
    let imm = cursor.imm()?;
    Ok((Insn { code: op::LD | op::IMM | op::DW, dst, src, off: 0, imm }, Some(Insn::default())))
}

/// Everything that starts with the register it writes.
fn assignment(cursor: &mut Cursor<'_>, kind: char) -> Parsed {
    let class = if kind == 'w' { op::ALU } else { op::ALU64 };
    let dst = cursor.reg(kind)?;
    let sign = ALU_SIGNS.iter().find(|(sign, _)| cursor.accept(sign)).map(|(_, operation)| *operation);
    let operation = sign.ok_or_else(|| cursor.error("expected an operator".into(), "`r1 += 0x8`"))?;
    if operation == AluOp::Mov {
        let start = cursor.clone();
        if let Some(off) = sign_extension(cursor) {
            if kind == 'w' && off == 32 {
                return Err(start.error("32 bits have no sign to extend to 32".into(), "`r1 = (s32)r2`"));
            }
            let src = cursor.reg(kind)?;
            return Ok(alone(Insn { code: class | op::X | op::MOV, dst, src, off, imm: 0 }));
        }
        if negation(cursor) {
            cursor.same_reg(kind, dst)?;
            return Ok(alone(Insn { code: class | op::NEG, dst, ..Insn::default() }));
        }
        if !cursor.sees_reg(kind) {
            if let Some(insn) = memory::value(cursor, kind, dst)? {
                return Ok(alone(insn));
            }
            if kind == 'r' {
                if let Some(insn) = swap_or_cast(cursor, dst)? {
                    return Ok(alone(insn));
                }
                if let Some(value) = wide_number(cursor) {
                    let insn = Insn { code: op::LD | op::IMM | op::DW, dst, src: 0, off: 0, imm: value as i32 };
                    return Ok((insn, Some(Insn { imm: (value >> 32) as i32, ..Insn::default() })));
                }
            }
        }
    }
    let (code, off) = operation.code();
    let (source, src, imm) = operand(cursor, kind)?;
    Ok(alone(Insn { code: class | source | code, dst, src, off, imm }))
}

/// A number with `ll` behind it, as 64 bits.
fn wide_number(cursor: &mut Cursor<'_>) -> Option<u64> {
    let mut ahead = cursor.clone();
    let negative = ahead.accept("-");
    let magnitude = ahead.unsigned().ok()?;
    if !ahead.accept("ll") || negative && magnitude > i64::MIN.unsigned_abs() {
        return None;
    }
    *cursor = ahead;
    Some(if negative { magnitude.wrapping_neg() } else { magnitude })
}

//! LLVM's text to slots: reads `llvm-objdump -d` of one section, and what our own writer and listing write in this dialect.
//!
//! A line is `[slot:] [bytes] instruction`, a heading or a label that ends in a colon, a relocation, or empty; `;`, `#` and
//! `//` start a comment. The slot number may be left out; where it stands it is checked. Where the bytes stand they count:
//! LLVM's words leave some fields out. The words must still be those of the bytes.

mod memory;
mod statement;

use byteorder::LittleEndian;

use super::ParseError;
use super::cursor::Cursor;
use crate::asm::disasm::LlvmText;
use crate::asm::{Disasm, Insn};

/// An instruction, with its second slot if it is a 64-bit immediate load.
type Parsed = Result<(Insn, Option<Insn>), ParseError>;

/// What `llvm-objdump` prints where it knows no instruction.
const UNKNOWN: &str = "<unknown>";

/// Reads a program.
pub(in crate::asm) fn parse_program(text: &str) -> Result<Vec<Insn>, ParseError> {
    let mut insns = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = without_comment(line);
        let mut cursor = Cursor::new(line, index + 1);
        if cursor.at_end() || super::is_label(line) || line.contains(":\tfile format ") || is_relocation(line) {
            continue;
        }
        let start = cursor.clone();
        if cursor.digits_before_colon() && cursor.unsigned()? != insns.len() as u64 {
            let problem = format!("this is slot {}; a program is one section", insns.len());
            return Err(start.error(problem, "`0: r0 = 0x0` on the first line"));
        }
        cursor.accept(":");
        let (insn, second) = match bytes(&mut cursor)? {
            Some(parsed) => with_bytes(&mut cursor, insns.len(), parsed)?,
            None => instruction(&mut cursor, insns.len())?,
        };
        insns.push(insn);
        insns.extend(second);
    }
    Ok(insns)
}

/// Reads the instruction of this slot, without a slot number; the second slot is there for a 64-bit immediate load.
pub(in crate::asm) fn parse_insn(text: &str, slot: usize) -> Parsed {
    instruction(&mut Cursor::new(text, 1), slot)
}

fn instruction(cursor: &mut Cursor<'_>, slot: usize) -> Parsed {
    let parsed = statement::statement(cursor, slot, false)?;
    at_end(cursor)?;
    Ok(parsed)
}

fn at_end(cursor: &Cursor<'_>) -> Result<(), ParseError> {
    if cursor.at_end() {
        return Ok(());
    }
    Err(cursor.error("there is more on the line than an instruction".into(), "`exit` and nothing behind it"))
}

/// The bytes of an instruction as `llvm-objdump` prints them, if they are next: `b7 00 00 00 00 00 00 00`.
fn bytes(cursor: &mut Cursor<'_>) -> Result<Option<(Insn, Option<Insn>)>, ParseError> {
    let start = cursor.clone();
    let mut bytes = Vec::new();
    while let Some(byte) = cursor.hex_byte() {
        bytes.push(byte);
    }
    match (slots(&bytes), bytes.is_empty()) {
        (_, true) => Ok(None),
        (Some(parsed), false) => Ok(Some(parsed)),
        (None, false) => Err(start.error(
            "an instruction is 8 bytes, or 16 for a 64-bit immediate load".into(),
            "`b7 00 00 00 00 00 00 00 r0 = 0x0`",
        )),
    }
}

/// The slots of these bytes: one, or both of a 64-bit immediate load.
fn slots(bytes: &[u8]) -> Option<(Insn, Option<Insn>)> {
    let (slots, rest) = bytes.as_chunks::<{ Insn::SIZE }>();
    let mut slots = slots.iter().map(|slot| Insn::decode::<LittleEndian>(*slot));
    let parsed = (slots.next()?, slots.next());
    let whole = rest.is_empty() && slots.next().is_none();
    (whole && parsed.1.is_none_or(|second| parsed.0.is_wide() && second.code == 0)).then_some(parsed)
}

/// The instruction of bytes, if the words that follow are theirs.
fn with_bytes(cursor: &mut Cursor<'_>, slot: usize, (insn, second): (Insn, Option<Insn>)) -> Parsed {
    let words = cursor.clone();
    if cursor.accept(UNKNOWN) {
        at_end(cursor)?;
        return Ok((insn, second));
    }
    let text = |(insn, second): (Insn, Option<Insn>)| {
        let slots: Vec<_> = std::iter::once(insn).chain(second).collect();
        Disasm::at(&slots, 0).map(|disasm| LlvmText(disasm).to_string())
    };
    let read = statement::statement(cursor, slot, true)?;
    at_end(cursor)?;
    if read == (insn, second) || text(read) == text((insn, second)) {
        return Ok((insn, second));
    }
    let problem = format!("the bytes say `{}`", text((insn, second)).unwrap_or_default());
    Err(words.error(problem, "`95 00 00 00 00 00 00 00 exit`"))
}

fn without_comment(line: &str) -> &str {
    let end = [";", "#", "//"].iter().filter_map(|start| line.find(start)).min();
    end.and_then(|end| line.get(..end)).unwrap_or(line)
}

/// `0000000000000028:  R_BPF_64_64  foo`: what a loader will put there, which is not a part of the program's bytes.
fn is_relocation(line: &str) -> bool {
    let words = line.trim().split_once(':');
    words.is_some_and(|(place, kind)| {
        place.bytes().all(|byte| byte.is_ascii_hexdigit()) && kind.trim_start().starts_with("R_BPF_")
    })
}

#[cfg(test)]
mod tests;

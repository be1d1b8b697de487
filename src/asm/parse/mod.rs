//! Text to slots: reads what the disassembler and the listing write, and the instruction lines of a kernel verifier log.
//!
//! A line is `[slot:] [(opcode)] instruction [; comment]`, a label `name:`, or empty. The slot number and the opcode may be
//! left out; where they stand they are checked.

mod cursor;
pub(super) mod llvm;
mod memory;
mod statement;

use super::Insn;
use cursor::Cursor;

/// Why a text is not a program, and where. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}; write it as the disassembler does, for example {example}")]
#[non_exhaustive]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What would have been right here.
    pub example: &'static str,
}

/// Reads a program.
pub fn parse_program(text: &str) -> Result<Vec<Insn>, ParseError> {
    let mut insns = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split_once(';').map_or(line, |(before, _comment)| before);
        let mut cursor = Cursor::new(line, index + 1);
        if cursor.at_end() || is_label(line) {
            continue;
        }
        let start = cursor.clone();
        if cursor.digits_before_colon() && cursor.unsigned()? != insns.len() as u64 {
            return Err(start.error(format!("this is slot {}", insns.len()), "`0: (b7) r0 = 0` on the first line"));
        }
        cursor.accept(":");
        let (insn, second) = instruction(&mut cursor)?;
        insns.push(insn);
        insns.extend(second);
    }
    Ok(insns)
}

/// Reads one instruction, without a slot number; the second slot is there for a 64-bit immediate load.
pub(super) fn parse_insn(text: &str) -> Result<(Insn, Option<Insn>), ParseError> {
    instruction(&mut Cursor::new(text, 1))
}

fn instruction(cursor: &mut Cursor<'_>) -> Result<(Insn, Option<Insn>), ParseError> {
    let before_opcode = cursor.clone();
    let opcode = cursor.opcode()?;
    let parsed = statement::statement(cursor)?;
    if !cursor.at_end() {
        return Err(
            cursor.error("there is more on the line than an instruction".into(), "`exit` and nothing behind it")
        );
    }
    match opcode {
        Some(opcode) if opcode != parsed.0.code => {
            let problem = format!("the instruction has the opcode {:02x}, not {opcode:02x}", parsed.0.code);
            Err(before_opcode.error(problem, "`(b7) r0 = 0`, or leave the opcode out"))
        }
        _ => Ok(parsed),
    }
}

/// A label is a line that ends in a colon and is not only a slot number.
fn is_label(line: &str) -> bool {
    line.trim().strip_suffix(':').is_some_and(|name| !name.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_verifier_log() {
        let log = "; src/x.rs:7 @ x.rs:7\n0: (b7) r0 = 0                        ; R0_w=0\n\nout:\n  1: (95) exit\n";
        let insns = parse_program(log).unwrap();
        assert_eq!(insns, [Insn { code: 0xb7, ..Insn::default() }, Insn { code: 0x95, ..Insn::default() }]);
    }

    #[test]
    fn errors_name_line_and_column() {
        for (text, line, column, part) in [
            ("exit\nr1 += r12", 2, 7, "register"),
            ("r1 ^^ 5", 1, 4, "operator"),
            ("0: exit\n  7: exit", 2, 3, "slot 1"),
            ("(07) r1 -= 8", 1, 1, "17, not 07"),
            ("r1 = -w1", 1, 7, "register"),
            ("r1 = be16 r2", 1, 11, "r1"),
            ("*(u32 *)(r1 +40000) = 1", 1, 13, "between -32768 and 32767"),
            ("call bpf_no_such_helper#1", 1, 6, "helper 1 is bpf_map_lookup_elem"),
            ("call bpf_no_such_helper", 1, 6, "no helper"),
            ("if r1 == 0x0 goto", 1, 18, "`pc`"),
            ("exit now", 1, 6, "more on the line"),
            ("r1 = 99999999999", 1, 6, "between"),
            ("(0) exit", 1, 1, "two hex digits"),
            ("(0é) exit", 1, 1, "two hex digits"),
            (".slot 95000000", 1, 7, "16 hex digits"),
            ("é", 1, 1, "instruction"),
            ("r1 = é", 1, 6, "number"),
        ] {
            let error = parse_program(text).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}

//! The two ways to write an instruction: the kernel's and LLVM's.

use std::io::{self, Write};

use byteorder::LittleEndian;

use super::disasm::{Disasm, LlvmText, disassemble};
use super::parse::{self, ParseError};
use super::{Insn, parse_program};

/// In whose words a program is written and read.
///
/// ```
/// use sidestep::asm::{Dialect, Disasm};
///
/// let insns = Dialect::Llvm.parse("w1 = *(u32 *)(r2 + 0x4)\nif r1 == 0x0 goto +0x1\nr1 = -0x8\nexit")?;
/// let load = Disasm::at(&insns, 0).expect("it has a first instruction");
/// assert_eq!(Dialect::Llvm.text(load), "w1 = *(u32 *)(r2 + 0x4)");
/// assert_eq!(Dialect::Kernel.text(load), "(61) r1 = *(u32 *)(r2 +4)");
/// # Ok::<(), sidestep::asm::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// The kernel's verifier log (`print_bpf_insn()` in `kernel/bpf/disasm.c`).
    #[default]
    Kernel,
    /// `llvm-objdump -d` (LLVM 22), which `llvm-mc -triple bpfel -mcpu=v4` assembles to the same bytes.
    ///
    /// LLVM has no words for calls of kernel functions and for the offset in a map's value, and the same words for calls of
    /// helpers and of subprograms. [`Dialect::write`] writes a call of the subprogram at slot 5 as `call 5f` (or `5b`, when it
    /// is behind), which llvm-mc understands, and what else the words do not determine as `.byte`.
    Llvm,
}

/// Writes a program in the kernel's words: [`Dialect::Kernel`]'s [`write`](Dialect::write).
pub fn write_text(insns: &[Insn], out: &mut dyn Write) -> io::Result<()> {
    Dialect::Kernel.write(insns, out)
}

impl Dialect {
    /// Every dialect with its name.
    pub const ALL: [(&'static str, Self); 2] = [("kernel", Self::Kernel), ("llvm", Self::Llvm)];

    /// One instruction.
    pub fn text(self, disasm: Disasm) -> String {
        match self {
            Self::Kernel => disasm.to_string(),
            Self::Llvm => LlvmText(disasm).to_string(),
        }
    }

    /// Writes a program, one instruction a line with its slot, so that [`Dialect::parse`] reads back exactly these slots.
    ///
    /// An instruction that the words do not determine (an unknown opcode, or a field set that the operation ignores) is
    /// written as its little-endian bytes, with the words as a comment: `.slot` and 16 hex digits in the kernel's dialect, and
    /// `.byte` in LLVM's.
    pub fn write(self, insns: &[Insn], out: &mut dyn Write) -> io::Result<()> {
        for (slot, disasm) in disassemble(insns) {
            match (self.unambiguous(slot, disasm), self) {
                (Some(text), _) => writeln!(out, "{slot}: {text}")?,
                (None, Self::Llvm) => writeln!(out, "{slot}: {}", bytes(disasm))?,
                (None, Self::Kernel) => {
                    for (index, insn) in disasm.insns().enumerate() {
                        let digits = u64::from_be_bytes(insn.encode::<LittleEndian>());
                        write!(out, "{}: .slot {digits:016x}", slot + index)?;
                        if index == 0 { writeln!(out, " ; {disasm}")? } else { writeln!(out)? }
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads a program that [`Dialect::write`] or a [`super::Listing`] has written.
    ///
    /// The kernel's dialect is also that of the instruction lines of a verifier log, and LLVM's that of `llvm-objdump -d` of
    /// one section of a little-endian object: where a line has the bytes of the instruction, these count, and the words
    /// must fit. Relocations that are listed with them are not applied.
    pub fn parse(self, text: &str) -> Result<Vec<Insn>, ParseError> {
        match self {
            Self::Kernel => parse_program(text),
            Self::Llvm => parse::llvm::parse_program(text),
        }
    }

    /// The words, if the parser reads exactly this instruction from them.
    fn unambiguous(self, slot: usize, disasm: Disasm) -> Option<String> {
        let text = self.text(disasm);
        let reads_back = |text: &str| match self {
            Self::Kernel => parse::parse_insn(text).is_ok_and(|parsed| disasm.is(parsed)),
            Self::Llvm => parse::llvm::parse_insn(text, slot).is_ok_and(|parsed| disasm.is(parsed)),
        };
        let call = || match self {
            Self::Kernel => None,
            Self::Llvm => LlvmText(disasm).local_call(slot),
        };
        Some(text).filter(|text| reads_back(text)).or_else(|| call().filter(|text| reads_back(text)))
    }

    /// One instruction for a line of a listing.
    pub(super) fn line(self, slot: usize, disasm: Disasm) -> String {
        match self {
            // The kernel's words name what they leave out, so that they read as nothing else.
            Self::Kernel => self.text(disasm),
            Self::Llvm => self.unambiguous(slot, disasm).unwrap_or_else(|| bytes(disasm)),
        }
    }

    /// What starts a comment.
    pub(super) fn comment(self) -> char {
        match self {
            Self::Kernel => ';',
            Self::Llvm => '#',
        }
    }
}

/// An instruction whose bits LLVM's words do not determine: `.byte 0x85, 0x20, 0x0, 0x0, 0x4d, 0x0, 0x0, 0x0 # call 0x4d`.
fn bytes(disasm: Disasm) -> String {
    let bytes = disasm.insns().flat_map(Insn::encode::<LittleEndian>).map(|byte| format!("{byte:#x}"));
    format!(".byte {} # {}", bytes.collect::<Vec<_>>().join(", "), Dialect::Llvm.text(disasm))
}

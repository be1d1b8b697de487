//! A typed BPF assembler: RFC 9669 and the kernel's v4 instruction set.

mod insn;
pub mod opcode;

pub use insn::Insn;

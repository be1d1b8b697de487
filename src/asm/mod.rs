//! A typed BPF assembler: RFC 9669 and the kernel's v4 instruction set.
//!
//! [`Asm`] emits instructions and hands out [`Label`]s; [`Asm::finish`] lays the program out and returns a [`Program`], which
//! knows the Rust line that emitted each slot. Nothing here talks to a kernel.
//!
//! ```
//! use sidestep::asm::{Asm, Cond, Reg::*, Size};
//!
//! let mut a = Asm::new();
//! let out = a.label("out");
//! a.mov(R0, 0);
//! a.load(Size::W, R2, R1, 4);
//! a.comment("only IPv4");
//! a.jump(Cond::Ne, R2, 2, out);
//! a.mov(R0, 1);
//! a.bind(out);
//! a.exit();
//! assert_eq!(a.finish()?.insns().len(), 5);
//! # Ok::<(), sidestep::asm::Error>(())
//! ```
//!
//! # Terminology
//! - *slot*: 8 bytes of program; jumps count in slots. A 64-bit immediate load takes two.
//! - *origin*: the Rust source line whose call emitted a slot.
//! - *island*: a `goto` put between a jump and its far label, where the kernel has no long jump.
//! - *relaxation*: replacing a jump that does not reach its label by a longer sequence that does.

mod builder;
mod debug_info;
mod decode;
mod disasm;
mod error;
mod insn;
mod isa;
mod listing;
pub mod opcode;
mod operand;
mod parse;
mod program;
mod reg;

pub use builder::{Asm, Label};
pub use debug_info::DebugInfo;
pub use decode::decode_program;
pub use disasm::{Disasm, disassemble, write_text};
pub use error::Error;
pub use insn::Insn;
pub use isa::{Features, Isa};
pub use listing::Listing;
pub use operand::{AluOp, AtomicOp, Cond, Operand, Size};
pub use parse::{ParseError, parse_program};
pub use program::{MapRef, Program};
pub use reg::{FP, Reg};

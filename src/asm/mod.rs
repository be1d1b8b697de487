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
//! # Forms that check themselves
//! On top of instructions and labels stand forms that the assembler holds to what they say; their errors name Rust lines:
//!
//! - [`layout!`] declares a structure, [`Asm::ld`] and [`Asm::st`] take width and place from a [`Field`], and a field of one
//!   structure cannot be read by the address of another;
//! - [`Asm::slot`] takes stack, which [`Asm::frame`] gives back;
//! - [`Asm::emitter`] holds a part of the program to what it declares about registers;
//! - [`Asm::block`], [`Asm::if_`] and [`Asm::if_else`] are labels and jumps that nest;
//! - [`Asm::require`], [`Asm::permit`] and [`Asm::guard`] are checks with names, which the finished program knows.
//!
//! ```
//! use sidestep::asm::{Asm, Ptr, Reg::*, Uses};
//! use sidestep::layout;
//!
//! layout! {
//!     /// What the program knows of a socket.
//!     struct Own: 16 { COOKIE: u64 = 0; SENT: u32 = 8; FLAGS: u32 = 12; }
//! }
//! const OWN: Ptr<Own> = Ptr::new(R7);
//!
//! let mut a = Asm::new();
//! let out = a.label("out");
//! a.mov(R7, R1);
//! a.mov(R0, 0);
//! a.emitter("limit", Uses::scratch().reads(OWN.reg()), |a| {
//!     let copy = a.slot::<u32>("copy");
//!     a.ld(R1, OWN, Own::SENT);
//!     a.set(copy, R1);
//!     a.require(R1.at_most(100), out, "few enough are sent");
//!     a.add(R1, 1);
//!     a.st(OWN, Own::SENT, R1);
//! });
//! a.bind(out);
//! a.exit();
//! let program = a.finish()?;
//! assert_eq!(program.checks()[0].name, "limit/few enough are sent");
//! # Ok::<(), sidestep::asm::Error>(())
//! ```
//!
//! # Terminology
//! - *slot*: 8 bytes of program; jumps count in slots. A 64-bit immediate load takes two.
//! - *origin*: the Rust source line whose call emitted a slot.
//! - *island*: a `goto` put between a jump and its far label, where the kernel has no long jump.
//! - *emitter*: a Rust function that emits a part of a program.
//! - *relaxation*: replacing a jump that does not reach its label by a longer sequence that does.

mod builder;
mod cfg;
mod check;
mod debug_info;
mod decode;
mod dialect;
mod disasm;
mod effects;
mod error;
mod field;
mod helper;
mod insn;
mod isa;
mod listing;
pub mod opcode;
mod operand;
mod parse;
mod place;
mod program;
mod reg;
mod regs;
mod test;
mod uses;

pub use builder::{Asm, Label, Slot};
pub use cfg::{Block, Cfg, Edge, EdgeKind};
pub use check::Check;
pub use debug_info::DebugInfo;
pub use decode::decode_program;
pub use dialect::{Dialect, write_text};
pub use disasm::{Disasm, disassemble};
pub use error::{Breach, Error};
pub use field::{BeginsWith, Field, Laid, Pointer, Scalar};
#[doc(hidden)]
pub use field::{Extent, check_layout};
pub use helper::Helper;
pub use insn::Insn;
pub use isa::{Features, Isa};
pub use listing::Listing;
pub use operand::{AluOp, AtomicOp, Cond, Operand, Size};
pub use parse::{ParseError, parse_program};
pub use place::{Base, Place, Ptr};
pub use program::{MapRef, Program};
pub use reg::{FP, Reg};
pub use regs::Regs;
pub use test::{Low, Test};
pub use uses::Uses;

#[doc(inline)]
pub use crate::layout;

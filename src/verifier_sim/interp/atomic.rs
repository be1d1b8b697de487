//! Atomic operations (RFC 9669, section 5.3; acquire and release: kernel 6.15).
//!
//! The interpreter runs one program at a time, so every instruction is atomic; what is left is the arithmetic and the
//! alignment rule.

use crate::asm::{Insn, opcode as op};

use super::fault::Fault;
use super::memory::Memory;

/// What an atomic operation puts into a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing.
    None,
    /// The old value, into the source register.
    Source(u64),
    /// The old value, into r0.
    R0(u64),
    /// The loaded value, into the destination register.
    Destination(u64),
}

/// Runs the atomic instruction `insn` on registers `dst`, `src` and `r0`.
pub(super) fn execute(
    memory: &mut Memory,
    insn: Insn,
    size: u64,
    dst: u64,
    src: u64,
    r0: u64,
) -> Result<Written, Fault> {
    // A load takes its address from the source register, all others from the destination.
    let base = if insn.imm == op::LOAD_ACQ { src } else { dst };
    let address = base.wrapping_add_signed(i64::from(insn.off));
    let known = matches!(insn.imm, op::LOAD_ACQ | op::STORE_REL);
    if !known && size < 4 {
        return Err(bad(insn));
    }
    if !address.is_multiple_of(size) {
        return Err(Fault::Unaligned { address, size });
    }
    if insn.imm == op::LOAD_ACQ {
        return Ok(written(insn.imm, memory.load(address, size)?));
    }
    if insn.imm == op::STORE_REL {
        memory.store(address, size, src)?;
        return Ok(Written::None);
    }
    let old = memory.load(address, size)?;
    let new = match insn.imm {
        op::XCHG => src,
        op::CMPXCHG => {
            let expected = if size == 4 { r0 & 0xffff_ffff } else { r0 };
            if old == expected { src } else { old }
        }
        imm => match u8::try_from(imm & !op::FETCH) {
            Ok(op::ADD) => old.wrapping_add(src),
            Ok(op::OR) => old | src,
            Ok(op::AND) => old & src,
            Ok(op::XOR) => old ^ src,
            _ => return Err(bad(insn)),
        },
    };
    memory.store(address, size, new)?;
    Ok(written(insn.imm, old))
}

/// What an operation that has found `old` puts into a register.
pub(super) fn written(operation: i32, old: u64) -> Written {
    match operation {
        op::LOAD_ACQ => Written::Destination(old),
        op::STORE_REL => Written::None,
        op::CMPXCHG => Written::R0(old),
        operation if operation & op::FETCH != 0 => Written::Source(old),
        _ => Written::None,
    }
}

fn bad(insn: Insn) -> Fault {
    Fault::BadInstruction { code: insn.code, src: insn.src, off: insn.off, imm: insn.imm }
}

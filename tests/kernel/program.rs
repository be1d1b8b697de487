//! Programs of a few instructions.

use byteorder::NativeEndian;
use sidestep::asm::{Insn, opcode};
use sidestep::syscall::{ProgSpec, Program};
use sidestep::uapi::ProgType;

/// Instruction bytes as the kernel takes them.
pub(crate) fn bytes(insns: &[Insn]) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.encode::<NativeEndian>()).collect()
}

/// `r0 = value; exit`.
pub(crate) fn returns(value: i32) -> Vec<u8> {
    bytes(&[
        Insn { code: opcode::ALU64 | opcode::MOV | opcode::K, imm: value, ..Insn::default() },
        Insn { code: opcode::JMP | opcode::EXIT, ..Insn::default() },
    ])
}

/// Two slots that load a map's descriptor into a register.
pub(crate) fn load_map(dst: u8, fd: i32) -> [Insn; 2] {
    [
        Insn { code: opcode::LD | opcode::IMM | opcode::DW, dst, src: opcode::PSEUDO_MAP_FD, imm: fd, off: 0 },
        Insn::default(),
    ]
}

/// `call helper`.
pub(crate) fn call(helper: i32) -> Insn {
    Insn { code: opcode::JMP | opcode::CALL, imm: helper, ..Insn::default() }
}

/// `dst = imm`.
pub(crate) fn mov(dst: u8, imm: i32) -> Insn {
    Insn { code: opcode::ALU64 | opcode::MOV | opcode::K, dst, imm, ..Insn::default() }
}

/// `dst = src`.
pub(crate) fn mov_reg(dst: u8, src: u8) -> Insn {
    Insn { code: opcode::ALU64 | opcode::MOV | opcode::X, dst, src, ..Insn::default() }
}

/// `exit`.
pub(crate) fn exit() -> Insn {
    Insn { code: opcode::JMP | opcode::EXIT, ..Insn::default() }
}

/// The smallest program of a type.
pub(crate) fn trivial(name: &str, prog_type: ProgType) -> Program {
    Program::load(&ProgSpec::new(name, prog_type, &returns(1))).unwrap()
}

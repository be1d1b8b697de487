//! The opcode byte: three bits of class, then source and operation or size and mode (RFC 9669, sections 3 to 5).

/// Mask of the instruction class.
pub const CLASS_MASK: u8 = 0x07;
/// Non-standard loads: 64-bit immediates and legacy packet access.
pub const LD: u8 = 0x00;
/// Loads into a register.
pub const LDX: u8 = 0x01;
/// Stores of an immediate.
pub const ST: u8 = 0x02;
/// Stores of a register, and atomics.
pub const STX: u8 = 0x03;
/// 32-bit arithmetic.
pub const ALU: u8 = 0x04;
/// 64-bit jumps, calls and exit.
pub const JMP: u8 = 0x05;
/// Jumps on 32-bit comparisons.
pub const JMP32: u8 = 0x06;
/// 64-bit arithmetic.
pub const ALU64: u8 = 0x07;

/// Source bit: the operand is the immediate.
pub const K: u8 = 0x00;
/// Source bit: the operand is the source register.
pub const X: u8 = 0x08;

/// Mask of the operation of arithmetic and jump classes.
pub const OP_MASK: u8 = 0xf0;

/// dst += operand.
pub const ADD: u8 = 0x00;
/// dst -= operand.
pub const SUB: u8 = 0x10;
/// dst *= operand.
pub const MUL: u8 = 0x20;
/// dst /= operand; signed when the offset is 1.
pub const DIV: u8 = 0x30;
/// dst |= operand.
pub const OR: u8 = 0x40;
/// dst &= operand.
pub const AND: u8 = 0x50;
/// dst <<= operand.
pub const LSH: u8 = 0x60;
/// dst >>= operand, filling with zeros.
pub const RSH: u8 = 0x70;
/// dst = -dst.
pub const NEG: u8 = 0x80;
/// dst %= operand; signed when the offset is 1.
pub const MOD: u8 = 0x90;
/// dst ^= operand.
pub const XOR: u8 = 0xa0;
/// dst = operand; sign-extending when the offset is 8, 16 or 32.
pub const MOV: u8 = 0xb0;
/// dst >>= operand, filling with the sign.
pub const ARSH: u8 = 0xc0;
/// Byte order: to little (K) or big (X) endian in class ALU, unconditional swap in class ALU64.
pub const END: u8 = 0xd0;

/// Unconditional jump; in JMP32 the distance is the immediate.
pub const JA: u8 = 0x00;
/// Jump if equal.
pub const JEQ: u8 = 0x10;
/// Jump if greater, unsigned.
pub const JGT: u8 = 0x20;
/// Jump if greater or equal, unsigned.
pub const JGE: u8 = 0x30;
/// Jump if any bit is common.
pub const JSET: u8 = 0x40;
/// Jump if not equal.
pub const JNE: u8 = 0x50;
/// Jump if greater, signed.
pub const JSGT: u8 = 0x60;
/// Jump if greater or equal, signed.
pub const JSGE: u8 = 0x70;
/// Call a helper (src 0), a subprogram (src 1) or a kfunc (src 2).
pub const CALL: u8 = 0x80;
/// Return from the program or subprogram.
pub const EXIT: u8 = 0x90;
/// Jump if less, unsigned.
pub const JLT: u8 = 0xa0;
/// Jump if less or equal, unsigned.
pub const JLE: u8 = 0xb0;
/// Jump if less, signed.
pub const JSLT: u8 = 0xc0;
/// Jump if less or equal, signed.
pub const JSLE: u8 = 0xd0;
/// May-goto, class JMP (kernel 6.9).
pub const JCOND: u8 = 0xe0;

/// Mask of the size of load and store classes.
pub const SIZE_MASK: u8 = 0x18;
/// 4 bytes.
pub const W: u8 = 0x00;
/// 2 bytes.
pub const H: u8 = 0x08;
/// 1 byte.
pub const B: u8 = 0x10;
/// 8 bytes.
pub const DW: u8 = 0x18;

/// Mask of the mode of load and store classes.
pub const MODE_MASK: u8 = 0xe0;
/// 64-bit immediate.
pub const IMM: u8 = 0x00;
/// Legacy absolute packet access.
pub const ABS: u8 = 0x20;
/// Legacy indirect packet access.
pub const IND: u8 = 0x40;
/// Plain memory.
pub const MEM: u8 = 0x60;
/// Sign-extending load.
pub const MEMSX: u8 = 0x80;
/// Atomic operation; the immediate says which.
pub const ATOMIC: u8 = 0xc0;

/// Atomic modifier: also fetch the old value.
pub const FETCH: i32 = 0x01;
/// Atomic exchange.
pub const XCHG: i32 = 0xe0 | FETCH;
/// Atomic compare and exchange with r0.
pub const CMPXCHG: i32 = 0xf0 | FETCH;
/// Atomic load with acquire ordering (kernel 6.15).
pub const LOAD_ACQ: i32 = 0x100;
/// Atomic store with release ordering (kernel 6.15).
pub const STORE_REL: i32 = 0x110;

/// Source of a 64-bit immediate load: a map's descriptor.
pub const PSEUDO_MAP_FD: u8 = 1;
/// Source of a 64-bit immediate load: an address inside a map's value.
pub const PSEUDO_MAP_VALUE: u8 = 2;
/// Source of a 64-bit immediate load: a kernel variable by BTF id.
pub const PSEUDO_BTF_ID: u8 = 3;
/// Source of a 64-bit immediate load: a subprogram.
pub const PSEUDO_FUNC: u8 = 4;
/// Source of a 64-bit immediate load: a map by index into fd_array.
pub const PSEUDO_MAP_IDX: u8 = 5;
/// Source of a 64-bit immediate load: an address inside the value of a map by index into fd_array.
pub const PSEUDO_MAP_IDX_VALUE: u8 = 6;
/// Source of a call: a subprogram.
pub const PSEUDO_CALL: u8 = 1;
/// Source of a call: a kernel function.
pub const PSEUDO_KFUNC_CALL: u8 = 2;

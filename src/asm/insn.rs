//! One 8-byte slot of a BPF program.
//!
//! ```text
//! byte  0        1                2..4     4..8
//!       opcode   dst:4 | src:4    offset   immediate      RFC 9669, section 3.1
//! ```
//! The low nibble of byte 1 is `dst` in little-endian programs and `src` in big-endian ones.

use byteorder::ByteOrder;

use super::opcode;

/// One instruction slot, fields as they stand in the encoding.
///
/// A 64-bit immediate load takes two slots; the second has opcode 0 and carries the upper half in [`Insn::imm`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Insn {
    /// Class, source bit and operation; see [`crate::asm::opcode`].
    pub code: u8,
    /// Destination register, 0..=15 (only 0..=10 are valid).
    pub dst: u8,
    /// Source register or pseudo source, 0..=15.
    pub src: u8,
    /// Signed offset: memory displacement, jump distance in slots, or an operation's variant.
    pub off: i16,
    /// Signed 32-bit immediate.
    pub imm: i32,
}

impl Insn {
    /// Size of one slot in bytes.
    pub const SIZE: usize = 8;

    /// Whether this is the first slot of a 64-bit immediate load.
    pub const fn is_wide(self) -> bool {
        self.code == opcode::LD | opcode::IMM | opcode::DW
    }

    /// Reads one slot in the byte order `B`.
    pub fn decode<B: ByteOrder>(bytes: [u8; Self::SIZE]) -> Self {
        let (low, high) = (bytes[1] & 0x0f, bytes[1] >> 4);
        let little = B::read_u16(&[1, 0]) == 1;
        let (dst, src) = if little { (low, high) } else { (high, low) };
        Self { code: bytes[0], dst, src, off: B::read_i16(&bytes[2..4]), imm: B::read_i32(&bytes[4..8]) }
    }

    /// Writes one slot in the byte order `B`. Only the low four bits of the registers are kept.
    pub fn encode<B: ByteOrder>(self) -> [u8; Self::SIZE] {
        let little = B::read_u16(&[1, 0]) == 1;
        let (low, high) = if little { (self.dst, self.src) } else { (self.src, self.dst) };
        let mut bytes = [self.code, (low & 0x0f) | (high << 4), 0, 0, 0, 0, 0, 0];
        B::write_i16(&mut bytes[2..4], self.off);
        B::write_i32(&mut bytes[4..8], self.imm);
        bytes
    }
}

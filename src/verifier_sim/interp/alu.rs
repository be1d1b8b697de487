//! Arithmetic, comparisons and byte order on concrete values (RFC 9669, sections 4.1 to 4.3).

use crate::asm::opcode as op;
use crate::verifier_sim::byte_order::swaps;

/// The result of 64-bit operation `code & OP_MASK` with variant `off`, or `None` when there is no such operation.
pub(in super::super) fn alu64(code: u8, off: i16, dst: u64, src: u64) -> Option<u64> {
    Some(match (code & op::OP_MASK, off) {
        (op::ADD, 0) => dst.wrapping_add(src),
        (op::SUB, 0) => dst.wrapping_sub(src),
        (op::MUL, 0) => dst.wrapping_mul(src),
        (op::DIV, 0) => dst.checked_div(src).unwrap_or(0),
        (op::DIV, 1) => signed_div(dst as i64, src as i64) as u64,
        (op::MOD, 0) => dst.checked_rem(src).unwrap_or(dst),
        (op::MOD, 1) => signed_rem(dst as i64, src as i64) as u64,
        (op::OR, 0) => dst | src,
        (op::AND, 0) => dst & src,
        (op::XOR, 0) => dst ^ src,
        (op::LSH, 0) => dst << (src & 63),
        (op::RSH, 0) => dst >> (src & 63),
        (op::ARSH, 0) => ((dst as i64) >> (src & 63)) as u64,
        (op::NEG, 0) => (dst as i64).wrapping_neg() as u64,
        (op::MOV, 0) => src,
        (op::MOV, 8) => i64::from(src as i8) as u64,
        (op::MOV, 16) => i64::from(src as i16) as u64,
        (op::MOV, 32) => i64::from(src as i32) as u64,
        _ => return None,
    })
}

/// The result of a 32-bit operation, as [`alu64`]; the caller zero-extends it.
pub(in super::super) fn alu32(code: u8, off: i16, dst: u32, src: u32) -> Option<u32> {
    Some(match (code & op::OP_MASK, off) {
        (op::ADD, 0) => dst.wrapping_add(src),
        (op::SUB, 0) => dst.wrapping_sub(src),
        (op::MUL, 0) => dst.wrapping_mul(src),
        (op::DIV, 0) => dst.checked_div(src).unwrap_or(0),
        (op::DIV, 1) => match src as i32 {
            0 => 0,
            src => (dst as i32).wrapping_div(src) as u32,
        },
        (op::MOD, 0) => dst.checked_rem(src).unwrap_or(dst),
        (op::MOD, 1) => match src as i32 {
            0 => dst,
            src => (dst as i32).wrapping_rem(src) as u32,
        },
        (op::OR, 0) => dst | src,
        (op::AND, 0) => dst & src,
        (op::XOR, 0) => dst ^ src,
        (op::LSH, 0) => dst << (src & 31),
        (op::RSH, 0) => dst >> (src & 31),
        (op::ARSH, 0) => ((dst as i32) >> (src & 31)) as u32,
        (op::NEG, 0) => (dst as i32).wrapping_neg() as u32,
        (op::MOV, 0) => src,
        (op::MOV, 8) => i32::from(src as i8) as u32,
        (op::MOV, 16) => i32::from(src as i16) as u32,
        _ => return None,
    })
}

/// Division by zero gives 0, and the one overflow wraps (RFC 9669, section 4.1).
fn signed_div(dst: i64, src: i64) -> i64 {
    if src == 0 { 0 } else { dst.wrapping_div(src) }
}

/// The remainder of a division by zero is the dividend.
fn signed_rem(dst: i64, src: i64) -> i64 {
    if src == 0 { dst } else { dst.wrapping_rem(src) }
}

/// Byte-order operations on this machine: `code` tells the class and source bit, `width` is the immediate.
pub(super) fn byte_order(code: u8, width: i32, value: u64) -> Option<u64> {
    let swap = swaps(code)?;
    Some(match (width, swap) {
        (16, false) => u64::from(value as u16),
        (32, false) => u64::from(value as u32),
        (64, false) => value,
        (16, true) => u64::from((value as u16).swap_bytes()),
        (32, true) => u64::from((value as u32).swap_bytes()),
        (64, true) => value.swap_bytes(),
        _ => return None,
    })
}

/// Whether conditional jump `code` is taken; `None` when there is no such condition.
pub(in super::super) fn condition(code: u8, dst: u64, src: u64) -> Option<bool> {
    let narrow = code & op::CLASS_MASK == op::JMP32;
    let (dst, src) = if narrow { (dst & 0xffff_ffff, src & 0xffff_ffff) } else { (dst, src) };
    let (sdst, ssrc) = if narrow { (i64::from(dst as i32), i64::from(src as i32)) } else { (dst as i64, src as i64) };
    Some(match code & op::OP_MASK {
        op::JEQ => dst == src,
        op::JNE => dst != src,
        op::JGT => dst > src,
        op::JGE => dst >= src,
        op::JLT => dst < src,
        op::JLE => dst <= src,
        op::JSET => dst & src != 0,
        op::JSGT => sdst > ssrc,
        op::JSGE => sdst >= ssrc,
        op::JSLT => sdst < ssrc,
        op::JSLE => sdst <= ssrc,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifier_sim::byte_order::IS_BIG;

    #[test]
    fn division_never_faults() {
        let min = i64::MIN as u64;
        assert_eq!(alu64(op::DIV, 0, 7, 0), Some(0));
        assert_eq!(alu64(op::MOD, 0, 7, 0), Some(7));
        assert_eq!(alu64(op::DIV, 1, 7, 0), Some(0));
        assert_eq!(alu64(op::MOD, 1, min, 0), Some(min));
        assert_eq!(alu64(op::DIV, 1, min, u64::MAX), Some(min));
        assert_eq!(alu64(op::MOD, 1, min, u64::MAX), Some(0));
        assert_eq!(alu32(op::DIV, 1, 0x8000_0000, u32::MAX), Some(0x8000_0000));
        assert_eq!(alu32(op::MOD, 1, 0x8000_0000, u32::MAX), Some(0));
        assert_eq!(alu32(op::DIV, 0, 9, 0), Some(0));
        assert_eq!(alu32(op::MOD, 0, 9, 0), Some(9));
        assert_eq!(alu64(op::DIV, 1, -13_i64 as u64, 3), Some(-4_i64 as u64));
        assert_eq!(alu64(op::MOD, 1, -13_i64 as u64, 3), Some(-1_i64 as u64));
    }

    #[test]
    fn shifts_use_the_low_bits_of_the_count() {
        assert_eq!(alu64(op::LSH, 0, 1, 65), Some(2));
        assert_eq!(alu32(op::RSH, 0, 0x8000_0000, 63), Some(1));
        assert_eq!(alu32(op::ARSH, 0, 0x8000_0000, 31), Some(u32::MAX));
        assert_eq!(alu64(op::ARSH, 0, i64::MIN as u64, 127), Some(u64::MAX));
    }

    #[test]
    fn moves_extend_the_sign_as_asked() {
        assert_eq!(alu64(op::MOV, 8, 0, 0x80), Some(0xffff_ffff_ffff_ff80));
        assert_eq!(alu64(op::MOV, 16, 0, 0x1_7fff), Some(0x7fff));
        assert_eq!(alu64(op::MOV, 32, 0, 0x8000_0000), Some(0xffff_ffff_8000_0000));
        assert_eq!(alu32(op::MOV, 16, 0, 0x8000), Some(0xffff_8000));
        assert_eq!(alu32(op::MOV, 32, 0, 1), None);
        assert_eq!(alu64(op::ADD, 1, 0, 1), None);
    }

    #[test]
    fn byte_order_truncates_and_swaps() {
        let value = 0x0123_4567_89ab_cdef;
        let (same, other) = if IS_BIG { (op::X, op::K) } else { (op::K, op::X) };
        assert_eq!(byte_order(op::ALU | same | op::END, 16, value), Some(0xcdef));
        assert_eq!(byte_order(op::ALU | same | op::END, 32, value), Some(0x89ab_cdef));
        assert_eq!(byte_order(op::ALU | same | op::END, 64, value), Some(value));
        for class in [op::ALU | other, op::ALU64 | op::K] {
            assert_eq!(byte_order(class | op::END, 16, value), Some(0xefcd));
            assert_eq!(byte_order(class | op::END, 32, value), Some(0xefcd_ab89));
            assert_eq!(byte_order(class | op::END, 64, value), Some(0xefcd_ab89_6745_2301));
        }
        assert_eq!(byte_order(op::ALU64 | op::X | op::END, 16, value), None);
        assert_eq!(byte_order(op::ALU | op::END, 8, value), None);
    }

    #[test]
    fn conditions_compare_in_their_width_and_sign() {
        let minus_one = u64::MAX;
        for (jump, wide, narrow) in [
            (op::JEQ, false, false),
            (op::JNE, true, true),
            (op::JGT, true, true),
            (op::JGE, true, true),
            (op::JLT, false, false),
            (op::JLE, false, false),
            (op::JSET, true, true),
            (op::JSGT, false, false),
            (op::JSGE, false, false),
            (op::JSLT, true, true),
            (op::JSLE, true, true),
        ] {
            assert_eq!(condition(op::JMP | jump, minus_one, 1), Some(wide), "{jump:#x}");
            assert_eq!(condition(op::JMP32 | jump, minus_one, 1), Some(narrow), "{jump:#x} narrow");
        }
        // Equal in the low half only.
        assert_eq!(condition(op::JMP | op::JEQ, 0x1_0000_0005, 5), Some(false));
        assert_eq!(condition(op::JMP32 | op::JEQ, 0x1_0000_0005, 5), Some(true));
        assert_eq!(condition(op::JMP | op::JCOND, 0, 0), None);
    }
}

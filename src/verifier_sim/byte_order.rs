//! The simulated machine's byte order, which is that of the host.
//!
//! So the programs that are assembled for this machine run as its kernel would run them, and what they leave in maps is read as
//! it is read from that kernel.

use crate::asm::opcode as op;

/// Whether the machine is big-endian.
pub(in crate::verifier_sim) const IS_BIG: bool = cfg!(target_endian = "big");

/// The number that at most eight bytes are.
pub fn from_memory(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    low(&mut word, bytes.len()).copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

/// Fills at most eight bytes with the low bytes of a number.
pub fn to_memory(bytes: &mut [u8], number: u64) {
    let mut word = number.to_ne_bytes();
    bytes.copy_from_slice(low(&mut word, bytes.len()));
}

/// The `size` bytes of a word that hold its lowest bits.
fn low(word: &mut [u8; 8], size: usize) -> &mut [u8] {
    if IS_BIG { &mut word[8 - size..] } else { &mut word[..size] }
}

/// Whether a byte-order operation swaps on this machine; `None` when there is no such operation. To the order that the machine has,
/// only the truncation is left. The operation of class ALU64 always swaps.
pub(in crate::verifier_sim) fn swaps(code: u8) -> Option<bool> {
    match (code & op::CLASS_MASK, code & op::X) {
        (op::ALU, op::K) => Some(IS_BIG),
        (op::ALU, _) => Some(!IS_BIG),
        (op::ALU64, op::K) => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_each_size_stand_as_this_machine_has_them() {
        let number = 0x0123_4567_89ab_cdef_u64;
        let [mut one, mut two, mut four, mut eight] = [vec![0; 1], vec![0; 2], vec![0; 4], vec![0; 8]];
        for bytes in [&mut one, &mut two, &mut four, &mut eight] {
            to_memory(bytes, number);
        }
        assert_eq!(one, (number as u8).to_ne_bytes());
        assert_eq!(two, (number as u16).to_ne_bytes());
        assert_eq!(four, (number as u32).to_ne_bytes());
        assert_eq!(eight, number.to_ne_bytes());
        assert_eq!([one, two, four, eight].map(|bytes| from_memory(&bytes)), [0xef, 0xcdef, 0x89ab_cdef, number]);
    }
}

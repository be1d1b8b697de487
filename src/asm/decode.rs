//! Bytes to slots.

use byteorder::ByteOrder;

use super::{Error, Insn};

/// Splits a program into its slots. Only the length can be wrong: any eight bytes are a slot, valid or not.
pub fn decode_program<B: ByteOrder>(bytes: &[u8]) -> Result<Vec<Insn>, Error> {
    let (slots, rest) = bytes.as_chunks::<{ Insn::SIZE }>();
    if !rest.is_empty() {
        return Err(Error::TruncatedProgram { len: bytes.len() });
    }
    Ok(slots.iter().map(|slot| Insn::decode::<B>(*slot)).collect())
}

//! What the programs exchange.

/// Its bytes.
pub(crate) const CONTENT: usize = 4 << 20;

/// The content that every program exchanges: no period that a lost or doubled block could hide in.
pub(crate) fn content() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(CONTENT);
    while bytes.len() < CONTENT {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

//! What one socket has sent since it was paired, and which way it went.

use crate::asm::{Field, Laid};
use crate::dataplane::state::Counter;
use crate::layout;

layout! {
    /// What a socket has sent, by the way it took. Only the sk_msg program writes it, which holds the socket's lock, and
    /// the callback that arms a receiver.
    pub(in crate::dataplane) struct Traffic: 40 {
        REDIRECTED_BYTES: u64 = 0;
        REDIRECTED_MESSAGES: u64 = 8;
        /// Of those that took the stack while the socket was in the sockhash.
        PASSED_BYTES: u64 = 16;
        PASSED_MESSAGES: u64 = 24;
        /// Why the last message took the stack, as the place of its counter; 0 for none.
        REASON: u32 = 32;
        /// Why its pair leaves, or has left, in the same form.
        LEAVING: u32 = 36;
    }
}

impl Traffic {
    /// All its words.
    pub(in crate::dataplane) const WORDS: Field<Self, [u64; 5]> = Field::new(0);
}

/// What one socket has sent, by the way it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketTraffic {
    /// Bytes that went past the stack.
    pub redirected_bytes: u64,
    /// Messages that went past the stack.
    pub redirected_messages: u64,
    /// Bytes that took the stack while the socket was in the sockhash.
    pub passed_bytes: u64,
    /// Messages that took the stack while the socket was in the sockhash.
    pub passed_messages: u64,
    /// Why the last message took the stack; that its pair is leaving is not a reason here.
    pub last_reason: Option<Counter>,
    /// Why the pair leaves, or has left.
    pub leaving: Option<Counter>,
}

impl SocketTraffic {
    /// From the bytes of a [`Traffic`] that begins at `at`; `None` when it does not lie inside.
    pub(in crate::dataplane) fn read(bytes: &[u8], at: i32) -> Option<Self> {
        let bytes: &[u8; Traffic::BYTES] = bytes.get(usize::try_from(at).ok()?..)?.first_chunk()?;
        let long = |field: Field<Traffic, u64>| number(bytes, field.offset()).map(u64::from_ne_bytes);
        let reason = |field: Field<Traffic, u32>| {
            Some(Counter::at(u32::from_ne_bytes(number(bytes, field.offset())?)))
                .map(|one| one.filter(|one| one.is_reason()))
        };
        Some(Self {
            redirected_bytes: long(Traffic::REDIRECTED_BYTES)?,
            redirected_messages: long(Traffic::REDIRECTED_MESSAGES)?,
            passed_bytes: long(Traffic::PASSED_BYTES)?,
            passed_messages: long(Traffic::PASSED_MESSAGES)?,
            last_reason: reason(Traffic::REASON)?,
            leaving: reason(Traffic::LEAVING)?,
        })
    }
}

/// Writes `value` at `at`, as far as there is room.
pub(in crate::dataplane) fn put(bytes: &mut [u8], at: i32, value: &[u8]) {
    let places = bytes.iter_mut().skip(usize::try_from(at).unwrap_or(usize::MAX));
    places.zip(value).for_each(|(place, byte)| *place = *byte);
}

/// The `N` bytes at `at`.
pub(in crate::dataplane) fn number<const N: usize>(bytes: &[u8], at: i32) -> Option<[u8; N]> {
    bytes.get(usize::try_from(at).ok()?..)?.first_chunk().copied()
}

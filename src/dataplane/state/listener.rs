//! What is known of a listener's last connections.

use crate::layout;

layout! {
    /// The value in the listeners map. Its key is made of the network namespace and the port.
    pub(in crate::dataplane) struct Listener: 8 {
        /// How many connections in a row ended before they could gain; it wraps.
        SHORT: u32 = 0;
        /// How many connections have come since that is enough for leaving them alone; it wraps.
        COME: u32 = 4;
    }
}

/// The listener's port and whether its new connections are left alone, out of an entry of [`super::MapRole::Listeners`].
pub fn left_alone(key: &[u8], value: &[u8]) -> Option<u16> {
    let key = u64::from_ne_bytes(key.try_into().ok()?);
    let short = u32::from_ne_bytes(*value.first_chunk()?);
    (short >= SHORT_IN_A_ROW as u32).then_some(key as u16)
}

/// So many connections in a row that did not gain, and the next ones are left alone.
///
/// Fewer would leave a listener alone for a few health checks; more would only cost the first connections more.
pub(in crate::dataplane) const SHORT_IN_A_ROW: i32 = 32;

/// One of so many connections is paired all the same, since they may become longer; a power of 2. The pair of a short
/// connection costs a tenth of its CPU time, so this is 0.6 % of it.
pub(in crate::dataplane) const TRIED: i32 = 16;

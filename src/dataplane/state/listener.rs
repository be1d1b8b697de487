//! What is known of a listener's last connections.

use crate::layout;

layout! {
    /// The value in the listeners map. Its key is made of the network namespace and the port.
    pub(in crate::dataplane) struct Listener: 4 {
        /// How many connections in a row ended before they could gain; it wraps.
        SHORT: u32 = 0;
    }
}

layout! {
    /// The value of [`super::MapRole::Adopts`].
    pub(in crate::dataplane) struct Adopts: 8 {
        /// An agent adopts connections until this time of `CLOCK_MONOTONIC`, in nanoseconds; 0 before there has been one.
        UNTIL: u64 = 0;
    }
}

/// The port of a listener whose new connections are left alone while an agent adopts, out of an entry of
/// [`super::MapRole::Listeners`].
pub fn left_alone(key: &[u8], value: &[u8]) -> Option<u16> {
    let key = u64::from_ne_bytes(key.try_into().ok()?);
    let short = u32::from_ne_bytes(*value.first_chunk()?);
    (short >= SHORT_IN_A_ROW as u32).then_some(key as u16)
}

/// So many connections in a row that did not gain, and the next ones are left alone.
///
/// Fewer would leave a listener alone for a few health checks; more would only cost the first connections more.
pub(in crate::dataplane) const SHORT_IN_A_ROW: i32 = 32;

/// One of so many connections on average is paired all the same, since they may become longer; a power of 2. The pair of a
/// short connection costs a tenth of its CPU time, so this is 0.6 % of it. Chance decides which ones: of clients that take turns
/// a count could always try the same one.
pub(in crate::dataplane) const TRIED: i32 = 16;

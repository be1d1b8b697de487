//! The sizes of the maps' keys and of the rendezvous records, by the method of pairing.

use crate::dataplane::options::Pairing;
use crate::dataplane::state::record;

/// Bytes of a 4-tuple as a key; `pairing::address` draws it.
pub(in crate::dataplane) const FOUR_TUPLE_SIZE: i16 = 48;
/// Bytes of a client's address as a key; `pairing::four_tuple` draws it.
pub(in crate::dataplane) const CLIENT_ADDRESS_SIZE: i16 = 32;

impl Pairing {
    pub(in crate::dataplane) const fn socket_key_size(self) -> u32 {
        match self {
            Self::Sequence => 8,
            Self::FourTuple => FOUR_TUPLE_SIZE as u32,
        }
    }

    pub(in crate::dataplane) const fn rendezvous_key_size(self) -> u32 {
        match self {
            Self::Sequence => 8,
            Self::FourTuple => CLIENT_ADDRESS_SIZE as u32,
        }
    }

    pub(in crate::dataplane) const fn record_size(self) -> u32 {
        match self {
            Self::Sequence => record::BASE_SIZE as u32,
            Self::FourTuple => record::FULL_SIZE as u32,
        }
    }
}

//! The sizes of the maps' keys and of the rendezvous records, by the method of pairing.

use crate::dataplane::options::Pairing;
use crate::dataplane::state::record::{ClientKey, Record, SequenceKey};
use crate::dataplane::state::socket::FourTuple;

impl Pairing {
    pub(in crate::dataplane) const fn socket_key_size(self) -> u32 {
        match self {
            Self::Sequence => 8,
            Self::FourTuple => FourTuple::SIZE as u32,
        }
    }

    pub(in crate::dataplane) const fn rendezvous_key_size(self) -> u32 {
        match self {
            Self::Sequence => SequenceKey::SIZE as u32,
            Self::FourTuple => ClientKey::SIZE as u32,
        }
    }

    pub(in crate::dataplane) const fn record_size(self) -> u32 {
        match self {
            Self::Sequence => Record::CLIENT_KEY.offset() as u32,
            Self::FourTuple => Record::SIZE as u32,
        }
    }
}

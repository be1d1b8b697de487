//! The sizes of the maps' keys and values, by the method of pairing.

use crate::asm::Field;
use crate::dataplane::options::{Options, Pairing};
use crate::dataplane::state::record::{Answer, ClientKey, Proof, Record, RecordKey, SequenceKey};
use crate::dataplane::state::socket::{FourTuple, PairKey};

/// Bytes of a key of the pairs map.
pub(in crate::dataplane) const PAIR_KEY_SIZE: u32 = PairKey::SIZE as u32;

impl Pairing {
    pub(in crate::dataplane) const fn socket_key_size(self) -> u32 {
        match self {
            Self::Sequence => 8,
            Self::FourTuple => FourTuple::SIZE as u32,
        }
    }

    /// Where the proof stands, behind what nominates the peer.
    pub(in crate::dataplane) const fn proof(self) -> Field<RecordKey, Proof> {
        match self {
            Self::Sequence => Field::new(SequenceKey::SIZE as i32),
            Self::FourTuple => Field::new(ClientKey::SIZE as i32),
        }
    }

    pub(in crate::dataplane) const fn record_size(self) -> u32 {
        match self {
            Self::Sequence => Record::KEY.offset() as u32,
            Self::FourTuple => Record::SIZE as u32,
        }
    }

    pub(in crate::dataplane) const fn answer_size(self) -> u32 {
        match self {
            Self::Sequence => Answer::KEY.offset() as u32,
            Self::FourTuple => Answer::SIZE as u32,
        }
    }
}

impl Options {
    /// Bytes of a key of the rendezvous map: what nominates a peer, and behind it the proof, except where a listener that
    /// announces itself has none yet.
    pub(in crate::dataplane) fn rendezvous_key_size(&self) -> u32 {
        let proof = self.pairing.proof();
        (if self.announces().is_some() { proof.offset() } else { proof.end() }) as u32
    }
}

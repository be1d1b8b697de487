//! The keys that a [`Pairing`] uses, and who emits them.

use crate::asm::{Asm, Base, Label, Slot};
use crate::dataplane::options::{Pairing, Side};
use crate::dataplane::pairing::{address, four_tuple, sequence};
use crate::dataplane::state::record::RecordKey;

impl Pairing {
    /// Writes the socket's own sockhash key into its storage where it is not the cookie itself.
    #[track_caller]
    pub(in crate::dataplane) fn own_key(self, a: &mut Asm) {
        if self == Self::FourTuple {
            address::own_key(a);
        }
    }

    /// Writes what nominates the peer of `side`.
    #[track_caller]
    pub(in crate::dataplane) fn nomination(self, a: &mut Asm, side: Side, to: Slot<RecordKey>) {
        match self {
            Self::Sequence => sequence::key(a, side, to.cast()),
            Self::FourTuple => four_tuple::key(a, side, to.cast()),
        }
    }

    /// Passive end, where the proof is only the namespace: jumps to `no` when the record in R9 is not that of our own peer.
    #[track_caller]
    pub(in crate::dataplane) fn confirm(self, a: &mut Asm, no: Label) {
        match self {
            // The key has the numbers.
            Self::Sequence => {}
            Self::FourTuple => four_tuple::confirm(a, no),
        }
    }
}

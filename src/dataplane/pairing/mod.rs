//! How the two ends of a connection find each other.
//!
//! The active end leaves a record in the rendezvous map; the passive end, whose callback always comes later (its
//! handshake is completed by the active end's ACK), finds it, takes the active end's particulars from it and adds
//! its own; the active end picks these up when it next sends.
//!
//! Where it can ([`Options::announces`](super::Options::announces)), the listener makes the record, empty, when it answers
//! the SYN. Then an active end that finds none knows at once that its peer is not here.
//!
//! ```text
//!   0  client: cookie, sk, storage, check      4 x u64
//!  32  server: cookie, sk, storage, check      4 x u64
//!  64  client key, 112 server key              48 bytes each   four-tuple pairing only
//! 160  client's snd_nxt, rcv_nxt               2 x u32         four-tuple pairing only
//! ```
//!
//! A map element may be given to another connection while a program still holds its address, so each half carries a
//! check word, the exclusive or of the words it vouches for and the client's cookie: a record that is torn, or
//! somebody else's, does not verify and the connection stays plain TCP.

pub(super) mod address;
mod four_tuple;
mod record;
mod sequence;

use super::policy::Side;
use crate::asm::{Asm, Label, Reg};

pub(super) use record::{adopt, announce, claim, enter, fill, publish, require_filled};
pub(super) use sequence::request_key;

/// The method; see the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pairing {
    /// By the two initial sequence numbers, which NAT, REDIRECT, namespaces and address families leave alone.
    /// Sockhash keys are socket cookies.
    Sequence,
    /// By addresses: sockhash keys are {network namespace cookie, local, remote}, and REDIRECT is resolved by the
    /// client's address. A claim is confirmed by the sequence numbers, or by exact mirror addresses within one
    /// namespace where something rewrites the numbers. Needs `bpf_get_netns_cookie` (Linux 5.15).
    FourTuple,
}

impl Pairing {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequence => "sequence",
            Self::FourTuple => "four-tuple",
        }
    }

    pub(super) const fn socket_key_size(self) -> u32 {
        match self {
            Self::Sequence => 8,
            Self::FourTuple => address::KEY_SIZE as u32,
        }
    }

    pub(super) const fn rendezvous_key_size(self) -> u32 {
        match self {
            Self::Sequence => 8,
            Self::FourTuple => four_tuple::RENDEZVOUS_KEY_SIZE as u32,
        }
    }

    pub(super) const fn record_size(self) -> u32 {
        match self {
            Self::Sequence => record::BASE_SIZE as u32,
            Self::FourTuple => record::FULL_SIZE as u32,
        }
    }

    /// Writes the socket's own sockhash key into its storage (R7) where it is not the cookie itself.
    #[track_caller]
    pub(super) fn own_key(self, a: &mut Asm) {
        if self == Self::FourTuple {
            address::own_key(a);
        }
    }

    /// Writes the key under which `side` finds the record to `base + offset`.
    #[track_caller]
    pub(super) fn rendezvous_key(self, a: &mut Asm, side: Side, base: Reg, offset: i16) {
        match self {
            Self::Sequence => sequence::key(a, side, base, offset),
            Self::FourTuple => four_tuple::key(a, side, base, offset),
        }
    }

    /// Passive end: jumps to `no` when the record in R9 is not that of our own peer; R7 is our storage.
    #[track_caller]
    pub(super) fn confirm(self, a: &mut Asm, no: Label) {
        match self {
            // The key was the proof.
            Self::Sequence => {}
            Self::FourTuple => four_tuple::confirm(a, no),
        }
    }
}

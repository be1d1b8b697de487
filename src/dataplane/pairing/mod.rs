//! How the two ends of a connection find each other.
//!
//! The active end leaves a record in the rendezvous map; the passive end, whose callback always comes later (its
//! handshake is completed by the active end's ACK), finds it, takes the active end's particulars from it and adds
//! its own; the active end picks these up when it next sends.
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

use crate::asm::{Asm, Label};

pub(super) use record::{adopt, claim, publish, waiting_record};

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

    /// Active end: writes the rendezvous key into the storage (R7).
    #[track_caller]
    pub(super) fn active_rendezvous_key(self, a: &mut Asm) {
        match self {
            Self::Sequence => sequence::active_key(a),
            Self::FourTuple => four_tuple::active_key(a),
        }
    }

    /// Passive end: writes the key of the record it looks for to the stack at `slot`.
    #[track_caller]
    pub(super) fn passive_rendezvous_key(self, a: &mut Asm, slot: i16) {
        match self {
            Self::Sequence => sequence::passive_key(a, slot),
            Self::FourTuple => four_tuple::passive_key(a, slot),
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

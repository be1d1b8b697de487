//! What the two ends of a connection leave for each other in maps.

use crate::asm::{Field, Pointer};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::state::socket::{FourTuple, Head, Numbers};
use crate::layout;

layout! {
    /// The record in the rendezvous map, by which the passive end finds its active one. With sequence pairing it ends before
    /// the key.
    pub(in crate::dataplane) struct Record: 96 {
        /// The client's; 0 as long as none has come.
        COOKIE: u64 = 0;
        SK: Pointer<TcpSock> = 8;
        STORAGE: Pointer<Head> = 16;
        /// The checksum of the other words.
        CHECK: u64 = 24;
        NUMBERS: Numbers = 32;
        PROOF: Proof = 40;
        /// The client's sockhash key.
        KEY: FourTuple = 48;
    }
}

layout! {
    /// The answer in the pairs map, by which the active end learns its passive one. With sequence pairing it ends before the
    /// key.
    pub(in crate::dataplane) struct Answer: 80 {
        /// The server's.
        COOKIE: u64 = 0;
        SK: Pointer<TcpSock> = 8;
        STORAGE: Pointer<Head> = 16;
        /// The checksum of the client's cookie and the other words.
        CHECK: u64 = 24;
        /// The server's sockhash key.
        KEY: FourTuple = 32;
    }
}

layout! {
    /// Which packets the two ends have received; see `pairing::proof`.
    pub(in crate::dataplane) struct Proof: 8 {
        /// The mark of the active end's packets.
        ACTIVE_MARK: u32 = 0;
        /// The mark of the passive end's SYN-ACK.
        PASSIVE_MARK: u32 = 4;
    }
}

impl Record {
    /// All its words.
    pub(in crate::dataplane) const WORDS: Field<Self, [u64; 12]> = Field::new(0);
}

impl Proof {
    /// Both marks; the namespace's cookie where marks cannot be seen.
    pub(in crate::dataplane) const WORD: Field<Self, u64> = Field::new(0);
}

/// Room for what nominates a peer, a [`ClientKey`] or a [`SequenceKey`], and for the proof behind it.
pub(in crate::dataplane) type RecordKey = [u64; 5];

layout! {
    /// A client's address, by which four-tuple pairing nominates a peer.
    pub(in crate::dataplane) struct ClientKey: 32 {
        /// The namespace's cookie; 0 for an address that other namespaces can reach.
        NETNS: u64 = 0;
        ADDRESS: crate::dataplane::state::socket::Address = 8;
        PORT: u64 = 24;
    }
}

layout! {
    /// The handshake's numbers, by which sequence pairing nominates a peer.
    pub(in crate::dataplane) struct SequenceKey: 8 {
        /// The client's snd_nxt.
        CLIENT: u32 = 0;
        /// The server's snd_nxt.
        SERVER: u32 = 4;
    }
}

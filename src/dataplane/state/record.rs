//! The record in the rendezvous map by which the two ends of a connection find each other.

use crate::asm::{Field, Pointer};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::state::socket::{FourTuple, Head};
use crate::layout;

layout! {
    /// What a record says of one end.
    pub(in crate::dataplane) struct Half: 32 {
        /// 0 as long as this end has not come.
        COOKIE: u64 = 0;
        SK: Pointer<TcpSock> = 8;
        STORAGE: Pointer<Head> = 16;
        /// The exclusive or of the words it vouches for, and of the client's cookie.
        CHECK: u64 = 24;
    }
}

layout! {
    /// The record. With sequence pairing it ends behind the two halves.
    pub(in crate::dataplane) struct Record: 168 {
        CLIENT: Half = 0;
        SERVER: Half = 32;
        CLIENT_KEY: FourTuple = 64;
        SERVER_KEY: FourTuple = 112;
        /// The client's snd_nxt.
        SND_NXT: u32 = 160;
        /// The client's rcv_nxt.
        RCV_NXT: u32 = 164;
    }
}

impl Record {
    /// All its words.
    pub(in crate::dataplane) const WORDS: Field<Self, [u64; 21]> = Field::new(0);
}

/// Room for the key of a record: a [`ClientKey`] or a [`SequenceKey`].
pub(in crate::dataplane) type RecordKey = [u64; 4];

layout! {
    /// A client's address as the key of a record, with four-tuple pairing.
    pub(in crate::dataplane) struct ClientKey: 32 {
        /// The namespace's cookie; 0 for an address that other namespaces can reach.
        NETNS: u64 = 0;
        ADDRESS: crate::dataplane::state::socket::Address = 8;
        PORT: u64 = 24;
    }
}

layout! {
    /// The handshake's numbers as the key of a record, with sequence pairing.
    pub(in crate::dataplane) struct SequenceKey: 8 {
        /// The client's snd_nxt.
        CLIENT: u32 = 0;
        /// The server's snd_nxt.
        SERVER: u32 = 4;
    }
}

//! Pairing by the handshake's sequence numbers.
//!
//! When the connection is established the client's (snd_nxt, rcv_nxt) are the server's (rcv_nxt, snd_nxt): one past
//! the two initial sequence numbers. SYN cookies keep this; TCP Fast Open data, SYNPROXY and anything else that
//! rewrites sequence numbers breaks it, and such a connection simply finds no partner.

use crate::asm::Reg::{R1, R6, R9};
use crate::asm::{Asm, FP, Label, Reg, Size};
use crate::dataplane::kernel::{KernelOffsets, Object};
use crate::dataplane::options::Side;
use crate::uapi::ctx::sock_ops;

/// The client's snd_nxt and rcv_nxt, as `side` sees them.
#[track_caller]
pub(in crate::dataplane) fn key(a: &mut Asm, side: Side, base: Reg, offset: i16) {
    let (sent, received) = match side {
        Side::Active => (sock_ops::SND_NXT, sock_ops::RCV_NXT),
        Side::Passive => (sock_ops::RCV_NXT, sock_ops::SND_NXT),
    };
    a.load(Size::W, R1, R6, sent);
    a.store(Size::W, base, offset, R1);
    a.load(Size::W, R1, R6, received);
    a.store(Size::W, base, offset + 4, R1);
}

/// The same numbers from the server's request, for which the context says nothing but addresses. Uses R9.
#[track_caller]
pub(in crate::dataplane) fn request_key(a: &mut Asm, offsets: &KernelOffsets, slot: i16, out: Label) {
    offsets.behind(a, R9, R6, Object::SockOps, out);
    offsets.read(a, R9, Size::DW, R9, offsets.ops_sk, out);
    offsets.open(a, R9, Object::Request);
    for (word, isn) in [(0, offsets.rcv_isn), (4, offsets.snt_isn)] {
        offsets.read(a, R1, Size::W, R9, isn, out);
        a.add32(R1, 1);
        a.store(Size::W, FP, slot + word, R1);
    }
}

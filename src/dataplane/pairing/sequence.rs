//! Pairing by the handshake's sequence numbers.
//!
//! When the connection is established the client's (snd_nxt, rcv_nxt) are the server's (rcv_nxt, snd_nxt): one past
//! the two initial sequence numbers. SYN cookies keep this; TCP Fast Open data, SYNPROXY and anything else that
//! rewrites sequence numbers breaks it, and such a connection simply finds no partner.

use crate::asm::Reg::{R1, R9};
use crate::asm::{Asm, Base, Label, Place, Ptr, Uses};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::kernel::objects::{Request, SockOpsKern};
use crate::dataplane::options::Side;
use crate::dataplane::state::record::SequenceKey;

/// The client's snd_nxt and rcv_nxt, as `side` sees them.
#[track_caller]
pub(in crate::dataplane) fn key(a: &mut Asm, side: Side, to: Place<SequenceKey>) {
    let (sent, received) = match side {
        Side::Active => (SockOps::SND_NXT, SockOps::RCV_NXT),
        Side::Passive => (SockOps::RCV_NXT, SockOps::SND_NXT),
    };
    a.idiom("sequence_key", Uses::nothing().reads(SOCK_OPS.regs() | to.regs()).writes(R1), |a| {
        a.ld(R1, SOCK_OPS, sent);
        a.st(to, SequenceKey::CLIENT, R1);
        a.ld(R1, SOCK_OPS, received);
        a.st(to, SequenceKey::SERVER, R1);
    });
}

/// The same numbers from the server's request, for which the context says nothing but addresses. R9 = the request.
#[track_caller]
pub(in crate::dataplane) fn request_key(a: &mut Asm, offsets: &KernelOffsets, to: Place<SequenceKey>, out: Label) {
    a.emitter("request_key", Uses::scratch().reads(SOCK_OPS.regs() | to.regs()).gives(R9), |a| {
        let context: Ptr<SockOpsKern> = offsets.behind(a, R9, SOCK_OPS.reg(), out);
        let request = Ptr::<Request>::new(R9);
        offsets.read(a, request.reg(), context, offsets.ops_sk, out);
        offsets.open(a, request);
        for (word, isn) in [(SequenceKey::CLIENT, offsets.rcv_isn), (SequenceKey::SERVER, offsets.snt_isn)] {
            offsets.read(a, R1, request, isn, out);
            a.add32(R1, 1);
            a.st(to, word, R1);
        }
    });
}

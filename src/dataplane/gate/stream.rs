//! Streams of messages that the stack may gather, which leave.

use crate::asm::Reg::{R1, R2, R9};
use crate::asm::{Asm, Ptr};
use crate::dataplane::emit::{config, set_flags};
use crate::dataplane::gate::deferral::Deferral;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::roles::uses;
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::state::Counter;
use crate::dataplane::state::config::Value;
use crate::dataplane::state::socket::{self, OWN, Socket};
use crate::uapi::net;

/// Not a stream that the stack would gather: the pair of one leaves. R1 is how many messages the peer has sent.
pub(in crate::dataplane) fn require_none(a: &mut Asm, offsets: &KernelOffsets, deferral: Deferral, exits: &mut Exits) {
    let stale = exits.to(a, Counter::PassStale);
    let answered = a.label("answered");
    a.emitter("stream", uses().reads(R1), |a| {
        a.block("no_stream", |a, single| {
            a.ld(R2, OWN, Socket::PEER_SENT);
            a.jump_if(R1.differs(R2), answered);
            a.ld(R1, OWN, Socket::RUN);
            a.add(R1, 1);
            a.st(OWN, Socket::RUN, R1);
            config(a, R2, Value::STREAM_MESSAGES);
            a.jump_if(R1.at_most(R2), single);
            let own = Ptr::<TcpSock>::new(R9);
            a.ld(own.reg(), OWN, Socket::OWN_SK);
            offsets.open(a, own);
            offsets.read(a, R1, own, offsets.nonagle, stale);
            a.jump_if(R1.any_of(net::NAGLE_OFF), single);
            set_flags(a, socket::UNENROLLING);
            deferral.note(a, offsets, Counter::PassStream);
            a.goto(single);
            a.bind(answered);
            a.st(OWN, Socket::PEER_SENT, R1);
            a.st(OWN, Socket::RUN, 0);
        });
    });
}

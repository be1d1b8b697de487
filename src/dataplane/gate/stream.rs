//! Streams of messages that the stack may gather, which leave.

use crate::asm::Reg::{R1, R2, R7, R9};
use crate::asm::{Asm, Cond, Size};
use crate::dataplane::emit::set_flags;
use crate::dataplane::gate::deferral;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::kernel::{KernelOffsets, Object};
use crate::dataplane::state::peer::StorageHead;
use crate::dataplane::state::{Config, Counter, MapRole, socket};
use crate::uapi::net;

/// Not a stream that the stack would gather: the pair of one leaves. `peer` is the head of the peer's storage.
pub(in crate::dataplane) fn require_none(a: &mut Asm, offsets: &KernelOffsets, peer: StorageHead, exits: &mut Exits) {
    let stale = exits.to(a, Counter::PassStale);
    let [answered, single] = ["answered", "no_stream"].map(|name| a.label(name));
    a.comment("how many messages in a row?");
    peer.sent(a, R1);
    a.load(Size::W, R2, R7, socket::PEER_SENT);
    a.jump(Cond::Ne, R1, R2, answered);
    a.load(Size::W, R1, R7, socket::RUN);
    a.add(R1, 1);
    a.store(Size::W, R7, socket::RUN, R1);
    a.load_map_value(R2, MapRole::Config.map_ref(), Config::STREAM_MESSAGES as u32);
    a.load(Size::W, R2, R2, 0);
    a.jump(Cond::Le, R1, R2, single);
    a.load(Size::DW, R9, R7, socket::OWN_SK);
    offsets.open(a, R9, Object::Sock);
    offsets.read(a, R1, Size::B, R9, offsets.nonagle, stale);
    a.jump(Cond::Set, R1, net::NAGLE_OFF, single);
    set_flags(a, socket::UNENROLLING);
    deferral::note(a, Counter::PassStream);
    a.goto(single);
    a.bind(answered);
    a.store(Size::W, R7, socket::PEER_SENT, R1);
    a.store(Size::W, R7, socket::RUN, 0);
    a.bind(single);
}

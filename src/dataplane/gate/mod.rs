//! The gate: a message is redirected only while nobody can tell.
//!
//! A receiver reads redirected messages before bytes that came by the stack (`tcp_bpf_recvmsg`). So a redirected
//! message may only be sent when the receiver has read everything we ever sent by the stack; a message by the stack
//! may follow redirected ones at any time.

pub(in crate::dataplane) mod backpressure;
pub(in crate::dataplane) mod deferral;
pub(in crate::dataplane) mod endpoints;
mod epoll;
pub(in crate::dataplane) mod exits;
mod fionread;
mod memory;
mod order;
mod slots;
mod stream;

use crate::asm::Reg::{R1, R2, R3, R6, R7, R8};
use crate::asm::{Asm, Cond, Size};
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::kernel::{KernelOffsets, Object};
use crate::dataplane::options::Options;
use crate::dataplane::state::{Config, Counter, MapRole, socket};
use crate::uapi::ctx::sk_msg;

/// Falls through when the message may be redirected. R6 context, R7 storage of a paired socket; uses R8 and R9.
pub(in crate::dataplane) fn gated(a: &mut Asm, options: &Options, offsets: &KernelOffsets, exits: &mut Exits) {
    let stale = exits.to(a, Counter::PassStale);
    let staying = a.label("staying");

    a.load(Size::W, R1, R7, socket::SENT);
    a.add(R1, 1);
    a.store(Size::W, R7, socket::SENT, R1);
    a.comment("the peer's storage is still the peer's, and neither end is leaving");
    a.load(Size::DW, R8, R7, socket::PEER_STORAGE);
    let peer = offsets.storage_head(a, R8, stale);
    peer.cookie(a, R1);
    a.load(Size::DW, R2, R7, socket::PEER_COOKIE);
    a.jump(Cond::Ne, R1, R2, stale);
    peer.flags(a, R1);
    a.load(Size::W, R2, R7, socket::FLAGS);
    a.or(R1, R2);
    a.and(R1, socket::UNENROLLING);
    a.jump(Cond::Eq, R1, 0, staying);
    deferral::note(a, Counter::PassUnenrolling);
    a.bind(staying);
    stream::require_none(a, offsets, peer, exits);

    a.load(Size::DW, R8, R7, socket::PEER_SK);
    offsets.open(a, R8, Object::Sock);
    endpoints::require(a, options, offsets, exits);
    order::require(a, options, offsets, exits);

    a.comment("a receiver that wants several bytes at once, or none, is the stack's");
    let state = exits.to(a, Counter::PassState);
    offsets.read(a, R1, Size::W, R8, offsets.rcvlowat, stale);
    a.jump32(Cond::Sgt, R1, 1, state);
    offsets.read(a, R1, Size::B, R8, offsets.shutdown, stale);
    // RCV_SHUTDOWN, include/net/sock.h
    a.jump(Cond::Set, R1, 1, state);

    memory::require(a, offsets, exits);
    backpressure::require(a, offsets, exits);
}

/// The rule where the peer cannot be seen: the first message that takes the stack keeps its direction there for
/// good, and so does a direction that has used up its bytes, since nothing tells how many are still unread.
pub(in crate::dataplane) fn sticky(a: &mut Asm, exits: &mut Exits) {
    let order = exits.to(a, Counter::PassOrder);
    let behind = exits.to(a, Counter::PassBackpressure);
    a.load(Size::W, R1, R7, socket::FLAGS);
    a.jump(Cond::Set, R1, socket::PASSED, order);
    a.load(Size::DW, R1, R7, socket::BURST_BYTES);
    a.load(Size::W, R2, R6, sk_msg::LENGTH);
    a.add(R1, R2);
    a.load_map_value(R3, MapRole::Config.map_ref(), 0);
    a.load(Size::W, R2, R3, Config::STICKY_BYTES);
    a.jump(Cond::Gt, R1, R2, behind);
}

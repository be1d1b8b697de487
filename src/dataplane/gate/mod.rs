//! The gate: a message is redirected only while no application can see a difference.
//!
//! A receiver reads redirected messages before bytes that came by the stack (`tcp_bpf_recvmsg`). So a redirected
//! message may only be sent when the receiver has read everything we ever sent by the stack; a message by the stack
//! may follow redirected ones at any time.

pub(in crate::dataplane) mod backpressure;
pub(in crate::dataplane) mod deferral;
pub(in crate::dataplane) mod endpoints;
mod epoll;
pub(in crate::dataplane) mod exits;
pub(in crate::dataplane) mod fionread;
mod late;
mod memory;
mod order;
mod pace;
mod reader;
mod roles;
mod stream;
pub(in crate::dataplane) mod underway;

use crate::asm::Reg::{R1, R2, R3, R8};
use crate::asm::{Asm, Ptr, Uses};
use crate::dataplane::emit::config_at;
use crate::dataplane::gate::deferral::Deferral;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::roles::{PEER, uses, uses_peer};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{SK_MSG, SkMsg};
use crate::dataplane::options::Options;
use crate::dataplane::state::Counter;
use crate::dataplane::state::config::Value;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::uapi::net;

/// Falls through when the message of a paired socket may be redirected.
pub(in crate::dataplane) fn gated(
    a: &mut Asm,
    options: &Options,
    offsets: &KernelOffsets,
    deferral: Deferral,
    exits: &mut Exits,
) {
    a.emitter("gate", uses().writes(PEER.reg()), |a| {
        let stale = exits.to(a, Counter::PassStale);
        a.comment("our reference on the psock, then SENT, then the look whether an end leaves");
        offsets.ordered_increment(a, Head::SENT);
        if options.defers() {
            deferral.order(a, offsets);
        }
        a.frame(|a| {
            a.comment("the peer's storage is still the peer's, and neither end is leaving");
            a.ld(R8, OWN, Socket::PEER_STORAGE);
            let peer = offsets.storage_head(a, Ptr::new(R8), stale);
            a.ld(R1, peer, Head::COOKIE);
            a.ld(R2, OWN, Socket::PEER_COOKIE);
            a.require(R1.equals(R2), stale, "the peer's storage is still the peer's");
            a.ld(R1, peer, Head::FLAGS);
            a.ld(R2, OWN, Head::FLAGS);
            a.or(R1, R2);
            a.and(R1, socket::UNENROLLING);
            a.ld(R2, peer, Head::LEAVING);
            a.or(R1, R2);
            a.ld(R2, OWN, Head::LEAVING);
            a.or(R1, R2);
            a.guard(R1.differs(0), "an end that leaves defers", |a| {
                deferral.note(a, offsets, Counter::PassUnenrolling)
            });
            reader::require(a, options, offsets, peer, deferral);
            a.comment("how many messages in a row?");
            a.ld(R1, peer, Head::SENT);
        });
        stream::require_none(a, offsets, deferral, exits);
        pace::require(a, options, offsets, deferral);

        a.ld(PEER.reg(), OWN, Socket::PEER_SK);
        offsets.open(a, PEER);
        endpoints::require(a, options, offsets, deferral, exits);
        order::require(a, options, offsets, exits);
        receiver_is_plain(a, offsets, deferral, exits);
        memory::require(a, offsets, exits);
        backpressure::require(a, options, offsets, deferral, exits);
    });
}

/// A receiver that wants several bytes at once, or none, is the stack's.
fn receiver_is_plain(a: &mut Asm, offsets: &KernelOffsets, deferral: Deferral, exits: &mut Exits) {
    let [stale, state] = [Counter::PassStale, Counter::PassState].map(|counter| exits.to(a, counter));
    a.emitter("receiver", uses_peer(), |a| {
        a.comment("a receiver that wants several bytes at once, or none, is the stack's");
        offsets.read(a, R1, PEER, offsets.rcvlowat, stale);
        a.require(R1.w().signed_at_most(1), state, "it takes single bytes");
        offsets.read(a, R1, PEER, offsets.shutdown, stale);
        a.require(R1.none_of(net::RCV_SHUTDOWN), state, "it has not shut down reading");
        a.comment(
            "its FIN was a packet, and connection tracking keeps a half-closed entry only while there are others",
        );
        a.and(R1, net::SEND_SHUTDOWN);
        a.guard(R1.differs(0), "a half-closed connection defers", |a| deferral.note(a, offsets, Counter::PassState));
    });
}

/// The rule where the peer cannot be seen: the first message that takes the stack keeps its direction there
/// forever, and so does a direction that has used up its bytes, since the programs cannot see how many are still unread.
pub(in crate::dataplane) fn sticky(a: &mut Asm, exits: &mut Exits) {
    a.emitter("sticky", Uses::scratch().reads([SK_MSG.reg(), OWN.reg()]), |a| {
        let order = exits.to(a, Counter::PassOrder);
        let behind = exits.to(a, Counter::PassBackpressure);
        a.ld(R1, OWN, Head::FLAGS);
        a.require(R1.none_of(socket::PASSED), order, "no message has taken the stack");
        a.ld(R1, OWN, Socket::BURST_BYTES);
        a.ld(R2, SK_MSG, SkMsg::LENGTH);
        a.add(R1, R2);
        let config = config_at(a, R3);
        a.ld(R2, config, Value::STICKY_BYTES);
        a.require(R1.at_most(R2), behind, "its bytes are not used up");
    });
}

//! A pair leaves the sockhash for good, without losing a byte.
//!
//! Deleting a receiver's entry discards its unread redirected messages, and a message whose verdict is already
//! "redirect" fails with EPIPE when the entry is gone (`sk_psock_drop`, `tcp_bpf_sendmsg_redir`). So:
//!
//! 1. one end sets [`socket::UNENROLLING`] in its own storage; from then on both redirect only into a queue that is not
//!    empty (`gate::deferral`);
//! 2. then nobody may still be between verdict and queue: `tcp_bpf_sendmsg` holds a reference on its socket's psock
//!    all the way, so the peer's count must be 1. So must ours, or our last message took the stack and found nobody else
//!    underway ([`socket::NONE_IN_FLIGHT`]): in a stream, callbacks come from within its own sendmsg;
//! 3. both queues must be empty;
//! 4. and meanwhile the peer has not looked at our queue, which may have been read since: its [`socket::SENT`] is
//!    what it was. Our own messages wait for the lock that we hold.
//!
//! Then both entries go, in the callback of an acknowledgement, and both sockets are plain TCP again. Otherwise the
//! next acknowledgement tries again; meanwhile all messages take the stack.

use crate::asm::Reg::{R1, R2, R3, R4, R7, R8, R9};
use crate::asm::{Asm, AtomicOp, Cond, FP, Label, Size};
use crate::dataplane::emit::{count, map_delete, set_flags};
use crate::dataplane::kernel::probe::SLOTS_END;
use crate::dataplane::kernel::psock::{psock, queue};
use crate::dataplane::kernel::{KernelOffsets, Object};
use crate::dataplane::membership::callbacks;
use crate::dataplane::options::Options;
use crate::dataplane::state::{Counter, MapRole, socket};

/// Stack place of the peer's [`socket::SENT`] as it was at first.
const SENT_SLOT: i16 = SLOTS_END - 8;

/// In a callback of a socket that is not waiting; R7 is its storage, R1 its state. A socket that does not leave now goes
/// to `stay`; for one that has left, `ending` is emitted before its callbacks end.
pub(in crate::dataplane) fn paired(
    a: &mut Asm,
    options: &Options,
    offsets: &KernelOffsets,
    [stay, out]: [Label; 2],
    ending: impl FnOnce(&mut Asm),
) {
    let [peer_left, go, peer_gone, nobody] =
        ["peer_left", "leave", "peer_gone", "nobody_underway"].map(|name| a.label(name));
    a.jump(Cond::Ne, R1, socket::PAIRED, out);
    a.comment("has the peer taken us along when it left?");
    a.load(Size::DW, R8, R7, socket::PEER_STORAGE);
    let peer = offsets.storage_head(a, R8, stay);
    a.load(Size::W, R9, R7, socket::FLAGS);
    peer.cookie(a, R1);
    a.load(Size::DW, R2, R7, socket::PEER_COOKIE);
    peer.state(a, R3);
    peer.sent(a, R4);
    a.store(Size::W, FP, SENT_SLOT, R4);
    let same = a.label("same_peer");
    a.jump(Cond::Eq, R1, R2, same);
    a.comment("a peer that is gone sends nothing more, but what it sent may be unread");
    a.goto(stay);
    a.bind(same);
    a.jump(Cond::Eq, R3, socket::PLAIN, peer_left);
    a.jump(Cond::Set, R9, socket::UNENROLLING, go);
    a.goto(stay);

    a.bind(go);
    a.comment("a full barrier between our UNENROLLING and the look at the peer (x86: any locked instruction)");
    a.mov(R1, 0);
    a.atomic(AtomicOp::Add { fetch: false }, Size::W, R7, socket::FLAGS, R1);
    a.load(Size::DW, R8, R7, socket::PEER_SK);
    offsets.open(a, R8, Object::Sock);
    psock(a, offsets, R8, R8, peer_gone, stay);
    offsets.read(a, R1, Size::W, R8, offsets.psock_refcnt, stay);
    a.jump(Cond::Ne, R1, 1, stay);
    queue(a, offsets, R8, stay);
    a.jump(Cond::Ne, R1, R8, stay);
    a.bind(peer_gone);

    a.load(Size::DW, R9, R7, socket::OWN_SK);
    offsets.open(a, R9, Object::Sock);
    psock(a, offsets, R8, R9, stay, stay);
    offsets.read(a, R1, Size::W, R8, offsets.psock_refcnt, stay);
    a.jump(Cond::Eq, R1, 1, nobody);
    a.load(Size::W, R1, R7, socket::FLAGS);
    a.and(R1, socket::NONE_IN_FLIGHT);
    a.jump(Cond::Eq, R1, 0, stay);
    a.bind(nobody);
    queue(a, offsets, R8, stay);
    a.jump(Cond::Ne, R1, R8, stay);
    a.load(Size::DW, R8, R7, socket::PEER_STORAGE);
    let peer = offsets.storage_head(a, R8, stay);
    peer.sent(a, R1);
    a.load(Size::W, R2, FP, SENT_SLOT);
    a.jump(Cond::Ne, R1, R2, stay);

    map_delete(a, MapRole::Sockets, R7, socket::peer_key(options.pairing));
    map_delete(a, MapRole::Sockets, R7, socket::own_key(options.pairing));
    count(a, Counter::Unenrolled, 1);
    a.bind(peer_left);
    a.store(Size::W, R7, socket::STATE, socket::PLAIN);
    ending(a);
    callbacks::drop(a, options);
    a.goto(out);
}

/// In the sk_msg program, when a message of a pair that is leaving takes the stack: is it the only one? R7 is our
/// storage; uses R8 and keeps R9.
pub(in crate::dataplane) fn note_none_in_flight(a: &mut Asm, offsets: &KernelOffsets) {
    let done = a.label("settling");
    a.load(Size::W, R1, R7, socket::FLAGS);
    a.and(R1, socket::UNENROLLING);
    a.jump(Cond::Eq, R1, 0, done);
    a.load(Size::DW, R8, R7, socket::OWN_SK);
    offsets.open(a, R8, Object::Sock);
    psock(a, offsets, R8, R8, done, done);
    a.comment("one reference for the map, one for this call");
    offsets.read(a, R1, Size::W, R8, offsets.psock_refcnt, done);
    a.jump(Cond::Ne, R1, 2, done);
    set_flags(a, socket::NONE_IN_FLIGHT);
    a.bind(done);
}

//! A pair leaves the sockhash forever, without losing a byte.
//!
//! Deleting a receiver's entry discards its unread redirected messages, and a message whose verdict is already
//! "redirect" fails with EPIPE when the entry is gone (`sk_psock_drop`, `tcp_bpf_sendmsg_redir`). So:
//!
//! 1. one end sets [`socket::UNENROLLING`] in its own storage; from then on both redirect only into a queue that is not
//!    empty (`gate::deferral`);
//! 2. then no message may still be between verdict and queue: `tcp_bpf_sendmsg` holds a reference on its socket's psock
//!    all the way, so the peer's count must be 1 (2 where another tool's map has the socket, too). So must ours, or our last message took the stack and found no other
//!    underway ([`socket::UNDERWAY`]): in a stream, callbacks come from within its own sendmsg;
//! 3. both queues must be empty;
//! 4. and meanwhile the peer has not looked at our queue, which may have been read since: its [`Head::SENT`] is
//!    what it was. Our own messages wait for the lock that we hold.
//!
//! The agent can ask for the same by a mark ([`Head::LEAVING`]), which the first callback turns into step 1. Where no callback
//! comes, the drain takes marked sockets out.
//!
//! Then both entries go, in the callback of an acknowledgement, and both sockets are plain TCP again. Otherwise the
//! next acknowledgement tries again; meanwhile all messages take the stack.

use crate::asm::Reg::{R1, R2, R3, R4, R5, R8, R9};
use crate::asm::{Asm, Base, Label, Ptr, Uses};
use crate::dataplane::emit::{count, map_delete, set_flags};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::kernel::psock::{psock, queue, require_alone};
use crate::dataplane::membership::changes::{self, Known};
use crate::dataplane::options::Options;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::dataplane::state::{ChangeKind, Counter, MapRole};

/// In a callback of a socket that is not waiting; R1 is its state. A socket that does not leave now goes to `stay`; for one
/// that has left, `ending` is emitted, which leads out.
pub(in crate::dataplane) fn paired(
    a: &mut Asm,
    options: &Options,
    offsets: &KernelOffsets,
    [stay, out]: [Label; 2],
    ending: impl FnOnce(&mut Asm),
) {
    let peer_left = a.label("peer_left");
    let uses = Uses::scratch().reads([R1, SOCK_OPS.reg(), OWN.reg()]).writes([R8, R9]);
    a.emitter("unenroll", uses, |a| {
        a.require(R1.equals(socket::PAIRED), out, "it is paired");
        a.ld(R1, OWN, Head::LEAVING);
        a.guard(R1.differs(0), "what the agent has marked is to leave", |a| set_flags(a, socket::UNENROLLING));
        a.frame(|a| {
            let sent = a.slot::<u32>("peer's sent");
            let flags = a.slot::<u32>("peer's flags");
            let storage = Ptr::<Head>::new(R8);
            a.frame(|a| {
                a.comment("has the peer taken us along when it left?");
                a.ld(storage.reg(), OWN, Socket::PEER_STORAGE);
                let peer = offsets.storage_head(a, storage, stay);
                a.ld(R9, OWN, Head::FLAGS);
                a.ld(R1, peer, Head::COOKIE);
                a.ld(R2, OWN, Socket::PEER_COOKIE);
                a.ld(R3, peer, Head::STATE);
                a.ld(R4, peer, Head::SENT);
                a.ld(R5, peer, Head::FLAGS);
            });
            a.set(sent, R4);
            a.set(flags, R5);
            a.comment("a peer that is gone sends nothing more, but what it sent may be unread");
            a.require(R1.equals(R2), stay, "the peer's storage is still the peer's");
            a.jump_if(R3.equals(socket::PLAIN), peer_left);
            if options.joins_later() {
                a.comment("our reader may wait for an event that only our own callback brings");
                a.or(R9, R5);
            }
            a.require(R9.any_of(socket::UNENROLLING), stay, "the pair is to leave");
            if options.joins_later() {
                set_flags(a, socket::UNENROLLING);
            }

            a.comment("a full barrier between our UNENROLLING and the look at the peer");
            offsets.full_barrier(a, Head::FLAGS);
            peer_is_quiet(a, offsets, stay);
            own_is_quiet(a, offsets, stay);
            if options.forces() {
                a.comment("the peer has seen that none of its messages is underway, or we see its next one");
                a.get(R1, sent);
                a.st(OWN, Socket::SEEN_ALONE, R1);
                offsets.full_barrier(a, Head::FLAGS);
            } else {
                offsets.load_barrier(a);
            }
            a.frame(|a| {
                a.ld(storage.reg(), OWN, Socket::PEER_STORAGE);
                let peer = offsets.storage_head(a, storage, stay);
                a.ld(R1, peer, Head::SENT);
            });
            a.get(R2, sent);
            a.require(R1.equals(R2), stay, "the peer has not sent meanwhile");
            if options.wakes_readers().is_some() {
                a.get(R1, flags);
                a.and(R1, socket::ARMED);
                a.guard(R1.differs(0), "an armed peer is waited for", |a| {
                    a.comment("until its reader has been told: what we send again finds no room before, and then we would wait");
                    a.ld(R1, SOCK_OPS, SockOps::LOST_OUT);
                    a.require(R1.equals(0), stay, "we do not send again");
                    // An armed peer whose reader asks FIONREAD is told as soon as it has left; its next callback takes the rest
                    // back.
                    if !options.joins_later() {
                        a.comment("it first gives its settings back, in its own callback; so do we, at `stay`");
                        a.st(OWN, Socket::BURST_MESSAGES, 0);
                        a.goto(stay);
                    }
                });
            }
        });

        map_delete(a, MapRole::Sockets, OWN.at(socket::peer_key(options.pairing)));
        map_delete(a, MapRole::Sockets, OWN.at(socket::own_key(options.pairing)));
        count(a, Counter::Unenrolled, 1);
        changes::report(a, ChangeKind::Left, Known::State);
        a.bind(peer_left);
        a.st(OWN, Head::STATE, socket::PLAIN);
        ending(a);
    });
}

/// The peer, if it is in the sockhash at all, has no message between verdict and queue, and has read its own queue.
fn peer_is_quiet(a: &mut Asm, offsets: &KernelOffsets, stay: Label) {
    a.emitter("peer", Uses::scratch().reads(OWN.reg()).writes([R8, R9]), |a| {
        a.block("peer_gone", |a, gone| {
            let sk = Ptr::<TcpSock>::new(R8);
            a.ld(sk.reg(), OWN, Socket::PEER_SK);
            offsets.open(a, sk);
            let psock = psock(a, offsets, R8, sk, gone, stay);
            require_alone(a, offsets, psock, R9, 0, stay);
            offsets.load_barrier(a);
            let head = queue(a, offsets, psock, stay);
            a.require(R1.equals(head.reg()), stay, "its queue is empty");
        });
    });
}

/// Nor have we, and our queue is read.
fn own_is_quiet(a: &mut Asm, offsets: &KernelOffsets, stay: Label) {
    a.emitter("own", Uses::scratch().reads(OWN.reg()).writes([R8, R9]), |a| {
        let sk = Ptr::<TcpSock>::new(R9);
        a.ld(sk.reg(), OWN, Socket::OWN_SK);
        offsets.open(a, sk);
        a.block("own_quiet", |a, quiet| {
            a.block("own_gone", |a, gone| {
                let psock = psock(a, offsets, R8, sk, gone, stay);
                a.block("none_underway", |a, alone| {
                    let underway = a.label("own_underway");
                    require_alone(a, offsets, psock, R9, 0, underway);
                    a.goto(alone);
                    a.bind(underway);
                    a.ld(R1, OWN, Head::FLAGS);
                    a.require(R1.none_of(socket::UNDERWAY), stay, "our last message was alone");
                });
                let head = queue(a, offsets, psock, stay);
                a.require(R1.equals(head.reg()), stay, "our queue is empty");
                a.goto(quiet);
            });
            a.comment("the drain has taken us out, and what we have set on our socket is still to be given back");
            a.ld(R1, OWN, Head::LEAVING);
            a.require(R1.differs(0), stay, "the agent has marked us");
        });
    });
}

//! The receiver's program reads by recvmsg, as far as can be known.
//!
//! splice(2) does not see redirected bytes, so a message is redirected only to a reader that is trusted with as many bytes
//! in a row: `programs::receives` writes down in the receiver's storage how many these are, and `programs::splices` which
//! sockets have been spliced from.

use crate::asm::Reg::{R0, R1, R2, R3, R9};
use crate::asm::{Asm, Base, Place, Ptr};
use crate::dataplane::emit::{map_lookup, set_flags};
use crate::dataplane::gate::deferral::Deferral;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::roles::uses;
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{SK_MSG, SkMsg};
use crate::dataplane::kernel::probe::probe;
use crate::dataplane::options::Options;
use crate::dataplane::state::reader::Splices;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::dataplane::state::{Counter, MapRole};

/// Goes on, with a reason to take the stack when the receiver's reader is not trusted with the message. `peer` is the head
/// of the receiver's storage.
pub(in crate::dataplane) fn require(
    a: &mut Asm,
    options: &Options,
    offsets: &KernelOffsets,
    peer: Place<Head>,
    deferral: Deferral,
) {
    if options.watch().is_none() {
        return;
    }
    a.emitter("reader", uses().reads(peer.regs()), |a| {
        a.block("reader_trusted", |a, trusted| {
            a.block("reader_splices", |a, never| {
                a.comment("how many bytes in a row, and is the reader trusted with them?");
                a.mov(R3, 0);
                a.ld(R1, peer, Head::SENT);
                a.ld(R2, OWN, Socket::PEER_SENT);
                a.guard(R1.equals(R2), "the peer has not sent since", |a| a.ld(R3, OWN, Socket::ROW));
                a.ld(R1, SK_MSG, SkMsg::LENGTH);
                a.add32(R3, R1);
                a.st(OWN, Socket::ROW, R3);
                a.ld(R1, peer, Head::READER);
                a.permit(R1.equals(socket::NEVER), never, "it reads in another way");
                a.guard(R3.w().above(R1), "a row that is not proven defers", |a| {
                    deferral.note(a, offsets, Counter::PassReader)
                });
                a.comment("has the peer's socket been spliced from?");
                let splices = Ptr::<Splices>::new(R1);
                a.load_map_value(R1, MapRole::Splices.map_ref(), 0);
                a.ld(R1, splices, Splices::SOCKETS);
                a.ld(R2, OWN, Socket::SPLICES);
                a.permit(R1.equals(R2), trusted, "no socket has been spliced from since the last look");
                a.st(OWN, Socket::SPLICES, R1);
                map_lookup(a, MapRole::Spliced, OWN.at(Socket::PEER_COOKIE));
                a.permit(R0.equals(0), trusted, "the peer's socket has not been");
            });
            set_flags(a, socket::UNENROLLING);
            deferral.note(a, offsets, Counter::PassReader);
        });
    });
}

/// Goes on when recvmsg has taken our last stack bytes: up to our `write_seq`, which is in R9, all have been taken. Splices
/// within io_uring, TCP_ZEROCOPY_RECEIVE and readers inside the kernel are not seen otherwise.
pub(in crate::dataplane) fn require_received(a: &mut Asm, options: &Options, exits: &mut Exits) {
    if options.watch().is_none() {
        return;
    }
    let [stale, other] = [Counter::PassStale, Counter::PassReader].map(|counter| exits.to(a, counter));
    a.emitter("received", uses().reads(R9), |a| {
        a.comment("and recvmsg has taken them");
        a.ld(R1, OWN, Socket::PEER_STORAGE);
        probe(a, R1, Ptr::<Socket>::new(R1), Socket::READ_SEQ, stale);
        a.require(R1.w().equals(R9), other, "recvmsg has taken all our stack bytes");
    });
}

//! A socket that begins to close sends few more packets, and our program has nothing to do in the callbacks for them. So it
//! gives these callbacks up, and a short connection does not pay for its own end.

use crate::asm::Reg::{R0, R1, R8, R9};
use crate::asm::{Asm, Base, Label, Ptr, Uses};
use crate::dataplane::emit::map_lookup;
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::membership::callbacks;
use crate::dataplane::options::Options;
use crate::dataplane::state::MapRole;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::uapi::net;

/// Gives up the callback of a close, when the answer that this passive end has given has been read.
pub(in crate::dataplane) fn drop_state_if_read(a: &mut Asm) {
    a.emitter("answer_read", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]), |a| {
        a.block("answer_stays", |a, stays| {
            a.ld(R1, OWN, Head::FLAGS);
            a.require(R1.any_of(socket::ANSWERED), stays, "it has given an answer");
            map_lookup(a, MapRole::Pairs, OWN.at(Socket::PAIR_KEY));
            a.require(R0.equals(0), stays, "the answer has been read");
            callbacks::drop_state(a);
        });
    });
}

/// Gives up our callbacks when they have nothing left to do: the socket is out of the sockhash and has no settings of ours, all
/// that has come is read, and all that it has sent has arrived. Only its FIN is to come. R1 is its state.
///
/// After close(2) the socket is out of the sockhash: close(2) takes it out of its maps before the FIN is sent (`sock_map_close`,
/// net/core/sock_map.c).
pub(in crate::dataplane) fn drop_callbacks(a: &mut Asm, options: &Options, offsets: &KernelOffsets, out: Label) {
    let uses = Uses::scratch().reads([R1, SOCK_OPS.reg(), OWN.reg()]).writes([R8, R9]);
    a.emitter("closing", uses, |a| {
        a.require(R1.at_most(socket::PAIRED), out, "it has our callbacks");
        a.ld(R1, OWN, Head::FLAGS);
        let pending = socket::UNENROLLING | socket::ARMED | socket::KEEPALIVE_OURS;
        a.require(R1.none_of(pending), out, "its settings are its own");
        a.ld(R1, OWN, Head::LEAVING);
        a.require(R1.equals(0), out, "the agent has not marked it");
        let sk = Ptr::<TcpSock>::new(R9);
        a.ld(sk.reg(), OWN, Socket::OWN_SK);
        offsets.open(a, sk);
        offsets.read(a, R1, sk, offsets.user_data, out);
        a.require(R1.equals(0), out, "it is in no socket map");
        offsets.read(a, R1, sk, offsets.shutdown, out);
        let both = net::RCV_SHUTDOWN | net::SEND_SHUTDOWN;
        a.and(R1, both);
        a.require(R1.equals(both), out, "it neither reads nor sends");
        for (theirs, field, name) in [
            (SockOps::SND_UNA, offsets.write_seq, "all that it has sent has arrived"),
            (SockOps::RCV_NXT, offsets.copied_seq, "all that has come is read"),
        ] {
            a.ld(R8, SOCK_OPS, theirs);
            offsets.read(a, R1, sk, field, out);
            a.require(R1.w().equals(R8), out, name);
        }
        callbacks::drop(a, options);
    });
}

//! Which bytes the connections of our cgroups exchange by the stack: all of them, not only those of members.
//!
//! The active end counts for both directions, since it is the one that knows at the handshake whether its peer is in our
//! cgroups. What the stack has carried is `bytes_acked` and `bytes_received` of the socket, which redirected bytes are not in. A
//! counter gets what has been added to these when the socket closes, and whenever a process asks (`programs::tally`). A FIN
//! counts as a byte.

use crate::asm::Reg::{R0, R1, R2, R7, R8};
use crate::asm::{Asm, Label, Uses};
use crate::dataplane::emit::{clear_flags, count, set_flags, storage_get};
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::membership::callbacks;
use crate::dataplane::options::Options;
use crate::dataplane::state::Counter;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};

/// An active end begins. Where it is not known yet whether its peer is in our cgroups, its bytes count when that is known
/// (`pairing::adopt`).
pub(in crate::dataplane) fn begin(a: &mut Asm, options: &Options) {
    if options.policy.uncounted {
        return;
    }
    a.emitter("tally", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]), |a| {
        a.comment("the handshake does not count");
        total(a);
        a.st(OWN, Socket::TALLIED, R1);
        if options.announces().is_some() {
            set_flags(a, socket::LOCAL);
        }
        callbacks::want_state(a);
    });
}

/// An active end whose peer is in our cgroups, and which will not enter the sockhash.
pub(in crate::dataplane) fn outsider(a: &mut Asm, options: &Options, out: Label) {
    if options.policy.uncounted {
        return;
    }
    a.emitter("outsider", Uses::scratch().reads(SOCK_OPS.reg()).writes([R7, R8]), |a| {
        a.ld(R8, SOCK_OPS, SockOps::SK);
        a.require(R8.differs(0), out, "there is a socket");
        storage_get(a, R8, true);
        a.require(R0.differs(0), out, "there is memory for it");
        a.mov(R7, R0);
        a.st(OWN, Head::STATE, socket::PLAIN);
        a.st(OWN, Head::FLAGS, 0);
        begin(a, options);
    });
}

/// The active end is closed.
pub(in crate::dataplane) fn end(a: &mut Asm) {
    a.emitter("tally", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes(R8), |a| {
        total(a);
        a.ld(R8, OWN, Socket::TALLIED);
        a.sub(R1, R8);
        a.mov(R8, R1);
        count(a, Counter::StackBytes, R8);
        clear_flags(a, socket::LOCAL);
    });
}

/// R1 = the bytes of both directions.
fn total(a: &mut Asm) {
    a.idiom("total", Uses::nothing().reads(SOCK_OPS.reg()).gives(R1).writes(R2), |a| {
        a.ld(R1, SOCK_OPS, SockOps::BYTES_ACKED);
        a.ld(R2, SOCK_OPS, SockOps::BYTES_RECEIVED);
        a.add(R1, R2);
    });
}

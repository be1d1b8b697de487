//! Which callbacks a socket in the sockhash has: for each round-trip time measured, and for each packet it sends.

use crate::asm::Reg::{R1, R2, R3};
use crate::asm::{Asm, Uses};
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::options::{Options, Side};
use crate::dataplane::state::socket::{self, Head, OWN};
use crate::uapi::ctx::sock_ops;
use crate::uapi::helper::id as helper;

fn uses() -> Uses {
    Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()])
}

/// Asks for our callbacks without disturbing the flags that others have set. A passive end, which has given an answer, also
/// wants to know when it is closed.
pub(in crate::dataplane) fn want(a: &mut Asm, options: &Options, side: Side) {
    let wanted = ours(options) | if side == Side::Passive { sock_ops::STATE_FLAG } else { 0 };
    a.emitter("want_callbacks", uses(), |a| {
        a.ld(R2, SOCK_OPS, SockOps::CB_FLAGS);
        a.mov(R1, R2);
        a.and(R1, wanted);
        a.lsh(R1, socket::FOREIGN_SHIFT);
        a.ld(R3, OWN, Head::FLAGS);
        a.or(R1, R3);
        a.st(OWN, Head::FLAGS, R1);
        a.or(R2, wanted);
        a.mov(R1, SOCK_OPS.reg());
        a.call(helper::SOCK_OPS_CB_FLAGS_SET);
    });
}

/// Asks for the callback of each change of state as well.
pub(in crate::dataplane) fn want_state(a: &mut Asm) {
    a.emitter("want_state", Uses::scratch().reads(SOCK_OPS.reg()), |a| {
        a.ld(R2, SOCK_OPS, SockOps::CB_FLAGS);
        a.or(R2, sock_ops::STATE_FLAG);
        a.mov(R1, SOCK_OPS.reg());
        a.call(helper::SOCK_OPS_CB_FLAGS_SET);
    });
}

/// Gives our callbacks up, but for those that another program wanted before us, and for that of a close.
pub(in crate::dataplane) fn drop(a: &mut Asm, options: &Options) {
    a.emitter("drop_callbacks", uses(), |a| {
        a.ld(R1, OWN, Head::FLAGS);
        a.rsh(R1, socket::FOREIGN_SHIFT);
        a.or(R1, !ours(options));
        a.ld(R2, SOCK_OPS, SockOps::CB_FLAGS);
        a.and(R2, R1);
        a.mov(R1, SOCK_OPS.reg());
        a.call(helper::SOCK_OPS_CB_FLAGS_SET);
    });
}

/// Gives up the callback of a close, unless another program wanted it before us.
pub(in crate::dataplane) fn drop_state(a: &mut Asm) {
    a.emitter("drop_state", uses(), |a| {
        a.ld(R1, OWN, Head::FLAGS);
        a.mov(R2, R1);
        a.and(R2, !socket::ANSWERED);
        a.st(OWN, Head::FLAGS, R2);
        a.block("foreign", |a, foreign| {
            a.require(R1.none_of(sock_ops::STATE_FLAG << socket::FOREIGN_SHIFT), foreign, "only we wanted it");
            a.ld(R2, SOCK_OPS, SockOps::CB_FLAGS);
            a.and(R2, !sock_ops::STATE_FLAG);
            a.mov(R1, SOCK_OPS.reg());
            a.call(helper::SOCK_OPS_CB_FLAGS_SET);
        });
    });
}

/// In a callback: asks again for ours where another program has set flags without them.
pub(in crate::dataplane) fn recover(a: &mut Asm, options: &Options) {
    a.emitter("recover_callbacks", uses(), |a| {
        a.block("recovered", |a, intact| {
            a.ld(R1, SOCK_OPS, SockOps::CB_FLAGS);
            a.and(R1, ours(options));
            a.jump_if(R1.equals(ours(options)), intact);
            want(a, options, Side::Active);
        });
    });
}

/// The flags of the callbacks that a socket in the sockhash has.
pub(in crate::dataplane) fn ours(options: &Options) -> i32 {
    sock_ops::RTT_FLAG | if options.wakes_readers().is_some() { sock_ops::WRITE_HDR_OPT_FLAG } else { 0 }
}

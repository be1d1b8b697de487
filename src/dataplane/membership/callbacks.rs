//! Which callbacks a socket in the sockhash has: for each round-trip time measured, and for each packet it sends.

use crate::asm::Reg::{R1, R2, R3, R6, R7};
use crate::asm::{Asm, Size};
use crate::dataplane::options::Options;
use crate::dataplane::state::socket;
use crate::uapi::ctx::sock_ops;
use crate::uapi::helper::id as helper;

/// Asks for our callbacks without disturbing the flags that others have set.
pub(in crate::dataplane) fn want(a: &mut Asm, options: &Options) {
    let wanted = ours(options);
    a.load(Size::W, R2, R6, sock_ops::CB_FLAGS);
    a.mov(R1, R2);
    a.and(R1, wanted);
    a.lsh(R1, socket::FOREIGN_SHIFT);
    a.load(Size::W, R3, R7, socket::FLAGS);
    a.or(R1, R3);
    a.store(Size::W, R7, socket::FLAGS, R1);
    a.or(R2, wanted);
    a.mov(R1, R6);
    a.call(helper::SOCK_OPS_CB_FLAGS_SET);
}

/// Gives our callbacks up, but for those that somebody else wanted before us.
pub(in crate::dataplane) fn drop(a: &mut Asm, options: &Options) {
    a.load(Size::W, R1, R7, socket::FLAGS);
    a.rsh(R1, socket::FOREIGN_SHIFT);
    a.or(R1, !ours(options));
    a.load(Size::W, R2, R6, sock_ops::CB_FLAGS);
    a.and(R2, R1);
    a.mov(R1, R6);
    a.call(helper::SOCK_OPS_CB_FLAGS_SET);
}

fn ours(options: &Options) -> i32 {
    sock_ops::RTT_FLAG | if options.wakes_readers().is_some() { sock_ops::WRITE_HDR_OPT_FLAG } else { 0 }
}

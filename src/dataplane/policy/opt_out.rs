//! Sockets of cgroups that opt out, which `programs::opt_out` marks.

use crate::asm::Reg::{R0, R1, R8};
use crate::asm::{Asm, Label, Uses};
use crate::dataplane::emit::storage_get;
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::state::socket::{self, Head};

/// Goes on unless the socket of the context is marked, else to `marked`.
#[track_caller]
pub(in crate::dataplane) fn require_unmarked(a: &mut Asm, marked: Label) {
    a.emitter("opt_out", Uses::scratch().reads(SOCK_OPS.reg()).writes(R8), |a| {
        a.block("not_opted_out", |a, unmarked| {
            a.comment("a cgroup that has opted out");
            a.ld(R8, SOCK_OPS, SockOps::SK);
            a.require(R8.differs(0), marked, "there is a socket");
            let storage = storage_get(a, R8, false);
            a.require(R0.differs(0), unmarked, "it has a storage");
            a.ld(R1, storage, Head::STATE);
            a.require(R1.differs(socket::OPTED_OUT), marked, "it is not marked");
        });
    });
}

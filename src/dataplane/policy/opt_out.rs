//! Sockets of cgroups that opt out, which `programs::opt_out` marks.

use crate::asm::Reg::{R0, R1, R6, R8};
use crate::asm::{Asm, Cond, Label, Size};
use crate::dataplane::emit::storage_get;
use crate::dataplane::state::socket;
use crate::uapi::ctx::sock_ops;

/// Goes on unless the socket of the context (R6) is marked, else to `marked`. Uses R8.
#[track_caller]
pub(in crate::dataplane) fn require_unmarked(a: &mut Asm, marked: Label) {
    let unmarked = a.label("not_opted_out");
    a.comment("a cgroup that has opted out");
    a.load(Size::DW, R8, R6, sock_ops::SK);
    a.jump(Cond::Eq, R8, 0, marked);
    storage_get(a, R8, false);
    a.jump(Cond::Eq, R0, 0, unmarked);
    a.load(Size::W, R1, R0, socket::STATE);
    a.jump(Cond::Eq, R1, socket::OPTED_OUT, marked);
    a.bind(unmarked);
}

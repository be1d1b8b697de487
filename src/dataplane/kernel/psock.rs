//! A socket's `sk_psock`, which it has while it is in a sockhash, and the queue of redirected messages in it.

use crate::asm::Reg::{self, R1};
use crate::asm::{Asm, Label, Ptr, Uses};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::objects::{ListHead, Psock, TcpSock};

/// The low bits of `sk_user_data` are flags (`SK_USER_DATA_PTRMASK`, include/net/sock.h).
const USER_DATA_POINTER: i32 = !7;

/// `dst` (R6 to R9) = the psock of the socket `sk`, opened both, or a jump to `none` when it is in no sockhash.
#[track_caller]
pub(in crate::dataplane) fn psock(
    a: &mut Asm,
    offsets: &KernelOffsets,
    dst: Reg,
    sk: Ptr<TcpSock>,
    none: Label,
    fail: Label,
) -> Ptr<Psock> {
    let psock = Ptr::new(dst);
    a.idiom("psock", Uses::scratch().reads(sk.reg()).gives(dst), |a| {
        offsets.read(a, dst, sk, offsets.user_data, fail);
        a.and(dst, USER_DATA_POINTER);
        a.require(dst.differs(0), none, "it is in a sockhash");
        offsets.open(a, psock);
    });
    psock
}

/// R1 = the first entry of the queue of redirected messages of `psock`, whose register becomes the list's head: the queue is
/// empty when they are equal.
#[track_caller]
pub(in crate::dataplane) fn queue(
    a: &mut Asm,
    offsets: &KernelOffsets,
    psock: Ptr<Psock>,
    fail: Label,
) -> Ptr<ListHead> {
    let head = Ptr::new(psock.reg());
    a.idiom("queue", Uses::scratch().reads(psock.reg()).gives([R1, psock.reg()]), |a| {
        a.add(head.reg(), offsets.ingress_msg.offset());
        offsets.read(a, R1, head, ListHead::NEXT, fail);
    });
    head
}

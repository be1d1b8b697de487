//! A socket's `sk_psock`, which it has while it is in a sockhash, and the queue of redirected messages in it.

use crate::asm::Reg::{self, R1};
use crate::asm::{Asm, Cond, Label, Size};
use crate::dataplane::kernel::{KernelOffsets, Object};

/// The low bits of `sk_user_data` are flags (`SK_USER_DATA_PTRMASK`, include/net/sock.h).
const USER_DATA_POINTER: i32 = !7;

/// `dst` (R6 to R9) = the psock of the socket `sk`, opened both, or a jump to `none` when it is in no sockhash.
#[track_caller]
pub(in crate::dataplane) fn psock(a: &mut Asm, offsets: &KernelOffsets, dst: Reg, sk: Reg, none: Label, fail: Label) {
    offsets.read(a, dst, Size::DW, sk, offsets.user_data, fail);
    a.and(dst, USER_DATA_POINTER);
    a.jump(Cond::Eq, dst, 0, none);
    offsets.open(a, dst, Object::Psock);
}

/// R1 = the first entry of the queue of redirected messages of `psock`, which becomes the list's head: the queue is
/// empty when they are equal.
#[track_caller]
pub(in crate::dataplane) fn queue(a: &mut Asm, offsets: &KernelOffsets, psock: Reg, fail: Label) {
    a.add(psock, i32::from(offsets.ingress_msg));
    offsets.read(a, R1, Size::DW, psock, 0, fail);
}

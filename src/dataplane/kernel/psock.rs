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

/// Goes on when no thread is between its verdict and a queue at `psock`, else to `underway`. Such a thread holds a reference
/// (`tcp_bpf_sendmsg`); so does each socket map that the socket is in, and each of the `own` system calls that this
/// program runs in. Another tool's map may be a second one: then its reference is distinguished from a thread's by the list of
/// maps. Loses `walker` (R6 to R9), which may be the psock's register.
#[track_caller]
pub(in crate::dataplane) fn require_alone(
    a: &mut Asm,
    offsets: &KernelOffsets,
    psock: Ptr<Psock>,
    walker: Reg,
    own: i32,
    underway: Label,
) {
    a.emitter("references", Uses::scratch().reads(psock.reg()).writes(walker), |a| {
        a.block("alone", |a, alone| {
            offsets.read(a, R1, psock, offsets.psock_refcnt, underway);
            a.permit(R1.equals(own + 1), alone, "no thread is underway");
            a.require(R1.equals(own + 2), underway, "the second reference may be a map's");
            a.frame(|a| {
                let maps = a.slot::<u64>("list of maps");
                if walker != psock.reg() {
                    a.mov(walker, psock.reg());
                }
                a.add(walker, offsets.psock_maps.offset());
                a.set(maps, walker);
                a.comment("the third step is back at the head when there are two entries (sock_map_link, net/core/sock_map.c)");
                for _ in 0..3 {
                    offsets.follow(a, Ptr::<ListHead>::new(walker), ListHead::NEXT, underway);
                }
                a.get(R1, maps);
                a.require(walker.equals(R1), underway, "it is in two maps");
                a.get(walker, maps);
                a.add(walker, -offsets.psock_maps.offset());
                let again = Ptr::<Psock>::new(walker);
                offsets.open(a, again);
                offsets.read(a, R1, again, offsets.psock_refcnt, underway);
                a.require(R1.equals(own + 2), underway, "no reference came or went meanwhile");
            });
        });
    });
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

//! Backpressure: the redirected messages that wait at the receiver stay within bounds.

use crate::asm::Reg::{R1, R2, R3, R6, R7, R8, R9};
use crate::asm::{Asm, Cond, FP, Label, Size};
use crate::dataplane::emit::set_flags;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::slots::VALUE_SLOT;
use crate::dataplane::gate::{deferral, epoll};
use crate::dataplane::kernel::psock::{psock, queue};
use crate::dataplane::kernel::{EpollFields, KernelOffsets, Object};
use crate::dataplane::state::{Config, Counter, MapRole, socket};
use crate::uapi::ctx::sk_msg;

/// A `struct sk_msg` comes from the slab of 1,024 bytes (760 on 6.18), whatever it carries. It counts twice: its memory
/// is not charged to the receiver, so the stack takes none the less for it.
const MESSAGE_SHIFT: i32 = 11;
/// Memory that redirected messages may pin where the sockets' buffers are small and growing. Plain TCP pins 430 to 630
/// KB over veth, where buffers begin with 46 and 128 KiB; docs/explanation/failure-modes.md has the measurement.
const GROWING_BUFFERS: i32 = 160 << 10;
/// A message of this size finds room in an empty queue, however small the buffers: the largest write of most programs.
const FIRST_BYTES: i32 = 64 << 10;
/// `SOCK_SNDBUF_LOCK` and `SOCK_RCVBUF_LOCK`, include/net/sock.h.
const SNDBUF_LOCK: i32 = 1;
const RCVBUF_LOCK: i32 = 2;
/// The peer's queue of redirected messages is within bounds; R8 is the peer's address.
pub(in crate::dataplane) fn require(a: &mut Asm, offsets: &KernelOffsets, exits: &mut Exits) {
    let stale = exits.to(a, Counter::PassStale);
    let absent = exits.to(a, Counter::PassAbsent);
    let pass_behind = exits.to(a, Counter::PassBackpressure);
    let [behind, drained, buffers, watchers, bounded] =
        ["behind", "queue_empty", "within_buffers", "watchers", "queue_bounded"].map(|name| a.label(name));
    a.comment("backpressure: what we have redirected since the peer's queue was last empty");
    psock(a, offsets, R9, R8, absent, stale);
    queue(a, offsets, R9, stale);
    a.jump(Cond::Eq, R1, R9, drained);
    a.load_map_value(R3, MapRole::Config.map_ref(), 0);
    a.load(Size::W, R1, R7, socket::BURST_MESSAGES);
    a.load(Size::W, R2, R3, Config::MAX_MESSAGES);
    a.jump(Cond::Ge, R1, R2, behind);
    a.load(Size::DW, R1, R7, socket::BURST_BYTES);
    a.load(Size::W, R2, R6, sk_msg::LENGTH);
    a.add(R1, R2);
    a.load(Size::W, R2, R3, Config::MAX_BYTES);
    a.jump(Cond::Gt, R1, R2, behind);
    deferral::require_none(a, watchers);
    a.goto(buffers);
    a.bind(drained);
    a.store(Size::W, R7, socket::BURST_MESSAGES, 0);
    a.store(Size::DW, R7, socket::BURST_BYTES, 0);
    deferral::require_none(a, exits.deferred);
    a.load(Size::W, R1, R6, sk_msg::LENGTH);
    a.jump(Cond::Le, R1, FIRST_BYTES, bounded);
    a.bind(buffers);
    if let Some(epoll) = &offsets.epoll {
        within_buffers(a, offsets, bounded, stale);
        a.bind(watchers);
        edge_triggered(a, offsets, epoll, bounded);
        deferral::require_none(a, exits.deferred);
        a.comment("a message too large for an empty queue just takes the stack");
        a.load(Size::W, R1, R7, socket::BURST_MESSAGES);
        a.jump(Cond::Eq, R1, 0, pass_behind);
    } else {
        a.bind(watchers);
        a.goto(bounded);
    }
    a.bind(behind);
    a.comment("a proven stream: the stack coalesces where redirection cannot, so the pair leaves");
    set_flags(a, socket::UNENROLLING);
    a.goto(pass_behind);
    a.bind(bounded);
}

/// Goes to `bounded` when the receiver is edge-triggered, or not accepted yet, so that nobody knows. A message that takes
/// the stack behind unread redirected ones has no event of its own, and an edge-triggered reader that stops at a short
/// read (nginx, tokio) gets one event for both and reads only the first: for those the wide bounds have to do. Any other
/// reader is told again.
fn edge_triggered(a: &mut Asm, offsets: &KernelOffsets, epoll: &EpollFields, bounded: Label) {
    epoll::each(a, offsets, epoll, bounded, |a, next| {
        epoll::require_edge(a, epoll, next);
        a.goto(bounded);
    });
}

/// Goes to `bounded` when the memory that our redirected messages pin is within 3/16 of what plain TCP may pin in
/// both sockets' buffers. Buffers whose size nobody has set still grow, so that their size now is not the last word.
fn within_buffers(a: &mut Asm, offsets: &KernelOffsets, bounded: Label, stale: Label) {
    let own = a.label("own_size");
    a.load(Size::DW, R9, R7, socket::OWN_SK);
    offsets.open(a, R9, Object::Sock);
    if let Some(locks) = offsets.buffer_locks {
        offsets.read(a, R1, Size::B, R9, locks.byte, stale);
        a.and(R1, SNDBUF_LOCK << locks.shift);
        a.store(Size::DW, FP, VALUE_SLOT, R1);
    }
    offsets.read(a, R9, Size::W, R9, offsets.sndbuf, stale);
    offsets.read(a, R1, Size::W, R8, offsets.rcvbuf, stale);
    a.add(R9, R1);
    a.rsh(R9, 4);
    a.mul(R9, 3);
    if let Some(locks) = offsets.buffer_locks {
        offsets.read(a, R1, Size::B, R8, locks.byte, stale);
        a.and(R1, RCVBUF_LOCK << locks.shift);
        a.load(Size::DW, R2, FP, VALUE_SLOT);
        a.or(R1, R2);
        a.jump(Cond::Ne, R1, 0, own);
    }
    a.jump(Cond::Ge, R9, GROWING_BUFFERS, own);
    a.mov(R9, GROWING_BUFFERS);
    a.bind(own);
    a.load(Size::W, R1, R7, socket::BURST_MESSAGES);
    a.add(R1, 1);
    a.lsh(R1, MESSAGE_SHIFT);
    a.load(Size::DW, R2, R7, socket::BURST_BYTES);
    a.add(R1, R2);
    a.load(Size::W, R2, R6, sk_msg::LENGTH);
    a.add(R1, R2);
    a.jump(Cond::Le, R1, R9, bounded);
}

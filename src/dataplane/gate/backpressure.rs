//! Backpressure: the redirected messages that wait at the receiver stay within bounds.

use crate::asm::Reg::{R1, R2, R3, R9};
use crate::asm::{Asm, Label, Ptr};
use crate::dataplane::emit::{config_at, set_flags};
use crate::dataplane::gate::deferral::Deferral;
use crate::dataplane::gate::epoll;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::roles::{PEER, uses_peer};
use crate::dataplane::kernel::ctx::{SK_MSG, SkMsg};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::kernel::psock::{psock, queue};
use crate::dataplane::kernel::{EpollFields, KernelOffsets};
use crate::dataplane::state::Counter;
use crate::dataplane::state::config::Value;
use crate::dataplane::state::socket::{self, OWN, Socket};

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
/// The peer's queue of redirected messages is within bounds.
pub(in crate::dataplane) fn require(a: &mut Asm, offsets: &KernelOffsets, deferral: Deferral, exits: &mut Exits) {
    let [stale, absent, pass_behind] =
        [Counter::PassStale, Counter::PassAbsent, Counter::PassBackpressure].map(|counter| exits.to(a, counter));
    let [behind, drained, buffers, watchers, bounded] =
        ["behind", "queue_empty", "within_buffers", "watchers", "queue_bounded"].map(|name| a.label(name));
    a.emitter("backpressure", uses_peer(), |a| {
        a.comment("backpressure: what we have redirected since the peer's queue was last empty");
        let psock = psock(a, offsets, R9, PEER, absent, stale);
        let head = queue(a, offsets, psock, stale);
        a.permit(R1.equals(head.reg()), drained, "the queue is empty");
        let config = config_at(a, R3);
        a.ld(R1, OWN, Socket::BURST_MESSAGES);
        a.ld(R2, config, Value::MAX_MESSAGES);
        a.require(R1.below(R2), behind, "few messages wait");
        a.ld(R1, OWN, Socket::BURST_BYTES);
        a.ld(R2, SK_MSG, SkMsg::LENGTH);
        a.add(R1, R2);
        a.ld(R2, config, Value::MAX_BYTES);
        a.require(R1.at_most(R2), behind, "few bytes wait");
        deferral.require_none(a, watchers, "nothing speaks for the stack while messages wait");
        a.goto(buffers);
        a.bind(drained);
        a.st(OWN, Socket::BURST_MESSAGES, 0);
        a.st(OWN, Socket::BURST_BYTES, 0);
        deferral.require_none(a, deferral.exit, "nothing speaks for the stack while none waits");
        a.ld(R1, SK_MSG, SkMsg::LENGTH);
        a.permit(R1.at_most(FIRST_BYTES), bounded, "it finds room in any empty queue");
        a.bind(buffers);
        if let Some(epoll) = &offsets.epoll {
            within_buffers(a, offsets, bounded, stale);
            a.bind(watchers);
            edge_triggered(a, offsets, epoll, bounded);
            deferral.require_none(a, deferral.exit, "nothing speaks for the stack and the reader is told again");
            a.comment("a message too large for an empty queue just takes the stack");
            a.ld(R1, OWN, Socket::BURST_MESSAGES);
            a.require(R1.differs(0), pass_behind, "the queue is not empty");
        } else {
            a.bind(watchers);
            a.goto(bounded);
        }
        a.bind(behind);
        a.comment("a proven stream: the stack coalesces where redirection cannot, so the pair leaves");
        set_flags(a, socket::UNENROLLING);
        a.goto(pass_behind);
        a.bind(bounded);
    });
}

/// Goes to `bounded` when the receiver is edge-triggered, or not accepted yet, so that this is not known. A message that takes
/// the stack behind unread redirected ones has no event of its own, and an edge-triggered reader that stops at a short
/// read (nginx, tokio) gets one event for both and reads only the first: for those the wide bounds have to do. Any other
/// reader is told again.
fn edge_triggered(a: &mut Asm, offsets: &KernelOffsets, epoll: &EpollFields, bounded: Label) {
    epoll::each(a, offsets, epoll, bounded, |a, item| {
        item.require_edge(a, item.next);
        a.goto(bounded);
    });
}

/// Goes to `bounded` when the memory that our redirected messages pin is within 3/16 of what plain TCP may pin in
/// both sockets' buffers. Buffers whose size no application has set still grow, so that their size now is not the last word.
fn within_buffers(a: &mut Asm, offsets: &KernelOffsets, bounded: Label, stale: Label) {
    a.emitter("buffers", uses_peer(), |a| {
        a.frame_below(32, |a| {
            let own_locks = a.slot::<u64>("own locks");
            let own = Ptr::<TcpSock>::new(R9);
            a.ld(own.reg(), OWN, Socket::OWN_SK);
            offsets.open(a, own);
            if let Some(locks) = offsets.buffer_locks {
                offsets.read(a, R1, own, locks.byte, stale);
                a.and(R1, SNDBUF_LOCK << locks.shift);
                a.set(own_locks, R1);
            }
            offsets.read(a, R9, own, offsets.sndbuf, stale);
            offsets.read(a, R1, PEER, offsets.rcvbuf, stale);
            a.add(R9, R1);
            a.rsh(R9, 4);
            a.mul(R9, 3);
            a.block("own_size", |a, own_size| {
                if let Some(locks) = offsets.buffer_locks {
                    offsets.read(a, R1, PEER, locks.byte, stale);
                    a.and(R1, RCVBUF_LOCK << locks.shift);
                    a.get(R2, own_locks);
                    a.or(R1, R2);
                    a.require(R1.equals(0), own_size, "both buffers still grow");
                }
                a.require(R9.below(GROWING_BUFFERS), own_size, "they are small");
                a.mov(R9, GROWING_BUFFERS);
            });
            a.ld(R1, OWN, Socket::BURST_MESSAGES);
            a.add(R1, 1);
            a.lsh(R1, MESSAGE_SHIFT);
            a.ld(R2, OWN, Socket::BURST_BYTES);
            a.add(R1, R2);
            a.ld(R2, SK_MSG, SkMsg::LENGTH);
            a.add(R1, R2);
            a.permit(R1.at_most(R9), bounded, "the memory they pin is within the buffers");
        });
    });
}

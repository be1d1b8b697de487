//! Backpressure: the redirected messages that wait at the receiver stay within bounds.

use crate::asm::Reg::{R1, R2, R3, R9};
use crate::asm::{Asm, Label, Ptr, Uses};
use crate::dataplane::emit::{config, config_at, set_flags};
use crate::dataplane::gate::deferral::Deferral;
use crate::dataplane::gate::epoll;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::pace;
use crate::dataplane::gate::roles::{PEER, uses_peer};
use crate::dataplane::kernel::ctx::{SK_MSG, SkMsg};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::kernel::psock::{psock, queue};
use crate::dataplane::kernel::{EpollFields, KernelOffsets, RCVBUF_LOCK, SNDBUF_LOCK};
use crate::dataplane::options::{Options, Streams};
use crate::dataplane::state::Counter;
use crate::dataplane::state::config::Value;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};

/// A `struct sk_msg` comes from the slab of 1,024 bytes (760 on 6.18), whatever it carries. It counts twice: its memory
/// is not charged to the receiver, so the stack takes none the less for it.
const MESSAGE_SHIFT: i32 = 11;
/// What redirected messages may pin of the memory of both sockets' buffers, in 16ths, and where these buffers are small and
/// growing. Plain TCP pins 430 to 630 KB over veth, where buffers begin with 46 and 128 KiB;
/// docs/explanation/failure-modes.md has the measurement.
#[derive(Clone, Copy)]
struct Share {
    sixteenths: i32,
    growing: i32,
}

/// For receivers that are woken again for what lies behind.
const NARROW: Share = Share { sixteenths: 3, growing: 160 << 10 };
/// For edge-triggered receivers, which are woken again after a second only: with this much they pin at most three times what
/// plain TCP does.
const WIDE: Share = Share { sixteenths: 12, growing: 640 << 10 };
/// A message of this size finds room in an empty queue, however small the buffers: the largest write of most programs.
const FIRST_BYTES: i32 = 64 << 10;

/// The peer's queue of redirected messages is within bounds.
pub(in crate::dataplane) fn require(
    a: &mut Asm,
    options: &Options,
    offsets: &KernelOffsets,
    deferral: Deferral,
    exits: &mut Exits,
) {
    let stays = options.streams() != Streams::Leave;
    let [stale, absent, pass_behind] =
        [Counter::PassStale, Counter::PassAbsent, Counter::PassBackpressure].map(|counter| exits.to(a, counter));
    let [behind, drained, buffers, watchers, bounded, full] =
        ["behind", "queue_empty", "within_buffers", "watchers", "queue_bounded", "buffer_full"]
            .map(|name| a.label(name));
    // Where nothing wakes an edge-triggered reader again, it would wait forever behind a bound that is not wide.
    let woken = offsets.readers_can_be_woken;
    let [steady, crowded] = ["steady", "crowded"].map(|name| a.label(name));
    let most = if stays { a.label("most") } else { behind };
    let over = if stays {
        crowded
    } else if woken || offsets.epoll.is_none() {
        full
    } else {
        watchers
    };
    a.emitter("backpressure", uses_peer(), |a| {
        a.comment("backpressure: what we have redirected since the peer's queue was last empty");
        let psock = psock(a, offsets, R9, PEER, absent, stale);
        let head = queue(a, offsets, psock, stale);
        a.permit(R1.equals(head.reg()), drained, "the queue is empty");
        let most_of = config_at(a, R3);
        a.ld(R1, OWN, Socket::BURST_MESSAGES);
        a.ld(R2, most_of, Value::MAX_MESSAGES);
        a.require(R1.below(R2), most, "few messages wait");
        a.ld(R1, OWN, Socket::BURST_BYTES);
        a.ld(R2, SK_MSG, SkMsg::LENGTH);
        a.add(R1, R2);
        a.ld(R2, most_of, Value::MAX_BYTES);
        a.require(R1.at_most(R2), most, "few bytes wait");
        if woken {
            fixed_buffer(a, options, offsets, over, stale);
        }
        deferral.require_none(a, watchers, "nothing speaks for the stack while messages wait");
        a.goto(buffers);
        a.bind(drained);
        a.st(OWN, Socket::BURST_MESSAGES, 0);
        a.st(OWN, Socket::BURST_BYTES, 0);
        pace::drained(a, options);
        deferral.require_none(a, deferral.exit, "nothing speaks for the stack while none waits");
        if woken {
            fixed_buffer(a, options, offsets, over, stale);
        }
        a.ld(R1, SK_MSG, SkMsg::LENGTH);
        a.permit(R1.at_most(FIRST_BYTES), bounded, "it finds room in any empty queue");
        a.bind(buffers);
        if !woken {
            fixed_buffer(a, options, offsets, over, stale);
        }
        if let Some(epoll) = &offsets.epoll {
            within_buffers(a, offsets, NARROW, bounded, stale);
            a.bind(watchers);
            if woken {
                a.block("edge_triggered", |a, edge| {
                    edge_triggered(a, offsets, epoll, edge);
                    a.goto(if stays { steady } else { full });
                });
                if stays {
                    a.comment("a reader that was not so before: what remains is for the stack alone");
                    a.block("never_stayed", |a, never| {
                        a.ld(R1, OWN, Head::FLAGS);
                        a.and(R1, socket::STAYS);
                        a.jump_if(R1.equals(0), never);
                        a.goto(full);
                    });
                }
                within_buffers(a, offsets, WIDE, bounded, stale);
                if stays {
                    a.goto(full);
                }
            } else {
                edge_triggered(a, offsets, epoll, bounded);
            }
        } else {
            a.bind(watchers);
            a.goto(bounded);
        }
        if offsets.epoll.is_some() || offsets.buffer_locks.is_some() {
            if stays {
                a.bind(steady);
                deferral.require_none(a, deferral.exit, "nothing speaks for the stack and the reader has its events");
                a.comment(
                    "where a member's FIONREAD does not see the stack's bytes, its reader may never ask for them",
                );
                config(a, R1, Value::REDIRECT_UNACCEPTED);
                a.require(R1.equals(0), full, "its FIONREAD sees the stack's bytes");
                pace::require_small(a, options, full);
                a.comment("the pair stays, and the stack carries what comes until all has been read");
                set_flags(a, socket::STAYS);
                pace::begin(a, options);
                a.goto(pass_behind);
                a.bind(most);
                jump_if_stays(a, watchers);
                a.goto(behind);
                a.bind(crowded);
                jump_if_stays(a, watchers);
            }
            a.bind(full);
            deferral.require_none(a, deferral.exit, "nothing speaks for the stack and the reader is woken again");
            a.comment("a message too large for an empty queue just takes the stack");
            a.ld(R1, OWN, Socket::BURST_MESSAGES);
            a.require(R1.differs(0), pass_behind, "the queue is not empty");
        }
        a.bind(behind);
        a.comment("a proven stream: the stack coalesces where redirection cannot, so the pair leaves");
        set_flags(a, socket::UNENROLLING);
        a.goto(pass_behind);
        a.bind(bounded);
    });
}

/// Goes to `stays` when more was unread before than the bounds permit, and the pair has stayed. Loses R1.
fn jump_if_stays(a: &mut Asm, stays: Label) {
    a.idiom("stays", Uses::nothing().reads(OWN.reg()).writes(R1), |a| {
        a.ld(R1, OWN, Head::FLAGS);
        a.jump_if(R1.any_of(socket::STAYS), stays);
    });
}

/// Goes to `edge` when the receiver is edge-triggered, or not accepted yet, so that this is not known. A message that takes
/// the stack behind unread redirected ones has no event of its own, and an edge-triggered reader that stops at a short
/// read (nginx, tokio) gets one event for both and reads only the first. Any other reader is woken again.
fn edge_triggered(a: &mut Asm, offsets: &KernelOffsets, epoll: &EpollFields, edge: Label) {
    epoll::each(a, offsets, epoll, edge, |a, item| {
        item.require_edge(a, item.next);
        a.goto(edge);
    });
}

/// Goes to `full` when the receiver's buffer has a size that the application has set, and the message would make the
/// redirected bytes in it more than a quarter of it, or more than half of what the offered window leaves. The peer has read
/// all of the stack's bytes.
///
/// Redirected bytes count in the buffer (since commit d888b7af7c14), but a window that has been offered does not shrink: with
/// more of them the stack's packets would find no room, their sender would back off, and nothing would notify it when there is
/// room again. Packets take up to a quarter more memory than the window says, also when the kernel has moved them together
/// (`tcp_collapse`, net/ipv4/tcp_input.c). Where a window takes the whole buffer, a 32nd of it remains for small messages.
fn fixed_buffer(a: &mut Asm, options: &Options, offsets: &KernelOffsets, full: Label, stale: Label) {
    let Some(locks) = offsets.buffer_locks else { return };
    a.emitter("fixed_buffer", uses_peer(), |a| {
        a.block("buffer_grows", |a, growing| {
            let measured = a.label("room_counts");
            if options.streams() != Streams::Leave {
                a.comment("the stack carries much of a stream that stays: it must find room again and again");
                jump_if_stays(a, measured);
            }
            offsets.read(a, R1, PEER, locks.byte, stale);
            a.and(R1, RCVBUF_LOCK << locks.shift);
            a.require(R1.differs(0), growing, "the buffer's size is fixed");
            a.bind(measured);
            a.comment("the window that was last offered, and a quarter: rcv_wup + rcv_wnd - copied_seq");
            offsets.read(a, R9, PEER, offsets.rcv_wup, stale);
            offsets.read(a, R1, PEER, offsets.rcv_wnd, stale);
            a.add(R9, R1);
            offsets.read(a, R1, PEER, offsets.copied_seq, stale);
            a.sub32(R9, R1);
            a.mov(R1, R9);
            a.rsh(R1, 2);
            a.add(R9, R1);
            a.comment("half of what it leaves of the buffer, and of half the buffer");
            offsets.read(a, R1, PEER, offsets.rcvbuf, stale);
            a.sub32(R9, R1);
            a.neg32(R9);
            a.rsh(R1, 1);
            a.if_(R9.w().signed_above(R1), |a| a.mov32(R9, R1));
            a.arsh32(R9, 1);
            a.rsh(R1, 4);
            a.if_(R9.w().signed_below(R1), |a| a.mov32(R9, R1));
            a.ld(R1, OWN, Socket::BURST_BYTES);
            a.ld(R2, SK_MSG, SkMsg::LENGTH);
            a.add(R1, R2);
            a.require(R1.at_most(R9), full, "they are within their share of it");
        });
    });
}

/// Goes to `bounded` when the memory that our redirected messages pin is within their share of what plain TCP may pin in
/// both sockets' buffers. Buffers whose size no application has set still grow, so that their size now is not the last word.
fn within_buffers(a: &mut Asm, offsets: &KernelOffsets, share: Share, bounded: Label, stale: Label) {
    a.emitter("buffers", uses_peer(), |a| {
        a.frame(|a| {
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
            a.mul(R9, share.sixteenths);
            a.block("own_size", |a, own_size| {
                if let Some(locks) = offsets.buffer_locks {
                    offsets.read(a, R1, PEER, locks.byte, stale);
                    a.and(R1, RCVBUF_LOCK << locks.shift);
                    a.get(R2, own_locks);
                    a.or(R1, R2);
                    a.require(R1.equals(0), own_size, "both buffers still grow");
                }
                a.require(R9.below(share.growing), own_size, "they are small");
                a.mov(R9, share.growing);
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

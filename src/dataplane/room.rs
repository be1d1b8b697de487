//! Whether there is room for a message: in the kernel's memory, and within bounds at the receiver.

use super::config::Config;
use super::counters::Counter;
use super::ctx::sk_msg;
use super::emit::{SLOTS_END, set_flags};
use super::gate::Exits;
use super::kernel::Object;
use super::leave::{psock, queue};
use super::maps::MapRole;
use super::{EpollFields, KernelOffsets, MemoryLimit, linger, storage, watchers};
use crate::asm::Reg::{R1, R2, R3, R6, R7, R8, R9};
use crate::asm::{Asm, Cond, FP, Label, Size};

/// Stack place of a number that a call would take away.
const VALUE_SLOT: i16 = SLOTS_END - 8;
/// Stack place of a group's usage.
const USAGE_SLOT: i16 = VALUE_SLOT - 8;
/// Stack place of the reason for which a message should take the stack: the place of its counter, or 0.
pub(super) const REASON_SLOT: i16 = USAGE_SLOT - 8;

/// A `struct sk_msg` comes from the slab of 1,024 bytes (760 on 6.18), whatever it carries. It counts twice: its memory
/// is not charged to the receiver, so the stack takes none the less for it.
const MESSAGE_SHIFT: i32 = 11;
/// Memory that redirected messages may pin where the sockets' buffers are small and growing. Plain TCP pins 430 to 630
/// KB over veth, where buffers begin with 46 and 128 KiB; docs/faults.md has the measurement.
const GROWING_BUFFERS: i32 = 160 << 10;
/// A message of this size finds room in an empty queue, however small the buffers: the largest write of most programs.
const FIRST_BYTES: i32 = 64 << 10;
/// `SOCK_SNDBUF_LOCK` and `SOCK_RCVBUF_LOCK`, include/net/sock.h.
const SNDBUF_LOCK: i32 = 1;
const RCVBUF_LOCK: i32 = 2;
/// The low bits of `sk_memcg` are flags on some kernels.
const GROUP_POINTER: i32 = !7;
/// Groups above each other that are looked at: kubelet makes four (kubepods, quality of service, pod, container).
const GROUP_LEVELS: usize = 6;
/// Pages that must be free below a group's limit, 2 MiB: a sender may be preempted between its verdict and the charge, and
/// meanwhile others take theirs, at least 64 at once (`MEMCG_CHARGE_BATCH`, include/linux/memcontrol.h).
const GROUP_RESERVE: i32 = 512;
/// Pages of 4 KiB: the limit is kept with some reserve, so larger ones only make it stricter.
const PAGE_SHIFT: i32 = 12;

/// The kernel has memory for sockets; R8 is the peer's address, R9 is used. A redirected message for which it has none
/// fails with ENOMEM (`bpf_tcp_ingress`), where TCP would wait.
pub(super) fn memory(a: &mut Asm, offsets: &KernelOffsets, exits: &mut Exits) {
    let stale = exits.to(a, Counter::PassStale);
    let pressure = exits.to(a, Counter::PassPressure);
    let [calm, granted] = ["memory_calm", "memory_granted"].map(|name| a.label(name));
    a.comment("memory: is TCP as a whole under pressure?");
    offsets.read(a, R9, Size::DW, R8, offsets.prot, stale);
    a.jump(Cond::Eq, R9, 0, calm);
    offsets.read(a, R9, Size::DW, R9, offsets.memory_pressure, stale);
    a.jump(Cond::Eq, R9, 0, calm);
    offsets.follow(a, R9, 0, stale);
    a.jump(Cond::Ne, R9, 0, pressure);
    a.bind(calm);
    if let Some(limit) = &offsets.memory_limit {
        groups(a, offsets, limit, granted, exits);
    }
    a.bind(granted);
}

/// The receiver's group and those above it have room for the message, and for what others send meanwhile; goes to
/// `granted`, or on. R8 is the peer, R9 is used.
///
/// A redirected message is charged to the receiver's group in its sender's call, which frees memory, kills for it, or fails
/// with ENOMEM; a packet that finds no room is dropped, and comes again.
fn groups(a: &mut Asm, offsets: &KernelOffsets, limit: &MemoryLimit, granted: Label, exits: &mut Exits) {
    let stale = exits.to(a, Counter::PassStale);
    let pressure = exits.to(a, Counter::PassPressure);
    a.comment("the receiver has been granted the memory already, or its groups have room");
    offsets.read(a, R1, Size::W, R8, limit.granted, stale);
    a.comment("whole pages of it may be given back before the message comes (`sk_mem_reclaim`)");
    a.and32(R1, (1 << PAGE_SHIFT) - 1);
    a.load(Size::W, R2, R6, sk_msg::SIZE);
    a.jump32(Cond::Sge, R1, R2, granted);
    a.mov(R9, R8);
    offsets.follow(a, R9, limit.group, stale);
    a.and(R9, GROUP_POINTER);
    a.jump(Cond::Eq, R9, 0, granted);
    a.add(R9, i32::from(limit.counter));
    for _ in 0..GROUP_LEVELS {
        a.store(Size::DW, FP, VALUE_SLOT, R9);
        offsets.follow(a, R9, limit.usage, stale);
        a.store(Size::DW, FP, USAGE_SLOT, R9);
        a.load(Size::DW, R9, FP, VALUE_SLOT);
        offsets.follow(a, R9, limit.most, stale);
        a.load(Size::DW, R2, FP, USAGE_SLOT);
        a.load(Size::W, R3, R6, sk_msg::SIZE);
        a.rsh(R3, PAGE_SHIFT);
        a.add(R2, R3);
        a.add(R2, GROUP_RESERVE);
        a.jump(Cond::Gt, R2, R9, pressure);
        a.load(Size::DW, R9, FP, VALUE_SLOT);
        offsets.follow(a, R9, limit.parent, stale);
        a.jump(Cond::Eq, R9, 0, granted);
    }
}

/// The peer's queue of redirected messages is within bounds; R8 is the peer's address.
pub(super) fn backpressure(a: &mut Asm, offsets: &KernelOffsets, exits: &mut Exits) {
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
    a.load(Size::W, R1, R7, storage::BURST_MESSAGES);
    a.load(Size::W, R2, R3, Config::MAX_MESSAGES);
    a.jump(Cond::Ge, R1, R2, behind);
    a.load(Size::DW, R1, R7, storage::BURST_BYTES);
    a.load(Size::W, R2, R6, sk_msg::SIZE);
    a.add(R1, R2);
    a.load(Size::W, R2, R3, Config::MAX_BYTES);
    a.jump(Cond::Gt, R1, R2, behind);
    linger::require_none(a, watchers);
    a.goto(buffers);
    a.bind(drained);
    a.store(Size::W, R7, storage::BURST_MESSAGES, 0);
    a.store(Size::DW, R7, storage::BURST_BYTES, 0);
    linger::require_none(a, exits.noted);
    a.load(Size::W, R1, R6, sk_msg::SIZE);
    a.jump(Cond::Le, R1, FIRST_BYTES, bounded);
    a.bind(buffers);
    if let Some(epoll) = &offsets.epoll {
        within_buffers(a, offsets, bounded, stale);
        a.bind(watchers);
        edge_triggered(a, offsets, epoll, bounded);
        linger::require_none(a, exits.noted);
        a.comment("a message too large for an empty queue just takes the stack");
        a.load(Size::W, R1, R7, storage::BURST_MESSAGES);
        a.jump(Cond::Eq, R1, 0, pass_behind);
    } else {
        a.bind(watchers);
        a.goto(bounded);
    }
    a.bind(behind);
    a.comment("a proven stream: the stack coalesces where redirection cannot, so the pair leaves");
    set_flags(a, storage::LEAVING);
    a.goto(pass_behind);
    a.bind(bounded);
}

/// Goes to `bounded` when the receiver is edge-triggered, or not accepted yet, so that nobody knows. A message that takes
/// the stack behind unread redirected ones has no event of its own, and an edge-triggered reader that stops at a short
/// read (nginx, tokio) gets one event for both and reads only the first: for those the wide bounds have to do. Any other
/// reader is told again.
fn edge_triggered(a: &mut Asm, offsets: &KernelOffsets, epoll: &EpollFields, bounded: Label) {
    watchers::each(a, offsets, epoll, bounded, |a, next| {
        watchers::require_edge(a, epoll, next);
        a.goto(bounded);
    });
}

/// Goes to `bounded` when the memory that our redirected messages pin is within 3/16 of what plain TCP may pin in
/// both sockets' buffers. Buffers whose size nobody has set still grow, so that their size now is not the last word.
fn within_buffers(a: &mut Asm, offsets: &KernelOffsets, bounded: Label, stale: Label) {
    let own = a.label("own_size");
    a.load(Size::DW, R9, R7, storage::OWN_SK);
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
    a.load(Size::W, R1, R7, storage::BURST_MESSAGES);
    a.add(R1, 1);
    a.lsh(R1, MESSAGE_SHIFT);
    a.load(Size::DW, R2, R7, storage::BURST_BYTES);
    a.add(R1, R2);
    a.load(Size::W, R2, R6, sk_msg::SIZE);
    a.add(R1, R2);
    a.jump(Cond::Le, R1, R9, bounded);
}

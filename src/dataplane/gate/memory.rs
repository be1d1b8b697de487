//! Whether the kernel has memory for a message, as a whole and in the receiver's memory groups.

use crate::asm::Reg::{R1, R2, R3, R6, R8, R9};
use crate::asm::{Asm, Cond, FP, Label, Size};
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::slots::{USAGE_SLOT, VALUE_SLOT};
use crate::dataplane::kernel::{KernelOffsets, MemoryLimit};
use crate::dataplane::state::Counter;
use crate::uapi::ctx::sk_msg;

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
pub(in crate::dataplane) fn require(a: &mut Asm, offsets: &KernelOffsets, exits: &mut Exits) {
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
    a.load(Size::W, R2, R6, sk_msg::LENGTH);
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
        a.load(Size::W, R3, R6, sk_msg::LENGTH);
        a.rsh(R3, PAGE_SHIFT);
        a.add(R2, R3);
        a.add(R2, GROUP_RESERVE);
        a.jump(Cond::Gt, R2, R9, pressure);
        a.load(Size::DW, R9, FP, VALUE_SLOT);
        offsets.follow(a, R9, limit.parent, stale);
        a.jump(Cond::Eq, R9, 0, granted);
    }
}

//! Whether the kernel has memory for a message, as a whole and in the receiver's memory groups.

use crate::asm::Reg::{R1, R2, R3, R9};
use crate::asm::{Asm, Label, Ptr};
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::roles::{PEER, uses_peer};
use crate::dataplane::kernel::ctx::{SK_MSG, SkMsg};
use crate::dataplane::kernel::objects::{MemoryGroup, PageCounter, Proto, TcpSock, Word};
use crate::dataplane::kernel::{KernelOffsets, MemoryLimit};
use crate::dataplane::state::Counter;

/// The low bits of `sk_memcg` are flags on some kernels.
const GROUP_POINTER: i32 = !7;
/// Groups above each other that are looked at: kubelet makes four (kubepods, quality of service, pod, container).
const GROUP_LEVELS: usize = 6;
/// Pages that must be free below a group's limit, 2 MiB: a sender may be preempted between its verdict and the charge, and
/// meanwhile others take theirs, at least 64 at once (`MEMCG_CHARGE_BATCH`, include/linux/memcontrol.h).
const GROUP_RESERVE: i32 = 512;
/// Pages of 4 KiB: the limit is kept with some reserve, so larger ones only make it stricter.
const PAGE_SHIFT: i32 = 12;

/// The kernel has memory for sockets. A redirected message for which it has none fails with ENOMEM (`bpf_tcp_ingress`),
/// where TCP would wait.
pub(in crate::dataplane) fn require(a: &mut Asm, offsets: &KernelOffsets, exits: &mut Exits) {
    let [stale, pressure] = [Counter::PassStale, Counter::PassPressure].map(|counter| exits.to(a, counter));
    a.emitter("memory", uses_peer(), |a| {
        a.block("memory_calm", |a, calm| {
            a.comment("memory: is TCP as a whole under pressure?");
            let (protocol, word) = (Ptr::<Proto>::new(R9), Ptr::<Word>::new(R9));
            offsets.read(a, R9, PEER, offsets.prot, stale);
            a.permit(R9.equals(0), calm, "its protocol has no memory to run out of");
            offsets.read(a, R9, protocol, offsets.memory_pressure, stale);
            a.permit(R9.equals(0), calm, "its protocol knows no pressure");
            offsets.follow(a, word, Word::VALUE, stale);
            a.require(R9.equals(0), pressure, "TCP is not under pressure");
        });
        if let Some(limit) = &offsets.memory_limit {
            a.block("memory_granted", |a, granted| groups(a, offsets, limit, granted, exits));
        }
    });
}

/// The receiver's group and those above it have room for the message, and for what others send meanwhile; goes to
/// `granted`, or on.
///
/// A redirected message is charged to the receiver's group in its sender's call, which frees memory, kills for it, or fails
/// with ENOMEM; a packet that finds no room is dropped, and comes again.
fn groups(a: &mut Asm, offsets: &KernelOffsets, limit: &MemoryLimit, granted: Label, exits: &mut Exits) {
    let [stale, pressure] = [Counter::PassStale, Counter::PassPressure].map(|counter| exits.to(a, counter));
    a.emitter("groups", uses_peer(), |a| {
        let [current, usage] = [a.slot::<u64>("group"), a.slot::<u64>("usage")];
        a.comment("the receiver has been granted the memory already, or its groups have room");
        offsets.read(a, R1, PEER, limit.granted, stale);
        a.comment("whole pages of it may be given back before the message comes (`sk_mem_reclaim`)");
        a.and32(R1, (1 << PAGE_SHIFT) - 1);
        a.ld(R2, SK_MSG, SkMsg::LENGTH);
        a.permit(R1.w().signed_at_least(R2), granted, "the memory has been granted already");
        let (receiver, group, counter) =
            (Ptr::<TcpSock>::new(R9), Ptr::<MemoryGroup>::new(R9), Ptr::<PageCounter>::new(R9));
        a.mov(receiver.reg(), PEER.reg());
        offsets.follow(a, receiver, limit.group, stale);
        a.and(group.reg(), GROUP_POINTER);
        a.permit(group.reg().equals(0), granted, "the receiver is in no group");
        a.add(group.reg(), limit.counter.offset());
        for _ in 0..GROUP_LEVELS {
            a.set(current, counter.reg());
            offsets.follow(a, counter, limit.usage, stale);
            a.set(usage, R9);
            a.get(R9, current);
            offsets.follow(a, counter, limit.most, stale);
            a.get(R2, usage);
            a.ld(R3, SK_MSG, SkMsg::LENGTH);
            a.rsh(R3, PAGE_SHIFT);
            a.add(R2, R3);
            a.add(R2, GROUP_RESERVE);
            a.require(R2.at_most(R9), pressure, "the group has room");
            a.get(R9, current);
            offsets.follow(a, counter, limit.parent, stale);
            a.permit(R9.equals(0), granted, "there is no group above");
        }
    });
}

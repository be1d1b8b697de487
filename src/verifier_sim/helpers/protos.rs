//! Signatures by helper number, from kernel/bpf/helpers.c, net/core/filter.c, net/core/sock_map.c and kernel/trace/bpf_trace.c.

use super::{Arg, Proto, Ret};
use crate::verifier_sim::spec::{Kernel, ProgType};
use crate::verifier_sim::state::reg::BtfType;
use crate::verifier_sim::state::reg::DynptrKind;

use Arg::{
    AllocSize, Anything, BtfSock, CgroupOrNull, ConstStr, Ctx, CtxOrNull, Dynptr, DynptrOut, DynptrRelease, Func, Key,
    KptrDest, LongOut, Map, Mem, MemInOut, MemOrNull, MemOut, MemOutOrNull, None as No, PerCpu, RingbufMem, Size,
    SizeOrZero, SockCommon, SpinLock, Task, TaskOrNull, Timer, Value, ValueOrNull, ValueOut,
};

/// The signature of helper `number`, if programs of type `prog` can ever call it.
pub(in crate::verifier_sim) fn proto(number: i32, prog: ProgType, kernel: Kernel) -> Option<Proto> {
    let (args, ret): (&[Arg], Ret) = match number {
        1 => (&[Map, Key], Ret::MapValueOrNull),
        2 => (&[Map, Key, Value, Anything], Ret::Int),
        3 => (&[Map, Key], Ret::Int),
        // Clocks, identities and random numbers take nothing.
        5 | 7 | 8 | 14 | 15 | 35 | 42 | 80 | 118 | 125 | 160 | 208 => (&[], Ret::Int),
        // trace_printk: the values to print are not looked at.
        6 => (&[Mem, Size], Ret::Int),
        12 => (&[Ctx, Map, Anything], Ret::Void),
        16 => (&[MemOut, Size], Ret::Int),
        17 => (if prog == ProgType::SK_MSG && kernel < Kernel::V6_18 { &[Ctx] } else { &[] }, Ret::Int),
        22 => (&[Map, Anything], Ret::Int),
        25 => (&[Ctx, Map, Anything, Mem, SizeOrZero], Ret::Int),
        37 => (&[Map, Anything], Ret::Int),
        46 => (&[Ctx], Ret::Int),
        49 => (&[Ctx, Anything, Anything, Mem, Size], Ret::Int),
        53 | 70 => (&[Ctx, Map, Key, Anything], Ret::Int),
        55 => (&[Map, Anything, MemOut, Size], Ret::Int),
        57 => (&[Ctx, Anything, Anything, MemOut, Size], Ret::Int),
        59 | 61 | 62 => (&[Ctx, Anything], Ret::Int),
        60 => (&[Ctx, Map, Anything, Anything], Ret::Int),
        63 | 90 | 91 => (&[Ctx, Anything, Anything, Anything], Ret::Int),
        71 => (&[Ctx, Map, Key, Anything], Ret::Int),
        81 => (&[Map, Anything], Ret::MapValue),
        87 => (&[Map, Value, Anything], Ret::Int),
        88 | 89 => (&[Map, ValueOut], Ret::Int),
        93 | 94 => (&[SpinLock], Ret::Void),
        96 => (&[SockCommon], Ret::TcpSockOrNull),
        105 | 106 => (&[Mem, Size, Anything, LongOut], Ret::Int),
        107 => (&[Map, BtfSock, ValueOrNull, Anything], Ret::MapValueOrNull),
        108 => (&[Map, BtfSock], Ret::Int),
        109 | 117 | 123 => (&[Anything], Ret::Int),
        112..=115 => (&[MemOut, SizeOrZero, Anything], Ret::Int),
        120 => (&[Anything, Anything, MemOut, Size], Ret::Int),
        122 => (&[CtxOrNull], Ret::Int),
        130 => (&[Map, Mem, SizeOrZero, Anything], Ret::Int),
        131 => (&[Map, AllocSize, Anything], Ret::RingbufMemOrNull),
        132 | 133 => (&[RingbufMem, Anything], Ret::Void),
        134 => (&[Map, Anything], Ret::Int),
        136 => (&[BtfSock], Ret::BtfOrNull(BtfType::Tcp6Sock)),
        137 => (&[BtfSock], Ret::BtfOrNull(BtfType::TcpSock)),
        138 => (&[BtfSock], Ret::BtfOrNull(BtfType::TcpTimewaitSock)),
        139 => (&[BtfSock], Ret::BtfOrNull(BtfType::TcpRequestSock)),
        140 => (&[BtfSock], Ret::BtfOrNull(BtfType::Udp6Sock)),
        141 => (&[Task, MemOut, SizeOrZero, Anything], Ret::Int),
        142 => (&[Ctx, MemInOut, Size, Anything], Ret::Int),
        143 => (&[Ctx, Mem, Size, Anything], Ret::Int),
        144 => (&[Ctx, Anything, Anything], Ret::Int),
        148 => (&[MemOut, SizeOrZero, Anything], Ret::Int),
        149 => (&[MemInOut, Size, Mem, Size, Anything], Ret::Int),
        153 => (&[PerCpu, Anything], Ret::Other),
        154 => (&[PerCpu], Ret::Other),
        156 => (&[Map, TaskOrNull, ValueOrNull, Anything], Ret::MapValueOrNull),
        157 => (&[Map, TaskOrNull], Ret::Int),
        158 => (&[], Ret::BtfTrusted(BtfType::Task)),
        164 => (&[Map, Func, Anything, Anything], Ret::Int),
        165 => (&[MemOutOrNull, SizeOrZero, ConstStr, MemOrNull, SizeOrZero], Ret::Int),
        169 => (&[Timer, Map, Anything], Ret::Int),
        170 => (&[Timer, Func], Ret::Int),
        171 => (&[Timer, Anything, Anything], Ret::Int),
        172 => (&[Timer], Ret::Int),
        175 => (&[Task], Ret::Btf(BtfType::PtRegs)),
        176 => (&[MemOut, SizeOrZero], Ret::Int),
        177 => (&[Mem, Size, MemOrNull, SizeOrZero], Ret::Int),
        178 => (&[BtfSock], Ret::BtfOrNull(BtfType::UnixSock)),
        180 => (&[Task, Anything, Func, Anything, Anything], Ret::Int),
        181 => (&[Anything, Func, Anything, Anything], Ret::Int),
        182 => (&[Mem, Size, ConstStr], Ret::Int),
        191 => (&[MemOut, SizeOrZero, Anything, Task, Anything], Ret::Int),
        194 => (&[KptrDest, Anything], Ret::Other),
        195 => (&[Map, Key, Anything], Ret::MapValueOrNull),
        196 => (&[SockCommon], Ret::BtfOrNull(BtfType::MptcpSock)),
        197 => (&[MemOut, SizeOrZero, Anything, DynptrOut(DynptrKind::Local)], Ret::Int),
        198 => (&[Map, Anything, Anything, DynptrOut(DynptrKind::Ringbuf)], Ret::Int),
        199 | 200 => (&[DynptrRelease, Anything], Ret::Void),
        201 => (&[MemOut, SizeOrZero, Dynptr, Anything, Anything], Ret::Int),
        202 => (&[Dynptr, Anything, Mem, SizeOrZero, Anything], Ret::Int),
        203 => (&[Dynptr, Anything, AllocSize], Ret::DynptrMemOrNull),
        209 => (&[Map, Func, Anything, Anything], Ret::Int),
        210 => (&[Map, CgroupOrNull, ValueOrNull, Anything], Ret::MapValueOrNull),
        211 => (&[Map, CgroupOrNull], Ret::Int),
        _ => return None,
    };
    let mut all = [No; 5];
    all[..args.len()].copy_from_slice(args);
    Some(Proto {
        args: all,
        ret,
        packet: matches!(number, 1..=3 | 53 | 70 | 87 | 195),
        // bpf_helper_changes_pkt_data: tail calls since 6.13 (and in later stable releases of older ones).
        moves_packet: matches!(number, 63 | 90 | 91 | 143) || (number == 12 && kernel >= Kernel::V6_12),
        sleeps: matches!(number, 148 | 191),
    })
}

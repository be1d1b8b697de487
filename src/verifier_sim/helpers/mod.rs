//! The helpers: what each takes and returns, and which program types may call it on which kernel.

pub(super) mod args;
mod availability;
pub(super) mod call;
pub(super) mod dynptr;
pub(super) mod format;
pub(super) mod map_compat;
pub(super) mod mem;
mod protos;

pub(in crate::verifier_sim) use availability::available;
pub(in crate::verifier_sim) use protos::proto;

use crate::uapi::helper::helper_name;
use crate::verifier_sim::state::reg::{BtfType, DynptrKind};

/// One argument (`enum bpf_arg_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Arg {
    /// Not looked at.
    None,
    /// Any initialised register.
    Anything,
    /// The context.
    Ctx,
    /// The context or 0.
    CtxOrNull,
    /// A map.
    Map,
    /// Memory that holds a key of the map in an earlier argument.
    Key,
    /// Memory that holds a value of that map.
    Value,
    /// Memory to which a value of that map is written.
    ValueOut,
    /// Memory that holds a value of that map, or 0.
    ValueOrNull,
    /// Memory that is read, of the size in the next argument.
    Mem,
    /// The same, or 0.
    MemOrNull,
    /// Memory that is written, of the size in the next argument; it need not be initialised.
    MemOut,
    /// The same, or 0.
    MemOutOrNull,
    /// Memory that is read and written.
    MemInOut,
    /// 8 aligned bytes that are written; they need not be initialised (`long *`).
    LongOut,
    /// The size of the memory before it, not 0.
    Size,
    /// The size of the memory before it.
    SizeOrZero,
    /// A constant: the size of the memory that is returned.
    AllocSize,
    /// A `struct bpf_spin_lock` in a map's value.
    SpinLock,
    /// A `struct bpf_timer` in a map's value.
    Timer,
    /// A socket of the types with their own access tables.
    SockCommon,
    /// The same, or a kernel's socket structure.
    BtfSock,
    /// `struct task_struct`.
    Task,
    /// The same, or 0.
    TaskOrNull,
    /// `struct cgroup`, or 0.
    CgroupOrNull,
    /// A ring buffer's record, which is released.
    RingbufMem,
    /// A string in constant map data.
    ConstStr,
    /// A subprogram.
    Func,
    /// A per-CPU variable.
    PerCpu,
    /// A pointer into the kernel in a map's value.
    KptrDest,
    /// A dynptr of any kind.
    Dynptr,
    /// Room for a dynptr that the helper makes.
    DynptrOut(DynptrKind),
    /// A dynptr with a record of a ring buffer, which is released.
    DynptrRelease,
}

/// What a helper returns (`enum bpf_return_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Ret {
    /// A number.
    Int,
    /// Nothing.
    Void,
    /// A pointer to a value of the map.
    MapValue,
    /// The same, or 0.
    MapValueOrNull,
    /// `struct bpf_tcp_sock`, or 0.
    TcpSockOrNull,
    /// Memory of the size in an argument, in a ring buffer, or 0.
    RingbufMemOrNull,
    /// Memory of the size in an argument, which a dynptr describes, or 0.
    DynptrMemOrNull,
    /// A kernel structure, or 0.
    BtfOrNull(BtfType),
    /// A kernel structure.
    Btf(BtfType),
    /// A kernel structure that stays valid.
    BtfTrusted(BtfType),
    /// Depends on things that are not simulated.
    Other,
}

/// How one helper may be called (`struct bpf_func_proto`).
#[derive(Clone, Copy, Debug)]
pub(in crate::verifier_sim) struct Proto {
    /// Arguments in r1 to r5.
    pub(in crate::verifier_sim) args: [Arg; 5],
    /// Result in r0.
    pub(in crate::verifier_sim) ret: Ret,
    /// Arguments may point into the packet.
    pub(in crate::verifier_sim) packet: bool,
    /// Packet pointers are stale afterwards.
    pub(in crate::verifier_sim) moves_packet: bool,
    /// Only for programs that may sleep.
    pub(in crate::verifier_sim) sleeps: bool,
}

/// Helper `number` as the kernel's messages name it.
pub(in crate::verifier_sim) fn name(number: i32) -> String {
    match helper_name(number).filter(|_| exists(number)) {
        Some(name) => format!("bpf_{}", name.trim_start_matches("bpf_")),
        None => "unknown".to_owned(),
    }
}

/// Whether the newest kernels know helper `number` at all: 211 is the last, kfuncs took over.
pub(in crate::verifier_sim) fn exists(number: i32) -> bool {
    (0..=211).contains(&number)
}

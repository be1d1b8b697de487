//! What the simulator is given: a program with its maps, and the kernel it is meant for. Plain data, no kernel objects.

use std::fmt;
use std::str::FromStr;

use super::types::KernelTypes;
use crate::asm::Insn;

/// A program as `BPF_PROG_LOAD` would receive it, with its maps described instead of opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramSpec {
    /// A name for messages; the kernel's 15-character limit is not applied.
    pub name: String,
    /// The program type.
    pub prog_type: ProgType,
    /// `expected_attach_type` of the load attributes (`enum bpf_attach_type`), 0 when unused.
    pub expected_attach_type: u32,
    /// `prog_flags` of the load attributes (`BPF_F_STRICT_ALIGNMENT` and so on).
    pub prog_flags: u32,
    /// The instruction slots.
    pub insns: Vec<Insn>,
    /// The maps that the program refers to.
    pub maps: Vec<MapSpec>,
    /// Which 64-bit immediate loads refer to which map. A map load that is not listed here stands for a bad descriptor.
    pub map_loads: Vec<MapLoad>,
    /// Where in the Rust source each slot was emitted, when the program came from our assembler; may be empty.
    pub origins: Vec<Option<Origin>>,
}

/// "The 64-bit immediate load at slot `insn` loads map number `map`."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapLoad {
    /// Index of the first of the two slots.
    pub insn: usize,
    /// Index in [`ProgramSpec::maps`].
    pub map: usize,
}

/// A place in Rust source code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// File as the compiler knows it.
    pub file: &'static str,
    /// Line, from 1.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file, self.line)
    }
}

/// A map as `BPF_MAP_CREATE` would receive it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapSpec {
    /// `enum bpf_map_type`; see [`map_type`].
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Number of entries, or bytes for ring buffers.
    pub max_entries: u32,
    /// `BPF_F_*` flags of the map.
    pub map_flags: u32,
    /// Special fields that BTF declares inside the value.
    pub special: Vec<SpecialField>,
    /// The template of the inner maps, for maps of maps.
    pub inner: Option<Box<MapSpec>>,
    /// The first value, when the map was filled before the program was loaded (constant data).
    pub data: Option<Vec<u8>>,
    /// Whether user space froze the map.
    pub frozen: bool,
}

/// A field of a map value that the kernel manages itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialField {
    /// The BTF type's name: `bpf_spin_lock`, `bpf_timer`, `bpf_list_head`, ...
    pub name: String,
    /// Byte offset in the value.
    pub offset: u32,
}

/// Map types by number (`enum bpf_map_type`, include/uapi/linux/bpf.h).
pub mod map_type {
    #![allow(missing_docs, reason = "the names are the kernel's, less BPF_MAP_TYPE_")]
    pub const UNSPEC: u32 = 0;
    pub const HASH: u32 = 1;
    pub const ARRAY: u32 = 2;
    pub const PROG_ARRAY: u32 = 3;
    pub const PERF_EVENT_ARRAY: u32 = 4;
    pub const PERCPU_HASH: u32 = 5;
    pub const PERCPU_ARRAY: u32 = 6;
    pub const STACK_TRACE: u32 = 7;
    pub const CGROUP_ARRAY: u32 = 8;
    pub const LRU_HASH: u32 = 9;
    pub const LRU_PERCPU_HASH: u32 = 10;
    pub const LPM_TRIE: u32 = 11;
    pub const ARRAY_OF_MAPS: u32 = 12;
    pub const HASH_OF_MAPS: u32 = 13;
    pub const DEVMAP: u32 = 14;
    pub const SOCKMAP: u32 = 15;
    pub const CPUMAP: u32 = 16;
    pub const XSKMAP: u32 = 17;
    pub const SOCKHASH: u32 = 18;
    pub const CGROUP_STORAGE: u32 = 19;
    pub const REUSEPORT_SOCKARRAY: u32 = 20;
    pub const PERCPU_CGROUP_STORAGE: u32 = 21;
    pub const QUEUE: u32 = 22;
    pub const STACK: u32 = 23;
    pub const SK_STORAGE: u32 = 24;
    pub const DEVMAP_HASH: u32 = 25;
    pub const STRUCT_OPS: u32 = 26;
    pub const RINGBUF: u32 = 27;
    pub const INODE_STORAGE: u32 = 28;
    pub const TASK_STORAGE: u32 = 29;
    pub const BLOOM_FILTER: u32 = 30;
    pub const USER_RINGBUF: u32 = 31;
    pub const CGRP_STORAGE: u32 = 32;
    pub const ARENA: u32 = 33;
    pub const INSN_ARRAY: u32 = 34;

    /// The names that `bpftool map` and libbpf use, by number.
    const NAMES: [&str; 35] = [
        "unspec",
        "hash",
        "array",
        "prog_array",
        "perf_event_array",
        "percpu_hash",
        "percpu_array",
        "stack_trace",
        "cgroup_array",
        "lru_hash",
        "lru_percpu_hash",
        "lpm_trie",
        "array_of_maps",
        "hash_of_maps",
        "devmap",
        "sockmap",
        "cpumap",
        "xskmap",
        "sockhash",
        "cgroup_storage",
        "reuseport_sockarray",
        "percpu_cgroup_storage",
        "queue",
        "stack",
        "sk_storage",
        "devmap_hash",
        "struct_ops",
        "ringbuf",
        "inode_storage",
        "task_storage",
        "bloom_filter",
        "user_ringbuf",
        "cgrp_storage",
        "arena",
        "insn_array",
    ];

    /// The type with this name, as in `lru_hash` or `BPF_MAP_TYPE_LRU_HASH`.
    pub fn from_name(name: &str) -> Option<u32> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("bpf_map_type_").unwrap_or(&name);
        NAMES.iter().position(|known| *known == name).map(|number| number as u32)
    }

    /// The name of a type, when it has one.
    pub fn name(number: u32) -> Option<&'static str> {
        NAMES.get(number as usize).copied()
    }
}

/// Program types by number (`enum bpf_prog_type`, include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProgType(pub u32);

impl ProgType {
    /// `BPF_PROG_TYPE_SOCK_OPS`.
    pub const SOCK_OPS: Self = Self(13);
    /// `BPF_PROG_TYPE_SK_MSG`.
    pub const SK_MSG: Self = Self(16);

    /// The names that `bpftool prog` and libbpf use, by number.
    const NAMES: [&'static str; 33] = [
        "unspec",
        "socket_filter",
        "kprobe",
        "sched_cls",
        "sched_act",
        "tracepoint",
        "xdp",
        "perf_event",
        "cgroup_skb",
        "cgroup_sock",
        "lwt_in",
        "lwt_out",
        "lwt_xmit",
        "sock_ops",
        "sk_skb",
        "cgroup_device",
        "sk_msg",
        "raw_tracepoint",
        "cgroup_sock_addr",
        "lwt_seg6local",
        "lirc_mode2",
        "sk_reuseport",
        "flow_dissector",
        "cgroup_sysctl",
        "raw_tracepoint_writable",
        "cgroup_sockopt",
        "tracing",
        "struct_ops",
        "ext",
        "lsm",
        "sk_lookup",
        "syscall",
        "netfilter",
    ];

    /// The type with this name, as in `sk_msg`.
    pub fn from_name(name: &str) -> Option<Self> {
        let number = Self::NAMES.iter().position(|known| *known == name)?;
        Some(Self(number as u32))
    }

    /// The name of this type, when it has one.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.get(self.0 as usize).copied()
    }
}

impl fmt::Display for ProgType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => out.write_str(name),
            None => write!(out, "program type {}", self.0),
        }
    }
}

/// The kernels whose rules are simulated. They are ordered: a newer one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kernel {
    /// Linux 5.10.
    V5_10,
    /// Linux 6.1.
    V6_1,
    /// Linux 6.12.
    V6_12,
    /// Linux 6.18.
    #[default]
    V6_18,
}

impl Kernel {
    /// All simulated kernels, oldest first.
    pub const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::V6_18];

    /// The release as `major.minor`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V6_18 => "6.18",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A kernel release that is not simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the simulator has no rules for kernel {0:?}; choose one of 5.10, 6.1, 6.12, 6.18")]
pub struct UnknownKernel(pub String);

impl FromStr for Kernel {
    type Err = UnknownKernel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kernel| kernel.name() == text).ok_or_else(|| UnknownKernel(text.to_owned()))
    }
}

/// Who loads the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Privilege {
    /// CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, or root.
    #[default]
    Full,
    /// CAP_BPF and CAP_NET_ADMIN without CAP_PERFMON: no pointer leaks, speculation-safe arithmetic.
    NoPerfmon,
    /// Neither; the kernel refuses both of our types from such a caller before it looks at the program.
    None,
}

/// The settings of one verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whose rules apply.
    pub kernel: Kernel,
    /// Who loads the program.
    pub privilege: Privilege,
    /// How much log to keep.
    pub log: LogLevel,
    /// Possible CPUs of the machine, which bound `bpf_get_smp_processor_id`; 0 if that is not known.
    pub cpus: u32,
    /// The types of the kernel, for programs that follow its structures or call its functions.
    pub types: Option<&'static KernelTypes>,
}

/// How much of the kernel's log is produced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// None: only the verdict.
    #[default]
    None,
    /// The whole log: each instruction with the registers it changed, as with the kernel's log level 2.
    Full,
}

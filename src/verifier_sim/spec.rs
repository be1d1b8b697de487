//! What the simulator is given: a program with its maps, and the kernel it is meant for. Plain data, no kernel objects.

use std::fmt;
use std::sync::Arc;

use super::types::{KernelTypes, ProgramTypes};
use crate::asm::Insn;

pub use super::types::fields::SpecialField;
pub use crate::uapi::{Kernel, MapType, ProgType, UnknownKernel};

/// A program as `BPF_PROG_LOAD` would receive it, with its maps described instead of opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramSpec {
    /// A name for messages; the kernel's 15-character limit is not applied.
    pub name: String,
    /// The program type.
    pub prog_type: ProgType,
    /// `expected_attach_type` of the load attributes (`enum bpf_attach_type`), 0 when unused.
    pub expected_attach_type: u32,
    /// What a tracing program traces: the function, the trace point or the iterator, without a prefix (`sched_switch`,
    /// `task_file`). What the load attributes say by its BTF ID.
    pub attach_target: Option<String>,
    /// `prog_flags` of the load attributes (`BPF_F_STRICT_ALIGNMENT` and so on).
    pub prog_flags: u32,
    /// The instruction slots.
    pub insns: Vec<Insn>,
    /// The maps that the program refers to.
    pub maps: Vec<MapSpec>,
    /// Which 64-bit immediate loads refer to which map. A map load that is not listed here stands for a bad descriptor.
    pub map_loads: Vec<MapLoad>,
    /// What its BTF says of its functions (`func_info` of the load attributes), in order of their start; empty without BTF.
    pub functions: Vec<FunctionSpec>,
    /// The BTF that it and its maps are loaded with: the structures that it allocates.
    pub types: Option<Arc<ProgramTypes>>,
    /// Whether its license is not compatible with the GPL.
    pub not_gpl: bool,
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

/// A function, as BTF describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSpec {
    /// Its name.
    pub name: String,
    /// Its first slot.
    pub insn: usize,
    /// Whether it is global: then it is judged alone, for all arguments of the declared types.
    pub global: bool,
    /// Whether it returns a number: an integer or an enumeration.
    pub returns_number: bool,
    /// The arguments.
    pub arguments: Vec<Argument>,
}

/// The type of an argument of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Argument {
    /// An integer or an enumeration.
    Number,
    /// The context of the program's type.
    Context,
    /// Memory that may be read and written.
    Memory {
        /// Its size in bytes.
        size: u32,
        /// Whether the pointer may be NULL.
        nullable: bool,
    },
    /// Anything else, for which there are no rules here.
    Other,
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
    /// The name that the kernel's log shows; may be empty.
    pub name: String,
    /// The kind of map.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Number of entries, or bytes for ring buffers.
    pub max_entries: u32,
    /// `BPF_F_*` flags of the map.
    pub map_flags: u32,
    /// Whether BTF describes its values.
    pub typed: bool,
    /// Special fields that BTF declares inside the value.
    pub special: Vec<SpecialField>,
    /// The template of the inner maps, for maps of maps.
    pub inner: Option<Box<MapSpec>>,
    /// The first value, when the map was filled before the program was loaded (constant data).
    pub data: Option<Vec<u8>>,
    /// Whether user space froze the map.
    pub frozen: bool,
}

impl MapSpec {
    /// `BPF_F_RDONLY_PROG` (include/uapi/linux/bpf.h): programs may not write.
    pub(super) const RDONLY_PROG: u32 = 1 << 7;
}

/// Who loads the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Privilege {
    /// CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, or root.
    #[default]
    Full,
    /// CAP_BPF and CAP_NET_ADMIN without CAP_PERFMON: no pointer leaks, speculation-safe arithmetic.
    NoPerfmon,
    /// CAP_BPF alone: the same, and only socket filters and cgroup_skb programs.
    BpfOnly,
    /// None of them; the kernel refuses most types from such a caller before it looks at the program.
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
#[non_exhaustive]
pub enum LogLevel {
    /// None: only the verdict.
    #[default]
    None,
    /// The whole log: each instruction with the registers it changed, as with the kernel's log level 2.
    Full,
}

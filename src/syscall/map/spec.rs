//! What a map is to be: plain data, no kernel needed.

use std::fmt;
use std::os::fd::BorrowedFd;

use bitflags::bitflags;

macro_rules! map_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// `enum bpf_map_type` of `include/uapi/linux/bpf.h`. Types that have no name here keep their number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum MapType { $($(#[$doc])* $name,)* /// A type by number.
            Other(u32) }

        impl MapType {
            /// The kernel's number.
            pub fn number(self) -> u32 {
                match self { $(Self::$name => $value,)* Self::Other(number) => number }
            }
            /// The type with the kernel's `number`.
            pub fn from_number(number: u32) -> Self {
                match number { $($value => Self::$name,)* number => Self::Other(number) }
            }
        }

        impl fmt::Display for MapType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$name => f.write_str($text),)* Self::Other(number) => write!(f, "type {number}") }
            }
        }
    };
}

map_types! {
    /// Hash table.
    Hash = 1, "hash";
    /// Array, keys are 4-byte indices.
    Array = 2, "array";
    /// Array of programs for tail calls.
    ProgArray = 3, "prog_array";
    /// Array of perf event buffers.
    PerfEventArray = 4, "perf_event_array";
    /// Hash table with a value for every CPU.
    PercpuHash = 5, "percpu_hash";
    /// Array with a value for every CPU.
    PercpuArray = 6, "percpu_array";
    /// Hash table that drops the least recently used entries when full.
    LruHash = 9, "lru_hash";
    /// [`MapType::LruHash`] with a value for every CPU.
    LruPercpuHash = 10, "lru_percpu_hash";
    /// Longest prefix match.
    LpmTrie = 11, "lpm_trie";
    /// Array of maps.
    ArrayOfMaps = 12, "array_of_maps";
    /// Hash table of maps.
    HashOfMaps = 13, "hash_of_maps";
    /// Array of sockets.
    Sockmap = 15, "sockmap";
    /// Hash table of sockets.
    Sockhash = 18, "sockhash";
    /// First in, first out.
    Queue = 22, "queue";
    /// Last in, first out.
    Stack = 23, "stack";
    /// Storage tied to sockets; needs BTF for key and value, and `NO_PREALLOC`.
    SkStorage = 24, "sk_storage";
    /// Ring buffer shared by all CPUs (5.8).
    Ringbuf = 27, "ringbuf";
    /// Storage tied to tasks (5.11).
    TaskStorage = 29, "task_storage";
    /// Storage tied to cgroups (6.2).
    CgrpStorage = 32, "cgrp_storage";
}

impl MapType {
    /// Whether a value of it, seen from user space, is one value for every possible CPU.
    pub fn is_per_cpu(self) -> bool {
        // 21 is the per-CPU cgroup storage.
        matches!(self, Self::PercpuHash | Self::PercpuArray | Self::LruPercpuHash | Self::Other(21))
    }
}

bitflags! {
    /// Flags of BPF_MAP_CREATE (`include/uapi/linux/bpf.h`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MapFlags: u32 {
        /// Allocate entries when they are made, not all at once.
        const NO_PREALLOC = 1 << 0;
        /// One list of recently used entries for each CPU.
        const NO_COMMON_LRU = 1 << 1;
        /// User space may only read.
        const RDONLY = 1 << 3;
        /// User space may only write.
        const WRONLY = 1 << 4;
        /// Hash with a known seed; for tests.
        const ZERO_SEED = 1 << 6;
        /// Programs may only read.
        const RDONLY_PROG = 1 << 7;
        /// Programs may only write.
        const WRONLY_PROG = 1 << 8;
        /// Socket storage follows accept(2).
        const CLONE = 1 << 9;
        /// The values can be mapped into memory (arrays, 5.5).
        const MMAPABLE = 1 << 10;
        /// Inner arrays may differ in size.
        const INNER_MAP = 1 << 12;
        // Whatever else a kernel reports is kept.
        const _ = !0;
    }
}

bitflags! {
    /// Flags of BPF_MAP_UPDATE_ELEM and BPF_MAP_LOOKUP_ELEM. None: create or replace (`BPF_ANY`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct UpdateFlags: u64 {
        /// Only create (`BPF_NOEXIST`).
        const NO_EXIST = 1;
        /// Only replace (`BPF_EXIST`).
        const EXIST = 2;
        /// Take the value's spin lock (`BPF_F_LOCK`).
        const LOCK = 4;
    }
}

/// The types of a map's keys and values.
#[derive(Clone, Copy, Debug)]
pub struct MapBtf<'a> {
    /// A loaded BTF object ([`crate::syscall::BtfObject`]).
    pub fd: BorrowedFd<'a>,
    /// The key's type in it.
    pub key_type_id: u32,
    /// The value's type in it.
    pub value_type_id: u32,
}

/// What BPF_MAP_CREATE is asked for.
#[derive(Clone, Copy, Debug)]
pub struct MapSpec<'a> {
    /// At most 15 bytes of letters, digits, `_` and `.`.
    pub name: &'a str,
    /// The kind of map.
    pub map_type: MapType,
    /// Bytes in a key.
    pub key_size: u32,
    /// Bytes in a value.
    pub value_size: u32,
    /// The most entries it can hold; for a ring buffer its bytes (a power of two and a multiple of the page size).
    pub max_entries: u32,
    /// Flags.
    pub flags: MapFlags,
    /// Types of key and value; [`MapType::SkStorage`] must have them.
    pub btf: Option<MapBtf<'a>>,
    /// A sample of the maps in a map of maps.
    pub inner: Option<BorrowedFd<'a>>,
}

impl<'a> MapSpec<'a> {
    /// A map without flags, types and inner map.
    pub fn new(name: &'a str, map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self { name, map_type, key_size, value_size, max_entries, flags: MapFlags::empty(), btf: None, inner: None }
    }

    /// The same with `flags`.
    pub fn flags(self, flags: MapFlags) -> Self {
        Self { flags, ..self }
    }

    /// The same with the types of key and value.
    pub fn btf(self, btf: MapBtf<'a>) -> Self {
        Self { btf: Some(btf), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_are_inverse() {
        for number in 0..64 {
            assert_eq!(MapType::from_number(number).number(), number);
        }
        assert_eq!(MapType::from_number(18), MapType::Sockhash);
        assert_eq!(MapType::Sockhash.to_string(), "sockhash");
        assert_eq!(MapType::Other(63).to_string(), "type 63");
    }
}

//! What a map is to be: plain data, no kernel needed.

use std::os::fd::BorrowedFd;

use bitflags::bitflags;

use crate::uapi::MapType;

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
    /// Types of key and value; [`MapType::SK_STORAGE`] must have them.
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

//! What the kernel says of a program.

use std::os::fd::BorrowedFd;

use crate::syscall::attr::OBJ_NAME_LEN;
use crate::syscall::error::Result;
use crate::syscall::map::info::{fill, name};
use crate::syscall::sys;
use crate::uapi::ProgType;

/// `struct bpf_prog_info` up to `verified_insns` (5.16); shorter kernels leave the end zero.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Raw {
    r#type: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; OBJ_NAME_LEN],
    ifindex: u32,
    gpl_compatible: u32,
    netns_dev: u64,
    netns_ino: u64,
    nr_jited_ksyms: u32,
    nr_jited_func_lens: u32,
    jited_ksyms: u64,
    jited_func_lens: u64,
    btf_id: u32,
    func_info_rec_size: u32,
    func_info: u64,
    nr_func_info: u32,
    nr_line_info: u32,
    line_info: u64,
    jited_line_info: u64,
    nr_jited_line_info: u32,
    line_info_rec_size: u32,
    jited_line_info_rec_size: u32,
    nr_prog_tags: u32,
    prog_tags: u64,
    run_time_ns: u64,
    run_cnt: u64,
    recursion_misses: u64,
    verified_insns: u32,
    attach_btf_obj_id: u32,
}
// Offset of `attach_btf_id` in include/uapi/linux/bpf.h.
const _: () = assert!(size_of::<Raw>() == 224);

/// Facts of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgInfo {
    /// The kernel's number for it; never used twice until it wraps.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// The kind of program.
    pub prog_type: ProgType,
    /// Hash over its instructions (before relocation).
    pub tag: [u8; 8],
    /// Bytes of instructions after the verifier's rewriting; 0 when the kernel hides them.
    pub xlated_len: u32,
    /// Bytes of machine code; 0 when it is interpreted.
    pub jited_len: u32,
    /// The maps it uses.
    pub map_ids: Vec<u32>,
    /// When it was loaded, nanoseconds since boot.
    pub load_time_ns: u64,
    /// Nanoseconds it has run, while statistics were on.
    pub run_time_ns: u64,
    /// How often it has run, while statistics were on.
    pub run_count: u64,
    /// Instructions the verifier has walked (5.16; 0 before).
    pub verified_insns: u32,
    /// Its BTF object's number, or 0.
    pub btf_id: u32,
    /// How many functions it has debug information about.
    pub func_infos: u32,
    /// How many source lines it has debug information about.
    pub line_infos: u32,
}

pub(super) fn of(fd: BorrowedFd<'_>) -> Result<ProgInfo> {
    let mut raw = [Raw::default()];
    fill(fd, &mut raw, "the program")?;
    // A second time with room for the map ids (their number is fixed once the program is loaded, but BPF_PROG_BIND_MAP
    // may add some; the kernel writes no more than there is room for, and says how many there are).
    let mut map_ids = vec![0_u32; raw[0].nr_map_ids as usize];
    raw = [Raw { nr_map_ids: map_ids.len() as u32, map_ids: sys::address_mut(&mut map_ids), ..Raw::default() }];
    fill(fd, &mut raw, "the program")?;
    let [raw] = raw;
    map_ids.truncate(raw.nr_map_ids as usize);
    Ok(ProgInfo {
        id: raw.id,
        name: name(&raw.name),
        prog_type: ProgType(raw.r#type),
        tag: raw.tag,
        xlated_len: raw.xlated_prog_len,
        jited_len: raw.jited_prog_len,
        map_ids,
        load_time_ns: raw.load_time,
        run_time_ns: raw.run_time_ns,
        run_count: raw.run_cnt,
        verified_insns: raw.verified_insns,
        btf_id: raw.btf_id,
        func_infos: raw.nr_func_info,
        line_infos: raw.nr_line_info,
    })
}

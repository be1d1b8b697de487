//! The views of `union bpf_attr` (`include/uapi/linux/bpf.h`) that the commands of [`super::sys`] take, with the
//! kernel's field names.
//!
//! A view ends at the last field that is used: the kernel takes the missing rest as zero, and an older kernel takes a
//! longer view as long as the bytes it does not know are zero. Gaps are spelled out (`_pad`), since the kernel reads
//! them too.

use super::sys::Attr;

/// `BPF_OBJ_NAME_LEN`: an object's name with its closing zero.
pub(super) const OBJ_NAME_LEN: usize = 16;

macro_rules! attr {
    ($(#[$doc:meta])* $name:ident, $size:literal { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $type,)* }
        // No padding: the fields add up to the size, which is the end of the last field in the kernel's header.
        const _: () = assert!(size_of::<$name>() == $size && 0 $(+ size_of::<$type>())* == $size);
        // SAFETY: repr(C) with the kernel's field order and types; the assertion above excludes padding.
        unsafe impl Attr for $name {}
    };
}

attr! {
    /// BPF_MAP_CREATE.
    MapCreate, 64 {
        map_type: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32, inner_map_fd: u32,
        numa_node: u32, map_name: [u8; OBJ_NAME_LEN], map_ifindex: u32, btf_fd: u32, btf_key_type_id: u32,
        btf_value_type_id: u32, btf_vmlinux_value_type_id: u32,
    }
}
attr! {
    /// BPF_MAP_LOOKUP_ELEM, _UPDATE_ELEM, _DELETE_ELEM, _LOOKUP_AND_DELETE_ELEM, _GET_NEXT_KEY (`value` is `next_key`)
    /// and BPF_MAP_FREEZE (`map_fd` alone).
    MapElem, 32 { map_fd: u32, _pad: u32, key: u64, value: u64, flags: u64, }
}
attr! {
    /// BPF_PROG_LOAD.
    ProgLoad, 144 {
        prog_type: u32, insn_cnt: u32, insns: u64, license: u64, log_level: u32, log_size: u32, log_buf: u64,
        kern_version: u32, prog_flags: u32, prog_name: [u8; OBJ_NAME_LEN], prog_ifindex: u32,
        expected_attach_type: u32, prog_btf_fd: u32, func_info_rec_size: u32, func_info: u64, func_info_cnt: u32,
        line_info_rec_size: u32, line_info: u64, line_info_cnt: u32, attach_btf_id: u32, attach_btf_obj_fd: u32,
        core_relo_cnt: u32, fd_array: u64, core_relos: u64, core_relo_rec_size: u32, log_true_size: u32,
    }
}
attr! {
    /// BPF_OBJ_PIN and BPF_OBJ_GET.
    Obj, 16 { pathname: u64, bpf_fd: u32, file_flags: u32, }
}
attr! {
    /// BPF_PROG_ATTACH and BPF_PROG_DETACH.
    ProgAttach, 20 { target_fd: u32, attach_bpf_fd: u32, attach_type: u32, attach_flags: u32, replace_bpf_fd: u32, }
}
attr! {
    /// BPF_{PROG,MAP,BTF,LINK}_GET_NEXT_ID and _GET_FD_BY_ID.
    GetId, 12 { id: u32, next_id: u32, open_flags: u32, }
}
attr! {
    /// BPF_OBJ_GET_INFO_BY_FD.
    Info, 16 { bpf_fd: u32, info_len: u32, info: u64, }
}
attr! {
    /// BPF_PROG_QUERY.
    ProgQuery, 32 {
        target_fd: u32, attach_type: u32, query_flags: u32, attach_flags: u32, prog_ids: u64, prog_cnt: u32, _pad: u32,
    }
}
attr! {
    /// BPF_BTF_LOAD.
    BtfLoad, 32 {
        btf: u64, btf_log_buf: u64, btf_size: u32, btf_log_size: u32, btf_log_level: u32, btf_log_true_size: u32,
    }
}
attr! {
    /// BPF_LINK_CREATE; the union at the end is taken as that of iterators.
    LinkCreate, 32 {
        prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, iter_info: u64, iter_info_len: u32, _pad: u32,
    }
}
attr! {
    /// BPF_LINK_UPDATE.
    LinkUpdate, 16 { link_fd: u32, new_prog_fd: u32, flags: u32, old_prog_fd: u32, }
}
attr! {
    /// BPF_LINK_DETACH (`link_fd`) and BPF_ENABLE_STATS (`type`): a single number.
    Single, 4 { value: u32, }
}
attr! {
    /// BPF_ITER_CREATE.
    IterCreate, 8 { link_fd: u32, flags: u32, }
}

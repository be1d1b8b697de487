//! What a program is to be: plain data, no kernel needed.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use crate::uapi::{AttachType, ProgType};

/// Types and source lines of a program, in the binary form of `struct bpf_func_info` and `struct bpf_line_info`.
#[derive(Clone, Copy, Debug)]
pub struct DebugInfo<'a> {
    /// A loaded BTF object that the records refer to.
    pub btf: BorrowedFd<'a>,
    /// Records of `struct bpf_func_info` (8 bytes each); empty for none.
    pub func_info: &'a [u8],
    /// Records of `struct bpf_line_info` (16 bytes each); empty for none.
    pub line_info: &'a [u8],
}

/// What BPF_PROG_LOAD is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ProgSpec<'a> {
    /// At most 15 bytes of letters, digits, `_` and `.`.
    pub name: &'a str,
    /// The kind of program.
    pub prog_type: ProgType,
    /// Where it is to be attached, for the types that want to know at load time.
    pub expected_attach_type: Option<AttachType>,
    /// Instructions, 8 bytes each, in this machine's byte order.
    pub insns: &'a [u8],
    /// The licence declared to the kernel; many helpers want one compatible with the GPL.
    pub license: &'a CStr,
    /// `BPF_F_STRICT_ALIGNMENT` and the like.
    pub flags: u32,
    /// The BTF id of the kernel's function, trace point or iterator it attaches to; 0 for none.
    pub attach_btf_id: u32,
    /// Types and source lines.
    pub debug: Option<DebugInfo<'a>>,
    /// How much the verifier writes when the program is refused: bits 1 (branches), 2 (every instruction), 4
    /// (statistics); [`ProgSpec::new`] sets 1.
    pub log_level: u32,
}

impl<'a> ProgSpec<'a> {
    /// A program under `GPL`, without flags and debug information.
    pub fn new(name: &'a str, prog_type: ProgType, insns: &'a [u8]) -> Self {
        Self {
            name,
            prog_type,
            expected_attach_type: None,
            insns,
            license: c"GPL",
            flags: 0,
            attach_btf_id: 0,
            debug: None,
            log_level: 1,
        }
    }
}

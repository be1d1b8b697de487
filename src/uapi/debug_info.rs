//! The records that tie instructions to functions and lines.

/// Size of `struct bpf_func_info`.
pub const FUNC_INFO_SIZE: usize = 8;
/// Size of `struct bpf_line_info`.
pub const LINE_INFO_SIZE: usize = 16;

//! The kernel's ABI for BPF programs, as numbers and names, each of them once.
//!
//! Plain data: nothing here calls a kernel, and nothing here knows what a program does with the numbers. The names are
//! the kernel's, without their common prefix. Where a comment names no other file, the source is
//! `include/uapi/linux/bpf.h`.

mod attach_type;
pub mod ctx;
pub mod debug_info;
pub mod flags;
pub mod helper;
mod map_type;
pub mod net;
mod number;
mod prog_type;
mod release;
pub mod system_call;

pub use attach_type::AttachType;
pub use map_type::MapType;
pub use prog_type::ProgType;
pub use release::{Kernel, UnknownKernel};

//! BTF, the binary form of type information (Documentation/bpf/btf.rst): [`Btf`] reads it, [`BtfBuilder`] makes it.
//!
//! Used for the kernel's own types (`/sys/kernel/btf/vmlinux`), for the types of map definitions in an ELF object, and for
//! the debug information of programs. Nothing here calls a kernel.
//!
//! ```text
//! header   magic u16 | version u8 | flags u8 | hdr_len u32 | type_off u32 | type_len u32 | str_off u32 | str_len u32
//! type     name_off u32 | info u32 | size or type u32 | what the kind adds
//! info     kind_flag:1 | 0:2 | kind:5 | 0:8 | vlen:16
//! member   name_off u32 | type u32 | offset u32: bits, or with kind_flag the width of a bit field in the upper 8
//! ```

mod builder;
mod error;
mod kind;
mod number;
mod order;
mod path;
mod reader;

pub use builder::{BtfBuilder, Linkage};
pub use error::Error;
pub use kind::Kind;
pub use number::{Enumerator, Integer};
pub use path::Field;
pub(crate) use reader::MAX_NAME;
pub use reader::{Array, Btf, Head, Member};

/// `BTF_MAGIC` of `include/uapi/linux/btf.h`.
const MAGIC: u16 = 0xeb9f;
/// `BTF_VERSION` of `include/uapi/linux/btf.h`.
const VERSION: u8 = 1;
/// Bytes of `struct btf_header`, as far as it is known.
const HEADER: usize = 24;
/// How far a chain of typedefs, arrays or nested structures is followed: `MAX_RESOLVE_DEPTH` of kernel/bpf/btf.c.
const MAX_DEPTH: usize = 32;

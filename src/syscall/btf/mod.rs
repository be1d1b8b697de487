//! BTF, the kernel's type information (Documentation/bpf/btf.rst): read it ([`Btf`]), make a little of it
//! ([`BtfBuilder`]), load it ([`BtfObject`]).

mod builder;
mod field;
mod kind;
mod object;
mod reader;

pub use builder::BtfBuilder;
pub use field::Field;
pub use kind::Kind;
pub use object::{BtfObject, StorageBtf};
pub use reader::{Btf, VMLINUX};

//! The kernel as the programs see it: its numbers, where its fields lie, and how they are read.

pub(in crate::dataplane) mod access;
mod offsets;
pub(in crate::dataplane) mod probe;
pub(in crate::dataplane) mod psock;

pub use offsets::{BufferLocks, Casts, EpollFields, FIELDS, Field, KernelOffsets, MemoryLimit, OptionBits};

pub(in crate::dataplane) use access::Object;

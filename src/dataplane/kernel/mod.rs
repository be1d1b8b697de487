//! The kernel as the programs see it: its numbers, where its fields lie, and how they are read.

pub(in crate::dataplane) mod access;
mod barrier;
mod casts;
pub(crate) mod context;
pub(in crate::dataplane) mod ctx;
pub mod objects;
mod offsets;
pub(in crate::dataplane) mod probe;
pub(in crate::dataplane) mod psock;
mod trace;

pub use casts::Casts;
pub use offsets::{
    AdoptionFields, BufferLocks, EpollFields, FIELDS, KernelField, KernelOffsets, MemberFields, MemoryLimit, OptionBits,
};
pub(in crate::dataplane) use offsets::{RCVBUF_LOCK, SNDBUF_LOCK};
pub use trace::TraceOffsets;

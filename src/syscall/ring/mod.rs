//! Ring buffer maps (`kernel/bpf/ringbuf.c`, 5.8), as user space reads them.
//!
//! ```text
//! page 0            consumer position, written by the reader
//! page 1            producer position, written by the kernel
//! page 2..          data, mapped twice in a row, so that a record that wraps around is contiguous
//! record            u32 length (bit 31: being written, bit 30: discarded), u32 page offset, bytes, to a multiple of 8
//! ```

mod follower;
mod memory;
mod reader;

pub use follower::RingFollower;
pub use reader::RingBuffer;

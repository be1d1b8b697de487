//! `struct bpf_sock_ops` (include/uapi/linux/bpf.h).
//!
//! ```text
//!   0  op                        4 bytes; 4 reply (writable), 8 to 160 more fields of 4 bytes
//! 164  sk_txhash                 4 bytes, writable
//! 168  bytes_received            8 bytes; 176 bytes_acked
//! 184  sk                        8 bytes, pointer or NULL
//! 192  skb_data, 200 skb_data_end  8 bytes, pointers (5.10)
//! 208  skb_len                   4 bytes
//! 212  skb_tcp_flags             4 bytes, the first 1 or 2 of which may be read alone
//! 216  skb_hwtstamp              8 bytes (6.2)
//! ```

use super::{Field, narrow};
use crate::verifier_sim::spec::Kernel;
use crate::verifier_sim::state::reg::{Flags, Kind};

/// What a read of `size` bytes at `off`, a multiple of `size`, yields.
pub(super) fn read(kernel: Kernel, off: u32, size: u32) -> Option<Field> {
    match (off, size) {
        (168 | 176, 8) => Some(Field::Scalar),
        (184, 8) => Some(Field::Pointer(Kind::Socket, Flags::MAYBE_NULL)),
        (192, 8) => Some(Field::Pointer(Kind::Packet, Flags::empty())),
        (200, 8) => Some(Field::Pointer(Kind::PacketEnd, Flags::empty())),
        (216, 8) => (kernel >= Kernel::V6_12).then_some(Field::Scalar),
        (212, _) => narrow(size, 4).then_some(Field::Scalar),
        (0..=164 | 208, 4) => Some(Field::Scalar),
        _ => None,
    }
}

/// Whether a write of `size` bytes at `off`, a multiple of `size`, is permitted.
pub(super) fn writable(off: u32, size: u32) -> bool {
    matches!((off, size), (4 | 164, 4))
}

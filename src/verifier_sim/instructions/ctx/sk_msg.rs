//! `struct sk_msg_md` (include/uapi/linux/bpf.h): nothing may be written, and no field may be read in part.
//!
//! ```text
//!   0  data          8 bytes, pointer
//!   8  data_end      8 bytes, pointer
//!  16  family        4 bytes, and so on to
//!  64  local_port, 68 size
//!  72  sk            8 bytes, pointer
//! ```

use super::Field;
use crate::verifier_sim::state::reg::{Flags, Kind};

/// What a read of `size` bytes at `off`, a multiple of `size`, yields.
pub(super) fn read(off: u32, size: u32) -> Option<Field> {
    match (off, size) {
        (0, 8) => Some(Field::Pointer(Kind::Packet, Flags::empty())),
        (8, 8) => Some(Field::Pointer(Kind::PacketEnd, Flags::empty())),
        (72, 8) => Some(Field::Pointer(Kind::Socket, Flags::empty())),
        (16..=68, 4) => Some(Field::Scalar),
        _ => None,
    }
}

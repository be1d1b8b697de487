//! `struct xdp_md` (include/uapi/linux/bpf.h): nothing may be written, and no field may be read in part.
//!
//! ```text
//!  0 data  4 data_end  8 data_meta  12 ingress_ifindex  16 rx_queue_index  20 egress_ifindex
//! ```

use super::Field;
use crate::uapi::AttachType;
use crate::verifier_sim::place::Place;
use crate::verifier_sim::state::reg::{Flags, Kind};

/// What a read of `size` bytes at `off`, a multiple of `size`, yields.
pub(super) fn read(place: Place, off: u32, size: u32) -> Option<Field> {
    if size != 4 {
        return None;
    }
    match off {
        0 => Some(Field::Pointer(Kind::Packet, Flags::empty())),
        4 => Some(Field::Pointer(Kind::PacketEnd, Flags::empty())),
        8 => Some(Field::Pointer(Kind::PacketMeta, Flags::empty())),
        12 | 16 => Some(Field::Scalar),
        20 => (place.attach == AttachType::XDP_DEVMAP).then_some(Field::Scalar),
        _ => None,
    }
}

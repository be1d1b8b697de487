//! `struct bpf_sk_lookup` and `struct sk_reuseport_md` (include/uapi/linux/bpf.h, net/core/filter.c): nothing may be written.
//!
//! ```text
//! lookup     0 sk (8 bytes)  8 family  12 protocol  16 remote_ip4  20 remote_ip6[4]  36 remote_port (2 bytes, then 2 of nothing)
//!           40 local_ip4  44 local_ip6[4]  60 local_port  64 ingress_ifindex (5.17)
//! reuseport  0 data  8 data_end (8 bytes each)  16 len  20 eth_protocol  24 ip_protocol  28 bind_inany  32 hash
//!           40 sk  48 migrating_sk (8 bytes each, 5.14)
//! ```

use super::{Field, narrow};
use crate::verifier_sim::place::Place;
use crate::verifier_sim::spec::{Kernel, ProgType};
use crate::verifier_sim::state::reg::{Flags, Kind};

/// What a read of `size` bytes at `off`, a multiple of `size`, yields.
pub(super) fn read(place: Place, off: u32, size: u32) -> Option<Field> {
    let pointer = |kind, flags| (size == 8).then_some(Field::Pointer(kind, flags));
    let scalar = |permitted: bool| permitted.then_some(Field::Scalar);
    let newer = place.kernel >= Kernel::V6_1;
    match (place.prog, off) {
        (ProgType::SK_LOOKUP, 0) => pointer(Kind::Socket, Flags::MAYBE_NULL),
        // Loads of 4 bytes at remote_port still work, as in kernels where it had 4.
        (ProgType::SK_LOOKUP, 8..=63) => scalar(narrow(size, 4)),
        (ProgType::SK_LOOKUP, 64..=67) => scalar(newer && narrow(size, 4)),
        (ProgType::SK_REUSEPORT, 0) => pointer(Kind::Packet, Flags::empty()),
        (ProgType::SK_REUSEPORT, 8) => pointer(Kind::PacketEnd, Flags::empty()),
        (ProgType::SK_REUSEPORT, 20..=23) => scalar(size >= 2 && narrow(size, 4)),
        (ProgType::SK_REUSEPORT, 16..=31) => scalar(narrow(size, 4)),
        (ProgType::SK_REUSEPORT, 32) => scalar(size == 4),
        (ProgType::SK_REUSEPORT, 40) if newer => pointer(Kind::Socket, Flags::empty()),
        (ProgType::SK_REUSEPORT, 48) if newer => pointer(Kind::SockCommon, Flags::MAYBE_NULL),
        _ => None,
    }
}

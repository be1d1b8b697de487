//! `struct bpf_cgroup_dev_ctx`, `struct bpf_sysctl` and `struct bpf_sockopt` (include/uapi/linux/bpf.h, kernel/bpf/cgroup.c).
//!
//! ```text
//! device   0 access_type  4 major  8 minor
//! sysctl   0 write  4 file_pos
//! sockopt  0 sk  8 optval  16 optval_end (8 bytes each)  24 level  28 optname  32 optlen  36 retval
//! ```

use super::{Field, narrow};
use crate::uapi::AttachType;
use crate::verifier_sim::place::Place;
use crate::verifier_sim::spec::ProgType;
use crate::verifier_sim::state::reg::{Flags, Kind};

/// What a read of `size` bytes at `off`, a multiple of `size`, yields.
pub(super) fn read(place: Place, off: u32, size: u32) -> Option<Field> {
    let pointer = |kind| Some(Field::Pointer(kind, Flags::empty()));
    let scalar = |permitted: bool| permitted.then_some(Field::Scalar);
    match (place.prog, off, size) {
        (ProgType::CGROUP_DEVICE, 0..=3, _) | (ProgType::CGROUP_SYSCTL, 0..=7, _) => scalar(narrow(size, 4)),
        (ProgType::CGROUP_DEVICE, 4 | 8, 4) | (ProgType::CGROUP_SOCKOPT, 24 | 28 | 32, 4) => scalar(true),
        (ProgType::CGROUP_SOCKOPT, 0, 8) => pointer(Kind::Socket),
        (ProgType::CGROUP_SOCKOPT, 8, 8) => pointer(Kind::Packet),
        (ProgType::CGROUP_SOCKOPT, 16, 8) => pointer(Kind::PacketEnd),
        (ProgType::CGROUP_SOCKOPT, 36, 4) => scalar(place.attach == AttachType::CGROUP_GETSOCKOPT),
        _ => None,
    }
}

/// Whether a write of `size` bytes at `off` of the context of a sysctl or socket option is permitted.
pub(super) fn writable(place: Place, off: u32, size: u32) -> bool {
    let sets = place.attach == AttachType::CGROUP_SETSOCKOPT;
    size == 4
        && match (place.prog, off) {
            (ProgType::CGROUP_SYSCTL, 4) | (ProgType::CGROUP_SOCKOPT, 32) => true,
            (ProgType::CGROUP_SOCKOPT, 24 | 28) => sets,
            (ProgType::CGROUP_SOCKOPT, 36) => !sets,
            _ => false,
        }
}

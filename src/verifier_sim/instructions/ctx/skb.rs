//! `struct __sk_buff` (include/uapi/linux/bpf.h), of socket filters, cgroups and traffic control (net/core/filter.c).
//!
//! ```text
//!   0  len 4 pkt_type 8 mark 12 queue_mapping 16 protocol 20 vlan_present 24 vlan_tci 28 vlan_proto 32 priority
//!  36  ingress_ifindex 40 ifindex 44 tc_index 48 cb[5] 68 hash 72 tc_classid 76 data 80 data_end 84 napi_id
//!  88  family 92 remote_ip4 96 local_ip4 100 remote_ip6[4] 116 local_ip6[4] 132 remote_port 136 local_port
//! 140  data_meta 144 flow_keys 152 tstamp (8 bytes) 160 wire_len 164 gso_segs 168 sk (8 bytes) 176 gso_size
//! 180  tstamp_type (1 byte) 184 hwtstamp (8 bytes)
//! ```

use super::{Field, narrow};
use crate::verifier_sim::place::Place;
use crate::verifier_sim::spec::{Kernel, ProgType};
use crate::verifier_sim::state::reg::{Flags, Kind};

/// What a read of `size` bytes at `off`, a multiple of `size`, yields.
pub(super) fn read(place: Place, off: u32, size: u32) -> Option<Field> {
    let traffic = matches!(place.prog, ProgType::SCHED_CLS | ProgType::SCHED_ACT);
    let cgroup = place.prog == ProgType::CGROUP_SKB;
    let stamped = place.kernel >= Kernel::V6_1;
    let scalar = |permitted: bool| permitted.then_some(Field::Scalar);
    match off {
        48..=67 => scalar(off + size <= 68),
        72..=75 | 160..=163 => scalar(traffic && narrow(size, 4)),
        76..=83 => {
            let kind = if off < 80 { Kind::Packet } else { Kind::PacketEnd };
            (size == 4 && (traffic || cgroup)).then_some(Field::Pointer(kind, Flags::empty()))
        }
        88..=91 | 132..=139 => scalar(cgroup && narrow(size, 4)),
        92..=131 => scalar(cgroup && size == 4),
        140..=143 => (size == 4 && traffic).then_some(Field::NotSimulated("packet metadata")),
        144..=151 => None,
        152..=159 => scalar(size == 8 && (traffic || cgroup)),
        168..=175 => (size == 8).then_some(Field::Pointer(Kind::SockCommon, Flags::MAYBE_NULL)),
        180 => scalar(size == 1 && traffic && stamped),
        181..=183 => None,
        184..=191 => scalar(size == 8 && (traffic || cgroup) && stamped),
        0..=179 => scalar(narrow(size, 4)),
        _ => None,
    }
}

/// Whether a write of `size` bytes at `off`, a multiple of `size`, is permitted.
pub(super) fn writable(place: Place, off: u32, size: u32) -> bool {
    let traffic = matches!(place.prog, ProgType::SCHED_CLS | ProgType::SCHED_ACT);
    let cgroup = place.prog == ProgType::CGROUP_SKB;
    match off {
        48..=67 => off + size <= 68,
        8 | 32 => size == 4 && (traffic || cgroup),
        12 | 44 | 72 => size == 4 && traffic,
        152 => size == 8 && (traffic || cgroup),
        _ => false,
    }
}

//! `struct __sk_buff` (include/uapi/linux/bpf.h), of socket filters, cgroups, traffic control, streams,
//! light-weight tunnels and flow dissectors (net/core/filter.c).
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
    let stream = place.prog == ProgType::SK_SKB;
    let stamped = place.kernel >= Kernel::V6_1;
    let scalar = |permitted: bool| permitted.then_some(Field::Scalar);
    match off {
        8..=11 if stream => None,
        48..=67 => scalar(off + size <= 68),
        72..=75 | 160..=163 => scalar(traffic && narrow(size, 4)),
        76..=83 if place.prog == ProgType::SOCKET_FILTER => None,
        76..=83 => packet(off, size),
        88..=91 | 132..=139 => scalar((cgroup || stream) && narrow(size, 4)),
        92..=131 => scalar((cgroup || stream) && size == 4),
        140..=143 => (size == 4 && traffic).then_some(Field::Pointer(Kind::PacketMeta, Flags::empty())),
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

/// The same in a flow dissector, which has only the packet and what it finds in it.
pub(super) fn dissected(off: u32, size: u32) -> Option<Field> {
    match (off, size) {
        (144, 8) => Some(Field::Pointer(Kind::FlowKeys, Flags::empty())),
        (76..=83, _) => packet(off, size),
        _ => None,
    }
}

/// A read of `data` or `data_end`.
fn packet(off: u32, size: u32) -> Option<Field> {
    let kind = if off < 80 { Kind::Packet } else { Kind::PacketEnd };
    (size == 4).then_some(Field::Pointer(kind, Flags::empty()))
}

/// Whether a write of `size` bytes at `off`, a multiple of `size`, is permitted.
pub(super) fn writable(place: Place, off: u32, size: u32) -> bool {
    let traffic = matches!(place.prog, ProgType::SCHED_CLS | ProgType::SCHED_ACT);
    let cgroup = place.prog == ProgType::CGROUP_SKB;
    let stream = place.prog == ProgType::SK_SKB;
    let tunnel = place.is_tunnel();
    match off {
        48..=67 => off + size <= 68 && !stream,
        8 => size == 4 && (traffic || cgroup || tunnel),
        32 => size == 4 && (traffic || cgroup || tunnel || stream),
        44 => size == 4 && (traffic || stream),
        12 | 72 => size == 4 && traffic,
        152 => size == 8 && (traffic || cgroup),
        _ => false,
    }
}

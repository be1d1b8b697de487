//! Which fields of its context a program may read and write, and what a read yields.

mod cgroup;
mod lookup;
mod registers;
mod sk_msg;
mod skb;
mod sock;
mod sock_addr;
mod sock_ops;
mod traced;
mod xdp;

pub(in crate::verifier_sim) use sock::{sock_common_readable, sock_readable, tcp_sock_readable};

use crate::verifier_sim::place::Place;
use crate::verifier_sim::spec::ProgType;
use crate::verifier_sim::state::reg::{Flags, Kind};

/// What a permitted read of the context yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Field {
    /// A number.
    Scalar,
    /// A pointer.
    Pointer(Kind, Flags),
}

/// What a read of `size` bytes at `off` of the context yields, or `None` if it is not permitted.
pub(in crate::verifier_sim) fn read(place: Place, off: i32, size: u32) -> Option<Field> {
    if place.prog == ProgType::TRACEPOINT && off < 0 {
        // The kernel compares the offset without its sign with the size of a pointer, and with it with the greatest.
        return (off % size as i32 == 0).then_some(Field::Scalar);
    }
    let off = aligned(off, size)?;
    match place.prog {
        ProgType::SK_MSG => sk_msg::read(off, size),
        ProgType::SOCK_OPS => sock_ops::read(place.kernel, off, size),
        _ if has_skb(place) => skb::read(place, off, size),
        ProgType::FLOW_DISSECTOR => skb::dissected(off, size),
        ProgType::CGROUP_DEVICE | ProgType::CGROUP_SYSCTL | ProgType::CGROUP_SOCKOPT => cgroup::read(place, off, size),
        ProgType::SK_LOOKUP | ProgType::SK_REUSEPORT => lookup::read(place, off, size),
        ProgType::XDP => xdp::read(place, off, size),
        ProgType::CGROUP_SOCK => sock::context_readable(place.attach, off, size).then_some(Field::Scalar),
        ProgType::CGROUP_SOCK_ADDR => sock_addr::read(place, off, size),
        ProgType::KPROBE | ProgType::TRACEPOINT | ProgType::RAW_TRACEPOINT | ProgType::PERF_EVENT => {
            registers::readable(place, off, size).then_some(Field::Scalar)
        }
        _ => None,
    }
}

/// Whether the context is a `struct __sk_buff` of which more than the flow keys can be used.
fn has_skb(place: Place) -> bool {
    place.is_tunnel()
        || matches!(
            place.prog,
            ProgType::SOCKET_FILTER
                | ProgType::CGROUP_SKB
                | ProgType::SCHED_CLS
                | ProgType::SCHED_ACT
                | ProgType::SK_SKB
        )
}

/// Whether a write of `size` bytes at `off` of the context is permitted.
pub(in crate::verifier_sim) fn writable(place: Place, off: i32, size: u32) -> bool {
    let Some(off) = aligned(off, size) else { return false };
    match place.prog {
        ProgType::SOCK_OPS => sock_ops::writable(off, size),
        _ if has_skb(place) => skb::writable(place, off, size),
        ProgType::CGROUP_SYSCTL | ProgType::CGROUP_SOCKOPT => cgroup::writable(place, off, size),
        ProgType::CGROUP_SOCK => sock::context_writable(place.attach, off, size),
        ProgType::CGROUP_SOCK_ADDR => sock_addr::writable(place, off, size),
        _ => false,
    }
}

/// `off` without sign, if it is a multiple of `size`.
fn aligned(off: i32, size: u32) -> Option<u32> {
    let off = u32::try_from(off).ok()?;
    (off % size == 0).then_some(off)
}

/// Whether `size` bytes of a field of `field` bytes may be read alone (`bpf_ctx_narrow_access_ok`).
fn narrow(size: u32, field: u32) -> bool {
    size <= field && size.is_power_of_two()
}

//! `struct bpf_sock_addr` (include/uapi/linux/bpf.h): which address is there depends on the attach type.
//!
//! ```text
//!  0 user_family  4 user_ip4  8 user_ip6[4]  24 user_port  28 family  32 type  36 protocol
//! 40 msg_src_ip4  44 msg_src_ip6[4]  64 sk (8 bytes)
//! ```

use super::{Field, narrow};
use crate::uapi::AttachType as At;
use crate::verifier_sim::place::Place;
use crate::verifier_sim::state::reg::{Flags, Kind};

/// Whether the attach type is one of IPv4.
fn is_v4(attach: At) -> bool {
    matches!(
        attach,
        At::CGROUP_INET4_BIND
            | At::CGROUP_INET4_CONNECT
            | At::CGROUP_INET4_GETPEERNAME
            | At::CGROUP_INET4_GETSOCKNAME
            | At::CGROUP_UDP4_SENDMSG
            | At::CGROUP_UDP4_RECVMSG
    )
}

/// Whether the address at `off` is there.
fn has(attach: At, off: u32) -> bool {
    match off {
        4..=7 => is_v4(attach),
        8..=23 => !is_v4(attach),
        40..=43 => attach == At::CGROUP_UDP4_SENDMSG,
        44..=59 => attach == At::CGROUP_UDP6_SENDMSG,
        24..=27 => true,
        _ => false,
    }
}

/// Whether these are two words of an IPv6 address (`bpf_ctx_wide_access_ok`).
fn is_wide(off: u32, size: u32) -> bool {
    size == 8 && matches!(off, 8 | 16 | 48)
}

/// What a read of `size` bytes at `off`, a multiple of `size`, yields.
pub(super) fn read(place: Place, off: u32, size: u32) -> Option<Field> {
    match off {
        64 if size == 8 => Some(Field::Pointer(Kind::Socket, Flags::empty())),
        0 | 28 | 32 | 36 if size == 4 => Some(Field::Scalar),
        _ => (has(place.attach, off) && (is_wide(off, size) || narrow(size, 4))).then_some(Field::Scalar),
    }
}

/// Whether a write of `size` bytes at `off`, a multiple of `size`, is permitted.
pub(super) fn writable(place: Place, off: u32, size: u32) -> bool {
    has(place.attach, off) && (is_wide(off, size) || size == 4)
}

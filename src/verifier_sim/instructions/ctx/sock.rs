//! `struct bpf_sock` and `struct bpf_tcp_sock` (include/uapi/linux/bpf.h): read-only views of the kernel's sockets.

use super::narrow;
use crate::uapi::AttachType;

/// Bytes of `struct bpf_sock`.
const SOCK_SIZE: u32 = 80;
/// Bytes of `struct bpf_tcp_sock` up to and with `icsk_retransmits`.
const TCP_SOCK_SIZE: u32 = 112;

/// Whether `size` bytes at `off` of a full socket may be read.
///
/// ```text
///  0 bound_dev_if   4 family   8 type   12 protocol  16 mark  20 priority
/// 24 src_ip4       28 src_ip6[4]        44 src_port  48 dst_port (2 bytes, then 2 bytes of nothing)
/// 52 dst_ip4       56 dst_ip6[4]        72 state     76 rx_queue_mapping
/// ```
pub(in crate::verifier_sim) fn sock_readable(off: i32, size: u32) -> bool {
    let Some(off) = super::aligned(off, size).filter(|off| *off < SOCK_SIZE) else { return false };
    match off {
        4 | 8 | 12 | 44 | 72 | 76 | 24..=43 | 52..=71 => narrow(size, 4),
        // dst_port was 4 bytes once; such loads still work.
        48 | 49 => narrow(size, if size == 4 { 4 } else { 2 }),
        50 | 51 => false,
        _ => size == 4,
    }
}

/// The same where only what every socket has is known (`bpf_sock_common_is_valid_access`).
pub(in crate::verifier_sim) fn sock_common_readable(off: i32, size: u32) -> bool {
    !(8..24).contains(&off) && sock_readable(off, size)
}

/// Whether `size` bytes at `off` of the socket that is a program's context may be read: some fields are there at some
/// attach types only (`__sock_filter_check_attach_type`).
pub(super) fn context_readable(attach: AttachType, off: u32, size: u32) -> bool {
    let there = match off {
        0 | 16 | 20 => {
            matches!(attach, AttachType::CGROUP_INET_SOCK_CREATE | AttachType::CGROUP_INET_SOCK_RELEASE)
        }
        24..=27 => attach == AttachType::CGROUP_INET4_POST_BIND,
        28..=43 => attach == AttachType::CGROUP_INET6_POST_BIND,
        44..=47 => matches!(attach, AttachType::CGROUP_INET4_POST_BIND | AttachType::CGROUP_INET6_POST_BIND),
        _ => true,
    };
    there && i32::try_from(off).is_ok_and(|off| sock_readable(off, size))
}

/// The same for writing: the device, mark and priority.
pub(super) fn context_writable(attach: AttachType, off: u32, size: u32) -> bool {
    matches!(off, 0 | 16 | 20) && context_readable(attach, off, size)
}

/// Whether `size` bytes at `off` of a TCP socket may be read: 8 for `bytes_received` and `bytes_acked`, else 4. The upper
/// halves of these two pass the kernel's check, but then it has no translation for them (measured).
pub(in crate::verifier_sim) fn tcp_sock_readable(off: i32, size: u32) -> bool {
    match super::aligned(off, size) {
        Some(84 | 92) => false,
        Some(off) if off < TCP_SOCK_SIZE => size == if matches!(off, 80 | 88) { 8 } else { 4 },
        _ => false,
    }
}

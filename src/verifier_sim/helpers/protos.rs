//! How the program at hand may call a helper: the signature of the ABI, with what depends on program type and release.

use super::Proto;
use crate::uapi::helper::{Arg, Helper, Properties, id};
use crate::verifier_sim::place::Place;
use crate::verifier_sim::spec::{Kernel, ProgType};

/// The signature of helper `number`, where it is known.
pub(in crate::verifier_sim) fn proto(number: i32, place: Place) -> Option<Proto> {
    let Place { prog, kernel, .. } = place;
    let proto = Helper::from_id(number)?.proto?;
    if (number, prog) == (id::XDP_GET_BUFF_LEN, ProgType::TRACING) {
        // It takes the kernel's own structure there (bpf_xdp_get_buff_len_trace_proto).
        return None;
    }
    if (number, prog) == (id::SKB_PULL_DATA, ProgType::LWT_SEG6LOCAL) {
        // Some stable releases (6.1.192, 6.12.118) refuse it, others (5.10.262, 6.18.44) do not.
        return None;
    }
    let args: &[Arg] = match (number, prog) {
        // Until 6.18 SK_MSG programs had bpf_get_cgroup_classid_proto of skb programs, which takes the context.
        (id::GET_CGROUP_CLASSID, ProgType::SK_MSG) if kernel < Kernel::V6_18 => &[Arg::Ctx],
        (id::GET_CGROUP_CLASSID, ProgType::SCHED_CLS | ProgType::SCHED_ACT) => &[Arg::Ctx],
        (id::GET_CGROUP_CLASSID, _) if place.is_tunnel() => &[Arg::Ctx],
        (id::SK_ASSIGN, ProgType::SK_LOOKUP) => &[Arg::Ctx, Arg::FullSockOrNull, Arg::Anything],
        // The context has an option's value, the socket is an argument (bpf_sk_setsockopt_proto).
        (id::SETSOCKOPT, ProgType::CGROUP_SOCKOPT) => {
            &[Arg::BtfSock, Arg::Anything, Arg::Anything, Arg::Mem, Arg::Size]
        }
        (id::GETSOCKOPT, ProgType::CGROUP_SOCKOPT) => {
            &[Arg::BtfSock, Arg::Anything, Arg::Anything, Arg::MemOut, Arg::Size]
        }
        // The context is the socket (bpf_sk_storage_get_cg_sock_proto).
        (id::SK_STORAGE_GET, ProgType::CGROUP_SOCK) => &[Arg::Map, Arg::Ctx, Arg::ValueOrNull, Arg::Anything],
        (id::SK_STORAGE_GET, ProgType::TRACING) => &[Arg::Map, Arg::SockStructOrNull, Arg::ValueOrNull, Arg::Anything],
        (id::SK_STORAGE_DELETE, ProgType::TRACING) => &[Arg::Map, Arg::SockStructOrNull],
        // 6.12 lets it be NULL, 6.1 does not.
        (id::GET_SOCKET_COOKIE, ProgType::SK_REUSEPORT) if kernel < Kernel::V6_12 => &[Arg::BtfSock],
        (id::GET_SOCKET_COOKIE, ProgType::TRACING | ProgType::SK_REUSEPORT) => &[Arg::BtfSockOrNull],
        // 6.12 lets the address have no bytes, 6.1 does not.
        (id::SK_LOOKUP_TCP | id::SK_LOOKUP_UDP | id::SKC_LOOKUP_TCP, _) if kernel < Kernel::V6_12 => {
            &[Arg::Ctx, Arg::Mem, Arg::Size, Arg::Anything, Arg::Anything]
        }
        _ => proto.args,
    };
    // Tail calls move the packet since 6.13, and in later stable releases of older ones.
    let moves = number == id::TAIL_CALL && kernel >= Kernel::V6_12;
    Some(Proto {
        args,
        ret: proto.ret,
        properties: proto.properties | if moves { Properties::MOVES_PACKET } else { Properties::empty() },
    })
}

/// Helpers that only a caller with CAP_PERFMON may use, in programs of every type (`bpf_base_func_proto`,
/// `bpf_sk_base_func_proto`).
const PERFMON: [i32; 18] = [6, 35, 112, 113, 114, 115, 136, 137, 138, 139, 140, 149, 158, 165, 175, 177, 178, 196];
/// The same since Linux 6.16; before, some types might call them without it.
const PERFMON_LATER: [i32; 10] = [16, 22, 55, 109, 117, 141, 148, 176, 180, 191];

/// Whether helper `number` needs CAP_PERFMON; `None` if it depends on the type in a way that is not known here.
pub(in crate::verifier_sim) fn needs_perfmon(number: i32, kernel: Kernel) -> Option<bool> {
    match (PERFMON.contains(&number), PERFMON_LATER.contains(&number)) {
        (true, _) => Some(true),
        (_, true) if kernel < Kernel::V6_18 => None,
        (_, later) => Some(later),
    }
}

/// Whether helper `number` may move the packet's bytes (`bpf_helper_changes_pkt_data`).
pub(in crate::verifier_sim) fn moves_packet(number: i32, place: Place) -> bool {
    proto(number, place).is_some_and(|proto| proto.properties.contains(Properties::MOVES_PACKET))
}

/// Whether the program may call helper `number`.
pub(in crate::verifier_sim) fn available(number: i32, place: Place) -> bool {
    Helper::from_id(number).is_some_and(|helper| helper.is_available(place.prog, place.attach, place.kernel))
}

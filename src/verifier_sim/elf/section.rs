//! Section names and the program types they stand for: libbpf's `section_defs` (tools/lib/bpf/libbpf.c).

use crate::uapi::{AttachType as Attach, ProgType as Prog};

/// Of sections that fix no attach type.
const ANY: Attach = Attach(0);

/// (name, program type, expected attach type). A name that ends in `+` also stands for longer ones that go on with `/`.
const SECTIONS: &[(&str, Prog, Attach)] = &[
    ("socket", Prog::SOCKET_FILTER, ANY),
    ("sk_reuseport/migrate", Prog::SK_REUSEPORT, Attach::SK_REUSEPORT_SELECT_OR_MIGRATE),
    ("sk_reuseport", Prog::SK_REUSEPORT, Attach::SK_REUSEPORT_SELECT),
    ("kprobe+", Prog::KPROBE, ANY),
    ("kretprobe+", Prog::KPROBE, ANY),
    ("uprobe+", Prog::KPROBE, ANY),
    ("uretprobe+", Prog::KPROBE, ANY),
    ("ksyscall+", Prog::KPROBE, ANY),
    ("kretsyscall+", Prog::KPROBE, ANY),
    ("usdt+", Prog::KPROBE, ANY),
    ("tc/ingress", Prog::SCHED_CLS, Attach::TCX_INGRESS),
    ("tc/egress", Prog::SCHED_CLS, Attach::TCX_EGRESS),
    ("tcx/ingress", Prog::SCHED_CLS, Attach::TCX_INGRESS),
    ("tcx/egress", Prog::SCHED_CLS, Attach::TCX_EGRESS),
    ("netkit/primary", Prog::SCHED_CLS, Attach::NETKIT_PRIMARY),
    ("netkit/peer", Prog::SCHED_CLS, Attach::NETKIT_PEER),
    ("tc", Prog::SCHED_CLS, ANY),
    ("classifier", Prog::SCHED_CLS, ANY),
    ("action", Prog::SCHED_ACT, ANY),
    ("tracepoint+", Prog::TRACEPOINT, ANY),
    ("tp+", Prog::TRACEPOINT, ANY),
    ("raw_tracepoint+", Prog::RAW_TRACEPOINT, ANY),
    ("raw_tp+", Prog::RAW_TRACEPOINT, ANY),
    ("raw_tracepoint.w+", Prog::RAW_TRACEPOINT_WRITABLE, ANY),
    ("raw_tp.w+", Prog::RAW_TRACEPOINT_WRITABLE, ANY),
    ("tp_btf+", Prog::TRACING, Attach::TRACE_RAW_TP),
    ("fentry+", Prog::TRACING, Attach::TRACE_FENTRY),
    ("fexit+", Prog::TRACING, Attach::TRACE_FEXIT),
    ("fmod_ret+", Prog::TRACING, Attach::MODIFY_RETURN),
    ("freplace+", Prog::EXT, ANY),
    ("iter+", Prog::TRACING, Attach::TRACE_ITER),
    ("lsm+", Prog::LSM, Attach::LSM_MAC),
    ("lsm_cgroup+", Prog::LSM, Attach::LSM_CGROUP),
    ("syscall", Prog::SYSCALL, ANY),
    ("xdp.frags/devmap", Prog::XDP, Attach::XDP_DEVMAP),
    ("xdp/devmap", Prog::XDP, Attach::XDP_DEVMAP),
    ("xdp.frags/cpumap", Prog::XDP, Attach::XDP_CPUMAP),
    ("xdp/cpumap", Prog::XDP, Attach::XDP_CPUMAP),
    ("xdp.frags", Prog::XDP, Attach::XDP),
    ("xdp", Prog::XDP, Attach::XDP),
    ("perf_event", Prog::PERF_EVENT, ANY),
    ("lwt_in", Prog::LWT_IN, ANY),
    ("lwt_out", Prog::LWT_OUT, ANY),
    ("lwt_xmit", Prog::LWT_XMIT, ANY),
    ("lwt_seg6local", Prog::LWT_SEG6LOCAL, ANY),
    ("sockops", Prog::SOCK_OPS, Attach::CGROUP_SOCK_OPS),
    ("sk_skb/stream_parser", Prog::SK_SKB, Attach::SK_SKB_STREAM_PARSER),
    ("sk_skb/stream_verdict", Prog::SK_SKB, Attach::SK_SKB_STREAM_VERDICT),
    ("sk_skb/verdict", Prog::SK_SKB, Attach::SK_SKB_VERDICT),
    ("sk_skb", Prog::SK_SKB, ANY),
    ("sk_msg", Prog::SK_MSG, Attach::SK_MSG_VERDICT),
    ("lirc_mode2", Prog::LIRC_MODE2, Attach::LIRC_MODE2),
    ("flow_dissector", Prog::FLOW_DISSECTOR, Attach::FLOW_DISSECTOR),
    ("cgroup_skb/ingress", Prog::CGROUP_SKB, Attach::CGROUP_INET_INGRESS),
    ("cgroup_skb/egress", Prog::CGROUP_SKB, Attach::CGROUP_INET_EGRESS),
    ("cgroup/skb", Prog::CGROUP_SKB, ANY),
    ("cgroup/sock_create", Prog::CGROUP_SOCK, Attach::CGROUP_INET_SOCK_CREATE),
    ("cgroup/sock_release", Prog::CGROUP_SOCK, Attach::CGROUP_INET_SOCK_RELEASE),
    ("cgroup/sock", Prog::CGROUP_SOCK, Attach::CGROUP_INET_SOCK_CREATE),
    ("cgroup/post_bind4", Prog::CGROUP_SOCK, Attach::CGROUP_INET4_POST_BIND),
    ("cgroup/post_bind6", Prog::CGROUP_SOCK, Attach::CGROUP_INET6_POST_BIND),
    ("cgroup/bind4", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_INET4_BIND),
    ("cgroup/bind6", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_INET6_BIND),
    ("cgroup/connect4", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_INET4_CONNECT),
    ("cgroup/connect6", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_INET6_CONNECT),
    ("cgroup/connect_unix", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_UNIX_CONNECT),
    ("cgroup/sendmsg4", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_UDP4_SENDMSG),
    ("cgroup/sendmsg6", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_UDP6_SENDMSG),
    ("cgroup/sendmsg_unix", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_UNIX_SENDMSG),
    ("cgroup/recvmsg4", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_UDP4_RECVMSG),
    ("cgroup/recvmsg6", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_UDP6_RECVMSG),
    ("cgroup/recvmsg_unix", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_UNIX_RECVMSG),
    ("cgroup/getpeername4", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_INET4_GETPEERNAME),
    ("cgroup/getpeername6", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_INET6_GETPEERNAME),
    ("cgroup/getpeername_unix", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_UNIX_GETPEERNAME),
    ("cgroup/getsockname4", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_INET4_GETSOCKNAME),
    ("cgroup/getsockname6", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_INET6_GETSOCKNAME),
    ("cgroup/getsockname_unix", Prog::CGROUP_SOCK_ADDR, Attach::CGROUP_UNIX_GETSOCKNAME),
    ("cgroup/sysctl", Prog::CGROUP_SYSCTL, Attach::CGROUP_SYSCTL),
    ("cgroup/getsockopt", Prog::CGROUP_SOCKOPT, Attach::CGROUP_GETSOCKOPT),
    ("cgroup/setsockopt", Prog::CGROUP_SOCKOPT, Attach::CGROUP_SETSOCKOPT),
    ("cgroup/dev", Prog::CGROUP_DEVICE, Attach::CGROUP_DEVICE),
    ("struct_ops+", Prog::STRUCT_OPS, ANY),
    ("sk_lookup", Prog::SK_LOOKUP, Attach::SK_LOOKUP),
    ("netfilter", Prog::NETFILTER, Attach::NETFILTER),
];

/// The program type and expected attach type that a section's name stands for.
///
/// A leading `?` (do not load by default) and a `.s` behind the first word (may sleep) are libbpf's and change neither.
pub(super) fn program_type(section: &str) -> Option<(Prog, Attach)> {
    let section = section.strip_prefix('?').unwrap_or(section);
    let (word, rest) = match section.find('/') {
        Some(slash) => section.split_at(slash),
        None => (section, ""),
    };
    let section = format!("{}{rest}", word.strip_suffix(".s").unwrap_or(word));
    let matches = |name: &str| match name.strip_suffix('+') {
        Some(stem) => section.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        None => section == name,
    };
    let (_, prog_type, attach_type) = SECTIONS.iter().find(|(name, ..)| matches(name))?;
    Some((*prog_type, *attach_type))
}

/// Words behind which `.s` says that the program may sleep (`SEC_SLEEPABLE` of libbpf's `section_defs`).
const SLEEPABLE: &[&str] = &["uprobe", "uretprobe", "usdt", "fentry", "fexit", "fmod_ret", "lsm", "iter", "struct_ops"];

/// Whether a section's name says that its programs may sleep.
pub(super) fn may_sleep(section: &str) -> bool {
    let word = section.strip_prefix('?').unwrap_or(section).split('/').next().unwrap_or_default();
    word == "syscall" || word.strip_suffix(".s").is_some_and(|word| SLEEPABLE.contains(&word))
}

/// What a tracing program's section says that it traces: the words behind the slash.
pub(super) fn target(section: &str) -> Option<&str> {
    section.split_once('/').map(|(_, target)| target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_type() {
        for (name, prog_type, attach_type) in SECTIONS {
            assert_eq!(program_type(name.trim_end_matches('+')), Some((*prog_type, *attach_type)), "{name}");
        }
    }

    #[test]
    fn names_are_matched_as_libbpf_does() {
        assert_eq!(program_type("sockops"), Some((Prog::SOCK_OPS, Attach::CGROUP_SOCK_OPS)));
        assert_eq!(program_type("?sk_msg"), Some((Prog::SK_MSG, Attach::SK_MSG_VERDICT)));
        assert_eq!(program_type("kprobe/tcp_connect").map(|(t, _)| t), Some(Prog::KPROBE));
        assert_eq!(program_type("lsm.s/file_open").map(|(t, _)| t), Some(Prog::LSM));
        assert!(may_sleep("lsm.s/file_open") && may_sleep("?uprobe.s") && may_sleep("syscall"));
        assert!(!may_sleep("lsm/file_open") && !may_sleep("tc.s") && !may_sleep("uprobe/a.s"));
        for unknown in ["", "?", "sk_msgs", "sockops/x", "kprobes", "cgroup/none", ".text", "license"] {
            assert_eq!(program_type(unknown), None, "{unknown}");
        }
    }
}

//! Section names and the program types they stand for: libbpf's `section_defs` (tools/lib/bpf/libbpf.c).

use crate::verifier_sim::spec::ProgType;

/// (name, program type, expected attach type). A name that ends in `+` also stands for longer ones that go on with `/`.
const SECTIONS: &[(&str, &str, u32)] = &[
    ("socket", "socket_filter", 0),
    ("sk_reuseport/migrate", "sk_reuseport", 40),
    ("sk_reuseport", "sk_reuseport", 39),
    ("kprobe+", "kprobe", 0),
    ("kretprobe+", "kprobe", 0),
    ("uprobe+", "kprobe", 0),
    ("uretprobe+", "kprobe", 0),
    ("ksyscall+", "kprobe", 0),
    ("kretsyscall+", "kprobe", 0),
    ("usdt+", "kprobe", 0),
    ("tc/ingress", "sched_cls", 46),
    ("tc/egress", "sched_cls", 47),
    ("tcx/ingress", "sched_cls", 46),
    ("tcx/egress", "sched_cls", 47),
    ("netkit/primary", "sched_cls", 54),
    ("netkit/peer", "sched_cls", 55),
    ("tc", "sched_cls", 0),
    ("classifier", "sched_cls", 0),
    ("action", "sched_act", 0),
    ("tracepoint+", "tracepoint", 0),
    ("tp+", "tracepoint", 0),
    ("raw_tracepoint+", "raw_tracepoint", 0),
    ("raw_tp+", "raw_tracepoint", 0),
    ("raw_tracepoint.w+", "raw_tracepoint_writable", 0),
    ("raw_tp.w+", "raw_tracepoint_writable", 0),
    ("tp_btf+", "tracing", 23),
    ("fentry+", "tracing", 24),
    ("fexit+", "tracing", 25),
    ("fmod_ret+", "tracing", 26),
    ("freplace+", "ext", 0),
    ("iter+", "tracing", 28),
    ("lsm+", "lsm", 27),
    ("lsm_cgroup+", "lsm", 43),
    ("syscall", "syscall", 0),
    ("xdp.frags/devmap", "xdp", 33),
    ("xdp/devmap", "xdp", 33),
    ("xdp.frags/cpumap", "xdp", 35),
    ("xdp/cpumap", "xdp", 35),
    ("xdp.frags", "xdp", 37),
    ("xdp", "xdp", 37),
    ("perf_event", "perf_event", 0),
    ("lwt_in", "lwt_in", 0),
    ("lwt_out", "lwt_out", 0),
    ("lwt_xmit", "lwt_xmit", 0),
    ("lwt_seg6local", "lwt_seg6local", 0),
    ("sockops", "sock_ops", 3),
    ("sk_skb/stream_parser", "sk_skb", 4),
    ("sk_skb/stream_verdict", "sk_skb", 5),
    ("sk_skb/verdict", "sk_skb", 38),
    ("sk_skb", "sk_skb", 0),
    ("sk_msg", "sk_msg", 7),
    ("lirc_mode2", "lirc_mode2", 16),
    ("flow_dissector", "flow_dissector", 17),
    ("cgroup_skb/ingress", "cgroup_skb", 0),
    ("cgroup_skb/egress", "cgroup_skb", 1),
    ("cgroup/skb", "cgroup_skb", 0),
    ("cgroup/sock_create", "cgroup_sock", 2),
    ("cgroup/sock_release", "cgroup_sock", 34),
    ("cgroup/sock", "cgroup_sock", 2),
    ("cgroup/post_bind4", "cgroup_sock", 12),
    ("cgroup/post_bind6", "cgroup_sock", 13),
    ("cgroup/bind4", "cgroup_sock_addr", 8),
    ("cgroup/bind6", "cgroup_sock_addr", 9),
    ("cgroup/connect4", "cgroup_sock_addr", 10),
    ("cgroup/connect6", "cgroup_sock_addr", 11),
    ("cgroup/connect_unix", "cgroup_sock_addr", 49),
    ("cgroup/sendmsg4", "cgroup_sock_addr", 14),
    ("cgroup/sendmsg6", "cgroup_sock_addr", 15),
    ("cgroup/sendmsg_unix", "cgroup_sock_addr", 50),
    ("cgroup/recvmsg4", "cgroup_sock_addr", 19),
    ("cgroup/recvmsg6", "cgroup_sock_addr", 20),
    ("cgroup/recvmsg_unix", "cgroup_sock_addr", 51),
    ("cgroup/getpeername4", "cgroup_sock_addr", 29),
    ("cgroup/getpeername6", "cgroup_sock_addr", 30),
    ("cgroup/getpeername_unix", "cgroup_sock_addr", 52),
    ("cgroup/getsockname4", "cgroup_sock_addr", 31),
    ("cgroup/getsockname6", "cgroup_sock_addr", 32),
    ("cgroup/getsockname_unix", "cgroup_sock_addr", 53),
    ("cgroup/sysctl", "cgroup_sysctl", 18),
    ("cgroup/getsockopt", "cgroup_sockopt", 21),
    ("cgroup/setsockopt", "cgroup_sockopt", 22),
    ("cgroup/dev", "cgroup_device", 6),
    ("struct_ops+", "struct_ops", 0),
    ("sk_lookup", "sk_lookup", 36),
    ("netfilter", "netfilter", 45),
];

/// The program type and expected attach type that a section's name stands for.
///
/// A leading `?` (do not load by default) and a `.s` behind the first word (may sleep) are libbpf's and change neither.
pub(super) fn program_type(section: &str) -> Option<(ProgType, u32)> {
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
    Some((ProgType::from_name(prog_type)?, *attach_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_type() {
        for (name, prog_type, attach_type) in SECTIONS {
            let wanted = ProgType::from_name(prog_type).unwrap();
            assert_eq!(program_type(name.trim_end_matches('+')), Some((wanted, *attach_type)), "{name}");
        }
    }

    #[test]
    fn names_are_matched_as_libbpf_does() {
        assert_eq!(program_type("sockops"), Some((ProgType::SOCK_OPS, 3)));
        assert_eq!(program_type("?sk_msg"), Some((ProgType::SK_MSG, 7)));
        assert_eq!(program_type("kprobe/tcp_connect").map(|(t, _)| t), ProgType::from_name("kprobe"));
        assert_eq!(program_type("lsm.s/file_open").map(|(t, _)| t), ProgType::from_name("lsm"));
        for unknown in ["", "?", "sk_msgs", "sockops/x", "kprobes", "cgroup/none", ".text", "license"] {
            assert_eq!(program_type(unknown), None, "{unknown}");
        }
    }
}

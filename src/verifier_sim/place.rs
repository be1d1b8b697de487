//! How a program is loaded: its type, what it will be attached to, and on which kernel. Most rules depend on it.

use crate::uapi::AttachType;
use crate::verifier_sim::spec::{Kernel, Privilege, ProgType, ProgramSpec};
use crate::verifier_sim::stop::{Step, reject, unsupported};

/// The types whose programs are simulated.
const TYPES: [ProgType; 25] = [
    ProgType::SOCKET_FILTER,
    ProgType::KPROBE,
    ProgType::SCHED_CLS,
    ProgType::SCHED_ACT,
    ProgType::TRACEPOINT,
    ProgType::XDP,
    ProgType::PERF_EVENT,
    ProgType::CGROUP_SKB,
    ProgType::CGROUP_SOCK,
    ProgType::LWT_IN,
    ProgType::LWT_OUT,
    ProgType::LWT_XMIT,
    ProgType::SOCK_OPS,
    ProgType::SK_SKB,
    ProgType::CGROUP_DEVICE,
    ProgType::SK_MSG,
    ProgType::RAW_TRACEPOINT,
    ProgType::CGROUP_SOCK_ADDR,
    ProgType::LWT_SEG6LOCAL,
    ProgType::SK_REUSEPORT,
    ProgType::FLOW_DISSECTOR,
    ProgType::CGROUP_SYSCTL,
    ProgType::CGROUP_SOCKOPT,
    ProgType::TRACING,
    ProgType::SK_LOOKUP,
];

/// The types that need no CAP_NET_ADMIN, apart from those that trace (`is_net_admin_prog_type`).
const NO_NET_ADMIN: [ProgType; 5] =
    [ProgType::TRACING, ProgType::SOCKET_FILTER, ProgType::CGROUP_SKB, ProgType::SK_REUSEPORT, ProgType::SK_LOOKUP];

/// A program's type and attach type, and the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) prog: ProgType,
    pub(super) attach: AttachType,
    pub(super) kernel: Kernel,
}

impl Place {
    /// Where `program` goes on this kernel.
    pub(super) fn of(program: &ProgramSpec, kernel: Kernel) -> Self {
        let attach = AttachType(program.expected_attach_type);
        // bpf_prog_load_fixup_attach_type: these types are older than their attach types.
        let attach = match program.prog_type {
            ProgType::CGROUP_SOCK if attach == AttachType(0) => AttachType::CGROUP_INET_SOCK_CREATE,
            ProgType::SK_REUSEPORT if attach == AttachType(0) => AttachType::SK_REUSEPORT_SELECT,
            _ => attach,
        };
        Self { prog: program.prog_type, attach, kernel }
    }

    /// The type is simulated, and may be loaded by this caller with this attach type (`bpf_prog_load_check_attach`).
    pub(super) fn check(self, privilege: Privilege) -> Step {
        let Self { prog, attach, .. } = self;
        if !TYPES.contains(&prog) {
            unsupported!("programs of type {prog} are not simulated");
        }
        if privilege == Privilege::None {
            if matches!(prog, ProgType::SOCKET_FILTER | ProgType::CGROUP_SKB) {
                unsupported!("programs without CAP_BPF are not simulated");
            }
            reject!("programs of type {prog} need CAP_BPF");
        }
        let of_the_network = !self.is_tracing() && !NO_NET_ADMIN.contains(&prog);
        if privilege == Privilege::BpfOnly && of_the_network {
            reject!("programs of type {prog} need CAP_NET_ADMIN");
        }
        if privilege != Privilege::Full && (self.is_tracing() || prog == ProgType::TRACING) {
            reject!("programs of type {prog} need CAP_PERFMON");
        }
        let known: &[AttachType] = match prog {
            // These two ignore it.
            ProgType::SOCK_OPS | ProgType::SK_MSG => return Ok(()),
            ProgType::XDP => &[AttachType(0), AttachType::XDP, AttachType::XDP_DEVMAP, AttachType::XDP_CPUMAP],
            ProgType::SCHED_CLS => &[
                AttachType(0),
                AttachType::TCX_INGRESS,
                AttachType::TCX_EGRESS,
                AttachType::NETKIT_PRIMARY,
                AttachType::NETKIT_PEER,
            ],
            ProgType::TRACING => {
                &[AttachType::TRACE_RAW_TP, AttachType::TRACE_ITER, AttachType::TRACE_FENTRY, AttachType::TRACE_FEXIT]
            }
            ProgType::CGROUP_SKB => &[AttachType::CGROUP_INET_INGRESS, AttachType::CGROUP_INET_EGRESS],
            ProgType::CGROUP_SOCK => &[
                AttachType::CGROUP_INET_SOCK_CREATE,
                AttachType::CGROUP_INET_SOCK_RELEASE,
                AttachType::CGROUP_INET4_POST_BIND,
                AttachType::CGROUP_INET6_POST_BIND,
            ],
            ProgType::CGROUP_SOCK_ADDR => ADDRESSES,
            ProgType::CGROUP_DEVICE => &[AttachType(0), AttachType::CGROUP_DEVICE],
            ProgType::CGROUP_SYSCTL => &[AttachType(0), AttachType::CGROUP_SYSCTL],
            ProgType::CGROUP_SOCKOPT => &[AttachType::CGROUP_GETSOCKOPT, AttachType::CGROUP_SETSOCKOPT],
            ProgType::SK_LOOKUP => &[AttachType::SK_LOOKUP],
            ProgType::SK_REUSEPORT => &[AttachType::SK_REUSEPORT_SELECT, AttachType::SK_REUSEPORT_SELECT_OR_MIGRATE],
            ProgType::SK_SKB => &[
                AttachType(0),
                AttachType::SK_SKB_STREAM_PARSER,
                AttachType::SK_SKB_STREAM_VERDICT,
                AttachType::SK_SKB_VERDICT,
            ],
            ProgType::FLOW_DISSECTOR => &[AttachType(0), AttachType::FLOW_DISSECTOR],
            _ => &[AttachType(0)],
        };
        if known.contains(&attach) {
            return Ok(());
        }
        let checked = matches!(
            prog,
            ProgType::CGROUP_SKB
                | ProgType::CGROUP_SOCK
                | ProgType::CGROUP_SOCK_ADDR
                | ProgType::CGROUP_SOCKOPT
                | ProgType::SK_LOOKUP
        ) || (prog == ProgType::SK_REUSEPORT && self.kernel >= Kernel::V6_1);
        if !checked || attach.name().is_none_or(|name| name.starts_with("cgroup_unix")) {
            unsupported!("programs of type {prog} with attach type {attach} are not simulated");
        }
        reject!("programs of type {prog} cannot have attach type {attach}")
    }

    /// Whether it runs at a place of the kernel that it does not choose (`is_tracing_prog_type`).
    pub(super) fn is_tracing(self) -> bool {
        matches!(self.prog, ProgType::KPROBE | ProgType::TRACEPOINT | ProgType::PERF_EVENT | ProgType::RAW_TRACEPOINT)
    }

    /// Whether its functions may have stacks of their own: the kernel then sees to it that it does not interrupt itself
    /// (`bpf_enable_priv_stack`). x86_64 has it, and arm64 since 6.18.
    pub(super) fn has_private_stacks(self) -> bool {
        let hooked = self.prog == ProgType::TRACING && self.attach != AttachType::TRACE_ITER;
        self.kernel >= Kernel::V6_18 && (self.is_tracing() || hooked)
    }

    /// Whether it belongs to a light-weight tunnel.
    pub(super) fn is_tunnel(self) -> bool {
        matches!(self.prog, ProgType::LWT_IN | ProgType::LWT_OUT | ProgType::LWT_XMIT | ProgType::LWT_SEG6LOCAL)
    }

    /// Whether it may write into the packet itself (`may_access_direct_pkt_data`).
    pub(super) fn writes_packets(self) -> bool {
        matches!(
            self.prog,
            ProgType::SCHED_CLS
                | ProgType::SCHED_ACT
                | ProgType::XDP
                | ProgType::LWT_XMIT
                | ProgType::SK_SKB
                | ProgType::SK_MSG
                | ProgType::CGROUP_SOCKOPT
        )
    }

    /// Whether it may give packet memory to a helper, which may `take` it from those that have packets. An option's value is
    /// no packet, and every helper takes it.
    pub(super) fn gives_packets(self, take: bool) -> bool {
        let reads = matches!(
            self.prog,
            ProgType::CGROUP_SKB
                | ProgType::LWT_IN
                | ProgType::LWT_OUT
                | ProgType::LWT_SEG6LOCAL
                | ProgType::SK_REUSEPORT
                | ProgType::FLOW_DISSECTOR
        );
        self.prog == ProgType::CGROUP_SOCKOPT || (take && (reads || self.writes_packets()))
    }

    /// The least and the greatest value that it may return, if that is restricted (`check_return_code`).
    pub(super) fn returns(self) -> Option<(i64, i64)> {
        let Self { prog, attach, kernel } = self;
        match (prog, attach) {
            (
                ProgType::SOCK_OPS
                | ProgType::CGROUP_SOCK
                | ProgType::CGROUP_DEVICE
                | ProgType::CGROUP_SYSCTL
                | ProgType::CGROUP_SOCKOPT
                | ProgType::SK_LOOKUP,
                _,
            ) => Some((0, 1)),
            (ProgType::CGROUP_SKB, AttachType::CGROUP_INET_EGRESS) => Some((0, 3)),
            (ProgType::CGROUP_SKB, _) => Some((0, 1)),
            (
                ProgType::CGROUP_SOCK_ADDR,
                AttachType::CGROUP_UDP4_RECVMSG
                | AttachType::CGROUP_UDP6_RECVMSG
                | AttachType::CGROUP_INET4_GETPEERNAME
                | AttachType::CGROUP_INET6_GETPEERNAME
                | AttachType::CGROUP_INET4_GETSOCKNAME
                | AttachType::CGROUP_INET6_GETSOCKNAME,
            ) => Some((1, 1)),
            // Linux 5.12: a second bit lets a program bind to ports below 1024.
            (ProgType::CGROUP_SOCK_ADDR, AttachType::CGROUP_INET4_BIND | AttachType::CGROUP_INET6_BIND)
                if kernel >= Kernel::V6_1 =>
            {
                Some((0, 3))
            }
            (ProgType::CGROUP_SOCK_ADDR, _) => Some((0, 1)),
            (ProgType::TRACING, AttachType::TRACE_FENTRY | AttachType::TRACE_FEXIT) => Some((0, 0)),
            (ProgType::TRACING, AttachType::TRACE_ITER) => Some((0, 1)),
            _ => None,
        }
    }
}

/// Where programs that see a socket's addresses may go.
const ADDRESSES: &[AttachType] = &[
    AttachType::CGROUP_INET4_BIND,
    AttachType::CGROUP_INET6_BIND,
    AttachType::CGROUP_INET4_CONNECT,
    AttachType::CGROUP_INET6_CONNECT,
    AttachType::CGROUP_UDP4_SENDMSG,
    AttachType::CGROUP_UDP6_SENDMSG,
    AttachType::CGROUP_UDP4_RECVMSG,
    AttachType::CGROUP_UDP6_RECVMSG,
    AttachType::CGROUP_INET4_GETPEERNAME,
    AttachType::CGROUP_INET6_GETPEERNAME,
    AttachType::CGROUP_INET4_GETSOCKNAME,
    AttachType::CGROUP_INET6_GETSOCKNAME,
];

/// The structure that a program of this type calls its context (include/linux/bpf_types.h).
pub(super) fn context_structure(prog_type: ProgType) -> Option<&'static str> {
    Some(match prog_type {
        ProgType::SOCKET_FILTER
        | ProgType::SCHED_CLS
        | ProgType::SCHED_ACT
        | ProgType::CGROUP_SKB
        | ProgType::LWT_IN
        | ProgType::LWT_OUT
        | ProgType::LWT_XMIT
        | ProgType::LWT_SEG6LOCAL
        | ProgType::SK_SKB
        | ProgType::FLOW_DISSECTOR => "__sk_buff",
        ProgType::XDP => "xdp_md",
        ProgType::SK_MSG => "sk_msg_md",
        ProgType::SOCK_OPS => "bpf_sock_ops",
        ProgType::CGROUP_SOCK => "bpf_sock",
        ProgType::CGROUP_SOCK_ADDR => "bpf_sock_addr",
        ProgType::CGROUP_DEVICE => "bpf_cgroup_dev_ctx",
        ProgType::CGROUP_SYSCTL => "bpf_sysctl",
        ProgType::CGROUP_SOCKOPT => "bpf_sockopt",
        ProgType::SK_REUSEPORT => "sk_reuseport_md",
        ProgType::SK_LOOKUP => "bpf_sk_lookup",
        _ => return None,
    })
}

/// The structure that the kernel has behind it.
pub(super) fn kernel_context(prog_type: ProgType) -> Option<&'static str> {
    if prog_type == ProgType::FLOW_DISSECTOR {
        return Some("bpf_flow_dissector");
    }
    Some(match context_structure(prog_type)? {
        "__sk_buff" => "sk_buff",
        "xdp_md" => "xdp_buff",
        "sk_msg_md" => "sk_msg",
        "bpf_sock_ops" => "bpf_sock_ops_kern",
        "bpf_sock" => "sock",
        "bpf_sock_addr" => "bpf_sock_addr_kern",
        "bpf_cgroup_dev_ctx" => "bpf_cgroup_dev_ctx",
        "bpf_sysctl" => "bpf_sysctl_kern",
        "bpf_sockopt" => "bpf_sockopt_kern",
        "sk_reuseport_md" => "sk_reuseport_kern",
        "bpf_sk_lookup" => "bpf_sk_lookup_kern",
        _ => return None,
    })
}

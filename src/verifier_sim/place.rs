//! How a program is loaded: its type, what it will be attached to, and on which kernel. Most rules depend on it.

use crate::uapi::AttachType;
use crate::verifier_sim::spec::{Kernel, Privilege, ProgType, ProgramSpec};
use crate::verifier_sim::stop::{Step, reject, unsupported};

/// The types whose programs are simulated.
const TYPES: [ProgType; 14] = [
    ProgType::SOCKET_FILTER,
    ProgType::KPROBE,
    ProgType::SCHED_CLS,
    ProgType::SCHED_ACT,
    ProgType::TRACEPOINT,
    ProgType::XDP,
    ProgType::PERF_EVENT,
    ProgType::CGROUP_SKB,
    ProgType::CGROUP_SOCK,
    ProgType::SOCK_OPS,
    ProgType::SK_MSG,
    ProgType::RAW_TRACEPOINT,
    ProgType::CGROUP_SOCK_ADDR,
    ProgType::TRACING,
];

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
        // bpf_prog_load_fixup_attach_type: the type is older than its attach types.
        let fixed = program.prog_type == ProgType::CGROUP_SOCK && attach == AttachType(0);
        let attach = if fixed { AttachType::CGROUP_INET_SOCK_CREATE } else { attach };
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
        let of_the_network =
            !self.is_tracing() && ![ProgType::TRACING, ProgType::SOCKET_FILTER, ProgType::CGROUP_SKB].contains(&prog);
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
            _ => &[AttachType(0)],
        };
        if known.contains(&attach) {
            return Ok(());
        }
        let checked = matches!(prog, ProgType::CGROUP_SKB | ProgType::CGROUP_SOCK | ProgType::CGROUP_SOCK_ADDR);
        if !checked || attach.name().is_none_or(|name| name.starts_with("cgroup_unix")) {
            unsupported!("programs of type {prog} with attach type {attach} are not simulated");
        }
        reject!("programs of type {prog} cannot have attach type {attach}")
    }

    /// Whether it runs at a place of the kernel that it does not choose (`is_tracing_prog_type`).
    pub(super) fn is_tracing(self) -> bool {
        matches!(self.prog, ProgType::KPROBE | ProgType::TRACEPOINT | ProgType::PERF_EVENT | ProgType::RAW_TRACEPOINT)
    }

    /// Whether it may write into the packet itself (`may_access_direct_pkt_data`).
    pub(super) fn writes_packets(self) -> bool {
        matches!(self.prog, ProgType::SCHED_CLS | ProgType::SCHED_ACT | ProgType::XDP | ProgType::SK_MSG)
    }

    /// Whether it may give packet memory to those helpers that take it.
    pub(super) fn gives_packets(self) -> bool {
        self.writes_packets() || self.prog == ProgType::CGROUP_SKB
    }

    /// The least and the greatest value that it may return, if that is restricted (`check_return_code`).
    pub(super) fn returns(self) -> Option<(i64, i64)> {
        let Self { prog, attach, kernel } = self;
        match (prog, attach) {
            (ProgType::SOCK_OPS | ProgType::CGROUP_SOCK, _) => Some((0, 1)),
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

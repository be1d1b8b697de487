//! Where programs go: every type and attach type that the simulator judges.

use std::fmt;

use sidestep::asm::Insn;
use sidestep::asm::opcode as op;
use sidestep::uapi::{AttachType as At, ProgType as Of};
use sidestep::verifier_sim::spec::ProgramSpec;

use crate::kernel::Oracle;

/// Program type, attach type, and what is traced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) prog: Of,
    pub(crate) attach: At,
    pub(crate) target: Option<&'static str>,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.prog)?;
        let by_attach = [Of::CGROUP_SKB, Of::CGROUP_SOCK, Of::CGROUP_SOCK_ADDR, Of::TRACING].contains(&self.prog);
        if by_attach || self.attach != At(0) {
            write!(out, " {}", self.attach)?;
        }
        self.target.map_or(Ok(()), |target| write!(out, " {target}"))
    }
}

impl Place {
    /// A program there.
    pub(crate) fn program(&self, insns: Vec<Insn>) -> ProgramSpec {
        ProgramSpec {
            name: "typed".into(),
            prog_type: self.prog,
            expected_attach_type: self.attach.number(),
            attach_target: self.target.map(str::to_owned),
            insns,
            ..ProgramSpec::default()
        }
    }

    /// Whether the kernel loads any program there: older ones have fewer iterators, and some refuse all programs at functions
    /// (fentry), whatever they are.
    pub(crate) fn loads(&self, oracle: &Oracle) -> bool {
        if !oracle.has_target(&self.program(Vec::new())) {
            return false;
        }
        let set = Insn { code: op::ALU64 | op::MOV | op::K, dst: 0, src: 0, off: 0, imm: 1 };
        let exit = Insn { code: op::JMP | op::EXIT, dst: 0, src: 0, off: 0, imm: 0 };
        [0, 1].into_iter().any(|imm| oracle.verdict(&self.program(vec![Insn { imm, ..set }, exit])).is_ok())
    }
}

/// All of them.
pub(crate) fn places() -> Vec<Place> {
    let place = |prog, attach| Place { prog, attach, target: None };
    let traced = |attach, target| Place { prog: Of::TRACING, attach, target: Some(target) };
    let plain = [
        Of::SOCKET_FILTER,
        Of::SCHED_CLS,
        Of::SCHED_ACT,
        Of::XDP,
        Of::KPROBE,
        Of::TRACEPOINT,
        Of::RAW_TRACEPOINT,
        Of::PERF_EVENT,
        Of::LWT_IN,
        Of::LWT_OUT,
        Of::LWT_XMIT,
        Of::LWT_SEG6LOCAL,
    ];
    let mut all: Vec<Place> = plain.map(|prog| place(prog, At(0))).into();
    all.push(place(Of::XDP, At::XDP_DEVMAP));
    all.extend([At::CGROUP_INET_INGRESS, At::CGROUP_INET_EGRESS].map(|at| place(Of::CGROUP_SKB, at)));
    let socks = [
        At::CGROUP_INET_SOCK_CREATE,
        At::CGROUP_INET_SOCK_RELEASE,
        At::CGROUP_INET4_POST_BIND,
        At::CGROUP_INET6_POST_BIND,
    ];
    all.extend(socks.map(|at| place(Of::CGROUP_SOCK, at)));
    let addresses = [
        At::CGROUP_INET4_BIND,
        At::CGROUP_INET6_BIND,
        At::CGROUP_INET4_CONNECT,
        At::CGROUP_INET6_CONNECT,
        At::CGROUP_UDP4_SENDMSG,
        At::CGROUP_UDP6_SENDMSG,
        At::CGROUP_UDP4_RECVMSG,
        At::CGROUP_INET4_GETPEERNAME,
        At::CGROUP_INET6_GETSOCKNAME,
    ];
    all.extend(addresses.map(|at| place(Of::CGROUP_SOCK_ADDR, at)));
    let others = [
        (Of::CGROUP_DEVICE, At::CGROUP_DEVICE),
        (Of::CGROUP_SYSCTL, At::CGROUP_SYSCTL),
        (Of::CGROUP_SOCKOPT, At::CGROUP_GETSOCKOPT),
        (Of::CGROUP_SOCKOPT, At::CGROUP_SETSOCKOPT),
        (Of::SK_LOOKUP, At::SK_LOOKUP),
        (Of::SK_REUSEPORT, At::SK_REUSEPORT_SELECT),
        (Of::SK_REUSEPORT, At::SK_REUSEPORT_SELECT_OR_MIGRATE),
        (Of::SK_SKB, At::SK_SKB_STREAM_PARSER),
        (Of::SK_SKB, At::SK_SKB_STREAM_VERDICT),
        (Of::SK_SKB, At::SK_SKB_VERDICT),
        (Of::FLOW_DISSECTOR, At::FLOW_DISSECTOR),
    ];
    all.extend(others.map(|(prog, attach)| place(prog, attach)));
    let points =
        ["sched_switch", "sys_enter", "kfree_skb", "sched_process_wait", "signal_generate", "inet_sock_set_state"];
    all.extend(points.map(|name| traced(At::TRACE_RAW_TP, name)));
    let iterators = ["task", "task_file", "task_vma", "sockmap", "tcp", "udp", "bpf_map", "bpf_map_elem"];
    all.extend(iterators.map(|name| traced(At::TRACE_ITER, name)));
    all.extend(["tcp_bpf_recvmsg", "tcp_v4_connect"].map(|name| traced(At::TRACE_FEXIT, name)));
    all.extend(["tcp_splice_read", "vfs_write"].map(|name| traced(At::TRACE_FENTRY, name)));
    all
}

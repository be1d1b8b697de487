//! Which helpers each type of program may call on the running kernel: where the tables of `src/uapi/helper` come from.

use byteorder::NativeEndian;
use sidestep::asm::Insn;
use sidestep::asm::opcode as op;
use sidestep::btf::{Btf, Kind};
use sidestep::syscall::btf::vmlinux;
use sidestep::syscall::{ProgSpec, Program, memlock};
use sidestep::uapi::helper::Helper;
use sidestep::uapi::{AttachType, ProgType};

/// A way to load a program: its type, the attach type, and what a tracing program traces.
struct Place(ProgType, AttachType, Option<&'static str>);

fn places() -> Vec<Place> {
    use AttachType as At;
    use ProgType as Of;
    let mut all: Vec<Place> = [
        Of::SOCKET_FILTER,
        Of::KPROBE,
        Of::SCHED_CLS,
        Of::SCHED_ACT,
        Of::TRACEPOINT,
        Of::XDP,
        Of::PERF_EVENT,
        Of::RAW_TRACEPOINT,
        Of::SK_MSG,
        Of::SOCK_OPS,
    ]
    .map(|of| Place(of, At(0), None))
    .into();
    all.extend([At::CGROUP_INET_INGRESS, At::CGROUP_INET_EGRESS].map(|at| Place(Of::CGROUP_SKB, at, None)));
    let sock = [
        At::CGROUP_INET_SOCK_CREATE,
        At::CGROUP_INET_SOCK_RELEASE,
        At::CGROUP_INET4_POST_BIND,
        At::CGROUP_INET6_POST_BIND,
    ];
    all.extend(sock.map(|at| Place(Of::CGROUP_SOCK, at, None)));
    let address = [
        At::CGROUP_INET4_BIND,
        At::CGROUP_INET6_BIND,
        At::CGROUP_INET4_CONNECT,
        At::CGROUP_INET6_CONNECT,
        At::CGROUP_UDP4_SENDMSG,
        At::CGROUP_UDP6_SENDMSG,
        At::CGROUP_UDP4_RECVMSG,
        At::CGROUP_UDP6_RECVMSG,
        At::CGROUP_INET4_GETPEERNAME,
        At::CGROUP_INET6_GETPEERNAME,
        At::CGROUP_INET4_GETSOCKNAME,
        At::CGROUP_INET6_GETSOCKNAME,
    ];
    all.extend(address.map(|at| Place(Of::CGROUP_SOCK_ADDR, at, None)));
    let others = [
        (Of::CGROUP_DEVICE, At::CGROUP_DEVICE),
        (Of::CGROUP_SYSCTL, At::CGROUP_SYSCTL),
        (Of::CGROUP_SOCKOPT, At::CGROUP_GETSOCKOPT),
        (Of::CGROUP_SOCKOPT, At::CGROUP_SETSOCKOPT),
        (Of::SK_LOOKUP, At::SK_LOOKUP),
        (Of::SK_REUSEPORT, At::SK_REUSEPORT_SELECT),
        (Of::SK_REUSEPORT, At::SK_REUSEPORT_SELECT_OR_MIGRATE),
        (Of::SK_REUSEPORT, At(0)),
        (Of::SK_SKB, At(0)),
        (Of::SK_SKB, At::SK_SKB_STREAM_PARSER),
        (Of::SK_SKB, At::SK_SKB_STREAM_VERDICT),
        (Of::SK_SKB, At::SK_SKB_VERDICT),
        (Of::FLOW_DISSECTOR, At(0)),
        (Of::FLOW_DISSECTOR, At::FLOW_DISSECTOR),
        (Of::CGROUP_DEVICE, At(0)),
        (Of::CGROUP_SYSCTL, At(0)),
        (Of::LWT_IN, At(0)),
        (Of::LWT_OUT, At(0)),
        (Of::LWT_XMIT, At(0)),
        (Of::LWT_SEG6LOCAL, At(0)),
    ];
    all.extend(others.map(|(of, at)| Place(of, at, None)));
    for (at, what) in [
        (At::TRACE_RAW_TP, "btf_trace_sched_switch"),
        (At::TRACE_ITER, "bpf_iter_task_file"),
        (At::TRACE_ITER, "bpf_iter_sockmap"),
        (At::TRACE_FENTRY, "tcp_splice_read"),
        (At::TRACE_FEXIT, "tcp_bpf_recvmsg"),
    ] {
        all.push(Place(Of::TRACING, at, Some(what)));
    }
    all
}

/// Loads a program that calls `helper`; the verifier's words if it is refused.
fn call(Place(prog_type, attach_type, _): &Place, btf_id: u32, helper: i32) -> Result<(), String> {
    let insns = [
        Insn { code: op::JMP | op::CALL, dst: 0, src: 0, off: 0, imm: helper },
        Insn { code: op::ALU64 | op::MOV | op::K, dst: 0, src: 0, off: 0, imm: 0 },
        Insn { code: op::JMP | op::EXIT, dst: 0, src: 0, off: 0, imm: 0 },
    ];
    let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.encode::<NativeEndian>()).collect();
    let request = ProgSpec {
        license: c"GPL",
        expected_attach_type: Some(*attach_type),
        attach_btf_id: btf_id,
        ..ProgSpec::new("helper", *prog_type, &bytes)
    };
    match Program::load(&request) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.log().map_or_else(|| error.to_string(), str::to_owned)),
    }
}

fn btf_id(types: &Btf, Place(_, attach_type, what): &Place) -> Option<u32> {
    match what {
        None => Some(0),
        Some(name) if *attach_type == AttachType::TRACE_RAW_TP => types.by_name(Kind::Typedef, name),
        Some(name) => types.func_by_name(name),
    }
}

/// `cargo test --test sim -- --ignored --nocapture helper_tables`, or in a guest of the kernel matrix: a line for each type.
#[test]
#[ignore = "a measurement, printed for the tables"]
fn helper_tables() {
    assert!(nix::unistd::geteuid().is_root(), "it needs root");
    memlock::raise_if_needed().unwrap();
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let types = vmlinux().unwrap();
    for place in places() {
        let name = format!("{release} {} {} {}", place.0, place.1, place.2.unwrap_or("-"));
        let Some(btf_id) = btf_id(&types, &place) else {
            println!("helpers {name}: no such place");
            continue;
        };
        let mut permitted = Vec::new();
        let mut strange = None;
        for helper in Helper::all() {
            match call(&place, btf_id, helper.id) {
                Ok(()) => permitted.push(helper.id.to_string()),
                Err(log) if ["unknown func", "cannot use helper", "invalid func"].iter().any(|no| log.contains(no)) => {
                }
                // The verifier has looked at the call, and has another objection.
                Err(log) if log.contains("processed ") => permitted.push(helper.id.to_string()),
                Err(log) => strange = Some(log),
            }
        }
        match strange {
            Some(log) => println!("helpers {name}: refused: {}", log.lines().last().unwrap_or_default()),
            None => println!("helpers {name}: {}", permitted.join(" ")),
        }
    }
    println!("GUEST-RESULT: ok");
}

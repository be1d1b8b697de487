//! What the list says that sidestep does not use: looked for in the instructions of every variant of its programs.

use crate::agent::{simulated_offsets, simulated_trace_offsets};
use crate::asm::{Insn, Program, opcode};
use crate::dataplane::{DataPlane, Hooks, KernelOffsets, Options, Policy, Streams, Trust, TrustBy, Watch, build};
use crate::uapi::ctx::sock_ops;
use crate::uapi::helper::{helper_name, id as helper};
use crate::uapi::net;

/// Every variant, for older and newer kernels.
fn planes() -> Vec<DataPlane> {
    let offsets = simulated_offsets().unwrap();
    let newest = KernelOffsets { iterators_have_storage: true, readers_can_be_woken: true, ..offsets };
    let trace = simulated_trace_offsets().unwrap();
    let watching = Watch::all(Hooks::Functions { flags: 3, arguments: 5 }, trace).map(TrustBy::Watching);
    let by: Vec<_> = [TrustBy::Default, TrustBy::Name].into_iter().chain(watching).collect();
    let all = [offsets, newest].map(Options::all).concat().into_iter().flat_map(|options| {
        let of = |by: &TrustBy, streams| Policy {
            trust: Trust { by: *by, ..Trust::default() },
            streams,
            ..Policy::default()
        };
        let policies: Vec<_> =
            by.iter().flat_map(|by| [Streams::Leave, Streams::Auto].map(|streams| of(by, streams))).collect();
        policies.into_iter().map(move |policy| build(Options { policy, ..options.clone() }).unwrap())
    });
    all.collect()
}

fn class(insn: &Insn) -> u8 {
    insn.code & opcode::CLASS_MASK
}

fn calls(program: &Program) -> impl Iterator<Item = (usize, i32)> {
    let is_call = |insn: &Insn| insn.code == opcode::JMP | opcode::CALL && insn.src == 0;
    program.insns().iter().enumerate().filter(move |(_, insn)| is_call(insn)).map(|(at, insn)| (at, insn.imm))
}

#[test]
fn the_sk_msg_program_decides_about_whole_messages_and_does_not_touch_them() {
    let editing = [
        helper::MSG_APPLY_BYTES,
        helper::MSG_CORK_BYTES,
        helper::MSG_PULL_DATA,
        helper::MSG_PUSH_DATA,
        helper::MSG_POP_DATA,
    ];
    for plane in planes() {
        for (_, id) in calls(&plane.sk_msg).chain(calls(&plane.dispatcher)) {
            assert!(!editing.contains(&id), "{:?}", helper_name(id));
        }
    }
}

/// What each call of setsockopt sets: the level and the option, which are constants right before it.
fn options_set(program: &Program) -> Vec<(i32, i32)> {
    let insns = program.insns();
    let constant = |at: usize, register: u8| {
        let before = insns[..at]
            .iter()
            .rev()
            .find(|insn| insn.dst == register && class(insn) != opcode::ST && class(insn) != opcode::STX);
        let insn = before.unwrap();
        assert_eq!((insn.code, insn.src), (opcode::ALU64 | opcode::MOV, 0), "a constant in r{register}");
        insn.imm
    };
    calls(program)
        .filter(|(_, id)| *id == helper::SETSOCKOPT)
        .map(|(at, _)| (constant(at, 2), constant(at, 3)))
        .collect()
}

/// Later kernels refuse TCP_NODELAY in the callbacks for a packet's header (commit 846c76ecc020), in which it would send
/// packets. Whatever else they come to refuse there, this is what the programs set.
#[test]
fn the_callbacks_set_these_options_and_not_tcp_nodelay() {
    let known = [
        (net::SOL_SOCKET, net::SO_RCVBUF),
        (net::SOL_SOCKET, net::SO_KEEPALIVE),
        (net::SOL_SOCKET, net::SO_RCVLOWAT),
        (net::SOL_TCP, net::TCP_KEEPIDLE),
        (net::SOL_TCP, net::TCP_KEEPINTVL),
        (net::SOL_TCP, net::TCP_USER_TIMEOUT),
        (net::SOL_TCP, net::TCP_RTO_MAX_MS),
        (net::SOL_TCP, net::TCP_WINDOW_CLAMP),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for plane in planes() {
        for program in [&plane.sock_ops].into_iter().chain(&plane.opt_out).chain(&plane.trusted) {
            seen.extend(options_set(program));
        }
    }
    assert_eq!(seen, known.into_iter().collect());
}

/// `rtt_min` of `struct bpf_sock_ops`, and the fields that the kernel loads only of a socket that is whole: there a load over
/// the context's own register went wrong.
#[test]
fn no_program_reads_rtt_min_or_loads_over_its_own_context() {
    let mut loads = 0;
    for plane in planes() {
        for program in [&plane.sock_ops].into_iter().chain(&plane.opt_out).chain(&plane.trusted) {
            // The context is in r6 from the first instruction on.
            for insn in program.insns().iter().filter(|insn| class(insn) == opcode::LDX && insn.src == 6) {
                assert_ne!(insn.dst, 6, "{insn:?}");
                assert_ne!(insn.off, sock_ops::RTT_MIN, "{insn:?}");
                loads += 1;
            }
        }
    }
    assert!(loads > 100, "{loads} loads of a context were found");
}

//! Every field of a context, and every helper with the arguments that it takes and with others: the simulator judges each as
//! the kernel does.

use sidestep::asm::Insn;
use sidestep::asm::opcode as op;
use sidestep::uapi::ProgType as Of;
use sidestep::uapi::helper::{Arg, Helper};
use sidestep::verifier_sim::spec::{MapLoad, MapSpec, Options, ProgramSpec};

use super::places::{Place, places};
use super::program::{arguments, maps, socket_at};
use super::{Seen, settings};
use crate::kernel::{Oracle, available};
use crate::map_use::{self, copy, insn, mov};

/// The types that are swept; SK_MSG and SOCK_OPS have sweeps of their own, and contexts of tracing programs are by BTF.
const TYPES: [Of; 11] = [
    Of::CGROUP_DEVICE,
    Of::CGROUP_SYSCTL,
    Of::CGROUP_SOCKOPT,
    Of::SK_LOOKUP,
    Of::SK_REUSEPORT,
    Of::SK_SKB,
    Of::FLOW_DISSECTOR,
    Of::LWT_IN,
    Of::LWT_OUT,
    Of::LWT_XMIT,
    Of::LWT_SEG6LOCAL,
];

fn swept(oracle: &Oracle) -> Vec<Place> {
    places().into_iter().filter(|place| TYPES.contains(&place.prog) && place.loads(oracle)).collect()
}

fn exit() -> [Insn; 2] {
    [mov(0, 1), insn(op::JMP | op::EXIT, 0, 0, 0, 0)]
}

fn assert_alike(what: &str, seen: Seen, least: u32) {
    eprintln!("{what}: {} programs, {} accepted, {} not judged", seen.programs, seen.accepted, seen.unsupported);
    let differences = [seen.false_accepts, seen.false_rejects].concat();
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(seen.accepted > least, "only {} programs are accepted", seen.accepted);
}

/// Loads and stores of every size at every offset of each context.
fn fields(settings: &Options) -> Seen {
    let oracle = Oracle::new(Vec::new);
    let mut seen = Seen::default();
    // What a load yields may be a number, a packet, a socket that may be NULL or not, or flow keys.
    let behind = [
        vec![],
        vec![insn(op::LDX | op::MEM | op::W, 3, 2, 4, 0)],
        vec![insn(op::JMP | op::JEQ | op::K, 2, 0, 1, 0), insn(op::LDX | op::MEM | op::W, 3, 2, 4, 0)],
        vec![insn(op::STX | op::MEM | op::B, 2, 0, 0, 0)],
        vec![copy(1, 2), insn(op::JMP | op::CALL, 0, 0, 0, 96)],
    ];
    for place in swept(&oracle) {
        for (size, bytes) in [(op::B, 1), (op::H, 2), (op::W, 4), (op::DW, 8)] {
            for off in (-8..200).step_by(bytes).chain([1, 3, 150]) {
                let load = insn(op::LDX | op::MEM | size, 2, 1, off, 0);
                let mut bodies: Vec<Vec<Insn>> = behind.iter().map(|then| [&[load][..], then].concat()).collect();
                bodies.extend([
                    vec![insn(op::LDX | op::MEMSX | size, 2, 1, off, 0)],
                    vec![insn(op::STX | op::MEM | size, 1, 0, off, 0)],
                    vec![insn(op::ST | op::MEM | size, 1, 0, off, 1)],
                ]);
                for body in bodies {
                    let program = place.program([&[mov(0, 1)], &body[..], &exit()].concat());
                    seen.judge(&oracle, &program, settings);
                }
            }
        }
    }
    seen
}

#[test]
fn every_field_of_a_context_is_what_the_kernel_takes_it_for() {
    let test = "every_field_of_a_context_is_what_the_kernel_takes_it_for";
    let Some(settings) = available(test).then(|| settings(test)).flatten() else { return };
    assert_alike("fields", fields(&settings), 1000);
}

/// A call of `helper` with what it takes, but for argument `other.0`, which is what `other.1` says. r6 is the context, r7 a
/// socket or 1, r8 the map, r9 stack that holds zeros.
fn call(place: &Place, helper: &Helper, (maps, map): (&[MapSpec], usize), other: Option<(usize, Insn)>) -> ProgramSpec {
    let args = helper.proto.map_or(&[][..], |proto| arguments(place.prog, helper.id, proto.args));
    let mut insns = vec![copy(6, 1), mov(7, 1)];
    let wants_socket = |arg: &Arg| {
        matches!(arg, Arg::SockCommon | Arg::BtfSock | Arg::BtfSockOrNull | Arg::FullSockOrNull | Arg::SockRelease)
    };
    if args.iter().any(wants_socket) {
        insns.push(insn(op::LDX | op::MEM | op::DW, 7, 6, socket_at(place.prog), 0));
        insns.push(insn(op::JMP | op::JNE | op::K, 7, 0, 2, 0));
        insns.extend(exit());
    }
    insns.extend((1..=8).map(|slot| insn(op::ST | op::MEM | op::DW, 10, 0, slot * -8, 0)));
    insns.extend([copy(9, 10), insn(op::ALU64 | op::ADD | op::K, 9, 0, 0, -64)]);
    let map_loads = vec![MapLoad { insn: insns.len(), map }];
    insns.extend([insn(op::LD | op::IMM | op::DW, 8, op::PSEUDO_MAP_FD, 0, map as i32), insn(0, 0, 0, 0, 0)]);
    for (index, arg) in args.iter().enumerate() {
        let reg = index as u8 + 1;
        insns.push(match (other, arg) {
            (Some((at, other)), _) if at == index => Insn { dst: reg, ..other },
            (_, Arg::Ctx | Arg::CtxOrNull) => copy(reg, 6),
            (_, Arg::Map) => copy(reg, 8),
            (_, Arg::Size | Arg::SizeOrZero | Arg::AllocSize) => mov(reg, 8),
            (_, Arg::Anything) => mov(reg, 0),
            (_, arg) if wants_socket(arg) => copy(reg, 7),
            _ => copy(reg, 9),
        });
    }
    insns.push(insn(op::JMP | op::CALL, 0, 0, 0, helper.id));
    insns.extend(exit());
    ProgramSpec { maps: maps.to_vec(), map_loads, ..place.program(insns) }
}

/// Every helper with every map, and with other arguments than it takes. The second map is an array.
fn calls(settings: &Options, maps: &[MapSpec]) -> Seen {
    let oracle = Oracle::new(|| maps.to_vec());
    let mut seen = Seen::default();
    let others = [mov(0, 0), mov(0, -1), copy(0, 6), copy(0, 7), copy(0, 8), copy(0, 10)];
    for place in swept(&oracle) {
        for helper in Helper::all() {
            let args = helper.proto.map_or(&[][..], |proto| proto.args);
            let permitted = helper.is_available(place.prog, place.attach, settings.kernel);
            let with = if permitted && args.contains(&Arg::Map) { maps.len() } else { 1 };
            for map in 0..with {
                seen.judge(&oracle, &call(&place, helper, (maps, map), None), settings);
            }
            for (index, other) in (0..args.len()).flat_map(|index| others.map(|other| (index, other))) {
                if permitted {
                    seen.judge(&oracle, &call(&place, helper, (maps, 1), Some((index, other))), settings);
                }
            }
        }
    }
    seen
}

#[test]
fn every_helper_takes_what_it_takes_in_the_kernel() {
    let test = "every_helper_takes_what_it_takes_in_the_kernel";
    let Some(settings) = available(test).then(|| settings(test)).flatten() else { return };
    assert_alike("calls", calls(&settings, &map_use::maps()), 1000);
}

/// Both in a guest of the kernel matrix, with maps that all of its kernels have.
#[test]
#[ignore = "some 60,000 programs, for guests of the kernel matrix"]
fn sweep() {
    assert!(nix::unistd::geteuid().is_root(), "it needs root");
    sidestep::syscall::memlock::raise_if_needed().unwrap();
    let settings = settings("sweep").expect("the simulator has no rules for this kernel");
    assert_alike("fields", fields(&settings), 1000);
    assert_alike("calls", calls(&settings, &maps()), 1000);
    println!("GUEST-RESULT: ok");
}

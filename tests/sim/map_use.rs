//! Every type of map with every helper that takes one, loads of what a lookup returns, and loads of the map itself: the
//! simulator accepts nothing that the kernel refuses, and the other way round.

use sidestep::asm::Insn;
use sidestep::asm::opcode as op;
use sidestep::verifier_sim::spec::{MapLoad, MapSpec, MapType, Options, ProgType, ProgramSpec};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify;

use crate::agreement::options;
use crate::kernel::{Oracle, available};
use crate::rules::kernel_types;

/// `BPF_F_NO_PREALLOC`, which some types demand.
const NO_PREALLOC: u32 = 1;

/// A map of each type that root can create here, except maps of maps, arenas and struct_ops.
pub(crate) fn maps() -> Vec<MapSpec> {
    let map = |map_type, key_size, value_size, max_entries, map_flags| MapSpec {
        map_type,
        key_size,
        value_size,
        max_entries,
        map_flags,
        ..MapSpec::default()
    };
    use MapType as t;
    vec![
        map(t::HASH, 4, 16, 4, 0),
        map(t::ARRAY, 4, 16, 4, 0),
        map(t::PROG_ARRAY, 4, 4, 4, 0),
        map(t::PERF_EVENT_ARRAY, 4, 4, 4, 0),
        map(t::PERCPU_HASH, 4, 16, 4, 0),
        map(t::PERCPU_ARRAY, 4, 16, 4, 0),
        map(t::STACK_TRACE, 4, 64, 4, 0),
        map(t::CGROUP_ARRAY, 4, 4, 4, 0),
        map(t::LRU_HASH, 4, 16, 4, 0),
        map(t::LRU_PERCPU_HASH, 4, 16, 4, 0),
        map(t::LPM_TRIE, 8, 16, 4, NO_PREALLOC),
        map(t::DEVMAP, 4, 4, 4, 0),
        map(t::DEVMAP, 4, 8, 4, 0),
        map(t::SOCKMAP, 4, 4, 4, 0),
        map(t::CPUMAP, 4, 4, 1, 0),
        map(t::CPUMAP, 4, 8, 1, 0),
        map(t::XSKMAP, 4, 4, 4, 0),
        map(t::SOCKHASH, 4, 4, 4, 0),
        map(t::CGROUP_STORAGE, 8, 16, 0, 0),
        map(t::PERCPU_CGROUP_STORAGE, 8, 16, 0, 0),
        map(t::REUSEPORT_SOCKARRAY, 4, 8, 4, 0),
        map(t::QUEUE, 0, 16, 4, 0),
        map(t::STACK, 0, 16, 4, 0),
        map(t::SK_STORAGE, 4, 16, 0, NO_PREALLOC),
        map(t::DEVMAP_HASH, 4, 4, 4, 0),
        map(t::DEVMAP_HASH, 4, 8, 4, 0),
        map(t::RINGBUF, 0, 0, 4096, 0),
        map(t::INODE_STORAGE, 4, 16, 0, NO_PREALLOC),
        map(t::TASK_STORAGE, 4, 16, 0, NO_PREALLOC),
        map(t::BLOOM_FILTER, 0, 16, 4, 0),
        map(t::USER_RINGBUF, 0, 0, 4096, 0),
        map(t::CGRP_STORAGE, 4, 16, 0, NO_PREALLOC),
    ]
}

/// Helpers that take a map, or might.
const HELPERS: [i32; 47] = [
    1, 2, 3, 12, 22, 25, 27, 33, 37, 51, 52, 53, 55, 60, 67, 69, 70, 71, 72, 81, 82, 87, 88, 89, 107, 108, 111, 115,
    121, 130, 131, 134, 141, 145, 146, 156, 157, 164, 169, 194, 195, 198, 203, 209, 210, 211, 212,
];

pub(crate) fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, dst, src, off, imm }
}

pub(crate) fn mov(dst: u8, imm: i32) -> Insn {
    insn(op::ALU64 | op::MOV | op::K, dst, 0, 0, imm)
}

pub(crate) fn copy(dst: u8, src: u8) -> Insn {
    insn(op::ALU64 | op::MOV | op::X, dst, src, 0, 0)
}

/// A program around `body`, in which r6 is the context, r7 a socket, r8 the map and r9 eight initialised slots of stack.
fn program(prog_type: ProgType, map: usize, body: &[Insn]) -> ProgramSpec {
    let socket = if prog_type == ProgType::SK_MSG { 72 } else { 184 };
    let mut insns = vec![
        copy(6, 1),
        insn(op::LDX | op::MEM | op::DW, 7, 6, socket, 0),
        insn(op::JMP | op::JNE | op::K, 7, 0, 2, 0),
        mov(0, 1),
        insn(op::JMP | op::EXIT, 0, 0, 0, 0),
    ];
    insns.extend((1..=8).map(|slot| insn(op::ST | op::MEM | op::DW, 10, 0, slot * -8, 0)));
    insns.extend([copy(9, 10), insn(op::ALU64 | op::ADD | op::K, 9, 0, 0, -64)]);
    let map_loads = vec![MapLoad { insn: insns.len(), map }];
    insns.extend([insn(op::LD | op::IMM | op::DW, 8, op::PSEUDO_MAP_FD, 0, map as i32), insn(0, 0, 0, 0, 0)]);
    insns.extend_from_slice(body);
    insns.extend([mov(0, 1), insn(op::JMP | op::EXIT, 0, 0, 0, 0)]);
    ProgramSpec { name: "map_use".into(), prog_type, insns, maps: maps(), map_loads, ..ProgramSpec::default() }
}

/// Ways to fill r1 to r5: the map first, or the context.
fn arguments() -> Vec<[Insn; 5]> {
    let stack = |reg| copy(reg, 9);
    let mut all = Vec::new();
    for third in [stack(3), mov(3, 0), mov(3, 8)] {
        for fourth in [mov(4, 0), stack(4)] {
            for second in [stack(2), mov(2, 0), copy(2, 7)] {
                all.push([copy(1, 8), second, third, fourth, mov(5, 0)]);
            }
            for fifth in [mov(5, 0), mov(5, 8)] {
                all.push([copy(1, 6), copy(2, 8), third, fourth, fifth]);
            }
        }
    }
    all
}

/// What a program may try with the result in r0.
fn uses() -> Vec<Vec<Insn>> {
    let checked = |then: &[Insn]| [&[insn(op::JMP | op::JEQ | op::K, 0, 0, then.len() as i16, 0)], then].concat();
    let load = |size, off| checked(&[insn(op::LDX | op::MEM | size, 1, 0, off, 0)]);
    let again = [copy(1, 0), copy(2, 9), insn(op::JMP | op::CALL, 0, 0, 0, 1)];
    vec![
        load(op::B, 0),
        load(op::W, 0),
        load(op::W, 4),
        load(op::DW, 0),
        load(op::DW, 8),
        checked(&[insn(op::ST | op::MEM | op::W, 0, 0, 0, 0)]),
        checked(&again),
        vec![insn(op::LDX | op::MEM | op::W, 1, 0, 0, 0)],
    ]
}

/// Whether the kernel and the simulator accept it; a difference goes to `differences`.
fn judge(oracle: &Oracle, program: &ProgramSpec, options: &Options, differences: &mut Vec<String>) -> Option<bool> {
    let ours = verify(program, options);
    let theirs = oracle.verdict(program);
    if !matches!(ours, Verdict::Unsupported(_)) && ours.is_accept() != theirs.is_ok() {
        let map = program.maps[program.map_loads[0].map].map_type;
        let mut text = Vec::new();
        sidestep::asm::write_text(&program.insns[17..], &mut text).unwrap();
        let log = theirs.as_ref().err().map_or("accepts", |log| &log[log.len().saturating_sub(160)..]);
        differences.push(format!(
            "{} {map}: ours {} ({}); kernel {log}\n{}",
            program.prog_type,
            ours.word(),
            ours.reason(),
            String::from_utf8_lossy(&text)
        ));
    }
    theirs.is_ok().then_some(ours.is_accept())
}

#[test]
fn every_map_works_with_the_helpers_it_works_with_in_the_kernel() {
    let test = "every_map_works_with_the_helpers_it_works_with_in_the_kernel";
    let Some(types) = available(test).then(|| kernel_types(test)).flatten() else { return };
    let options = Options { types: Some(types), ..options() };
    let oracle = Oracle::new(maps);
    let (mut programs, mut accepted, mut differences) = (0, 0, Vec::new());
    for prog_type in [ProgType::SK_MSG, ProgType::SOCK_OPS] {
        for map in 0..maps().len() {
            for helper in HELPERS {
                for arguments in arguments() {
                    let call = [&arguments[..], &[insn(op::JMP | op::CALL, 0, 0, 0, helper)]].concat();
                    programs += 1;
                    if judge(&oracle, &program(prog_type, map, &call), &options, &mut differences).is_none() {
                        continue;
                    }
                    accepted += 1;
                    for then in uses() {
                        programs += 1;
                        let body = [&call[..], &then].concat();
                        judge(&oracle, &program(prog_type, map, &body), &options, &mut differences);
                    }
                }
            }
        }
    }
    eprintln!("{programs} programs, {accepted} calls accepted, {} differences", differences.len());
    assert!(accepted > 100, "only {accepted} calls are accepted");
    assert!(differences.is_empty(), "{} of {programs}:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn every_map_can_be_read_where_the_kernel_lets_it() {
    let test = "every_map_can_be_read_where_the_kernel_lets_it";
    let Some(types) = available(test).then(|| kernel_types(test)).flatten() else { return };
    let options = Options { types: Some(types), ..options() };
    let oracle = Oracle::new(maps);
    let (mut programs, mut accepted, mut differences) = (0, 0, Vec::new());
    for prog_type in [ProgType::SK_MSG, ProgType::SOCK_OPS] {
        for map in 0..maps().len() {
            for (size, bytes) in [(op::B, 1), (op::H, 2), (op::W, 4), (op::DW, 8)] {
                for off in (-8..336).step_by(bytes) {
                    let load = [insn(op::LDX | op::MEM | size, 1, 8, off, 0)];
                    programs += 1;
                    let fine = judge(&oracle, &program(prog_type, map, &load), &options, &mut differences);
                    accepted += i32::from(fine.is_some());
                }
            }
            let store = [insn(op::ST | op::MEM | op::W, 8, 0, 0, 0)];
            judge(&oracle, &program(prog_type, map, &store), &options, &mut differences);
        }
    }
    eprintln!("{programs} programs, {accepted} loads accepted, {} differences", differences.len());
    assert!(accepted > 100, "only {accepted} loads are accepted");
    assert!(differences.is_empty(), "{} of {programs}:\n{}", differences.len(), differences.join("\n"));
}

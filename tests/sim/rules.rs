//! Single rules of the verifier on small programs: the simulator says what is written here, and so does the kernel.

use sidestep::asm;
use sidestep::syscall::btf::vmlinux;
use sidestep::verifier_sim::spec::{MapSpec, MapType, Options, ProgType, ProgramSpec};
use sidestep::verifier_sim::types::KernelTypes;
use sidestep::verifier_sim::{verify, verify_with_log};

use crate::agreement::options;
use crate::kernel::{Oracle, available};
use crate::link::map_loads;
use crate::random::map;
use crate::reasons::reason;

/// The maps of these programs, by the number in `map[fd:0]`.
fn maps() -> Vec<MapSpec> {
    let text = |text: &str| MapSpec {
        map_flags: 0x80,
        data: Some(text.as_bytes().to_vec()),
        frozen: true,
        ..map(MapType::ARRAY, 4, text.len() as u32, 1)
    };
    vec![
        map(MapType::RINGBUF, 0, 0, 4096),
        map(MapType::ARRAY, 4, 64, 1),
        text("%d of %s\n\0"),
        text("%d of %q\0"),
        text("plain\0"),
        map(MapType::XSKMAP, 4, 4, 1),
    ]
}

/// A program in the text form of the kernel's log. Every map load names a map of [`maps`].
fn program(prog_type: ProgType, text: &str) -> ProgramSpec {
    let insns = asm::parse_program(text).unwrap();
    let map_loads = map_loads(&insns);
    ProgramSpec { name: "rule".into(), prog_type, insns, maps: maps(), map_loads, ..ProgramSpec::default() }
}

/// Whether the program is accepted; if not, a part of the reason.
type Expected = Result<(), &'static str>;

/// The running kernel's types. Without them it says loudly that nothing was compared.
pub(crate) fn kernel_types(test: &str) -> Option<&'static KernelTypes> {
    match std::fs::read("/sys/kernel/btf/vmlinux") {
        Ok(data) => Some(Box::leak(Box::new(KernelTypes::parse(data).unwrap()))),
        Err(error) => {
            eprintln!("\n*** {test}: NOT TESTED: the kernel's BTF: {error} ***\n");
            None
        }
    }
}

/// The settings for this kernel, with its types, where it may be asked.
pub(crate) fn typed_options(test: &str) -> Option<Options> {
    if !available(test) {
        return None;
    }
    Some(Options { types: Some(kernel_types(test)?), ..options() })
}

/// Checks each program as both types, with the kernel where it may be asked.
fn check(test: &str, cases: &[(&str, Expected)]) {
    check_with(test, cases, &Options::default());
}

fn check_with(test: &str, cases: &[(&str, Expected)], options: &Options) {
    let oracle = available(test).then(|| Oracle::new(maps));
    let mut different = Vec::new();
    for (text, expected) in cases {
        for prog_type in [ProgType::SK_MSG, ProgType::SOCK_OPS] {
            let program = program(prog_type, text);
            let verdict = verify(&program, options);
            match expected {
                Ok(()) => assert!(verdict.is_accept(), "{prog_type}: {}\n{text}", verdict.reason()),
                Err(part) => {
                    assert!(verdict.rejection().is_some(), "{prog_type}: {}\n{text}", verdict.word());
                    assert!(verdict.reason().contains(part), "{prog_type}: {}\n{text}", verdict.reason());
                }
            }
            if let Some(oracle) = &oracle {
                let (accepted, theirs) = oracle.whole_log(&program);
                assert_eq!(accepted, expected.is_ok(), "{prog_type}: the kernel: {theirs}\n{text}");
                let (_, ours) = verify_with_log(&program, options);
                let (here, there) = (reason(&ours), reason(&theirs));
                if !accepted && here != there {
                    different.push(format!("{prog_type}: {here}\nkernel: {there}\n"));
                }
            }
        }
    }
    assert!(different.is_empty(), "reasons differ:\n{}", different.concat());
}

/// Lines in one text.
fn lines(parts: &[&str]) -> String {
    parts.join("\n")
}

const RESERVE: &str = "r1 = map[fd:0]\nr2 = 16\nr3 = 0\nr4 = r10\nr4 += -16\ncall bpf_ringbuf_reserve_dynptr";
const SUBMIT: &str = "r1 = r10\nr1 += -16\nr2 = 0\ncall bpf_ringbuf_submit_dynptr";
const FROM_VALUE: &str = "r1 = map[fd:1][0]+0\nr2 = 16\nr3 = 0\nr4 = r10\nr4 += -16\ncall bpf_dynptr_from_mem";
const SLICE: &str = "r1 = r10\nr1 += -16\nr2 = 0\nr3 = 8\ncall bpf_dynptr_data";
const WRITE_SLICE: &str = "if r0 == 0x0 goto pc+1\n*(u64 *)(r0 +0) = 7";
const DONE: &str = "r0 = 1\nexit";

#[test]
fn dynptrs_are_kept_track_of() {
    let cases: Vec<(String, Expected)> = vec![
        (lines(&[RESERVE, SUBMIT, DONE]), Ok(())),
        (lines(&[RESERVE, SLICE, WRITE_SLICE, SUBMIT, DONE]), Ok(())),
        (lines(&[FROM_VALUE, SLICE, WRITE_SLICE, DONE]), Ok(())),
        // Making a dynptr where one of a map's value was is fine, and ends its slices.
        (lines(&[FROM_VALUE, FROM_VALUE, SLICE, WRITE_SLICE, DONE]), Ok(())),
        (lines(&[FROM_VALUE, SLICE, "r6 = r0", FROM_VALUE, "r0 = r6", WRITE_SLICE, DONE]), Err("invalid mem access")),
        (lines(&[FROM_VALUE, SLICE, "r6 = r0", "*(u8 *)(r10 -3) = 1", "r0 = r6", WRITE_SLICE, DONE]), Err("scalar")),
        (lines(&[RESERVE, DONE]), Err("Unreleased reference")),
        (lines(&[RESERVE, SUBMIT, SUBMIT, DONE]), Err("arg 1 is an unacquired reference")),
        (lines(&[RESERVE, SLICE, "r6 = r0", SUBMIT, "r0 = r6", WRITE_SLICE, DONE]), Err("invalid mem access")),
        (lines(&[RESERVE, SLICE, "*(u64 *)(r0 +0) = 7", SUBMIT, DONE]), Err("mem_or_null")),
        (lines(&[RESERVE, "*(u64 *)(r10 -8) = 0", SUBMIT, DONE]), Err("cannot overwrite referenced dynptr")),
        (lines(&[RESERVE, RESERVE, SUBMIT, DONE]), Err("cannot overwrite referenced dynptr")),
        (lines(&[RESERVE, "r3 = *(u64 *)(r10 -16)", SUBMIT, DONE]), Err("invalid read from stack")),
        (lines(&[FROM_VALUE, SUBMIT, DONE]), Err("unacquired reference")),
        (
            lines(&[&FROM_VALUE.replace("r1 = map[fd:1][0]+0", "r1 = r10\nr1 += -64"), DONE]),
            Err("Unsupported reg type"),
        ),
        (lines(&[&RESERVE.replace("-16", "-12"), DONE]), Err("cannot pass in dynptr at an offset")),
        (lines(&[&RESERVE.replace("-16", "-8"), DONE]), Err("cannot pass in dynptr at an offset")),
        (lines(&[RESERVE, &SUBMIT.replace("-16", "-24"), DONE]), Err("unacquired reference")),
        (
            lines(&[
                FROM_VALUE,
                "r1 = r10\nr1 += -32\nr2 = 20\nr3 = r10\nr3 += -16\nr4 = 0\nr5 = 0\ncall bpf_dynptr_read",
                DONE,
            ]),
            Err("potential write to dynptr"),
        ),
    ];
    let cases: Vec<_> = cases.iter().map(|(text, expected)| (text.as_str(), *expected)).collect();
    check("dynptrs_are_kept_track_of", &cases);
}

#[test]
fn formats_are_read_before_they_are_used() {
    let print = |map: u32, bytes: u32| {
        format!(
            "r1 = r10\nr1 += -64\nr2 = 8\nr3 = map[fd:{map}][0]+0\nr4 = r10\nr4 += -128\nr5 = {bytes}\ncall bpf_snprintf\n{DONE}"
        )
    };
    let cases = [
        (print(2, 16), Ok(())),
        (print(2, 24), Ok(())),
        (print(4, 0), Ok(())),
        (print(2, 8), Err("Invalid format string")),
        (print(2, 20), Err("whole numbers of 8 bytes")),
        (print(3, 16), Err("Invalid format string")),
        (print(1, 16), Err("does not point to a readonly map")),
    ];
    let cases: Vec<_> = cases.iter().map(|(text, expected)| (text.as_str(), *expected)).collect();
    check("formats_are_read_before_they_are_used", &cases);
}

#[test]
fn calls_of_other_things_than_kernel_functions_are_refused() {
    let call = |imm: i32, off: i16| format!(".slot 8520{:04x}{:08x}\n{DONE}", off.swap_bytes(), imm.swap_bytes());
    let cases = [
        (call(1, 0), Err("is not a function")),
        (call(-1, 0), Err("is not a function")),
        (call(60000, 1), Err("fd_array")),
        (call(0, 0), Err("not eliminated")),
        // Where no path leads, a call of nothing does no harm.
        (lines(&["r0 = 1", "if r0 == 0x1 goto pc+1", &call(0, 0).replace(DONE, "r0 = 0"), "exit"]), Ok(())),
    ];
    let cases: Vec<_> = cases.iter().map(|(text, expected)| (text.as_str(), *expected)).collect();
    check("calls_of_other_things_than_kernel_functions_are_refused", &cases);
}

#[test]
fn the_kernels_structures_are_followed_by_its_types() {
    let test = "the_kernels_structures_are_followed_by_its_types";
    let Some(types) = kernel_types(test) else { return };
    let btf = vmlinux().unwrap();
    let id = |name: &str| btf.func_by_name(name).or_else(|| btf.struct_by_name(name)).unwrap();
    let (cast, sock, task) = (id("bpf_rdonly_cast"), id("sock"), id("task_struct"));
    let call = |id: u32| format!(".slot 85200000{:08x}", id.swap_bytes());
    let casted = |to: u32| format!("r1 = 4096\nr2 = {to}\n{}", call(cast));
    let ops = btf.offset_of("bpf_map", "ops").unwrap();
    let load = |size: &str, off: u32| format!("r2 = *({size} *)(r1 +{off})");
    let map = "r1 = map[fd:1]";
    let mine = "call bpf_get_current_task_btf";
    let cases: Vec<(String, Expected)> = vec![
        (lines(&[map, &load("u64", ops), "r3 = *(u64 *)(r2 +0)", DONE]), Ok(())),
        (lines(&[map, &load("u32", ops), DONE]), Err("cannot access ptr member ops")),
        (lines(&[map, &load("u8", 32760), DONE]), Err("access beyond struct bpf_array")),
        (lines(&["r1 = map[fd:0]", &load("u8", 32760), DONE]), Err("access beyond struct bpf_ringbuf_map")),
        (lines(&[map, "*(u64 *)(r1 +0) = 0", DONE]), Err("only read from bpf_array is supported")),
        (lines(&[map, "r2 = *(u64 *)(r1 -8)", DONE]), Err("invalid negative access")),
        (lines(&[mine, "r1 = *(u8 *)(r0 +0)", DONE]), Ok(())),
        (lines(&[mine, "*(u8 *)(r0 +0) = 1", DONE]), Err("only read is supported")),
        (lines(&[mine, "r1 = *(u8 *)(r0 -1)", DONE]), Err("invalid negative access")),
        (lines(&[mine, "r1 = *(u8 *)(r0 +32760)", DONE]), Err("access beyond struct task_struct")),
        (lines(&[mine, "r1 = r0", "r2 = 8", "call bpf_trace_printk", DONE]), Ok(())),
        (lines(&[mine, "r1 = r0", "r2 = 16", "call bpf_get_current_comm", DONE]), Err("may write into memory")),
        (lines(&[&casted(sock), "r1 = *(u8 *)(r0 +2)", DONE]), Ok(())),
        (lines(&[&casted(task), "r1 = r0", "call bpf_task_pt_regs", DONE]), Err("untrusted_ptr_")),
        (lines(&[&casted(0), "r0 += r10", "r1 = *(u64 *)(r0 +0)", DONE]), Err("pointer")),
        (lines(&[&casted(0), "r0 += 100000", "r1 = *(u64 *)(r0 +4)", DONE]), Ok(())),
        (lines(&[&casted(0), "*(u64 *)(r0 +0) = 1", DONE]), Err("cannot write into rdonly_")),
        (lines(&[&casted(1), DONE]), Err("must be of a struct or void")),
        (lines(&[&casted(0x7fff_ffff), DONE]), Err("Unknown type ID")),
        (lines(&["r2 = *(u32 *)(r1 +16)", &call(cast), DONE]), Err("R2 must be a known constant")),
        (lines(&["r2 = r1", &call(cast), DONE]), Err("R2 is not a scalar")),
        (lines(&[&call(sock), DONE]), Err("is not a function")),
        (lines(&[&call(id("tcp_sendmsg")), DONE]), Err("is not allowed")),
    ];
    let cases: Vec<_> = cases.iter().map(|(text, expected)| (text.as_str(), *expected)).collect();
    check_with(test, &cases, &Options { types: Some(types), ..Options::default() });
}

#[test]
fn what_an_xskmap_holds_is_a_socket_of_its_own_kind() {
    let lookup =
        "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[fd:5]\ncall bpf_map_lookup_elem\nif r0 == 0x0 goto pc+1";
    let cases = [
        (lines(&[lookup, "r1 = *(u32 *)(r0 +0)", DONE]), Ok(())),
        (lines(&[lookup, "r1 = *(u8 *)(r0 +0)", DONE]), Err("invalid xdp_sock access")),
        (lines(&[lookup, "r1 = *(u32 *)(r0 +4)", DONE]), Err("invalid xdp_sock access")),
        (lines(&[lookup, "*(u32 *)(r0 +0) = 1", DONE]), Err("cannot write into xdp_sock")),
    ];
    let cases: Vec<_> = cases.iter().map(|(text, expected)| (text.as_str(), *expected)).collect();
    check("what_an_xskmap_holds_is_a_socket_of_its_own_kind", &cases);
}

#[test]
fn loops_that_are_cut_off_forget_the_numbers_that_decided_nothing() {
    // r6 counts up to 64 beside the loop that is cut off. Where a known count has decided a jump it is kept, else forgotten.
    let index = "r1 = map[fd:1][0]+0\nr1 += r6\nr2 = *(u8 *)(r1 +0)";
    let unknown = "r6 = *(u32 *)(r1 +68)\nif r6 > 0x3e goto pc+7";
    let cases = [
        (lines(&["r6 = 0", "may_goto pc+6", index, "r6 += 1", "if r6 < 0x40 goto pc-7", DONE]), Ok(())),
        (lines(&[unknown, "may_goto pc+6", index, "r6 += 1", "goto pc-7", DONE]), Err("")),
        (lines(&["r6 = 0", "may_goto pc+7", "if r6 > 0x3f goto pc+6", index, "r6 += 1", "goto pc-8", DONE]), Ok(())),
    ];
    let cases: Vec<_> = cases.iter().map(|(text, expected)| (text.as_str(), *expected)).collect();
    check("loops_that_are_cut_off_forget_the_numbers_that_decided_nothing", &cases);
}

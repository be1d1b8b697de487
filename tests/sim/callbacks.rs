//! Functions of a program that a helper calls: single rules, and random ones that the kernel judges, too.

use sidestep::asm;
use sidestep::verifier_sim::interp::{Limits, Machine, NoKernel, Program, run};
use sidestep::verifier_sim::spec::{Argument, FunctionSpec, Kernel, MapSpec, MapType, Options, ProgType, ProgramSpec};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::{verify, verify_with_log};

use crate::agreement::options;
use crate::kernel::{Oracle, available};
use crate::link::{linked, map_loads};
use crate::random::map;
use crate::random::sandbox::Random;
use crate::reasons::reason;

/// `BPF_F_NO_PREALLOC` (include/uapi/linux/bpf.h), which these tries must have.
const LPM_NO_PREALLOC: u32 = 1;

/// The maps of these programs, by the number in `map[fd:0]`. The last one is not walked by `bpf_for_each_map_elem`.
fn maps() -> Vec<MapSpec> {
    vec![
        map(MapType::HASH, 4, 16, 8),
        map(MapType::ARRAY, 4, 16, 8),
        map(MapType::PERCPU_ARRAY, 4, 16, 8),
        map(MapType::LRU_HASH, 8, 16, 8),
        map(MapType::RINGBUF, 0, 0, 4096),
        MapSpec { map_flags: LPM_NO_PREALLOC, ..map(MapType::LPM_TRIE, 8, 16, 8) },
    ]
}

/// A program of these functions, the main one first. `subprog[+1]` and `call pc+1` name the second one.
fn program(functions: &[&str]) -> ProgramSpec {
    let (insns, starts) = linked(functions.iter().map(|text| asm::parse_program(text).unwrap()));
    let describe = |(number, start): (usize, &usize)| FunctionSpec {
        name: format!("f{number}"),
        insn: *start,
        global: number == 0,
        returns_number: true,
        arguments: if number == 0 { vec![Argument::Context] } else { Vec::new() },
    };
    ProgramSpec {
        name: "callbacks".into(),
        prog_type: ProgType::SCHED_CLS,
        functions: starts.iter().enumerate().map(describe).collect(),
        map_loads: map_loads(&insns),
        insns,
        maps: maps(),
        ..ProgramSpec::default()
    }
}

/// A main function that prepares something, calls `bpf_loop` with function 1, and does something else.
fn looping(before: &str, rounds: &str, behind: &str) -> String {
    format!(
        "{before}\nr1 = {rounds}\nr2 = subprog[+1]\nr3 = r10\nr3 += -8\nr4 = 0\ncall bpf_loop\n{behind}\nr0 = 0\nexit"
    )
}

/// The same with `bpf_for_each_map_elem`.
fn walking(before: &str, map: usize, behind: &str) -> String {
    format!(
        "{before}\nr1 = map[fd:{map}]\nr2 = subprog[+1]\nr3 = r10\nr3 += -8\nr4 = 0\ncall bpf_for_each_map_elem\n{behind}\nr0 = 0\nexit"
    )
}

const ZEROED: &str = "*(u64 *)(r10 -8) = 0";
const FINE: &str = "r0 = 0\nexit";

/// Whether the program is accepted; if not, a part of the reason.
type Expected = Result<(), &'static str>;

/// The reason of a refusal, without the number of an instruction of the program that the kernel has rewritten.
fn comparable(log: &str) -> &str {
    let reason = reason(log);
    reason.split_once("to jit at insn").map_or(reason, |(rule, _)| rule)
}

/// The simulator says what is expected, and so does the kernel, in the same words.
fn check(test: &str, cases: &[(Vec<String>, Expected)]) {
    let oracle = available(test).then(|| Oracle::new(maps));
    for (functions, expected) in cases {
        let texts: Vec<_> = functions.iter().map(String::as_str).collect();
        let (program, shown) = (program(&texts), functions.join("\n--\n"));
        let (verdict, ours) = verify_with_log(&program, &options());
        match expected {
            Ok(()) => assert!(verdict.is_accept(), "{}\n{shown}", verdict.reason()),
            Err(part) => {
                assert!(verdict.rejection().is_some(), "{}: {}\n{shown}", verdict.word(), verdict.reason());
                assert!(verdict.reason().contains(part), "{}\n{shown}", verdict.reason());
            }
        }
        let Some(oracle) = &oracle else { continue };
        let (accepted, theirs) = oracle.whole_log(&program);
        assert_eq!(accepted, expected.is_ok(), "the kernel: {theirs}\n{shown}");
        if !accepted {
            assert_eq!(comparable(&ours), comparable(&theirs), "{shown}");
        }
        if let Verdict::Accept(stats) = verdict {
            assert_eq!(Ok(stats.insns_processed), oracle.processed(&program), "{shown}");
        }
    }
}

fn cases(list: &[(&[&str], Expected)]) -> Vec<(Vec<String>, Expected)> {
    list.iter().map(|(texts, expected)| (texts.iter().map(|text| (*text).to_owned()).collect(), *expected)).collect()
}

#[test]
fn rounds_of_a_loop_are_walked() {
    let plain = looping(ZEROED, "4", "");
    let counts = "r3 = *(u64 *)(r2 +0)\nr3 += 1\n*(u64 *)(r2 +0) = r3\nr0 = 0\nexit";
    let index = "r3 = *(u64 *)(r10 -8)\nr2 = r10\nr2 += -64\nr2 += r3\nr1 = *(u8 *)(r2 +0)";
    let with = |before: &str, behind: &str| looping(before, "4", behind);
    let narrow = "r2 = *(u64 *)(r10 -8)\nif r2 > 0x7 goto pc+4\nr1 = r10\nr1 += -8\nr1 += r2\nr0 = *(u8 *)(r1 -8)";
    let list: &[(&[&str], Expected)] = &[
        (&[&plain, FINE], Ok(())),
        (&[&plain, "r0 = r1\nr0 &= 1\nexit"], Ok(())),
        (&[&plain, "r0 = 1\nexit"], Ok(())),
        (
            &[&plain, "r0 = 2\nexit"],
            Err("At callback return the register R0 has smin=2 smax=2 should have been in [0, 1]"),
        ),
        (
            &[&plain, "r0 = r1\nexit"],
            Err("At callback return the register R0 has unknown scalar value should have been in"),
        ),
        (&[&plain, "r0 = r2\nexit"], Err("cannot return stack pointer to the caller")),
        (&[&plain, "r2 = 1\nexit"], Err("R0 not a scalar value")),
        (&[&plain, "r0 = r3\nexit"], Err("R3 !read_ok")),
        (&[&plain, "r0 = r6\nexit"], Err("R6 !read_ok")),
        (&[&plain, "r1 += r10\nr0 = *(u8 *)(r1 +0)\nexit"], Err("math between fp pointer")),
        (&[&plain, counts], Ok(())),
        // What the callback has counted is known for a few rounds, and may be anything after many.
        (&[&with(ZEROED, index), counts], Ok(())),
        (&[&looping(ZEROED, "100", index), counts], Err("invalid")),
        (&[&looping(ZEROED, "100", narrow), counts], Ok(())),
        (&[&with(ZEROED, narrow), counts], Ok(())),
        // The callback may overwrite what it is given with a number, and then it is not a pointer.
        (&[&with("r6 = r1\n*(u64 *)(r10 -8) = r1", "r1 = *(u64 *)(r10 -8)\nr0 = *(u32 *)(r1 +0)"), FINE], Ok(())),
        (
            &[
                &with("*(u64 *)(r10 -8) = r1", "r1 = *(u64 *)(r10 -8)\nr0 = *(u32 *)(r1 +0)"),
                "*(u64 *)(r2 +0) = 0\nr0 = 0\nexit",
            ],
            Err("R1 invalid mem access 'scalar'"),
        ),
        // Not one round: then the callback is dead code, and the kernel removes it. It minds if another function is before it.
        (&[&looping(ZEROED, "0", ""), "r0 = r9\nexit"], Ok(())),
        (&[&looping(ZEROED, "0", "call pc+2"), FINE, FINE], Ok(())),
        (
            &[&looping(ZEROED, "0", "call pc+1").replace("[+1]", "[+2]"), FINE, FINE],
            Err("verifier bug: No program to jit at insn"),
        ),
        (&[&looping(&format!("{ZEROED}\nr7 = *(u32 *)(r1 +0)"), "r7", ""), counts], Ok(())),
        // The rounds do not end in themselves.
        (&[&plain, "r0 = 0\ngoto pc-1\nexit"], Err("unreachable insn")),
        (&[&plain, "r0 = 0\nif r1 == 0x0 goto pc-2\nexit"], Err("infinite loop detected")),
        // Only a pointer to the stack, or 0, is passed on.
        (&["r1 = 4\nr2 = subprog[+1]\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit", FINE], Ok(())),
        (
            &["r1 = 4\nr2 = subprog[+1]\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit", "r0 = *(u8 *)(r2 +0)\nexit"],
            Err("R2 invalid mem access 'scalar'"),
        ),
        (
            &["r3 = r1\nr1 = 4\nr2 = subprog[+1]\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit", FINE],
            Err("R3 type=ctx expected=fp"),
        ),
        (
            &["r2 = subprog[+1]\nr1 = 4\nr2 = 4\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit", FINE],
            Err("R2 type=scalar expected=func"),
        ),
        (&[&looping(ZEROED, "r10", ""), FINE], Err("verifier bug: backtracking misuse")),
        // The result of the helper is a number.
        (&[&with(ZEROED, "r6 = r0"), FINE], Ok(())),
        // A nested loop, and one that goes on forever.
        (
            &[
                &plain,
                "r1 = 2\nr2 = subprog[+2]\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit",
                "r0 = r1\nr0 &= 1\nexit",
            ],
            Ok(()),
        ),
        (
            &[&plain, "r1 = 2\nr2 = subprog[+1]\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit"],
            Err("call stack of 9 frames is too deep"),
        ),
        (&[&plain, "call pc+2\nr0 = 0\nexit", "r0 = 7\nexit"], Ok(())),
        (&[&plain, "call pc+2\nexit", "r0 = 7\nexit"], Err("should have been in [0, 1]")),
    ];
    check("rounds_of_a_loop_are_walked", &cases(list));
}

#[test]
fn the_address_of_a_function_is_for_helpers() {
    let rest = "r3 = 0\nr4 = 0\nr1 = 3\ncall bpf_loop\nr0 = 0\nexit";
    let list: &[(&[&str], Expected)] = &[
        (&[&format!("r2 = subprog[+1]\n*(u64 *)(r10 -8) = r2\nr2 = *(u64 *)(r10 -8)\n{rest}"), FINE], Ok(())),
        (
            &[&format!("r2 = subprog[+1]\nr2 += 8\n{rest}"), FINE],
            Err("dereference of modified func ptr R2 off=8 disallowed"),
        ),
        (&[&format!("r2 = subprog[+1]\nr5 = *(u64 *)(r2 +0)\n{rest}"), FINE], Err("R2 invalid mem access 'func'")),
        (&[&format!("r2 = subprog[+1]\nif r2 == 0x0 goto pc+0\n{rest}"), FINE], Ok(())),
        (&["r2 = subprog[+1]\nr0 = r2\nexit", FINE], Ok(())),
        // Two functions, which one is known for each path.
        (
            &[
                &format!("r5 = *(u32 *)(r1 +0)\nr2 = subprog[+1]\nif r5 == 0x0 goto pc+2\nr2 = subprog[+2]\n{rest}"),
                FINE,
                "r0 = 3\nexit",
            ],
            Err("should have been in [0, 1]"),
        ),
    ];
    check("the_address_of_a_function_is_for_helpers", &cases(list));
    let mut global = program(&[&format!("r2 = subprog[+1]\n{rest}"), FINE]);
    global.functions[1].global = true;
    assert_eq!(verify(&global, &options()).reason(), "insn 0: callback function not static");
    let plain = ProgramSpec { functions: Vec::new(), ..global };
    assert!(verify(&plain, &options()).reason().contains("missing btf func_info"));
}

#[test]
fn every_entry_of_a_map_is_given_to_the_callback() {
    let walk = |map| walking(ZEROED, map, "");
    let list: &[(&[&str], Expected)] = &[
        (&[&walk(0), FINE], Ok(())),
        (&[&walk(1), FINE], Ok(())),
        (&[&walk(2), FINE], Ok(())),
        (&[&walk(3), FINE], Ok(())),
        (&[&walk(4), FINE], Err("callback function not allowed for map")),
        (&[&walk(5), FINE], Err("callback function not allowed for map")),
        (&[&walk(0), "r0 = *(u32 *)(r2 +0)\nr0 &= 1\nexit"], Ok(())),
        (&[&walk(0), "r0 = *(u64 *)(r2 +0)\nr0 &= 1\nexit"], Err("outside of the allowed memory range")),
        (&[&walk(3), "r0 = *(u64 *)(r2 +0)\nr0 &= 1\nexit"], Ok(())),
        (&[&walk(0), "*(u32 *)(r2 +0) = 1\nr0 = 0\nexit"], Err("write to change key R2 not allowed")),
        (&[&walk(0), "r2 += 2\nr0 = *(u16 *)(r2 +0)\nr0 &= 1\nexit"], Ok(())),
        (&[&walk(0), "r2 += 2\nr0 = *(u32 *)(r2 +0)\nr0 &= 1\nexit"], Err("outside of the allowed memory range")),
        (&[&walk(0), "*(u64 *)(r3 +8) = 1\nr0 = *(u64 *)(r3 +0)\nr0 &= 1\nexit"], Ok(())),
        (&[&walk(0), "*(u64 *)(r3 +16) = 1\nr0 = 0\nexit"], Err("outside of the allowed memory range")),
        (&[&walk(0), "r0 = *(u64 *)(r4 +0)\nr0 &= 1\nexit"], Ok(())),
        (&[&walk(0), "r0 = r5\nexit"], Err("R5 !read_ok")),
        // The map and the key are what helpers want.
        (&[&walk(0), "call bpf_map_lookup_elem\nif r0 == 0x0 goto pc+1\n*(u64 *)(r0 +0) = 1\nr0 = 0\nexit"], Ok(())),
        (&[&walk(0), "call bpf_map_delete_elem\nr0 = 0\nexit"], Ok(())),
        (&[&walk(0), "r5 = r2\nr1 = r5\nr2 = 4\nr3 = 0\nr4 = 0\nr5 = 0\ncall bpf_csum_diff\nr0 = 0\nexit"], Ok(())),
        (
            &[&walk(0), "r1 = r2\nr2 = 4\nr3 = r10\ncall bpf_probe_read_kernel\nr0 = 0\nexit"],
            Err("R1 cannot write into map_key"),
        ),
        (
            &["r1 = r10\nr2 = subprog[+1]\nr3 = 0\nr4 = 0\ncall bpf_for_each_map_elem\nr0 = 0\nexit", FINE],
            Err("R1 type=fp expected=map_ptr"),
        ),
    ];
    check("every_entry_of_a_map_is_given_to_the_callback", &cases(list));
}

#[test]
fn what_callbacks_leave_behind_is_seen_by_their_callers() {
    let reserve = "r1 = map[fd:4]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0x0 goto pc+";
    let release = "r1 = *(u64 *)(r2 +0)\nr2 = 0\ncall bpf_ringbuf_submit\nr0 = 0\nexit";
    let kept = format!("{reserve}9\n*(u64 *)(r10 -8) = r0\n{}", looping("r9 = 0", "4", ""));
    let packet = "r6 = r1\nr7 = *(u32 *)(r1 +76)\nr8 = *(u32 *)(r1 +80)\nr5 = r7\nr5 += 8\nif r5 > r8 goto pc+";
    let stack = |bytes: i32| format!("*(u64 *)(r10 -{bytes}) = 0\n*(u64 *)(r10 -8) = 0\n");
    let large = format!("*(u64 *)(r10 -400) = 0\n{FINE}");
    let list: Vec<(Vec<String>, Expected)> = vec![
        // There may be no round at all, so a callback cannot release what its caller holds.
        (vec![kept.clone(), release.to_owned()], Err("reference leak")),
        (vec![kept, FINE.to_owned()], Err("reference leak")),
        (
            vec![
                looping(ZEROED, "4", ""),
                format!("{reserve}3\nr1 = r0\nr2 = 0\ncall bpf_ringbuf_submit\nr0 = 0\nexit"),
            ],
            Ok(()),
        ),
        (vec![looping(ZEROED, "4", ""), format!("{reserve}1\nr0 = 0\nr0 = 0\nexit")], Err("reference leak")),
        // A packet pointer of the caller is stale when a callback may have moved the packet; here it has no context to do so.
        (vec![format!("{packet}9\n{}", looping(ZEROED, "4", "r0 = *(u8 *)(r7 +0)")), FINE.to_owned()], Ok(())),
        (vec![looping(&stack(200), "4", ""), FINE.to_owned()], Ok(())),
        (vec![looping(&stack(200), "4", ""), large.clone()], Err("combined stack size of 2 calls is")),
        (vec![looping(&stack(64), "4", ""), large], Ok(())),
    ];
    check("what_callbacks_leave_behind_is_seen_by_their_callers", &list);
}

#[test]
fn what_is_not_known_of_callbacks_is_not_judged() {
    let plain = program(&[&looping(ZEROED, "4", ""), FINE]);
    for kernel in [Kernel::V5_10, Kernel::V6_1] {
        let verdict = verify(&plain, &Options { kernel, ..options() });
        assert!(!verdict.is_accept(), "{kernel}: {}", verdict.reason());
    }
    let verdict = verify(&plain, &Options { kernel: Kernel::V6_1, ..options() });
    assert_eq!(verdict.word(), "unsupported", "{}", verdict.reason());
    assert!(verify(&plain, &Options { kernel: Kernel::V6_12, ..options() }).is_accept());
    let acquires = "r1 = map[fd:4]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nr0 = 0\nexit";
    let acquiring = program(&[&looping(ZEROED, "4", ""), acquires]);
    let verdict = verify(&acquiring, &Options { kernel: Kernel::V6_12, ..options() });
    assert_eq!(verdict.word(), "unsupported", "{}", verdict.reason());
}

#[test]
fn the_interpreter_says_that_it_does_not_run_callbacks() {
    let plain = program(&[&looping(ZEROED, "4", ""), FINE]);
    let (mut machine, runnable) = (Machine::new(1), Program::new(plain.insns, &[], &[]));
    let trap = run(&runnable, &mut machine, &mut NoKernel, &[0], Limits::default()).unwrap_err();
    assert_eq!(trap.fault.to_string(), "functions that helpers call, as bpf_loop does, are judged and not run");
}

/// What the main function does before it calls, and behind the call.
const BEFORE: [&str; 8] = [
    "*(u64 *)(r10 -8) = 0",
    "*(u64 *)(r10 -8) = 5\n*(u64 *)(r10 -16) = 0",
    "r6 = r1\n*(u64 *)(r10 -8) = r1\n*(u64 *)(r10 -16) = 0",
    "r0 = 3\n*(u32 *)(r10 -8) = 1\n*(u32 *)(r10 -4) = 2",
    "r0 = *(u32 *)(r1 +0)\nr0 &= 3\n*(u64 *)(r10 -8) = r0\n*(u64 *)(r10 -16) = 1",
    "r8 = r10\nr8 += -16\n*(u64 *)(r10 -8) = r8\n*(u64 *)(r10 -16) = 3",
    "r0 = *(u32 *)(r1 +0)\n*(u64 *)(r10 -8) = 0\n*(u64 *)(r10 -16) = 0",
    "r6 = r1\nr0 = *(u32 *)(r1 +76)\n*(u64 *)(r10 -8) = r0",
];
const BEHIND: [&str; 8] = [
    "",
    "r1 = *(u64 *)(r10 -8)\nif r1 > 0x7 goto pc+3\nr2 = r10\nr2 += r1\nr0 = *(u8 *)(r2 -16)",
    "r1 = *(u64 *)(r10 -8)\nr0 = *(u32 *)(r1 +0)",
    "r1 = *(u64 *)(r10 -16)\nif r1 == 0x3 goto pc+1\nr0 = r9",
    "r6 = r0\nif r0 s> 0x4 goto pc+1\nr6 = 0",
    "r0 = *(u64 *)(r10 -8)\nr2 = r10\nr2 += r0\nr0 = *(u8 *)(r2 -32)",
    "r6 = r10",
    "r1 = 2\nr2 = subprog[+1]\nr3 = 0\nr4 = 0\ncall bpf_loop",
];
/// A step of a callback, in which r2 or r4 points to the caller's stack.
const STEPS: [&str; 16] = [
    "r0 = 0",
    "r0 = 1",
    "r0 = r1",
    "r5 = *(u64 *)(r9 +0)\nr5 += 1\n*(u64 *)(r9 +0) = r5",
    "r5 = *(u64 *)(r9 +0)\nif r5 > 0x5 goto pc+2\nr5 += 1\n*(u64 *)(r9 +0) = r5",
    "*(u64 *)(r9 +0) = 0",
    "*(u64 *)(r9 -8) = 1",
    "r5 = *(u64 *)(r9 -8)\nr5 ^= 1\n*(u64 *)(r9 -8) = r5",
    "r0 &= 1",
    "r5 = r10\n*(u64 *)(r10 -8) = 1\nr0 = *(u8 *)(r5 -8)",
    "*(u64 *)(r9 +0) = r8",
    "r5 = *(u64 *)(r9 +0)\nr5 = *(u32 *)(r5 +0)",
    "if r8 == 0x2 goto pc+1\nr0 = 0",
    "r5 = *(u64 *)(r9 +0)\nif r5 s> 0x3 goto pc+1\nr0 = 1",
    "r1 = 2\nr2 = subprog[+2]\nr3 = r9\nr4 = 0\ncall bpf_loop\nr0 = 0",
    "call bpf_get_prandom_u32",
];
const ROUNDS: [&str; 6] = ["0", "1", "4", "9", "0x7fffffff", "r0"];

/// Programs of a million instructions that the kernel is asked to judge in one run.
const LARGE: u32 = 2;

/// A random program that calls back.
fn random(numbers: &mut Random) -> (ProgramSpec, String) {
    let mut pick = |count: usize| numbers.next() as usize % count;
    let (before, behind) = (BEFORE[pick(BEFORE.len())], BEHIND[pick(BEHIND.len())]);
    let walks = pick(3) == 0;
    let main = match (walks, before.contains("r0 =")) {
        // Mostly a map that is walked.
        (true, _) => walking(before, pick(24) % 5, behind),
        (_, with_number) => looping(before, ROUNDS[pick(if with_number { 6 } else { 5 })], behind),
    };
    // In the callback, r9 is what the caller passes, and r8 a number or a pointer.
    let context = if walks { "r9 = r4\nr8 = r2" } else { "r9 = r2\nr8 = r1" };
    let mut steps = |context: &str, most: usize| {
        let count = 1 + pick(most);
        let steps: Vec<_> = (0..count).map(|_| STEPS[pick(STEPS.len())]).collect();
        let end = if pick(6) == 0 { "exit" } else { "r0 = 0\nexit" };
        format!("{context}\nr0 = 0\n{}\n{end}", steps.join("\n"))
    };
    let (first, second) = (steps(context, 4), steps("r9 = r2\nr8 = r1", 2));
    // Every function must be named, since BTF describes it.
    let main = format!("r2 = subprog[+2]\n{main}");
    let shown = format!("{main}\n--\n{first}\n--\n{second}");
    (program(&[&main, &first, &second]), shown)
}

/// `SIM_COUNT=10` tries 10 times as many, in some minutes.
#[test]
fn random_callbacks_are_judged_as_the_kernel_judges_them() {
    if !available("random_callbacks_are_judged_as_the_kernel_judges_them") {
        return;
    }
    let times: usize = std::env::var("SIM_COUNT").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let seed = std::env::var("SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(11);
    let (oracle, mut numbers) = (Oracle::new(maps), Random::new(seed));
    let (mut accepted, mut refused, mut same_reason, mut same_count, mut too_large) = (0, 0_usize, 0, 0, 0);
    let mut different = Vec::new();
    for _ in 0..150 * times {
        let (program, shown) = random(&mut numbers);
        let (verdict, log) = verify_with_log(&program, &options());
        assert!(!matches!(verdict, Verdict::Unsupported(_)), "{}\n{shown}", verdict.reason());
        // The kernel takes seconds for a program that is too large.
        let large = verdict.reason().contains("BPF program is too large");
        too_large += u32::from(large);
        if large && too_large > LARGE {
            continue;
        }
        let theirs = oracle.verdict(&program);
        assert_eq!(verdict.is_accept(), theirs.is_ok(), "{}\n{theirs:?}\n{shown}", verdict.reason());
        match (verdict, theirs) {
            (Verdict::Accept(stats), _) => {
                accepted += 1;
                same_count += u32::from(oracle.processed(&program) == Ok(stats.insns_processed));
            }
            (_, Err(theirs)) => {
                refused += 1;
                let same = comparable(&log) == comparable(&theirs);
                same_reason += u32::from(same);
                if !same {
                    different.push(format!("here: {}\nkernel: {}\n{shown}", reason(&log), reason(&theirs)));
                }
            }
            _ => {}
        }
    }
    eprintln!(
        "{accepted} accepted, {same_count} of them in as many instructions; {refused} refused, {same_reason} for the same reason"
    );
    assert!(accepted > 5 && refused > 20, "{accepted} accepted, {refused} refused: not much was tried");
    assert!(different.len() * 100 <= refused * 3, "{}", different.join("\n"));
}

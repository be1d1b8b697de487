//! Functions that BTF describes: the kernel follows each call of a static one, and judges a global one alone.

use sidestep::asm;
use sidestep::asm::opcode as op;
use sidestep::verifier_sim::spec::{Argument, FunctionSpec, Kernel, Options, ProgType, ProgramSpec};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::{verify, verify_with_log};

use crate::agreement::options;
use crate::kernel::{Oracle, available};
use crate::random::sandbox::Random;

const MEMORY: Argument = Argument::Memory { size: 8, nullable: true };
const SAFE_MEMORY: Argument = Argument::Memory { size: 8, nullable: false };

/// A main function that calls `callee` with whatever `caller` has put into the registers, and returns 0.
fn program(caller: &str, callee: &str, arguments: &[Argument], global: bool) -> ProgramSpec {
    let main = asm::parse_program(caller).unwrap();
    let start = main.len() + 3;
    let distance = 2;
    let text = format!("{caller}\ncall pc+{distance}\nr0 = 0\nexit\n{callee}");
    let insns = asm::parse_program(&text).unwrap();
    let function = |name: &str, insn, global, arguments: &[Argument]| FunctionSpec {
        name: name.into(),
        insn,
        global,
        returns_number: true,
        arguments: arguments.to_vec(),
    };
    let functions = vec![function("main", 0, true, &[Argument::Context]), function("callee", start, global, arguments)];
    ProgramSpec { name: "calls".into(), prog_type: ProgType::SCHED_CLS, insns, functions, ..ProgramSpec::default() }
}

/// Whether the program is accepted; if not, a part of the reason.
type Expected = Result<(), &'static str>;

/// The last lines of a log, without the statistics.
fn reason(log: &str) -> String {
    let lines: Vec<_> = log.lines().filter(|line| !line.starts_with("processed ")).collect();
    lines.last().copied().unwrap_or_default().to_owned()
}

#[test]
fn global_functions_are_judged_alone() {
    let zeroed = "*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8";
    let cases: &[(&str, &str, &[Argument], Expected)] = &[
        ("r1 = 1", "r0 = r1\nexit", &[Argument::Number], Ok(())),
        // The function may not rely on what this caller passes.
        (
            "r1 = 1",
            "r2 = r10\nr2 += -8\nr2 += r1\n*(u8 *)(r2 +0) = 0\nr0 = 0\nexit",
            &[Argument::Number],
            Err("math between fp pointer"),
        ),
        // Nor may the caller rely on what the function returns.
        ("r6 = r1\nr1 = 1", "r0 = 1\nexit", &[Argument::Number], Ok(())),
        ("r1 = r10", "r0 = 0\nexit", &[Argument::Number], Err("Caller passes invalid args into func#1 ('callee')")),
        ("r2 = 1", "r0 = 0\nexit", &[Argument::Context, Argument::Number], Ok(())),
        ("r0 = 1", "r0 = *(u32 *)(r1 +0)\nexit", &[Argument::Context], Ok(())),
        ("r1 = 1", "r0 = *(u32 *)(r1 +0)\nexit", &[Argument::Context], Err("Caller passes invalid args")),
        ("r1 += 4", "r0 = 0\nexit", &[Argument::Context], Err("Caller passes invalid args")),
        (zeroed, "r0 = 0\nif r1 == 0x0 goto pc+1\nr0 = *(u64 *)(r1 +0)\nexit", &[MEMORY], Ok(())),
        (zeroed, "r0 = *(u64 *)(r1 +0)\nexit", &[MEMORY], Err("invalid mem access 'mem_or_null'")),
        (zeroed, "r0 = *(u64 *)(r1 +0)\nexit", &[SAFE_MEMORY], Ok(())),
        (zeroed, "*(u64 *)(r1 +0) = 7\nr0 = 0\nexit", &[SAFE_MEMORY], Ok(())),
        (zeroed, "r0 = *(u64 *)(r1 +8)\nexit", &[SAFE_MEMORY], Err("invalid access to memory")),
        ("r1 = r10\nr1 += -4", "r0 = 0\nexit", &[MEMORY], Err("Caller passes invalid args")),
        ("r1 = 0", "r0 = 0\nexit", &[MEMORY], Ok(())),
        // The kernel takes a known 0 for every pointer.
        ("r1 = 0", "r0 = 0\nexit", &[SAFE_MEMORY], Ok(())),
        ("r1 = 1", "r0 = r10\nexit", &[Argument::Number], Err("At subprogram exit the register R0 is not a scalar")),
        ("r1 = 1", "r0 = r2\nexit", &[Argument::Number], Err("R2 !read_ok")),
    ];
    let oracle = available("global_functions_are_judged_alone").then(|| Oracle::new(Vec::new));
    for (caller, callee, arguments, expected) in cases {
        let program = program(caller, callee, arguments, true);
        let verdict = verify(&program, &options());
        match expected {
            Ok(()) => assert!(verdict.is_accept(), "{}\n{caller}\n--\n{callee}", verdict.reason()),
            Err(part) => assert!(verdict.reason().contains(part), "{}\n{caller}\n--\n{callee}", verdict.reason()),
        }
        let Some(oracle) = &oracle else { continue };
        let (accepted, theirs) = oracle.whole_log(&program);
        assert_eq!(accepted, expected.is_ok(), "the kernel: {theirs}\n{caller}\n--\n{callee}");
        let (verdict, ours) = verify_with_log(&program, &options());
        assert_eq!(reason(&ours), reason(&theirs), "{caller}\n--\n{callee}");
        if let Verdict::Accept(stats) = verdict {
            assert_eq!(Ok(stats.insns_processed), oracle.processed(&program), "{caller}\n--\n{callee}");
        }
    }
}

#[test]
fn older_kernels_and_unknown_types_are_not_judged() {
    let global = program("r1 = 1", "r0 = r1\nexit", &[Argument::Number], true);
    let older = Options { kernel: Kernel::V6_1, ..options() };
    assert_eq!(verify(&global, &older).word(), "unsupported");
    let other = program("r1 = 1", "r0 = r1\nexit", &[Argument::Other], true);
    assert_eq!(verify(&other, &options()).word(), "unsupported");
}

#[test]
fn a_static_function_is_walked_with_what_it_is_given() {
    let callee = "r2 = r10\nr2 += -8\nr2 += r1\n*(u8 *)(r2 +0) = 0\nr0 = 0\nexit";
    assert!(verify(&program("r1 = 1", callee, &[Argument::Number], false), &options()).is_accept());
}

/// What a caller puts into an argument, and what a function does with one.
const GIVEN: [&str; 8] = [
    "r1 = 1",
    "r1 = r10\nr1 += -8",
    "*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8",
    "r0 = 0",
    "r1 = 0",
    "r1 += 8",
    "r1 = *(u32 *)(r1 +76)",
    "*(u64 *)(r10 -16) = 1\nr1 = r10\nr1 += -12",
];
const DONE: [&str; 9] = [
    "r0 = r1",
    "r0 = 0\nif r1 == 0x0 goto pc+1\nr0 = *(u64 *)(r1 +0)",
    "r0 = *(u8 *)(r1 +7)",
    "r0 = 0\nif r1 == 0x0 goto pc+1\n*(u32 *)(r1 +4) = 9",
    "r0 = *(u32 *)(r1 +0)\nr0 += r1",
    "r0 = r1\nif r0 > 0x10 goto pc+2\nr2 = r10\nr2 += r0",
    "r2 = 0\nr3 = 0\ncall bpf_get_prandom_u32",
    "r0 = 0\nr2 = 64\ncall bpf_skb_pull_data",
    "r0 = r6",
];

#[test]
fn random_calls_are_judged_as_the_kernel_judges_them() {
    let name = "random_calls_are_judged_as_the_kernel_judges_them";
    if !available(name) {
        return;
    }
    let (oracle, mut numbers) = (Oracle::new(Vec::new), Random::new(7));
    let kinds = [Argument::Number, Argument::Context, MEMORY, SAFE_MEMORY];
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..2_000 {
        let mut pick = |count: usize| numbers.next() as usize % count;
        let (caller, callee, kind, global) = (GIVEN[pick(8)], DONE[pick(9)], kinds[pick(4)], pick(4) != 0);
        let program = program(caller, &format!("{callee}\nexit"), &[kind], global);
        let verdict = verify(&program, &options());
        if matches!(verdict, Verdict::Unsupported(_)) {
            continue;
        }
        let theirs = oracle.verdict(&program);
        assert_eq!(
            verdict.is_accept(),
            theirs.is_ok(),
            "{}\n{theirs:?}\n{kind:?} global {global}\n{caller}\n--\n{callee}",
            verdict.reason()
        );
        *if theirs.is_ok() { &mut accepted } else { &mut refused } += 1;
    }
    assert!(accepted > 200 && refused > 200, "{accepted} accepted, {refused} refused: not much was tried");
    let calls = program("r1 = 1", "r0 = 0\nexit", &[Argument::Number], true).insns;
    assert!(calls.iter().any(|insn| insn.src == op::PSEUDO_CALL));
}

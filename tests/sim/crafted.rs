//! Types of a kernel that want to hurt, and rules that no record of a kernel's own types shows: made here.

use std::time::{Duration, Instant};

use sidestep::asm::{Insn, opcode as op};
use sidestep::btf::{BtfBuilder, Linkage};
use sidestep::verifier_sim::spec::{Argument, FunctionSpec, Kernel, Options, ProgType, ProgramSpec};
use sidestep::verifier_sim::types::KernelTypes;
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify;

/// A kernel's functions and variables have numbers from here on.
const FIRST: u32 = 1000;
/// The most members, parameters or variables that one type has.
const MOST: usize = 0xffff;
/// One answer takes milliseconds in a release build; this leaves room for a build without optimisation on a busy processor.
const LONGEST: Duration = Duration::from_secs(20);

const EXIT: Insn = Insn { code: op::JMP | op::EXIT, dst: 0, src: 0, off: 0, imm: 0 };

fn set(dst: u8, imm: i32) -> Insn {
    Insn { code: op::ALU64 | op::MOV | op::K, dst, src: 0, off: 0, imm }
}

fn call(id: u32) -> Insn {
    Insn { code: op::JMP | op::CALL, dst: 0, src: op::PSEUDO_KFUNC_CALL, off: 0, imm: id as i32 }
}

fn load_variable(id: u32) -> [Insn; 2] {
    let load = Insn { code: op::LD | op::IMM | op::DW, dst: 1, src: op::PSEUDO_BTF_ID, off: 0, imm: id as i32 };
    [load, Insn { code: 0, dst: 0, src: 0, off: 0, imm: 0 }]
}

/// Types that a kernel's functions and variables can follow, and the id of the integer among them.
fn builder() -> (BtfBuilder, u32) {
    let mut types = <BtfBuilder>::new();
    let int = types.int("int", 4, true);
    while types.int("int", 4, true) < FIRST {}
    (types, int)
}

fn options(types: BtfBuilder) -> Options {
    let types = Box::leak(Box::new(KernelTypes::parse(types.finish()).unwrap()));
    Options { types: Some(types), ..Options::default() }
}

fn program(insns: Vec<Insn>) -> ProgramSpec {
    ProgramSpec { prog_type: ProgType::SCHED_CLS, insns, ..ProgramSpec::default() }
}

/// The verdict on `insns`, which must be there soon.
fn judge(insns: &[Insn], options: &Options) -> Verdict {
    let start = Instant::now();
    let verdict = verify(&program([insns, &[set(0, 0), EXIT]].concat()), options);
    assert!(start.elapsed() < LONGEST, "{:?}: {}", start.elapsed(), verdict.reason());
    verdict
}

#[test]
fn functions_with_more_parameters_than_registers_are_not_simulated() {
    for count in [5, 6, 11, 256, MOST] {
        let (mut types, int) = builder();
        let proto = types.func_proto(0, &vec![("x", int); count]);
        let function = types.func("bpf_rcu_read_unlock", proto, Linkage::Static);
        let set_all: Vec<Insn> = (1..=5).map(|register| set(register, 0)).collect();
        let verdict = judge(&[set_all.as_slice(), &[call(function)]].concat(), &options(types));
        let part = if count == 5 { "unmatched rcu read unlock" } else { "more than 5 parameters" };
        assert!(verdict.reason().contains(part), "{count}: {}", verdict.reason());
    }
}

#[test]
fn structures_that_contain_themselves_end_questions_about_them() {
    // A structure that begins with itself, and one that ends in an array of itself.
    let (mut types, _) = builder();
    let next = types.structure("wanted", 8, &[]) + 1;
    let begins = types.structure("begins", 16, &[("a", next, 0)]);
    let ends = types.structure("ends", 4, &[("more", next + 2, 0)]);
    assert_eq!(types.array(ends, 1, 0), next + 2);
    let pointer = types.pointer(next - 1);
    let proto = types.func_proto(0, &[("x", pointer)]);
    let function = types.func("bpf_rcu_read_lock", proto, Linkage::Static);
    let variables = [begins, ends].map(|of| types.variable("v", of, Linkage::Global));
    let options = options(types);
    for variable in variables {
        let [first, second] = load_variable(variable);
        for off in [0, 8] {
            let read = Insn { code: op::LDX | op::MEM | op::DW, dst: 2, src: 1, off, imm: 0 };
            let verdict = judge(&[first, second, read], &options);
            assert_eq!(verdict.word(), "reject", "{off}: {}", verdict.reason());
        }
        let verdict = judge(&[first, second, call(function)], &options);
        assert!(verdict.reason().contains("expected pointer to STRUCT wanted"), "{}", verdict.reason());
    }
}

#[test]
fn structures_of_very_many_numbers_end_questions_about_them() {
    let (mut types, int) = builder();
    let of = (0..4).fold(int, |of, _| types.structure("many", 8, &vec![("", of, 0); MOST]));
    let pointer = types.pointer(of);
    let proto = types.func_proto(0, &[("x", pointer)]);
    let function = types.func("bpf_rcu_read_lock", proto, Linkage::Static);
    let pointer = Insn { code: op::ALU64 | op::MOV | op::X, dst: 1, src: 10, off: 0, imm: 0 };
    let verdict = judge(&[pointer, call(function)], &options(types));
    assert!(verdict.reason().contains("must point to scalar, or struct with scalar"), "{}", verdict.reason());
}

#[test]
fn many_loads_of_variables_are_answered_soon() {
    let (mut types, int) = builder();
    let variables: Vec<u32> = (0..MOST).map(|_| types.variable("v", int, Linkage::Global)).collect();
    let parts: Vec<_> = variables.iter().map(|id| (*id, 0, 4)).collect();
    types.section(".data..percpu", 4, &parts);
    let loads = load_variable(variables[MOST - 1]).repeat(200_000);
    assert_eq!(judge(&loads, &options(types)).word(), "unsupported");
}

#[test]
fn a_program_calls_at_most_256_different_functions() {
    let (mut types, _) = builder();
    let proto = types.func_proto(0, &[]);
    let all: Vec<u32> = (0..257).map(|_| types.func("bpf_rcu_read_lock", proto, Linkage::Static)).collect();
    let options = options(types);
    // They need not be reached.
    let dead = |count: usize| {
        let skip = Insn { code: op::JMP | op::JEQ | op::K, dst: 0, src: 0, off: count as i16, imm: 0 };
        let calls: Vec<Insn> = all[..count].iter().map(|id| call(*id)).collect();
        judge(&[&[set(0, 0), skip], calls.as_slice()].concat(), &options)
    };
    assert!(dead(256).is_accept(), "{}", dead(256).reason());
    assert!(dead(257).reason().contains("too many different kernel function calls"), "{}", dead(257).reason());
}

#[test]
fn kernel_functions_are_for_programs_under_the_gpl() {
    let (mut types, _) = builder();
    let proto = types.func_proto(0, &[]);
    let [lock, unlock] = ["bpf_rcu_read_lock", "bpf_rcu_read_unlock"].map(|n| types.func(n, proto, Linkage::Static));
    let options = options(types);
    let free = program(vec![call(lock), call(unlock), set(0, 0), EXIT]);
    assert!(verify(&free, &options).is_accept(), "{}", verify(&free, &options).reason());
    let verdict = verify(&ProgramSpec { not_gpl: true, ..free }, &options);
    assert_eq!(verdict.word(), "reject");
    assert!(verdict.reason().contains("cannot call kernel function from non-GPL compatible program"));
    let plain = ProgramSpec { not_gpl: true, ..program(vec![set(0, 0), EXIT]) };
    assert!(verify(&plain, &options).is_accept());
}

#[test]
fn older_kernels_call_no_global_function_with_preemption_disabled() {
    let (mut types, _) = builder();
    let proto = types.func_proto(0, &[]);
    let names = ["bpf_preempt_disable", "bpf_preempt_enable"];
    let [disable, enable] = names.map(|name| types.func(name, proto, Linkage::Static));
    let newer = Options { kernel: Kernel::V6_18, ..options(types) };
    let older = Options { kernel: Kernel::V6_12, ..newer };
    let function = |name: &str, insn, arguments| FunctionSpec {
        name: name.into(),
        insn,
        global: true,
        returns_number: true,
        arguments,
    };
    let functions = vec![function("main", 0, vec![Argument::Context]), function("callee", 5, Vec::new())];
    let to_callee = |distance| Insn { code: op::JMP | op::CALL, dst: 0, src: op::PSEUDO_CALL, off: 0, imm: distance };
    let rest = [set(0, 0), EXIT, set(0, 0), EXIT];
    let with =
        |calls: [Insn; 3]| ProgramSpec { functions: functions.clone(), ..program([calls.as_slice(), &rest].concat()) };
    let inside = with([call(disable), to_callee(3), call(enable)]);
    let behind = with([call(disable), call(enable), to_callee(2)]);
    let verdict = verify(&inside, &older);
    assert!(verdict.reason().contains("not allowed with preemption disabled"), "{}", verdict.reason());
    for (program, options) in [(&inside, &newer), (&behind, &older)] {
        assert!(verify(program, options).is_accept(), "{}", verify(program, options).reason());
    }
}

//! Kernel functions (kfuncs), iterators on the stack and kernel variables: who may call what, single rules, and random programs,
//! all of them judged by the kernel, too.

use sidestep::asm::{self, Insn, opcode as op};
use sidestep::btf::{Btf, Kind};
use sidestep::syscall::btf::vmlinux;
use sidestep::uapi::{AttachType as At, ProgType as Of};
use sidestep::verifier_sim::spec::{MapLoad, MapSpec, MapType, Options, ProgramSpec};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::{verify, verify_with_log};

use crate::agreement::options;
use crate::kernel::{Oracle, available};
use crate::random::map;
use crate::random::sandbox::Random;
use crate::reasons::reason;
use crate::rules::kernel_types;
use crate::types::places::{Place, places};

fn maps() -> Vec<MapSpec> {
    vec![map(MapType::ARRAY, 4, 64, 1), map(MapType::HASH, 4, 64, 4), map(MapType::RINGBUF, 0, 0, 4096)]
}

/// The kernel that is asked, its types, and the simulator's settings.
struct Judges {
    oracle: Oracle,
    btf: Btf,
    options: Options,
}

impl Judges {
    fn new(test: &str) -> Option<Self> {
        if !available(test) {
            return None;
        }
        let options = Options { types: Some(kernel_types(test)?), ..options() };
        Some(Self { oracle: Oracle::new(maps), btf: vmlinux().unwrap(), options })
    }

    /// The program `text` at a place; `@name` stands for the number of a function or variable of the kernel.
    fn program(&self, place: &Place, text: &str) -> ProgramSpec {
        let mut lines = String::new();
        for line in text.lines() {
            let line = match line.split_once('@') {
                None => line.to_owned(),
                Some((before, name)) => {
                    let (name, after) = name.split_at(name.find([']', ' ']).unwrap_or(name.len()));
                    let found = self.btf.func_by_name(name).or_else(|| self.btf.by_name(Kind::Var, name));
                    let found = found.or_else(|| self.btf.struct_by_name(name));
                    let id = found.unwrap_or_else(|| panic!("the kernel has no {name}"));
                    let call = if before.ends_with("call ") { "kernel-function#" } else { "" };
                    format!("{before}{call}{id}{after}")
                }
            };
            lines.push_str(&line);
            lines.push('\n');
        }
        let insns = asm::parse_program(&lines).unwrap_or_else(|error| panic!("{error}\n{lines}"));
        let is_load = |insn: &Insn| {
            insn.code == op::LD | op::IMM | op::DW && matches!(insn.src, op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE)
        };
        let loads = insns.iter().enumerate().filter(|(_, insn)| is_load(insn));
        let map_loads = loads.map(|(at, insn)| MapLoad { insn: at, map: insn.imm as usize }).collect();
        ProgramSpec { maps: maps(), map_loads, ..place.program(insns) }
    }

    /// Both say what is expected: that it is accepted, or a part of the reason, which is the kernel's.
    fn check(&self, place: &Place, cases: &[(&str, Result<(), &str>)]) {
        for (text, expected) in cases {
            let program = self.program(place, &format!("{text}\nr0 = 0\nexit"));
            let (ours, log) = verify_with_log(&program, &self.options);
            let (accepted, theirs) = self.oracle.whole_log(&program);
            assert_eq!(accepted, expected.is_ok(), "the kernel: {theirs}\n{text}");
            match expected {
                Ok(()) => {
                    let Verdict::Accept(stats) = &ours else { panic!("{}: {}\n{text}", ours.word(), ours.reason()) };
                    // Of iterators more may be walked: all that is live counts when states are compared.
                    if !text.contains("bpf_iter") {
                        assert_eq!(self.oracle.processed(&program), Ok(stats.insns_processed), "{text}");
                    }
                }
                Err(part) => {
                    assert_eq!(ours.word(), "reject", "{}\n{text}", ours.reason());
                    assert!(ours.reason().contains(part), "{}\n{text}", ours.reason());
                    assert_eq!(reason(&log), reason(&theirs), "{text}");
                }
            }
        }
    }
}

fn place(prog: Of) -> Place {
    Place { prog, attach: At(0), target: None }
}

fn traced(attach: At, target: &'static str) -> Place {
    Place { prog: Of::TRACING, attach, target: Some(target) }
}

/// What a refusal because of the type of program says.
const FORBIDDEN: &str = "is not allowed";

#[test]
fn programs_of_each_type_may_call_what_the_kernel_lets_them_call() {
    let Some(judges) = Judges::new("programs_of_each_type_may_call_what_the_kernel_lets_them_call") else { return };
    let tags = (1..=judges.btf.type_count()).filter_map(|id| judges.btf.head(id));
    let tagged = tags.filter(|tag| tag.kind == Kind::DeclTag && judges.btf.string(tag.name) == b"bpf_kfunc");
    let functions: Vec<u32> = tagged.map(|tag| tag.size_or_type).collect();
    assert!(functions.len() > 100, "the kernel has {} functions for programs", functions.len());
    let set = Insn { code: op::ALU64 | op::MOV | op::K, dst: 0, src: 0, off: 0, imm: 0 };
    let exit = Insn { code: op::JMP | op::EXIT, dst: 0, src: 0, off: 0, imm: 0 };
    let (mut known, mut forbidden) = (0, 0);
    for place in places().iter().filter(|place| place.loads(&judges.oracle)) {
        for &id in &functions {
            let call = Insn { code: op::JMP | op::CALL, dst: 0, src: op::PSEUDO_KFUNC_CALL, off: 0, imm: id as i32 };
            let program = place.program(vec![call, set, exit]);
            let ours = verify(&program, &judges.options);
            let name = judges.btf.name(id).unwrap_or_default();
            if matches!(ours, Verdict::Unsupported(_)) {
                continue;
            }
            let theirs = judges.oracle.verdict(&program);
            assert_eq!(ours.is_accept(), theirs.is_ok(), "{place}: {name}: {} {theirs:?}", ours.reason());
            let refused = theirs.err().unwrap_or_default();
            assert_eq!(ours.reason().contains(FORBIDDEN), refused.contains(FORBIDDEN), "{place}: {name}: {refused}");
            known += 1;
            forbidden += u32::from(refused.contains(FORBIDDEN));
        }
    }
    assert!(known > 2000 && forbidden > 500 && forbidden < known, "{known} {forbidden}");
}

#[test]
fn sections_are_entered_and_left() {
    let Some(judges) = Judges::new("sections_are_entered_and_left") else { return };
    let (lock, unlock) = ("call @bpf_rcu_read_lock", "call @bpf_rcu_read_unlock");
    let (disable, enable) = ("call @bpf_preempt_disable", "call @bpf_preempt_enable");
    let text = |lines: &[&str]| lines.join("\n");
    judges.check(
        &place(Of::SCHED_CLS),
        &[
            (&text(&[lock, unlock]), Ok(())),
            (&text(&[lock]), Err("cannot be used inside bpf_rcu_read_lock-ed region")),
            (&text(&[unlock]), Err("unmatched rcu read unlock")),
            (&text(&[lock, lock]), Err("nested rcu read lock")),
            (&text(&[lock, unlock, unlock]), Err("unmatched rcu read unlock")),
            (&text(&[disable, enable]), Ok(())),
            (&text(&[disable, disable, enable, enable]), Ok(())),
            (&text(&[disable, disable, enable]), Err("cannot be used inside bpf_preempt_disable-ed region")),
            (&text(&[enable]), Err("unmatched attempt to enable preemption")),
            (&text(&[disable, lock, enable, unlock]), Ok(())),
            ("r6 = *(u32 *)(r1 +0)\nif r6 == 0x0 goto pc+1\ncall @bpf_rcu_read_lock", Err("rcu_read_lock-ed region")),
            (
                "r6 = *(u32 *)(r1 +0)\nif r6 == 0x0 goto pc+2\ncall @bpf_rcu_read_lock\ncall @bpf_rcu_read_unlock",
                Ok(()),
            ),
            ("call @bpf_rcu_read_lock\nr0 = r6\ncall @bpf_rcu_read_unlock", Err("R6 !read_ok")),
            ("call @bpf_rcu_read_lock\nr0 = r1\ncall @bpf_rcu_read_unlock", Err("R1 !read_ok")),
        ],
    );
    judges.check(
        &traced(At::TRACE_RAW_TP, "task_newtask"),
        &[
            (
                "r6 = *(u64 *)(r1 +0)\ncall @bpf_rcu_read_lock\nr7 = *(u64 *)(r6 +0)\ncall @bpf_rcu_read_unlock\nr7 = *(u64 *)(r6 +0)",
                Ok(()),
            ),
        ],
    );
}

#[test]
fn references_are_acquired_and_released() {
    let Some(judges) = Judges::new("references_are_acquired_and_released") else { return };
    let acquire = "r1 = 1\ncall @bpf_task_from_pid\nif r0 == 0x0 goto pc+2\nr1 = r0\ncall @bpf_task_release";
    let point = traced(At::TRACE_RAW_TP, "task_newtask");
    judges.check(
        &point,
        &[
            (acquire, Ok(())),
            ("r1 = 1\ncall @bpf_task_from_pid", Err("would lead to reference leak")),
            ("r1 = 1\ncall @bpf_task_from_pid\nr1 = r0\ncall @bpf_task_release", Err("Possibly NULL pointer passed to trusted arg0")),
            ("r1 = 0\ncall @bpf_task_release", Err("Possibly NULL pointer passed to trusted arg0")),
            ("r1 = r10\ncall @bpf_task_release", Err("must point to scalar, or struct with scalar")),
            ("r1 = *(u64 *)(r1 +0)\ncall @bpf_task_release", Err("expects refcounted PTR_TO_BTF_ID")),
            (
                "r1 = 1\ncall @bpf_task_from_pid\nif r0 == 0x0 goto pc+3\nr1 = r0\nr1 += 8\ncall @bpf_task_release",
                Err("must have zero offset when passed to release func"),
            ),
            (
                "r1 = 1\ncall @bpf_task_from_pid\nif r0 == 0x0 goto pc+2\nr1 = r0\ncall @bpf_cgroup_release",
                Err("expected pointer to STRUCT cgroup but R1 has a pointer to STRUCT task_struct"),
            ),
            (
                "r1 = 1\ncall @bpf_task_from_pid\nif r0 == 0x0 goto pc+5\nr6 = r0\nr1 = r0\ncall @bpf_task_release\nr1 = r6\ncall @bpf_task_release",
                Err("must point to scalar, or struct with scalar"),
            ),
            (
                "r1 = *(u64 *)(r1 +0)\ncall @bpf_task_acquire\nif r0 == 0x0 goto pc+2\nr1 = r0\ncall @bpf_task_release",
                Ok(()),
            ),
            ("r1 = *(u64 *)(r1 +0)\ncall @bpf_task_acquire", Err("would lead to reference leak")),
            ("r1 = r10\ncall @bpf_task_from_pid", Err("R1 is not a scalar")),
            ("r1 = 1\ncall @bpf_task_from_pid\nr0 = *(u64 *)(r0 +0)", Err("R0 invalid mem access 'ptr_or_null_'")),
            (
                "r1 = 1\ncall @bpf_task_from_pid\nif r0 == 0x0 goto pc+4\nr6 = r0\nr7 = *(u64 *)(r0 +0)\nr1 = r6\ncall @bpf_task_release",
                Ok(()),
            ),
            ("call @bpf_cpumask_create\nif r0 == 0x0 goto pc+2\nr1 = r0\ncall @bpf_cpumask_release", Ok(())),
            (
                "call @bpf_cpumask_create\nif r0 == 0x0 goto pc+6\nr6 = r0\nr1 = 0\nr2 = r6\ncall @bpf_cpumask_set_cpu\nr1 = r6\ncall @bpf_cpumask_release",
                Ok(()),
            ),
            (
                "call @bpf_cpumask_create\nif r0 == 0x0 goto pc+5\nr6 = r0\nr1 = r6\ncall @bpf_cpumask_empty\nr1 = r6\ncall @bpf_cpumask_release",
                Ok(()),
            ),
            ("r1 = *(u64 *)(r1 +0)\ncall @bpf_cpumask_empty", Err("has a pointer to STRUCT task_struct")),
            ("r1 = 0\ncall @bpf_cpumask_empty", Err("Possibly NULL pointer passed to trusted arg0")),
            ("r1 = 1\ncall @bpf_cgroup_from_id\nif r0 == 0x0 goto pc+2\nr1 = r0\ncall @bpf_cgroup_release", Ok(())),
            ("r1 = 0\nr2 = 0\ncall @bpf_lookup_user_key", Err("program must be sleepable to call sleepable kfunc")),
        ],
    );
    judges.check(
        &traced(At::TRACE_ITER, "tcp"),
        &[
            ("r1 = *(u64 *)(r1 +8)\nif r1 == 0x0 goto pc+1\ncall @bpf_sock_destroy", Ok(())),
            ("r1 = *(u64 *)(r1 +8)\ncall @bpf_sock_destroy", Err("Possibly NULL pointer passed to trusted arg0")),
        ],
    );
}

/// Makes a dynptr at fp-16 of the packet.
const OF_PACKET: &str = "r6 = r1\nr2 = 0\nr3 = r10\nr3 += -16\ncall @bpf_dynptr_from_skb";

#[test]
fn dynptrs_are_made_and_sliced() {
    let Some(judges) = Judges::new("dynptrs_are_made_and_sliced") else { return };
    let with = |rest: &str| format!("{OF_PACKET}\n{rest}");
    let slice = |size: &str, rest: &str| {
        with(&format!(
            "r1 = r10\nr1 += -16\nr2 = 0\nr3 = r10\nr3 += -64\n*(u64 *)(r10 -64) = 0\n*(u64 *)(r10 -56) = 0\n{size}\ncall @bpf_dynptr_slice\n{rest}"
        ))
    };
    let check_null = "if r0 == 0x0 goto pc+1";
    let texts = [
        (with(""), Ok(())),
        (
            "r2 = 0\nr3 = r10\nr3 += -12\ncall @bpf_dynptr_from_skb".to_owned(),
            Err("cannot pass in dynptr at an offset=-12"),
        ),
        (
            "r2 = 0\nr3 = r10\nr3 += -8\ncall @bpf_dynptr_from_skb".to_owned(),
            Err("cannot pass in dynptr at an offset=-8"),
        ),
        ("r2 = 0\nr3 = 0\ncall @bpf_dynptr_from_skb".to_owned(), Err("Possibly NULL pointer")),
        (
            "r2 = 0\nr1 = r10\nr3 = r10\nr3 += -16\ncall @bpf_dynptr_from_skb".to_owned(),
            Err("expected pointer to ctx, but got fp"),
        ),
        (
            "r2 = 0\nr1 += 4\nr3 = r10\nr3 += -16\ncall @bpf_dynptr_from_skb".to_owned(),
            Err("dereference of modified ctx ptr"),
        ),
        ("r3 = r10\nr3 += -16\nr2 = r3\ncall @bpf_dynptr_from_skb".to_owned(), Err("R2 is not a scalar")),
        (with("r0 = *(u64 *)(r10 -16)"), Err("invalid read from stack")),
        (with("r1 = r10\nr1 += -16\ncall @bpf_dynptr_size"), Ok(())),
        (with("r1 = r10\nr1 += -32\ncall @bpf_dynptr_size"), Err("Expected an initialized dynptr as arg #0")),
        (with("r1 = r6\ncall @bpf_dynptr_size"), Err("expected pointer to stack or const struct bpf_dynptr")),
        (
            with("*(u64 *)(r10 -16) = 0\nr1 = r10\nr1 += -16\ncall @bpf_dynptr_size"),
            Err("Expected an initialized dynptr"),
        ),
        (with("r1 = r10\nr1 += -16\nr2 = 4\nr3 = 8\ncall @bpf_dynptr_adjust"), Ok(())),
        (
            with(
                "r1 = r10\nr1 += -16\nr2 = r10\nr2 += -32\ncall @bpf_dynptr_clone\nr1 = r10\nr1 += -32\ncall @bpf_dynptr_is_null",
            ),
            Ok(()),
        ),
        (
            with("r1 = r10\nr1 += -32\nr2 = r10\nr2 += -16\ncall @bpf_dynptr_clone"),
            Err("Expected an initialized dynptr as arg #0"),
        ),
        (slice("r4 = 8", check_null), Ok(())),
        (slice("r4 = 8", "r0 = *(u8 *)(r0 +0)"), Err("R0 invalid mem access 'rdonly_mem_or_null'")),
        (slice("r4 = 8", &format!("{check_null}\nr1 = *(u8 *)(r0 +7)")), Ok(())),
        (slice("r4 = 8", &format!("{check_null}\nr1 = *(u8 *)(r0 +8)")), Err("invalid access to memory, mem_size=8")),
        (slice("r4 = 8", &format!("{check_null}\n*(u8 *)(r0 +0) = 0")), Err("R0 cannot write into rdonly_mem")),
        (slice("r4 = 48", check_null), Ok(())),
        (slice("r4 = 49", check_null), Err("memory, len pair leads to invalid memory access")),
        (slice("r4 = *(u32 *)(r6 +0)\nr4 &= 7", check_null), Err("R4 must be a known constant")),
        (slice("r4 = r6", check_null), Err("must point to scalar, or struct with scalar")),
        (slice("r4 = 8\nr3 = 0", check_null), Ok(())),
        (slice("r4 = 8\nr3 = 0", &format!("{check_null}\nr1 = *(u8 *)(r0 +7)")), Ok(())),
        // What changes the packet takes the slices away.
        (
            slice(
                "r4 = 8",
                "r7 = r0\nif r7 == 0x0 goto pc+4\nr1 = r6\nr2 = 8\ncall bpf_skb_pull_data#39\nr1 = *(u8 *)(r7 +0)",
            ),
            Err("R7 invalid mem access 'scalar'"),
        ),
        (
            with(
                "r1 = r10\nr1 += -16\nr2 = 0\nr3 = 0\nr4 = 14\ncall @bpf_dynptr_slice_rdwr\nif r0 == 0x0 goto pc+1\n*(u8 *)(r0 +13) = 1",
            ),
            Ok(()),
        ),
    ];
    let cases: Vec<(&str, Result<(), &str>)> =
        texts.iter().map(|(text, expected)| (text.as_str(), *expected)).collect();
    judges.check(&place(Of::SCHED_CLS), &cases);
    let read_only = with("r1 = r10\nr1 += -16\nr2 = 0\nr3 = 0\nr4 = 14\ncall @bpf_dynptr_slice_rdwr");
    judges.check(&place(Of::LWT_IN), &[(&read_only, Err("the prog does not allow writes to packet data"))]);
    let frame = OF_PACKET.replace("from_skb", "from_xdp");
    judges.check(&place(Of::XDP), &[(&frame, Ok(())), (OF_PACKET, Err(FORBIDDEN))]);
}

/// A loop over an iterator at fp-8 from 0 to 10.
fn looping(body: &str, behind: &str) -> String {
    let length = body.lines().filter(|line| !line.is_empty()).count();
    format!(
        "r6 = 0\nr1 = r10\nr1 += -8\nr2 = 0\nr3 = 10\ncall @bpf_iter_num_new\nr1 = r10\nr1 += -8\ncall @bpf_iter_num_next\nif r0 == 0x0 goto pc+{}\n{body}\ngoto pc-{}\nr1 = r10\nr1 += -8\ncall @bpf_iter_num_destroy\n{behind}",
        length + 1,
        length + 5
    )
    .replace("\n\n", "\n")
}

#[test]
fn iterators_are_moved_until_they_end() {
    let Some(judges) = Judges::new("iterators_are_moved_until_they_end") else { return };
    let new = "r1 = r10\nr1 += -8\nr2 = 0\nr3 = 10\ncall @bpf_iter_num_new";
    let destroy = "r1 = r10\nr1 += -8\ncall @bpf_iter_num_destroy";
    let texts = [
        (looping("", ""), Ok(())),
        (looping("r1 = *(u32 *)(r0 +0)", ""), Ok(())),
        (looping("r1 = *(u64 *)(r0 +0)", ""), Err("invalid access to memory, mem_size=4")),
        (looping("*(u32 *)(r0 +0) = 1", ""), Err("R0 cannot write into rdonly_mem")),
        (looping("r6 += 1", ""), Ok(())),
        (looping("r1 = r10\nr1 += -512\nr1 += r6\nr2 = *(u8 *)(r1 +0)\nr6 += 1", ""), Err("invalid")),
        (looping("if r6 > 0x7 goto pc+5\nr1 = r10\nr1 += -64\nr1 += r6\n*(u8 *)(r1 +0) = 1\nr6 += 1", ""), Ok(())),
        (looping("r7 = *(u32 *)(r0 +0)\nif r7 == 0x3 goto pc+1\nr6 = 1", "r0 = r6"), Ok(())),
        (looping("r6 = r8", ""), Err("R8 !read_ok")),
        (looping("", "r0 = *(u64 *)(r10 -8)"), Ok(())),
        (new.to_owned(), Err("would lead to reference leak")),
        (format!("{new}\n{destroy}"), Ok(())),
        (format!("{new}\n{destroy}\n{destroy}"), Err("expected an initialized iter_num as arg #0")),
        (format!("{new}\n{new}"), Err("expected uninitialized iter_num as arg #0")),
        (destroy.to_owned(), Err("expected an initialized iter_num as arg #0")),
        (format!("{new}\nr0 = *(u64 *)(r10 -8)"), Err("invalid read from stack")),
        (format!("{new}\n*(u64 *)(r10 -8) = 0\n{destroy}"), Err("expected an initialized iter_num as arg #0")),
        (format!("{new}\n*(u8 *)(r10 -1) = 0\n{destroy}"), Err("expected an initialized iter_num as arg #0")),
        (new.replace("-8", "-4"), Err("expected uninitialized iter_num as arg #0")),
        (new.replace("r1 += -8", "r1 = 0"), Err("expected pointer to an iterator on stack")),
        (format!("{new}\nr1 = r10\nr1 += -8\ncall @bpf_iter_num_next\n{destroy}"), Ok(())),
        (format!("{new}\nr1 = r10\nr1 += -8\ncall @bpf_iter_bits_destroy"), Err("iter_bits as arg #0")),
    ];
    let cases: Vec<(&str, Result<(), &str>)> =
        texts.iter().map(|(text, expected)| (text.as_str(), *expected)).collect();
    for prog in [Of::RAW_TRACEPOINT, Of::SOCKET_FILTER] {
        judges.check(&place(prog), &cases);
    }
}

#[test]
fn exceptions_end_the_program() {
    let Some(judges) = Judges::new("exceptions_end_the_program") else { return };
    judges.check(
        &place(Of::CGROUP_SKB),
        &[
            ("r1 = 0\ncall @bpf_throw", Ok(())),
            ("r1 = 1\ncall @bpf_throw\nr0 = r9", Ok(())),
            ("r1 = 5\ncall @bpf_throw", Err("should have been in [0, 1]")),
            ("call @bpf_throw", Err("R1 is not a scalar")),
            (
                "call @bpf_rcu_read_lock\nr1 = 0\ncall @bpf_throw",
                Err("bpf_throw cannot be used inside bpf_rcu_read_lock"),
            ),
            ("r1 = 1\ncall @bpf_task_from_pid\nr1 = 0\ncall @bpf_throw", Err("would lead to reference leak")),
        ],
    );
}

/// What random programs are made of; each uses r6 (the context) and the stack.
const PIECES: [&str; 40] = [
    "r1 = r6",
    "r1 = r10\nr1 += -16",
    "r1 = r10\nr1 += -32",
    "r1 = r10\nr1 += -8",
    "r2 = 0",
    "r2 = 4",
    "r2 = r10\nr2 += -32",
    "r3 = r10\nr3 += -16",
    "r3 = r10\nr3 += -64",
    "r3 = 0",
    "r4 = 8",
    "r4 = 16",
    "*(u64 *)(r10 -16) = 0",
    "*(u64 *)(r10 -64) = 0\n*(u64 *)(r10 -56) = 0",
    "*(u64 *)(r10 -8) = r6",
    "r1 = r6\nr2 = 0\nr3 = r10\nr3 += -16\ncall @bpf_dynptr_from_skb",
    "r1 = r10\nr1 += -16\ncall @bpf_dynptr_size",
    "r1 = r10\nr1 += -16\nr2 = r10\nr2 += -32\ncall @bpf_dynptr_clone",
    "r1 = r10\nr1 += -16\nr2 = 0\nr3 = 0\nr4 = 14\ncall @bpf_dynptr_slice",
    "r1 = r10\nr1 += -16\nr2 = 0\nr3 = 0\nr4 = 14\ncall @bpf_dynptr_slice_rdwr",
    "r1 = r10\nr1 += -32\nr2 = 2\nr3 = 9\ncall @bpf_dynptr_adjust",
    "r7 = r0",
    "if r0 == 0x0 goto pc+1\nr8 = *(u8 *)(r0 +1)",
    "if r7 == 0x0 goto pc+1\nr8 = *(u8 *)(r7 +3)",
    "if r7 == 0x0 goto pc+1\n*(u8 *)(r7 +0) = 1",
    "r0 = *(u8 *)(r7 +0)",
    "r1 = r6\nr2 = 8\ncall bpf_skb_pull_data#39",
    "r1 = r10\nr1 += -16\nr2 = 0\nr3 = r10\nr3 += -64\nr4 = 8\nr5 = 0\ncall bpf_dynptr_write#202",
    "call @bpf_rcu_read_lock",
    "call @bpf_rcu_read_unlock",
    "call @bpf_preempt_disable",
    "call @bpf_preempt_enable",
    "r1 = 1\ncall @bpf_task_from_pid",
    "if r0 == 0x0 goto pc+2\nr1 = r0\ncall @bpf_task_release",
    "r1 = r7\ncall @bpf_task_release",
    "if r7 == 0x0 goto pc+2\nr1 = r7\ncall @bpf_task_release",
    "if r7 == 0x0 goto pc+1\nr8 = *(u64 *)(r7 +0)",
    "r1 = r10\nr1 += -8\nr2 = 0\nr3 = 10\ncall @bpf_iter_num_new",
    "r1 = r10\nr1 += -8\ncall @bpf_iter_num_next",
    "r1 = r10\nr1 += -8\ncall @bpf_iter_num_destroy",
];

/// A random program: pieces one behind the other, some of them in a loop over an iterator. Half of them close what they open.
fn random(numbers: &mut Random) -> String {
    let mut text = "r6 = r1\nr7 = 0\nr8 = 0".to_owned();
    let mut body = String::new();
    for _ in 0..numbers.next() % 7 {
        body.push('\n');
        body.push_str(PIECES[numbers.next() as usize % PIECES.len()]);
    }
    match numbers.next() % 4 {
        0 => text.push_str(&format!("\n{}", looping(body.trim(), "").replacen("r6 = 0\n", "", 1))),
        1 => text
            .push_str(&format!("\nr1 = r10\nr1 += -8\nr2 = 0\nr3 = 9\ncall @bpf_iter_num_new{body}\n{}", PIECES[39])),
        2 => text.push_str(&format!("\n{OF_PACKET}{body}")),
        _ => text.push_str(&body),
    }
    if numbers.next().is_multiple_of(2) {
        text.push_str("\nr7 = 0");
    }
    text.push_str("\nr0 = 0\nexit");
    text
}

/// Judges so many random programs of a type: no one that the kernel refuses is accepted, nor the other way round.
fn compare(judges: &Judges, place: &Place, seed: u64, count: u32) -> (u32, u32) {
    let mut numbers = Random::new(seed);
    let (mut accepted, mut unsupported) = (0, 0);
    for _ in 0..count {
        let text = random(&mut numbers);
        let program = judges.program(place, &text);
        let ours = verify(&program, &judges.options);
        if matches!(ours, Verdict::Unsupported(_)) {
            unsupported += 1;
            continue;
        }
        let theirs = judges.oracle.verdict(&program);
        let log = theirs.as_ref().err().cloned().unwrap_or_default();
        assert_eq!(ours.is_accept(), theirs.is_ok(), "{place}: {} ({})\n{text}\n{log}", ours.word(), ours.reason());
        accepted += u32::from(theirs.is_ok());
    }
    (accepted, unsupported)
}

#[test]
fn random_calls_are_judged_as_the_kernel_judges_them() {
    let Some(judges) = Judges::new("random_calls_are_judged_as_the_kernel_judges_them") else { return };
    for prog in [Of::SCHED_CLS, Of::CGROUP_SKB] {
        let (accepted, _) = compare(&judges, &place(prog), 7, 1500);
        assert!(accepted > 100, "{prog}: {accepted}");
    }
}

/// `SIM_COUNT=100000 SIM_SEED=7 cargo test --release --test sim -- --ignored --nocapture many_random_calls`
#[test]
#[ignore = "as many programs as SIM_COUNT says"]
fn many_random_calls() {
    let Some(judges) = Judges::new("many_random_calls") else { return };
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let count = number("SIM_COUNT", 20_000) as u32;
    for prog in [Of::SCHED_CLS, Of::CGROUP_SKB, Of::SOCKET_FILTER] {
        let (accepted, unsupported) = compare(&judges, &place(prog), number("SIM_SEED", 1), count);
        println!("{prog}: {count} programs, {accepted} accepted, {unsupported} not judged, no disagreement");
    }
}

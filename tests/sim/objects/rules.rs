//! Single rules.

use sidestep::uapi::ProgType as Of;
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::{verify, verify_with_log};

use super::judges::{Judges, walked};
use crate::reasons::reason;

/// Whether the program is accepted; if not, a part of the reason.
type Expected = Result<(), &'static str>;

/// Both say what is expected, in the same words and after the same number of instructions. All differences are shown.
fn check(judges: &Judges, cases: &[(Vec<&str>, Expected)]) {
    let wrong: Vec<String> =
        cases.iter().filter_map(|(functions, expected)| differs(judges, functions, *expected)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n=====\n"));
}

/// What is wrong with one of them.
fn differs(judges: &Judges, functions: &[&str], expected: Expected) -> Option<String> {
    let program = judges.program(Of::SCHED_CLS, functions);
    let (ours, log) = verify_with_log(&program, &judges.options);
    let (accepted, theirs) = judges.ask(&program);
    let counts = match &ours {
        Verdict::Accept(stats) => (Some(stats.insns_processed), walked(&theirs)),
        _ => (None, None),
    };
    let fine = match expected {
        Ok(()) => accepted && ours.is_accept() && counts.0 == counts.1,
        Err(part) => {
            !accepted && ours.word() == "reject" && ours.reason().contains(part) && reason(&log) == reason(&theirs)
        }
    };
    let shown = functions.join("\n--\n");
    let said = format!(
        "expected {expected:?}\nours: {} {}\nkernel: {accepted} {}",
        ours.word(),
        ours.reason(),
        reason(&theirs)
    );
    (!fine).then(|| format!("{said}\n{counts:?}\n{shown}"))
}

/// Makes an object of this structure in r6, or ends the program.
fn new(structure: &str) -> String {
    format!("r1 = %{structure}\nr2 = 0\ncall @bpf_obj_new_impl\nif r0 != 0x0 goto pc+1\nexit\nr6 = r0")
}

const DROP: &str = "r1 = r6\nr2 = 0\ncall @bpf_obj_drop_impl";
const END: &str = "r0 = 0\nexit";
/// The lock in map 0.
const LOCK: &str = "r1 = map[fd:0][0]+0\ncall bpf_spin_lock";
const UNLOCK: &str = "r1 = map[fd:0][0]+0\ncall bpf_spin_unlock";

fn lines(parts: &[&str]) -> String {
    parts.join("\n")
}

#[test]
fn objects_are_made_and_given_back() {
    let Some(judges) = Judges::new("objects_are_made_and_given_back") else { return };
    let (plain, node, holder) = (&*new("plain"), &*new("node"), &*new("holder"));
    let cases: Vec<(String, Expected)> = vec![
        (lines(&[plain, DROP, END]), Ok(())),
        (lines(&[plain, END]), Err("would lead to reference leak")),
        (lines(&[plain, "*(u64 *)(r6 +8) = 1\nr7 = *(u64 *)(r6 +0)", DROP, END]), Ok(())),
        (lines(&[plain, "*(u64 *)(r6 +16) = 1", DROP, END]), Err("access beyond struct sim_plain")),
        (lines(&[plain, DROP, "r0 = *(u64 *)(r6 +0)", END]), Err("R6 invalid mem access 'scalar'")),
        (lines(&[plain, "r6 += 8", DROP, END]), Err("must have zero offset")),
        (lines(&[node, "*(u64 *)(r6 +72) = 1", DROP, END]), Ok(())),
        (lines(&[node, "*(u64 *)(r6 +8) = 1", DROP, END]), Err("direct access to bpf_list_node is disallowed")),
        (lines(&[node, "r1 = *(u32 *)(r6 +64)", DROP, END]), Err("direct access to bpf_refcount is disallowed")),
        (lines(&[holder, "r1 = *(u64 *)(r6 +32)", DROP, END]), Err("direct access to kptr is disallowed")),
        (lines(&["r1 = %int\nr2 = 0\ncall @bpf_obj_new_impl", END]), Err("must be of a struct")),
        (lines(&["r1 = 100000\nr2 = 0\ncall @bpf_obj_new_impl", END]), Err("must be of a struct")),
        (lines(&["r1 = *(u32 *)(r1 +0)\nr2 = 0\ncall @bpf_obj_new_impl", END]), Err("must be a known constant")),
        (lines(&["r1 = %plain\nr2 = 0\ncall @bpf_obj_new_impl\nr6 = r0", DROP, END]), Err("Possibly NULL")),
        (
            lines(&[
                "r1 = %plain\nr2 = 0\ncall @bpf_percpu_obj_new_impl\nif r0 == 0x0 goto pc+3\nr1 = r0\nr2 = 0\ncall @bpf_percpu_obj_drop_impl",
                END,
            ]),
            Ok(()),
        ),
        (
            lines(&[
                "r1 = %plain\nr2 = 0\ncall @bpf_percpu_obj_new_impl\nif r0 == 0x0 goto pc+3\nr1 = r0\nr2 = 0\ncall @bpf_obj_drop_impl",
                END,
            ]),
            Err("expected for bpf_percpu_obj_drop_impl()"),
        ),
        (
            lines(&["r1 = %leaf\nr2 = 0\ncall @bpf_percpu_obj_new_impl", END]),
            Err("bpf_percpu_obj_new type ID argument"),
        ),
        (
            lines(&[
                node,
                "r1 = r6\nr2 = 0\ncall @bpf_refcount_acquire_impl\nr7 = r0\n*(u64 *)(r7 +0) = 3",
                DROP,
                "r6 = r7",
                DROP,
                END,
            ]),
            Ok(()),
        ),
        (
            lines(&[node, "r1 = r6\nr2 = 0\ncall @bpf_refcount_acquire_impl", DROP, END]),
            Err("would lead to reference leak"),
        ),
        (lines(&[plain, "r1 = r6\nr2 = 0\ncall @bpf_refcount_acquire_impl", END]), Err("")),
        (lines(&[holder, "r1 = r6\nr2 = 0\ncall @bpf_refcount_acquire_impl", END]), Err("with bpf_refcount field")),
        (lines(&[holder, "r1 = r6\ncall bpf_spin_lock\nr1 = r6\ncall bpf_spin_unlock", DROP, END]), Ok(())),
        (
            lines(&[holder, "r1 = r6\ncall bpf_spin_lock", DROP, END]),
            Err("function calls are not allowed while holding a lock"),
        ),
        (lines(&[plain, "r1 = r6\ncall bpf_spin_lock", END]), Err("local 'kptr' has no valid bpf_spin_lock")),
    ];
    let cases: Vec<_> = cases.iter().map(|(text, expected)| (vec![text.as_str()], *expected)).collect();
    check(&judges, &cases);
}

#[test]
fn lists_and_trees_own_what_is_put_in() {
    let Some(judges) = Judges::new("lists_and_trees_own_what_is_put_in") else { return };
    let (node, leaf) = (&*new("node"), &*new("leaf"));
    let push = "r1 = map[fd:0][0]+8\nr2 = r6\nr2 += 8\nr3 = 0\nr4 = 0\ncall @bpf_list_push_front_impl";
    let pop = "r1 = map[fd:0][0]+8\ncall @bpf_list_pop_front\nr7 = r0";
    let drop_popped = "if r7 == 0x0 goto pc+4\nr7 += -8\nr1 = r7\nr2 = 0\ncall @bpf_obj_drop_impl";
    let add = "r1 = map[fd:0][0]+24\nr2 = r6\nr2 += 32\nr3 = subprog[+1]\nr4 = 0\nr5 = 0\ncall @bpf_rbtree_add_impl";
    let less = "r0 = 0\nr3 = *(u64 *)(r1 -32)\nr4 = *(u64 *)(r2 -32)\nif r3 > r4 goto pc+1\nr0 = 1\nexit";
    let first = "r1 = map[fd:0][0]+24\ncall @bpf_rbtree_first\nr8 = r0";
    let remove = "if r8 == 0x0 goto pc+4\nr1 = map[fd:0][0]+24\nr2 = r8\ncall @bpf_rbtree_remove\nr7 = r0";
    let one: Vec<(String, Expected)> = vec![
        (lines(&[node, LOCK, push, UNLOCK, END]), Ok(())),
        (lines(&[node, push, END]), Err("bpf_spin_lock at off=0 must be held for bpf_list_head")),
        (lines(&[node, LOCK, push, "*(u64 *)(r6 +0) = 1", UNLOCK, END]), Ok(())),
        (lines(&[node, LOCK, push, UNLOCK, "*(u64 *)(r6 +0) = 1", END]), Err("R6 invalid mem access 'scalar'")),
        (lines(&[node, LOCK, push, push, UNLOCK, END]), Err("arg#1 expected pointer to allocated object")),
        (
            lines(&[node, LOCK, &push.replace("r2 += 8", "r2 += 0"), UNLOCK, END]),
            Err("bpf_list_node not found at offset=0"),
        ),
        (
            lines(&[leaf, LOCK, &push.replace("r2 += 8", "r2 += 0"), UNLOCK, END]),
            Err("operation on bpf_list_head expects arg#1"),
        ),
        (lines(&[leaf, LOCK, &push.replace("[0]+8\n", "[0]+40\n").replace("r2 += 8", "r2 += 0"), UNLOCK, END]), Ok(())),
        (
            lines(&[node, LOCK, &push.replace("[0]+8\n", "[0]+16\n"), UNLOCK, END]),
            Err("bpf_list_head not found at offset=16"),
        ),
        (lines(&["r7 = 0", LOCK, pop, UNLOCK, drop_popped, END]), Ok(())),
        (lines(&["r7 = 0", LOCK, pop, UNLOCK, END]), Err("would lead to reference leak")),
        (
            lines(&[
                LOCK,
                "r1 = map[fd:0][0]+8\ncall @bpf_list_front\nif r0 == 0x0 goto pc+1\nr1 = *(u64 *)(r0 -8)",
                UNLOCK,
                END,
            ]),
            Ok(()),
        ),
        (
            lines(&[LOCK, "r1 = map[fd:0][0]+8\ncall @bpf_list_back\nr6 = r0", UNLOCK, "r0 = *(u64 *)(r6 +0)", END]),
            Err("R6 invalid mem access 'scalar'"),
        ),
        (lines(&[LOCK, first, "if r8 == 0x0 goto pc+1\nr1 = *(u64 *)(r8 -32)", UNLOCK, END]), Ok(())),
        (
            lines(&[
                "r7 = 0",
                LOCK,
                first,
                remove,
                UNLOCK,
                "if r7 == 0x0 goto pc+4\nr7 += -32\nr1 = r7\nr2 = 0\ncall @bpf_obj_drop_impl",
                END,
            ]),
            Ok(()),
        ),
        (
            lines(&[
                node,
                LOCK,
                "r1 = map[fd:0][0]+24\nr2 = r6\nr2 += 32\ncall @bpf_rbtree_remove\nr7 = r0",
                UNLOCK,
                END,
            ]),
            Err(""),
        ),
        (lines(&[LOCK, LOCK, END]), Err("function calls are not allowed while holding a lock")),
        (lines(&[LOCK, END]), Err("cannot be used inside bpf_spin_lock-ed region")),
    ];
    let one: Vec<_> = one.iter().map(|(text, expected)| (vec![text.as_str()], *expected)).collect();
    check(&judges, &one);
    let two: Vec<(String, String, Expected)> = vec![
        (lines(&[node, LOCK, add, UNLOCK, END]), less.to_owned(), Ok(())),
        (lines(&[node, LOCK, add, "r1 = *(u64 *)(r6 +0)", UNLOCK, END]), less.to_owned(), Ok(())),
        (lines(&[node, add, END]), less.to_owned(), Err("must be held for bpf_rb_root")),
        (lines(&[node, LOCK, add, UNLOCK, END]), "r0 = 7\nexit".to_owned(), Err("should have been in [0, 1]")),
        (lines(&[node, LOCK, add, UNLOCK, END]), lines(&[UNLOCK, END]), Err("can't spin_{lock,unlock} in rbtree cb")),
        (lines(&[node, LOCK, add, UNLOCK, END]), lines(&["r6 = r1", first, "r0 = 0\nexit"]), Ok(())),
        (
            lines(&[node, LOCK, add, UNLOCK, END]),
            lines(&["r2 = r1\nr1 = map[fd:0][0]+24\ncall @bpf_rbtree_remove", END]),
            Err("not allowed in rbtree cb"),
        ),
    ];
    let two: Vec<_> = two.iter().map(|(main, less, end)| (vec![main.as_str(), less.as_str()], *end)).collect();
    check(&judges, &two);
}

#[test]
fn map_values_keep_pointers() {
    let Some(judges) = Judges::new("map_values_keep_pointers") else { return };
    let value = "r9 = map[fd:1][0]+0";
    let (plain, node) = (&*new("plain"), &*new("node"));
    let exchange =
        |offset: u32, given: &str| format!("r1 = r9\nr1 += {offset}\nr2 = {given}\ncall bpf_kptr_xchg\nr7 = r0");
    let drop_old = "if r7 == 0x0 goto pc+3\nr1 = r7\nr2 = 0\ncall @bpf_obj_drop_impl";
    let release = "if r7 == 0x0 goto pc+2\nr1 = r7\ncall @bpf_task_release";
    let task = "r1 = 1\ncall @bpf_task_from_pid\nif r0 != 0x0 goto pc+1\nexit\nr6 = r0";
    let each = "r1 = %plain\nr2 = 0\ncall @bpf_percpu_obj_new_impl\nif r0 != 0x0 goto pc+1\nexit\nr6 = r0";
    let drop_each = "if r7 == 0x0 goto pc+3\nr1 = r7\nr2 = 0\ncall @bpf_percpu_obj_drop_impl";
    let cases: Vec<(String, Expected)> = vec![
        (lines(&[value, "r0 = *(u64 *)(r9 +0)", END]), Ok(())),
        (
            lines(&[value, "r1 = *(u64 *)(r9 +0)\nr0 = *(u64 *)(r1 +0)", END]),
            Err("R1 invalid mem access 'rcu_ptr_or_null_'"),
        ),
        (lines(&[value, "r1 = *(u64 *)(r9 +0)\nif r1 == 0x0 goto pc+1\nr0 = *(u64 *)(r1 +0)", END]), Ok(())),
        (lines(&[value, "r1 = *(u64 *)(r9 +8)\nif r1 == 0x0 goto pc+1\nr0 = *(u64 *)(r1 +0)", END]), Ok(())),
        (lines(&[value, "r1 = *(u64 *)(r9 +16)\nif r1 == 0x0 goto pc+1\n*(u64 *)(r1 +0) = 5", END]), Ok(())),
        (lines(&[value, "r1 = *(u64 *)(r9 +32)\nif r1 == 0x0 goto pc+1\n*(u64 *)(r1 +0) = 5", END]), Ok(())),
        (lines(&[value, "r0 = *(u32 *)(r9 +0)", END]), Err("kptr access size must be BPF_DW")),
        (lines(&[value, "r0 = *(u64 *)(r9 +4)", END]), Err("kptr access misaligned expected=0 off=4")),
        (lines(&[value, "*(u64 *)(r9 +0) = 0", END]), Err("store to referenced kptr disallowed")),
        (lines(&[value, "*(u64 *)(r9 +8) = 0", END]), Ok(())),
        (lines(&[value, "*(u64 *)(r9 +8) = 1", END]), Err("BPF_ST imm must be 0 when storing to kptr at off=8")),
        (lines(&[value, "r1 = 0\n*(u64 *)(r9 +8) = r1", END]), Ok(())),
        (lines(&[value, "r1 = 1\n*(u64 *)(r9 +8) = r1", END]), Err("invalid kptr access, R1 type=scalar")),
        (lines(&[value, "r1 = *(u64 *)(r9 +0)\n*(u64 *)(r9 +8) = r1", END]), Ok(())),
        (lines(&[value, "r1 = *(u64 *)(r9 +16)\n*(u64 *)(r9 +8) = r1", END]), Err("invalid kptr access, R1")),
        (
            lines(&[value, "r2 = *(u32 *)(r1 +0)\nr2 &= 7\nr9 += r2\nr0 = *(u64 *)(r9 +8)", END]),
            Err("kptr access cannot have variable offset"),
        ),
        (lines(&[value, "r1 = 1\nlock *(u64 *)(r9 +8) += r1", END]), Err("can only be accessed using BPF_MEM")),
        (lines(&[value, "r0 = *(u64 *)(r9 +40)\n*(u64 *)(r9 +40) = r0", END]), Ok(())),
        (lines(&[value, "r0 = *(u64 *)(r9 +48)", END]), Err("bpf_timer cannot be accessed directly by load/store")),
        (lines(&[value, "r0 = *(u64 *)(r9 +72)", END]), Err("bpf_wq cannot be accessed directly by load/store")),
        (lines(&["r9 = map[fd:0][0]+0\nr0 = *(u64 *)(r9 +24)", END]), Err("bpf_rb_root cannot be accessed directly")),
        (
            lines(&[value, "r1 = r9\nr2 = 8\nr3 = r9\nr3 += 40\ncall bpf_probe_read_kernel", END]),
            Err("kptr cannot be accessed indirectly by helper"),
        ),
        (lines(&[value, task, &exchange(0, "r6"), release, END]), Ok(())),
        (lines(&[value, task, &exchange(0, "r6"), END]), Err("would lead to reference leak")),
        (lines(&[value, &exchange(0, "0"), release, END]), Ok(())),
        (lines(&[value, task, &exchange(8, "r6"), END]), Err("off=8 kptr isn't referenced kptr")),
        (lines(&[value, task, &exchange(16, "r6"), END]), Err("invalid kptr access, R2")),
        (lines(&[value, task, &exchange(40, "r6"), END]), Err("off=40 doesn't point to kptr")),
        // The kernel adds in 32 bits what no pointer can have in more.
        (
            lines(&[value, task, "r3 = 1\nr3 <<= 32\nr9 += r3", &exchange(0, "r6"), END]),
            Err("math between map_value pointer and 4294967296 is not allowed"),
        ),
        (lines(&[value, task, "r9 += -8", &exchange(0, "r6"), END]), Err("off=-8 doesn't point to kptr")),
        (lines(&[value, task, "r9 += 536870911", &exchange(0, "r6"), END]), Err("off=536870911 doesn't point to kptr")),
        (lines(&["r9 = map[fd:0][0]+0", task, &exchange(0, "r6"), END]), Err("R1 has no valid kptr")),
        (
            lines(&["r9 = map[fd:2][0]+0", task, &exchange(0, "r6"), END]),
            Err("has to have BTF in order to use bpf_kptr_xchg"),
        ),
        (lines(&[value, node, &exchange(16, "r6"), drop_old, END]), Ok(())),
        (lines(&[value, plain, &exchange(32, "r6"), drop_old, END]), Ok(())),
        (lines(&[value, plain, &exchange(16, "r6"), END]), Err("invalid kptr access, R2")),
        (lines(&[value, each, &exchange(24, "r6"), drop_each, END]), Ok(())),
        (
            lines(&[
                value,
                each,
                &exchange(24, "r6"),
                drop_each,
                "r1 = r6\ncall bpf_this_cpu_ptr\n*(u64 *)(r0 +0) = 1",
                END,
            ]),
            Ok(()),
        ),
        (
            lines(&[
                value,
                "r1 = *(u64 *)(r9 +24)\nif r1 == 0x0 goto pc+2\ncall bpf_this_cpu_ptr\nr1 = *(u64 *)(r0 +8)",
                END,
            ]),
            Ok(()),
        ),
        (
            lines(&[value, "r1 = *(u64 *)(r9 +24)\nif r1 == 0x0 goto pc+1\nr0 = *(u64 *)(r1 +0)", END]),
            Err("access percpu memory"),
        ),
        (lines(&[value, "r1 = %node\nr2 = 0\ncall @bpf_obj_new_impl\nr6 = r0", &exchange(16, "r6"), END]), Err("")),
        (
            lines(&[
                &new("holder"),
                "r8 = r6",
                plain,
                "r1 = r8\nr1 += 32\nr2 = r6\ncall bpf_kptr_xchg\nr7 = r0",
                drop_old,
                "r6 = r8",
                DROP,
                END,
            ]),
            Err("would lead to reference leak"),
        ),
    ];
    let cases: Vec<_> = cases.iter().map(|(text, expected)| (vec![text.as_str()], *expected)).collect();
    check(&judges, &cases);
    // Stable releases differ.
    let program = judges.program(Of::SCHED_CLS, &[&lines(&[value, plain, &exchange(24, "r6"), END])]);
    assert_eq!(verify(&program, &judges.options).word(), "unsupported");
}

#[test]
fn timers_and_work_queues_call_later() {
    let Some(judges) = Judges::new("timers_and_work_queues_call_later") else { return };
    let timer = "r9 = map[fd:1][0]+0\nr6 = r9\nr6 += 48";
    let queue = "r9 = map[fd:1][0]+0\nr6 = r9\nr6 += 64";
    let init = "r1 = r6\nr2 = map[fd:1]\nr3 = 1\ncall bpf_timer_init";
    let set = "r1 = r6\nr2 = subprog[+1]\ncall bpf_timer_set_callback";
    let start = "r1 = r6\nr2 = 1000\nr3 = 0\ncall bpf_timer_start";
    let cancel = "r1 = r6\ncall bpf_timer_cancel";
    let init_queue = "r1 = r6\nr2 = map[fd:1]\nr3 = 0\ncall @bpf_wq_init";
    let set_queue = "r1 = r6\nr2 = subprog[+1]\nr3 = 0\nr4 = 0\ncall @bpf_wq_set_callback_impl";
    let start_queue = "r1 = r6\nr2 = 0\ncall @bpf_wq_start";
    let single: Vec<(String, Expected)> = vec![
        (lines(&[timer, init, start, cancel, END]), Ok(())),
        (lines(&[timer, "r6 += 1", init, END]), Err("off 49 doesn't point to 'struct bpf_timer' that is at 48")),
        (lines(&[timer, &init.replace("fd:1", "fd:0"), END]), Err("doesn't match map pointer in R2")),
        (lines(&["r6 = map[fd:0][0]+0", init, END]), Err("map 'roots' has no valid bpf_timer")),
        (lines(&["r6 = map[fd:2][0]+0", init, END]), Err("has to have BTF in order to use bpf_timer")),
        (lines(&[queue, init_queue, start_queue, END]), Ok(())),
        (lines(&[timer, init_queue, END]), Err("off 48 doesn't point to 'struct bpf_wq' that is at 64")),
        (lines(&[queue, &init_queue.replace("fd:1", "fd:0"), END]), Ok(())),
    ];
    let single: Vec<_> = single.iter().map(|(text, expected)| (vec![text.as_str()], *expected)).collect();
    check(&judges, &single);
    let setting = lines(&[timer, init, set, start, END]);
    let queueing = lines(&[queue, init_queue, set_queue, start_queue, END]);
    let again = lines(&["r6 = r3\nr6 += 48", set, "r0 = 0\nexit"]);
    let both: Vec<(&str, String, Expected)> = vec![
        (&setting, END.to_owned(), Ok(())),
        (&setting, "r0 = 5\nexit".to_owned(), Err("At async callback return")),
        (&setting, "r0 = *(u64 *)(r3 +40)\nr0 = *(u32 *)(r2 +0)\nr0 = 0\nexit".to_owned(), Ok(())),
        (&setting, "r0 = *(u64 *)(r3 +48)\nexit".to_owned(), Err("bpf_timer cannot be accessed directly")),
        (&setting, "r0 = r4\nexit".to_owned(), Err("R4 !read_ok")),
        (&setting, "r0 = r6\nexit".to_owned(), Err("R6 !read_ok")),
        (&setting, again, Ok(())),
        (&setting, "r1 = 1\ncall @bpf_task_from_pid\nr0 = 0\nexit".to_owned(), Err("would lead to reference leak")),
        (&setting, "r1 = r3\nr0 = *(u64 *)(r10 -8)\nr0 = 0\nexit".to_owned(), Ok(())),
        (&queueing, END.to_owned(), Ok(())),
        (&queueing, "r0 = 5\nexit".to_owned(), Err("At async callback return")),
        (&queueing, "r0 = *(u64 *)(r3 +40)\nr0 = 0\nexit".to_owned(), Ok(())),
    ];
    let both: Vec<_> = both.iter().map(|(main, later, end)| (vec![*main, later.as_str()], *end)).collect();
    check(&judges, &both);
}

//! Random programs.

use sidestep::uapi::ProgType as Of;
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify_with_log;

use super::judges::{Judges, walked};
use crate::random::sandbox::Random;
use crate::reasons::reason;

/// What the programs are made of: r8 is a value of map 0, r9 one of map 1, r6 and r7 are what they have at hand. Work queues are
/// only taken from map 1, since kernels do not check other maps.
const PIECES: [&str; 58] = [
    "r1 = %node\nr2 = 0\ncall @bpf_obj_new_impl",
    "r1 = %leaf\nr2 = 0\ncall @bpf_obj_new_impl",
    "r1 = %plain\nr2 = 0\ncall @bpf_obj_new_impl",
    "r1 = %holder\nr2 = 0\ncall @bpf_obj_new_impl",
    "r1 = %plain\nr2 = 0\ncall @bpf_percpu_obj_new_impl",
    "r1 = %node\nr2 = 0\ncall @bpf_obj_new_impl\nif r0 != 0x0 goto pc+1\nexit\nr6 = r0",
    "r1 = %leaf\nr2 = 0\ncall @bpf_obj_new_impl\nif r0 != 0x0 goto pc+1\nexit\nr6 = r0",
    "if r0 != 0x0 goto pc+1\nexit\nr6 = r0",
    "r6 = r0",
    "r7 = r6",
    "r7 = r0",
    "if r6 == 0x0 goto pc+3\nr1 = r6\nr2 = 0\ncall @bpf_obj_drop_impl",
    "if r7 == 0x0 goto pc+3\nr1 = r7\nr2 = 0\ncall @bpf_obj_drop_impl",
    "r1 = r7\nr2 = 0\ncall @bpf_percpu_obj_drop_impl",
    "if r7 == 0x0 goto pc+4\nr7 += -8\nr1 = r7\nr2 = 0\ncall @bpf_obj_drop_impl",
    "if r7 == 0x0 goto pc+4\nr7 += -32\nr1 = r7\nr2 = 0\ncall @bpf_obj_drop_impl",
    "if r7 == 0x0 goto pc+2\nr1 = r7\ncall @bpf_task_release",
    "r1 = r6\nr2 = 0\ncall @bpf_refcount_acquire_impl\nr7 = r0",
    "r1 = 1\ncall @bpf_task_from_pid",
    "r1 = r8\ncall bpf_spin_lock",
    "r1 = r8\ncall bpf_spin_unlock",
    "r1 = r6\ncall bpf_spin_lock",
    "r1 = r6\ncall bpf_spin_unlock",
    "r1 = r8\nr1 += 8\nr2 = r6\nr2 += 8\nr3 = 0\nr4 = 0\ncall @bpf_list_push_front_impl",
    "r1 = r8\nr1 += 8\nr2 = r6\nr2 += 8\nr3 = 0\nr4 = 0\ncall @bpf_list_push_back_impl",
    "r1 = r8\nr1 += 40\nr2 = r6\nr3 = 0\nr4 = 0\ncall @bpf_list_push_back_impl",
    "r1 = r8\nr1 += 8\ncall @bpf_list_pop_front\nr7 = r0",
    "r1 = r8\nr1 += 40\ncall @bpf_list_pop_back\nr7 = r0",
    "r1 = r8\nr1 += 8\ncall @bpf_list_front",
    "r1 = r8\nr1 += 40\ncall @bpf_list_back",
    "r1 = r8\nr1 += 24\nr2 = r6\nr2 += 32\nr3 = subprog[+1]\nr4 = 0\nr5 = 0\ncall @bpf_rbtree_add_impl",
    "r1 = r8\nr1 += 24\ncall @bpf_rbtree_first",
    "r1 = r8\nr1 += 24\ncall @bpf_rbtree_root\nr7 = r0",
    "if r7 == 0x0 goto pc+4\nr1 = r8\nr1 += 24\nr2 = r7\ncall @bpf_rbtree_remove\nr7 = r0",
    "if r0 == 0x0 goto pc+5\nr1 = r8\nr1 += 24\nr2 = r0\ncall @bpf_rbtree_remove\nr7 = r0",
    "if r0 == 0x0 goto pc+4\nr1 = r8\nr1 += 24\nr2 = r0\ncall @bpf_rbtree_left",
    "if r0 == 0x0 goto pc+1\nr1 = *(u64 *)(r0 +0)",
    "if r6 == 0x0 goto pc+1\n*(u64 *)(r6 +0) = 1",
    "if r7 == 0x0 goto pc+1\nr1 = *(u64 *)(r7 +0)",
    "if r7 == 0x0 goto pc+1\n*(u64 *)(r7 +8) = 1",
    "r7 = *(u64 *)(r9 +0)",
    "r7 = *(u64 *)(r9 +8)",
    "r7 = *(u64 *)(r9 +16)",
    "r7 = *(u64 *)(r9 +24)",
    "r7 = *(u64 *)(r9 +32)",
    "*(u64 *)(r9 +8) = r7",
    "*(u64 *)(r9 +8) = 0",
    "r1 = r9\nr2 = r6\ncall bpf_kptr_xchg\nr7 = r0",
    "r1 = r9\nr1 += 16\nr2 = r6\ncall bpf_kptr_xchg\nr7 = r0",
    "r1 = r9\nr1 += 32\nr2 = 0\ncall bpf_kptr_xchg\nr7 = r0",
    "r1 = r9\nr1 += 24\nr2 = r6\ncall bpf_kptr_xchg\nr7 = r0",
    "if r7 == 0x0 goto pc+3\nr1 = r7\ncall bpf_this_cpu_ptr\nr1 = *(u64 *)(r0 +0)",
    "r1 = r9\nr1 += 48\nr2 = map[fd:1]\nr3 = 1\ncall bpf_timer_init",
    "r1 = r9\nr1 += 48\nr2 = subprog[+2]\ncall bpf_timer_set_callback",
    "r1 = r9\nr1 += 48\nr2 = 9\nr3 = 0\ncall bpf_timer_start",
    "r1 = r9\nr1 += 64\nr2 = subprog[+2]\nr3 = 0\nr4 = 0\ncall @bpf_wq_set_callback_impl",
    "r6 = 0",
    "call @bpf_rcu_read_lock\nr7 = *(u64 *)(r9 +16)\ncall @bpf_rcu_read_unlock",
];

/// Functions that compare two elements.
const LESS: [&str; 3] = [
    "r0 = 0\nr3 = *(u64 *)(r1 -32)\nr4 = *(u64 *)(r2 -32)\nif r3 > r4 goto pc+1\nr0 = 1\nexit",
    "r0 = 1\nexit",
    "r0 = *(u64 *)(r1 +0)\nr0 &= 1\nexit",
];

/// Functions that are called later.
const LATER: [&str; 4] = [
    "r0 = 0\nexit",
    "r1 = *(u64 *)(r3 +40)\nr1 += 1\n*(u64 *)(r3 +40) = r1\nr0 = 0\nexit",
    "r1 = r3\nr1 += 48\nr2 = subprog[+2]\ncall bpf_timer_set_callback\nr0 = 0\nexit",
    "r0 = *(u32 *)(r2 +0)\nexit",
];

/// A random program: pieces one behind the other, some of them where the lock of map 0 is held.
fn random(numbers: &mut Random) -> Vec<String> {
    let mut text = "r8 = map[fd:0][0]+0\nr9 = map[fd:1][0]+0\nr6 = 0\nr7 = 0\nr0 = 0".to_owned();
    let mut pieces = |text: &mut String, most: u64| {
        for _ in 0..u64::from(numbers.next()) % most {
            text.push('\n');
            text.push_str(PIECES[numbers.next() as usize % PIECES.len()]);
        }
        numbers.next()
    };
    let choice = pieces(&mut text, 4);
    if choice.is_multiple_of(2) {
        text.push_str("\nr1 = r8\ncall bpf_spin_lock");
        pieces(&mut text, 4);
        text.push_str("\nr1 = r8\ncall bpf_spin_unlock");
    }
    pieces(&mut text, 4);
    for piece in [11, 14, 12] {
        if numbers.next().is_multiple_of(2) {
            text.push('\n');
            text.push_str(PIECES[piece]);
        }
    }
    text.push_str("\nr0 = 0\nexit");
    // Each function is called from somewhere, or the kernel does not take it.
    let less = LESS[numbers.next() as usize % LESS.len()];
    let later = LATER[numbers.next() as usize % LATER.len()];
    let calls = "r0 = subprog[+1]\nr0 = subprog[+2]\n";
    vec![format!("{calls}{text}"), less.to_owned(), later.to_owned()]
}

/// What was found of so many programs.
#[derive(Debug, Default)]
struct Found {
    accepted: u32,
    unsupported: u32,
    same_reason: u32,
    same_count: u32,
    /// Programs of which the verdicts differ.
    wrong: Vec<String>,
}

/// Judges so many random programs: no one that the kernel refuses is accepted, nor the other way round.
fn compare(judges: &Judges, prog: Of, seed: u64, count: u32) -> Found {
    let mut numbers = Random::new(seed);
    let mut found = Found::default();
    for _ in 0..count {
        let functions = random(&mut numbers);
        let texts: Vec<&str> = functions.iter().map(String::as_str).collect();
        let program = judges.program(prog, &texts);
        let (ours, log) = verify_with_log(&program, &judges.options);
        if matches!(ours, Verdict::Unsupported(_)) {
            found.unsupported += 1;
            continue;
        }
        let (accepted, theirs) = judges.ask(&program);
        let shown = functions.join("\n--\n");
        if ours.is_accept() != accepted {
            let (word, rule) = (ours.word(), ours.reason());
            found.wrong.push(format!("{prog}: {word} ({rule})\nkernel: {accepted} {}\n{shown}", reason(&theirs)));
        }
        match ours {
            Verdict::Accept(stats) => {
                found.accepted += 1;
                found.same_count += u32::from(walked(&theirs) == Some(stats.insns_processed));
                if std::env::var_os("SIM_SHOW").is_some() && walked(&theirs) != Some(stats.insns_processed) {
                    println!("{} {:?}\n{shown}\n", stats.insns_processed, walked(&theirs));
                }
            }
            _ => {
                found.same_reason += u32::from(reason(&log) == reason(&theirs));
                if std::env::var_os("SIM_SHOW").is_some() && reason(&log) != reason(&theirs) {
                    println!("ours: {}\nkernel: {}\n{shown}\n", reason(&log), reason(&theirs));
                }
            }
        }
    }
    found
}

#[test]
fn random_objects_are_judged_as_the_kernel_judges_them() {
    let Some(judges) = Judges::new("random_objects_are_judged_as_the_kernel_judges_them") else { return };
    let found = compare(&judges, Of::SCHED_CLS, 7, 2000);
    let shown = found.wrong.iter().take(8).cloned().collect::<Vec<_>>().join("\n=====\n");
    assert!(found.wrong.is_empty(), "{}:\n{shown}", found.wrong.len());
    assert!(found.accepted > 100 && found.unsupported < 100, "{found:?}");
}

/// `SIM_COUNT=100000 SIM_SEED=7 cargo test --release --test sim -- --ignored --nocapture many_random_objects`
#[test]
#[ignore = "as many programs as SIM_COUNT says"]
fn many_random_objects() {
    let Some(judges) = Judges::new("many_random_objects") else { return };
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let count = number("SIM_COUNT", 20_000) as u32;
    for prog in [Of::SCHED_CLS, Of::XDP] {
        let found = compare(&judges, prog, number("SIM_SEED", 1), count);
        println!("{prog}: {count} programs, {found:?}");
        assert!(found.wrong.is_empty(), "{}", found.wrong.join("\n=====\n"));
    }
}

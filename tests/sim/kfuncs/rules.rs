//! Single rules.

use sidestep::uapi::{AttachType as At, ProgType as Of};

use super::FORBIDDEN;
use super::judges::{Judges, place, traced};

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
pub(super) const OF_PACKET: &str = "r6 = r1\nr2 = 0\nr3 = r10\nr3 += -16\ncall @bpf_dynptr_from_skb";

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
pub(super) fn looping(body: &str, behind: &str) -> String {
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

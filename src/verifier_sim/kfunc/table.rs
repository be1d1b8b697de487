//! The kernel functions that are simulated: what the kernel says of each beside its prototype, and which programs may call it.
//! None of this is in BTF.
//!
//! Sources: the `BTF_ID_FLAGS` lists of Linux 6.12 (kernel/bpf/helpers.c, cpumask.c, crypto.c, map_iter.c,
//! kernel/trace/bpf_trace.c, net/core/filter.c, net/bpf/test_run.c, net/xfrm/xfrm_state_bpf.c) and where they are registered;
//! for Linux 6.18 each type of program was asked (`tests/sim/kfuncs`).

use bitflags::bitflags;

use crate::uapi::AttachType;
use crate::verifier_sim::place::Place;
use crate::verifier_sim::spec::{Kernel, ProgType};

bitflags! {
    /// What the kernel says of a function (`KF_*`, include/linux/btf.h).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Properties: u16 {
        const ACQUIRES = 1;
        const RELEASES = 2;
        const MAY_BE_NULL = 4;
        const TRUSTED = 8;
        const RCU = 16;
        const SLEEPS = 32;
        const ITER_NEW = 64;
        const ITER_NEXT = 128;
        const ITER_DESTROY = 256;
        const RCU_PROTECTED = 512;
    }
}

/// A line for each function, or for all that begin alike: its name, its properties by the letters of [`LETTERS`], and who may
/// call it ([`permits`]).
const FUNCTIONS: &str = "\
bpf_cast_to_kern_ctx a
bpf_rdonly_cast a
bpf_rcu_read_lock a
bpf_rcu_read_unlock a
bpf_preempt_disable a
bpf_preempt_enable a
bpf_dynptr_slice Na
bpf_dynptr_slice_rdwr Na
bpf_dynptr_adjust a
bpf_dynptr_is_null a
bpf_dynptr_is_rdonly a
bpf_dynptr_size a
bpf_dynptr_clone a
bpf_dynptr_copy a
bpf_dynptr_memset a
bpf_dynptr_from_skb Ts
bpf_dynptr_from_xdp x
bpf_iter_num_new Ia
bpf_iter_num_next JNa
bpf_iter_num_destroy Ka
bpf_iter_bits_new Ia
bpf_iter_bits_next JNa
bpf_iter_bits_destroy Ka
bpf_iter_task_new ITPa
bpf_iter_task_next JNa
bpf_iter_task_destroy Ka
bpf_iter_task_vma_new IUa
bpf_iter_task_vma_next JNa
bpf_iter_task_vma_destroy Ka
bpf_iter_css_new ITPa
bpf_iter_css_next JNa
bpf_iter_css_destroy Ka
bpf_arena_alloc_pages TSa
bpf_arena_free_pages TSa
bpf_copy_from_user_str Sa
bpf_map_sum_elem_count Ta
bpf_throw g
bpf_obj_new_impl ANg
bpf_percpu_obj_new_impl ANg
bpf_obj_drop_impl Rg
bpf_percpu_obj_drop_impl Rg
bpf_refcount_acquire_impl AUNg
bpf_list_push_front_impl g
bpf_list_push_back_impl g
bpf_list_pop_front ANg
bpf_list_pop_back ANg
bpf_list_front Ng
bpf_list_back Ng
bpf_rbtree_add_impl g
bpf_rbtree_remove ANg
bpf_rbtree_first Ng
bpf_rbtree_root Ng
bpf_rbtree_left Ng
bpf_rbtree_right Ng
bpf_wq_init a
bpf_wq_set_callback_impl a
bpf_wq_start a
bpf_task_acquire AUNg
bpf_task_release Rg
bpf_task_from_pid ANg
bpf_task_from_vpid ANg
bpf_cgroup_acquire AUNg
bpf_cgroup_release Rg
bpf_cgroup_ancestor AUNg
bpf_cgroup_from_id ANg
bpf_task_under_cgroup Ug
bpf_task_get_cgroup1 AUNg
bpf_send_signal_task Tg
bpf_lookup_user_key ANSk
bpf_lookup_system_key ANk
bpf_key_put Rk
bpf_cpumask_create ANt
bpf_cpumask_acquire ATt
bpf_cpumask_release Rt
bpf_cpumask_* Ut
bpf_kfunc_call_test_release Rb
bpf_kfunc_call_memb_release Rb
bpf_crypto_encrypt Ur
bpf_crypto_decrypt Ur
bpf_crypto_ctx_create ANSn
bpf_crypto_ctx_acquire AUNn
bpf_crypto_ctx_release Rn
bpf_sock_addr_set_sun_path c
bpf_sock_destroy Ti
bpf_sk_assign_tcp_reqsk Tq
bpf_xdp_get_xfrm_state ANx
bpf_xdp_xfrm_state_release Rx
";

/// The letters of the properties.
const LETTERS: [(char, Properties); 10] = [
    ('A', Properties::ACQUIRES),
    ('R', Properties::RELEASES),
    ('N', Properties::MAY_BE_NULL),
    ('T', Properties::TRUSTED),
    ('U', Properties::RCU),
    ('S', Properties::SLEEPS),
    ('I', Properties::ITER_NEW),
    ('J', Properties::ITER_NEXT),
    ('K', Properties::ITER_DESTROY),
    ('P', Properties::RCU_PROTECTED),
];

/// The properties of a function, and whether programs of this kind may call it; `None` if nothing is known of it here.
pub(super) fn find(name: &str, place: Place) -> Option<(Properties, bool)> {
    let line = FUNCTIONS.lines().find_map(|line| {
        let (known, rest) = line.split_once(' ')?;
        let fits = known.strip_suffix('*').map_or(known == name, |begin| name.starts_with(begin));
        fits.then_some(rest)
    })?;
    let mut properties = Properties::empty();
    LETTERS.iter().filter(|(letter, _)| line.contains(*letter)).for_each(|(_, property)| properties |= *property);
    Some((properties, line.chars().next_back().is_some_and(|who| permits(who, place))))
}

/// Whether the letter stands for programs of this kind (`bpf_prog_type_to_kfunc_hook`, kernel/bpf/btf.c).
fn permits(who: char, place: Place) -> bool {
    let is = |types: &[ProgType]| types.contains(&place.prog);
    let newer = place.kernel >= Kernel::V6_18;
    let traces = || is(&[ProgType::TRACING, ProgType::TRACEPOINT, ProgType::PERF_EVENT]);
    let cgroups = || {
        let old = [
            ProgType::CGROUP_SKB,
            ProgType::CGROUP_SOCK,
            ProgType::CGROUP_DEVICE,
            ProgType::CGROUP_SOCK_ADDR,
            ProgType::CGROUP_SOCKOPT,
            ProgType::CGROUP_SYSCTL,
        ];
        is(&old) || (newer && is(&[ProgType::SOCK_OPS]))
    };
    let generic = || traces() || cgroups() || is(&[ProgType::SCHED_CLS, ProgType::XDP]);
    match who {
        // Everyone.
        'a' => true,
        'g' => generic(),
        // The functions of keys were those of tracing programs alone before Linux 6.18.
        'k' if newer => generic(),
        'k' | 't' => traces(),
        'b' => traces() || is(&[ProgType::SCHED_CLS]),
        // Packets.
        's' => {
            let others = [ProgType::SCHED_CLS, ProgType::SCHED_ACT, ProgType::SK_SKB, ProgType::SOCKET_FILTER];
            traces() || cgroups() || place.is_tunnel() || is(&others)
        }
        'r' => is(&[ProgType::SCHED_CLS, ProgType::SCHED_ACT, ProgType::XDP]),
        'x' => is(&[ProgType::XDP]),
        'q' => is(&[ProgType::SCHED_CLS]),
        'c' => cgroups(),
        // Iterators.
        'i' => is(&[ProgType::TRACING]) && place.attach == AttachType::TRACE_ITER,
        // None of those that are simulated.
        _ => false,
    }
}

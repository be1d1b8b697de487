//! What a tracing program traces, and the arguments that it finds in its context (`btf_ctx_access`).

use crate::uapi::AttachType;
use crate::verifier_sim::place::Place;
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::types::KernelTypes;

/// Most arguments of a function that can be traced (`MAX_BPF_FUNC_ARGS`).
const MAX_ARGUMENTS: usize = 12;
/// Longest argument of a function that can be traced: two registers.
const MAX_ARGUMENT: u32 = 16;

/// The function behind a tracing program's context.
#[derive(Clone, Debug)]
pub(in crate::verifier_sim) struct Hook {
    /// Its name.
    pub(in crate::verifier_sim) name: String,
    /// Its arguments: the name of each, and its type.
    arguments: Vec<(u32, u32)>,
    /// What it returns; 0 is nothing.
    result: u32,
    /// Whether the program sees the result.
    has_result: bool,
    /// Arguments to pass over: trace points hand their functions a pointer of their own first.
    hidden: usize,
    /// Arguments of iterators, by their offset in the context.
    known: &'static [(u32, Given)],
    /// Which arguments of a trace point may be NULL (bit 0 of each four) or an error (bit 1).
    nulls: u64,
}

/// What an iterator hands over (`struct bpf_ctx_arg_aux`).
#[derive(Clone, Copy, Debug)]
pub(in crate::verifier_sim) enum Given {
    /// A structure that may be NULL.
    Structure(&'static str),
    /// The same, which stays valid.
    Trusted(&'static str),
    /// Memory that may be read.
    Buffer,
    /// Memory that may be read and written.
    WritableBuffer,
}

/// The iterators (`ctx_arg_info` of each `struct bpf_iter_reg`).
const ITERATORS: &[(&str, &[(u32, Given)])] = &[
    ("task", &[(8, Given::Trusted("task_struct"))]),
    ("task_file", &[(8, Given::Structure("task_struct")), (24, Given::Structure("file"))]),
    ("task_vma", &[(8, Given::Structure("task_struct")), (16, Given::Structure("vm_area_struct"))]),
    ("sockmap", &[(16, Given::Buffer), (24, Given::Structure("sock"))]),
    ("tcp", &[(8, Given::Trusted("sock_common"))]),
    ("udp", &[(8, Given::Trusted("udp_sock"))]),
    ("unix", &[(8, Given::Trusted("unix_sock"))]),
    ("bpf_map", &[(8, Given::Trusted("bpf_map"))]),
    ("bpf_map_elem", &[(16, Given::Buffer), (24, Given::WritableBuffer)]),
    ("bpf_prog", &[(8, Given::Trusted("bpf_prog"))]),
];

/// Trace points whose arguments may be NULL or an error (`raw_tp_null_args`, kernel/bpf/btf.c).
const NULLS: &[(&str, u64)] = &[
    ("sched_pi_setprio", 0x10),
    ("sched_stick_numa", 0x100),
    ("sched_swap_numa", 0x100),
    ("afs_make_fs_call", 0x10),
    ("afs_make_fs_calli", 0x10),
    ("afs_make_fs_call1", 0x10),
    ("afs_make_fs_call2", 0x10),
    ("afs_protocol_error", 0x1),
    ("afs_flock_ev", 0x10),
    ("cachefiles_lookup", 0x201),
    ("cachefiles_unlink", 0x1),
    ("cachefiles_rename", 0x1),
    ("cachefiles_prep_read", 0x1),
    ("cachefiles_mark_active", 0x1),
    ("cachefiles_mark_failed", 0x1),
    ("cachefiles_mark_inactive", 0x1),
    ("cachefiles_vfs_error", 0x1),
    ("cachefiles_io_error", 0x1),
    ("cachefiles_ondemand_open", 0x1),
    ("cachefiles_ondemand_copen", 0x1),
    ("cachefiles_ondemand_close", 0x1),
    ("cachefiles_ondemand_read", 0x1),
    ("cachefiles_ondemand_cread", 0x1),
    ("cachefiles_ondemand_fd_write", 0x1),
    ("cachefiles_ondemand_fd_release", 0x1),
    ("ext4_mballoc_discard", 0x10),
    ("ext4_mballoc_free", 0x10),
    ("fib_table_lookup", 0x100),
    ("posix_lock_inode", 0x10),
    ("fcntl_setlk", 0x10),
    ("locks_remove_posix", 0x10),
    ("flock_lock_inode", 0x10),
    ("break_lease_noblock", 0x10),
    ("break_lease_block", 0x10),
    ("break_lease_unblock", 0x10),
    ("generic_delete_lease", 0x10),
    ("time_out_leases", 0x10),
    ("host1x_cdma_push_gather", 0x10000),
    ("mm_khugepaged_scan_pmd", 0x10),
    ("mm_collapse_huge_page_isolate", 0x1),
    ("mm_khugepaged_scan_file", 0x10),
    ("mm_khugepaged_collapse_file", 0x10),
    ("mm_page_alloc", 0x1),
    ("mm_page_pcpu_drain", 0x1),
    ("mm_page_alloc_zone_locked", 0x1),
    ("netfs_failure", 0x10),
    ("device_pm_callback_start", 0x10),
    ("qdisc_dequeue", 0x1000),
    ("rxrpc_recvdata", 0x1),
    ("rxrpc_resend", 0x10),
    ("kfree_skb", 0x1000),
    ("xs_stream_read_data", 0x1),
    ("xprt_reserve_cong", 0x10),
    ("xprt_release_cong", 0x10),
    ("xprt_get_cong", 0x10),
    ("xprt_put_cong", 0x10),
    ("tcp_send_reset", 0x11),
    ("tegra_dma_tx_status", 0x100),
    ("tmigr_update_events", 0x1),
    ("writeback_dirty_folio", 0x10),
    ("folio_wait_writeback", 0x10),
    ("mr_integ_alloc", 0x2000),
    // Since Linux 6.13 to 6.16; nothing is lost where these are taken to be so earlier.
    ("xfs_map_blocks_found", 0x10000),
    ("xfs_map_blocks_alloc", 0x10000),
    ("xfs_btree_updkeys", 0x100),
    ("xfs_btree_overlapped_query_range", 0x100),
    ("tcp_sendmsg_locked", 0x100),
];

/// Trace points of which stable releases say different things.
const DISPUTED: [&str; 3] = ["sched_process_wait", "signal_generate", "signal_deliver"];

/// Functions that no program may trace (`btf_id_deny`, kernel/bpf/verifier.c).
const DENIED: [&str; 7] = [
    "migrate_disable",
    "migrate_enable",
    "rcu_read_unlock_strict",
    "preempt_count_add",
    "preempt_count_sub",
    "__rcu_read_lock",
    "__rcu_read_unlock",
];

impl Hook {
    /// What a program with this attach type and target traces (`bpf_check_attach_target`).
    pub(in crate::verifier_sim) fn find(types: &KernelTypes, place: Place, target: &str) -> Step<Self> {
        let iterator = place.attach == AttachType::TRACE_ITER;
        let point = place.attach == AttachType::TRACE_RAW_TP;
        if point && DISPUTED.contains(&target) {
            unsupported!("which arguments of {target} may be NULL depends on the stable release");
        }
        let prototype = match place.attach {
            AttachType::TRACE_RAW_TP => types.trace_point(&format!("btf_trace_{target}")),
            AttachType::TRACE_ITER => types.function(&format!("bpf_iter_{target}")),
            _ => types.function(target),
        };
        let Some((arguments, result)) = prototype else {
            unsupported!("{target} is not in the kernel's BTF; it may be in that of a module");
        };
        let known = match ITERATORS.iter().find(|(name, _)| iterator && *name == target) {
            Some((_, known)) => *known,
            None if iterator => unsupported!("the iterator {target} is not simulated"),
            None => &[],
        };
        if !iterator && !point {
            if DENIED.contains(&target) {
                reject!("{target} cannot be traced");
            }
            let too_long = |of: u32| of != 0 && types.size(of).is_none_or(|size| size > MAX_ARGUMENT || size == 0);
            if arguments.len() > MAX_ARGUMENTS
                || arguments.iter().any(|(_, of)| *of == 0 || too_long(*of))
                || too_long(result)
            {
                unsupported!("the arguments of {target} are not simulated");
            }
        }
        let has_result = place.attach == AttachType::TRACE_FEXIT;
        let nulls = NULLS.iter().find(|(name, _)| point && *name == target).map_or(0, |(_, nulls)| *nulls);
        let name = if iterator { format!("bpf_iter_{target}") } else { target.to_owned() };
        Ok(Self { name, arguments, result, has_result, hidden: usize::from(point), known, nulls })
    }

    /// The number of the argument at `off` (`get_ctx_arg_idx`).
    fn number_of(&self, types: &KernelTypes, off: u32) -> usize {
        let mut end = 0;
        let all = self.arguments.iter().map(|(_, of)| *of).chain([self.result]);
        for (number, of) in all.enumerate() {
            end += types.size(of).unwrap_or(0).next_multiple_of(8);
            if off < end {
                return number;
            }
        }
        self.arguments.len() + 1
    }

    /// What the iterator says of its argument at `off`.
    pub(in crate::verifier_sim) fn given(&self, off: u32) -> Option<Given> {
        self.known.iter().find(|(at, _)| *at == off).map(|(_, given)| *given)
    }

    /// The argument at `off`, its number and what is known of it; the number alone if there is none.
    pub(in crate::verifier_sim) fn argument(&self, types: &KernelTypes, off: u32) -> Result<Argument, usize> {
        let number = self.number_of(types, off);
        let visible = self.arguments.get(self.hidden..).unwrap_or_default();
        match visible.get(number) {
            Some((label, of)) => {
                let nullable = types.string_ends_with(*label, b"__nullable");
                Ok(Argument {
                    number,
                    of: *of,
                    may_be_null: nullable || self.nulls >> (number * 4) & 1 != 0,
                    may_be_error: self.nulls >> (number * 4) & 2 != 0,
                })
            }
            None if number == visible.len() && self.has_result => {
                Ok(Argument { number, of: self.result, may_be_null: false, may_be_error: false })
            }
            None => Err(number),
        }
    }
}

/// One argument, or the result behind them.
#[derive(Clone, Copy, Debug)]
pub(in crate::verifier_sim) struct Argument {
    pub(in crate::verifier_sim) number: usize,
    /// Its type.
    pub(in crate::verifier_sim) of: u32,
    pub(in crate::verifier_sim) may_be_null: bool,
    pub(in crate::verifier_sim) may_be_error: bool,
}

//! Which helpers work on which maps (`check_map_func_compatibility`).

use crate::verifier_sim::spec::{ProgType, map_type as map};

/// Whether helper `helper` may be called with a map of type `kind` by a program of type `prog`.
pub(in crate::verifier_sim) fn compatible(kind: u32, helper: i32, prog: ProgType) -> bool {
    // Deleting from a sockhash or sockmap is for SOCK_OPS, updating for neither of our types (may_update_sockmap).
    let deletes = helper == 3 && prog == ProgType::SOCK_OPS;
    let by_map = match kind {
        map::PROG_ARRAY => helper == 12,
        map::PERF_EVENT_ARRAY => matches!(helper, 22 | 25 | 55 | 111 | 121),
        map::RINGBUF => matches!(helper, 130 | 131 | 134 | 198..=200),
        map::USER_RINGBUF => helper == 209,
        map::STACK_TRACE => helper == 27,
        map::CGROUP_ARRAY => matches!(helper, 33 | 37),
        map::CGROUP_STORAGE | map::PERCPU_CGROUP_STORAGE => helper == 81,
        map::DEVMAP | map::DEVMAP_HASH | map::XSKMAP => matches!(helper, 1 | 51),
        map::CPUMAP => helper == 51,
        map::ARRAY_OF_MAPS | map::HASH_OF_MAPS => helper == 1,
        map::SOCKMAP => matches!(helper, 1 | 52 | 53 | 60 | 82) || deletes,
        map::SOCKHASH => matches!(helper, 1 | 70 | 71 | 72 | 82) || deletes,
        map::REUSEPORT_SOCKARRAY => helper == 82,
        map::QUEUE | map::STACK => matches!(helper, 87..=89),
        map::SK_STORAGE => matches!(helper, 107 | 108 | 194),
        map::INODE_STORAGE => matches!(helper, 145 | 146 | 194),
        map::TASK_STORAGE => matches!(helper, 156 | 157 | 194),
        map::CGRP_STORAGE => matches!(helper, 194 | 210 | 211),
        map::BLOOM_FILTER => matches!(helper, 87 | 89),
        map::INSN_ARRAY => false,
        _ => true,
    };
    let by_helper = match helper {
        12 => kind == map::PROG_ARRAY,
        22 | 25 | 55 => kind == map::PERF_EVENT_ARRAY,
        130 | 131 | 134 | 198 | 199 | 200 => kind == map::RINGBUF,
        209 => kind == map::USER_RINGBUF,
        37 => kind == map::CGROUP_ARRAY,
        60 | 53 => kind == map::SOCKMAP,
        70 | 71 => kind == map::SOCKHASH,
        81 => matches!(kind, map::CGROUP_STORAGE | map::PERCPU_CGROUP_STORAGE),
        88 => matches!(kind, map::QUEUE | map::STACK),
        87 | 89 => matches!(kind, map::QUEUE | map::STACK | map::BLOOM_FILTER),
        195 => matches!(kind, map::PERCPU_ARRAY | map::PERCPU_HASH | map::LRU_PERCPU_HASH),
        107 | 108 => kind == map::SK_STORAGE,
        156 | 157 => kind == map::TASK_STORAGE,
        210 | 211 => kind == map::CGRP_STORAGE,
        _ => true,
    };
    by_map && by_helper
}

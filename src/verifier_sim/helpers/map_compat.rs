//! Which helpers work on which maps (`check_map_func_compatibility`).

use crate::uapi::helper::id;
use crate::uapi::{AttachType, MapType, ProgType};
use crate::verifier_sim::place::Place;

/// Whether the program may change a map of sockets with this helper (`may_update_sockmap`).
fn changes_sockets(helper: i32, place: Place) -> bool {
    let iterator = place.attach == AttachType::TRACE_ITER;
    match (helper, place.prog) {
        // Other helpers of theirs put sockets there.
        (id::MAP_DELETE_ELEM, ProgType::SOCK_OPS) => true,
        (id::MAP_UPDATE_ELEM | id::MAP_DELETE_ELEM, ProgType::TRACING) => iterator,
        (
            id::MAP_UPDATE_ELEM | id::MAP_DELETE_ELEM,
            ProgType::SOCKET_FILTER
            | ProgType::SCHED_CLS
            | ProgType::SCHED_ACT
            | ProgType::XDP
            | ProgType::SK_REUSEPORT
            | ProgType::FLOW_DISSECTOR
            | ProgType::SK_LOOKUP,
        ) => true,
        _ => false,
    }
}

/// Whether the program may call `helper` with a map of type `kind`.
pub(in crate::verifier_sim) fn compatible(kind: MapType, helper: i32, place: Place) -> bool {
    let changes = changes_sockets(helper, place);
    let by_map = match kind {
        MapType::PROG_ARRAY => helper == id::TAIL_CALL,
        MapType::PERF_EVENT_ARRAY => matches!(
            helper,
            id::PERF_EVENT_READ | id::PERF_EVENT_OUTPUT | id::PERF_EVENT_READ_VALUE | id::SKB_OUTPUT | id::XDP_OUTPUT
        ),
        MapType::RINGBUF => matches!(
            helper,
            id::RINGBUF_OUTPUT
                | id::RINGBUF_RESERVE
                | id::RINGBUF_QUERY
                | id::RINGBUF_RESERVE_DYNPTR
                | id::RINGBUF_SUBMIT_DYNPTR
                | id::RINGBUF_DISCARD_DYNPTR
        ),
        MapType::USER_RINGBUF => helper == id::USER_RINGBUF_DRAIN,
        MapType::STACK_TRACE => helper == id::GET_STACKID,
        MapType::CGROUP_ARRAY => matches!(helper, id::SKB_UNDER_CGROUP | id::CURRENT_TASK_UNDER_CGROUP),
        MapType::CGROUP_STORAGE | MapType::PERCPU_CGROUP_STORAGE => helper == id::GET_LOCAL_STORAGE,
        MapType::DEVMAP | MapType::DEVMAP_HASH | MapType::XSKMAP => {
            matches!(helper, id::MAP_LOOKUP_ELEM | id::REDIRECT_MAP)
        }
        MapType::CPUMAP => helper == id::REDIRECT_MAP,
        MapType::ARRAY_OF_MAPS | MapType::HASH_OF_MAPS => helper == id::MAP_LOOKUP_ELEM,
        MapType::SOCKMAP => {
            matches!(
                helper,
                id::MAP_LOOKUP_ELEM
                    | id::SK_REDIRECT_MAP
                    | id::SOCK_MAP_UPDATE
                    | id::MSG_REDIRECT_MAP
                    | id::SK_SELECT_REUSEPORT
            ) || changes
        }
        MapType::SOCKHASH => {
            matches!(
                helper,
                id::MAP_LOOKUP_ELEM
                    | id::SOCK_HASH_UPDATE
                    | id::MSG_REDIRECT_HASH
                    | id::SK_REDIRECT_HASH
                    | id::SK_SELECT_REUSEPORT
            ) || changes
        }
        MapType::REUSEPORT_SOCKARRAY => helper == id::SK_SELECT_REUSEPORT,
        MapType::QUEUE | MapType::STACK => matches!(helper, id::MAP_PUSH_ELEM | id::MAP_POP_ELEM | id::MAP_PEEK_ELEM),
        MapType::SK_STORAGE => matches!(helper, id::SK_STORAGE_GET | id::SK_STORAGE_DELETE | id::KPTR_XCHG),
        MapType::INODE_STORAGE => matches!(helper, id::INODE_STORAGE_GET | id::INODE_STORAGE_DELETE | id::KPTR_XCHG),
        MapType::TASK_STORAGE => matches!(helper, id::TASK_STORAGE_GET | id::TASK_STORAGE_DELETE | id::KPTR_XCHG),
        MapType::CGRP_STORAGE => matches!(helper, id::KPTR_XCHG | id::CGRP_STORAGE_GET | id::CGRP_STORAGE_DELETE),
        MapType::BLOOM_FILTER => matches!(helper, id::MAP_PUSH_ELEM | id::MAP_PEEK_ELEM),
        MapType::INSN_ARRAY => false,
        _ => true,
    };
    let by_helper = match helper {
        id::TAIL_CALL => kind == MapType::PROG_ARRAY,
        id::PERF_EVENT_READ | id::PERF_EVENT_OUTPUT | id::PERF_EVENT_READ_VALUE => kind == MapType::PERF_EVENT_ARRAY,
        id::RINGBUF_OUTPUT
        | id::RINGBUF_RESERVE
        | id::RINGBUF_QUERY
        | id::RINGBUF_RESERVE_DYNPTR
        | id::RINGBUF_SUBMIT_DYNPTR
        | id::RINGBUF_DISCARD_DYNPTR => kind == MapType::RINGBUF,
        id::USER_RINGBUF_DRAIN => kind == MapType::USER_RINGBUF,
        id::GET_STACKID => kind == MapType::STACK_TRACE,
        id::CURRENT_TASK_UNDER_CGROUP | id::SKB_UNDER_CGROUP => kind == MapType::CGROUP_ARRAY,
        id::REDIRECT_MAP => {
            matches!(kind, MapType::DEVMAP | MapType::DEVMAP_HASH | MapType::CPUMAP | MapType::XSKMAP)
        }
        id::SK_REDIRECT_MAP | id::MSG_REDIRECT_MAP | id::SOCK_MAP_UPDATE => kind == MapType::SOCKMAP,
        id::SK_REDIRECT_HASH | id::SOCK_HASH_UPDATE | id::MSG_REDIRECT_HASH => kind == MapType::SOCKHASH,
        id::SK_SELECT_REUSEPORT => {
            matches!(kind, MapType::REUSEPORT_SOCKARRAY | MapType::SOCKMAP | MapType::SOCKHASH)
        }
        id::GET_LOCAL_STORAGE => matches!(kind, MapType::CGROUP_STORAGE | MapType::PERCPU_CGROUP_STORAGE),
        id::MAP_POP_ELEM => matches!(kind, MapType::QUEUE | MapType::STACK),
        id::MAP_PUSH_ELEM | id::MAP_PEEK_ELEM => {
            matches!(kind, MapType::QUEUE | MapType::STACK | MapType::BLOOM_FILTER)
        }
        id::MAP_LOOKUP_PERCPU_ELEM => {
            matches!(kind, MapType::PERCPU_ARRAY | MapType::PERCPU_HASH | MapType::LRU_PERCPU_HASH)
        }
        id::SK_STORAGE_GET | id::SK_STORAGE_DELETE => kind == MapType::SK_STORAGE,
        id::TASK_STORAGE_GET | id::TASK_STORAGE_DELETE => kind == MapType::TASK_STORAGE,
        id::CGRP_STORAGE_GET | id::CGRP_STORAGE_DELETE => kind == MapType::CGRP_STORAGE,
        _ => true,
    };
    by_map && by_helper
}

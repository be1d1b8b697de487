//! Every helper: its number and name; for those that programs of the simulated types may call also the signature, and the
//! first release in which a SK_MSG and a SOCK_OPS program may call it. `availability` has the other types.
//!
//! The list is complete: since Linux 6.2 new functions are kfuncs, and no helper has been added. Signatures are from
//! kernel/bpf/helpers.c, net/core/filter.c, net/core/sock_map.c and kernel/trace/bpf_trace.c. The releases were measured
//! by loading a call of each helper into each kernel. No release took a helper away.
//!
//! ```text
//! CONSTANT number "name": (arguments) -> result, SK_MSG since, SOCK_OPS since, properties;
//! ```

use super::kind::Arg::*;
use super::kind::DynptrKind::{Local, Ringbuf};
use super::kind::Ret::*;
use super::{Helper, Object, Properties, Proto};
use crate::uapi::Kernel;

const V5_10: Option<Kernel> = Some(Kernel::V5_10);
const V6_1: Option<Kernel> = Some(Kernel::V6_1);
const V6_12: Option<Kernel> = Some(Kernel::V6_12);
const V6_18: Option<Kernel> = Some(Kernel::V6_18);
const NEVER: Option<Kernel> = None;

const PACKET: Properties = Properties::PACKET;
const MOVES_PACKET: Properties = Properties::MOVES_PACKET;
const SLEEPS: Properties = Properties::SLEEPS;

/// The value, or `None` where a row has none.
macro_rules! or_none {
    () => {
        None
    };
    ($value:expr) => {
        $value
    };
}

macro_rules! helpers {
    ($($name:ident $number:literal $text:literal
        $(: ($($arg:expr),*) -> $ret:expr, $sk_msg:expr, $sock_ops:expr $(, $properties:expr)?)?;)*) => {
        /// The helpers' numbers, by the kernel's names.
        #[allow(missing_docs, reason = "the names are the kernel's")]
        pub mod id {
            $(pub const $name: i32 = $number;)*
        }

        /// In the order of their numbers, from 1.
        pub(super) const HELPERS: &[Helper] = &[$(Helper {
            id: $number,
            name: $text,
            proto: or_none!($(Some(Proto {
                args: &[$($arg),*],
                ret: $ret,
                properties: Properties::empty() $(.union($properties))?,
            }))?),
            sk_msg: or_none!($($sk_msg)?),
            sock_ops: or_none!($($sock_ops)?),
        },)*];
    };
}

helpers! {
    MAP_LOOKUP_ELEM 1 "map_lookup_elem": (Map, Key) -> MapValueOrNull, V5_10, V5_10, PACKET;
    MAP_UPDATE_ELEM 2 "map_update_elem": (Map, Key, Value, Anything) -> Int, V5_10, V5_10, PACKET;
    MAP_DELETE_ELEM 3 "map_delete_elem": (Map, Key) -> Int, V5_10, V5_10, PACKET;
    PROBE_READ 4 "probe_read": (MemOut, SizeOrZero, Anything) -> Int, NEVER, NEVER;
    KTIME_GET_NS 5 "ktime_get_ns": () -> Int, V5_10, V5_10;
    TRACE_PRINTK 6 "trace_printk": (Mem, Size) -> Int, V5_10, V5_10;
    GET_PRANDOM_U32 7 "get_prandom_u32": () -> Int, V5_10, V5_10;
    GET_SMP_PROCESSOR_ID 8 "get_smp_processor_id": () -> Int, V5_10, V5_10;
    SKB_STORE_BYTES 9 "skb_store_bytes": (Ctx, Anything, Mem, Size, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    L3_CSUM_REPLACE 10 "l3_csum_replace": (Ctx, Anything, Anything, Anything, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    L4_CSUM_REPLACE 11 "l4_csum_replace": (Ctx, Anything, Anything, Anything, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    TAIL_CALL 12 "tail_call": (Ctx, Map, Anything) -> Void, V5_10, V5_10;
    CLONE_REDIRECT 13 "clone_redirect": (Ctx, Anything, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    GET_CURRENT_PID_TGID 14 "get_current_pid_tgid": () -> Int, V5_10, V6_12;
    GET_CURRENT_UID_GID 15 "get_current_uid_gid": () -> Int, V5_10, V6_18;
    GET_CURRENT_COMM 16 "get_current_comm": (MemOut, Size) -> Int, V6_18, V6_18;
    GET_CGROUP_CLASSID 17 "get_cgroup_classid": () -> Int, V5_10, V6_18;
    SKB_VLAN_PUSH 18 "skb_vlan_push": (Ctx, Anything, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    SKB_VLAN_POP 19 "skb_vlan_pop": (Ctx) -> Int, NEVER, NEVER, MOVES_PACKET;
    SKB_GET_TUNNEL_KEY 20 "skb_get_tunnel_key": (Ctx, MemOut, Size, Anything) -> Int, NEVER, NEVER;
    SKB_SET_TUNNEL_KEY 21 "skb_set_tunnel_key": (Ctx, Mem, Size, Anything) -> Int, NEVER, NEVER;
    PERF_EVENT_READ 22 "perf_event_read": (Map, Anything) -> Int, V6_18, V6_18;
    REDIRECT 23 "redirect": (Anything, Anything) -> Int, NEVER, NEVER;
    GET_ROUTE_REALM 24 "get_route_realm": (Ctx) -> Int, NEVER, NEVER;
    PERF_EVENT_OUTPUT 25 "perf_event_output": (Ctx, Map, Anything, Mem, SizeOrZero) -> Int, V5_10, V5_10;
    SKB_LOAD_BYTES 26 "skb_load_bytes": (Ctx, Anything, MemOut, Size) -> Int, NEVER, NEVER;
    GET_STACKID 27 "get_stackid": (Ctx, Map, Anything) -> Int, NEVER, NEVER;
    CSUM_DIFF 28 "csum_diff": (MemOrNull, SizeOrZero, MemOrNull, SizeOrZero, Anything) -> Int, NEVER, NEVER, PACKET;
    SKB_GET_TUNNEL_OPT 29 "skb_get_tunnel_opt": (Ctx, MemOut, Size) -> Int, NEVER, NEVER;
    SKB_SET_TUNNEL_OPT 30 "skb_set_tunnel_opt": (Ctx, Mem, Size) -> Int, NEVER, NEVER;
    SKB_CHANGE_PROTO 31 "skb_change_proto": (Ctx, Anything, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    SKB_CHANGE_TYPE 32 "skb_change_type": (Ctx, Anything) -> Int, NEVER, NEVER;
    SKB_UNDER_CGROUP 33 "skb_under_cgroup": (Ctx, Map, Anything) -> Int, NEVER, NEVER;
    GET_HASH_RECALC 34 "get_hash_recalc": (Ctx) -> Int, NEVER, NEVER;
    GET_CURRENT_TASK 35 "get_current_task": () -> Int, V5_10, V5_10;
    PROBE_WRITE_USER 36 "probe_write_user";
    CURRENT_TASK_UNDER_CGROUP 37 "current_task_under_cgroup": (Map, Anything) -> Int, V6_18, V6_18;
    SKB_CHANGE_TAIL 38 "skb_change_tail": (Ctx, Anything, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    SKB_PULL_DATA 39 "skb_pull_data": (Ctx, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    CSUM_UPDATE 40 "csum_update": (Ctx, Anything) -> Int, NEVER, NEVER;
    SET_HASH_INVALID 41 "set_hash_invalid": (Ctx) -> Int, NEVER, NEVER;
    GET_NUMA_NODE_ID 42 "get_numa_node_id": () -> Int, V5_10, V5_10;
    SKB_CHANGE_HEAD 43 "skb_change_head": (Ctx, Anything, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    XDP_ADJUST_HEAD 44 "xdp_adjust_head": (Ctx, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    PROBE_READ_STR 45 "probe_read_str": (MemOut, SizeOrZero, Anything) -> Int, NEVER, NEVER;
    GET_SOCKET_COOKIE 46 "get_socket_cookie": (Ctx) -> Int, NEVER, V5_10;
    GET_SOCKET_UID 47 "get_socket_uid": (Ctx) -> Int, NEVER, NEVER;
    SET_HASH 48 "set_hash": (Ctx, Anything) -> Int, NEVER, NEVER;
    SETSOCKOPT 49 "setsockopt": (Ctx, Anything, Anything, Mem, Size) -> Int, NEVER, V5_10;
    SKB_ADJUST_ROOM 50 "skb_adjust_room": (Ctx, Anything, Anything, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    REDIRECT_MAP 51 "redirect_map": (Map, Anything, Anything) -> Int, NEVER, NEVER;
    SK_REDIRECT_MAP 52 "sk_redirect_map": (Ctx, Map, Anything, Anything) -> Int, NEVER, NEVER;
    SOCK_MAP_UPDATE 53 "sock_map_update": (Ctx, Map, Key, Anything) -> Int, NEVER, V5_10, PACKET;
    XDP_ADJUST_META 54 "xdp_adjust_meta": (Ctx, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    PERF_EVENT_READ_VALUE 55 "perf_event_read_value": (Map, Anything, MemOut, Size) -> Int, V6_18, V6_18;
    PERF_PROG_READ_VALUE 56 "perf_prog_read_value": (Ctx, MemOut, Size) -> Int, NEVER, NEVER;
    GETSOCKOPT 57 "getsockopt": (Ctx, Anything, Anything, MemOut, Size) -> Int, NEVER, V5_10;
    OVERRIDE_RETURN 58 "override_return";
    SOCK_OPS_CB_FLAGS_SET 59 "sock_ops_cb_flags_set": (Ctx, Anything) -> Int, NEVER, V5_10;
    MSG_REDIRECT_MAP 60 "msg_redirect_map": (Ctx, Map, Anything, Anything) -> Int, V5_10, NEVER;
    MSG_APPLY_BYTES 61 "msg_apply_bytes": (Ctx, Anything) -> Int, V5_10, NEVER;
    MSG_CORK_BYTES 62 "msg_cork_bytes": (Ctx, Anything) -> Int, V5_10, NEVER;
    MSG_PULL_DATA 63 "msg_pull_data": (Ctx, Anything, Anything, Anything) -> Int, V5_10, NEVER, MOVES_PACKET;
    BIND 64 "bind": (Ctx, Mem, Size) -> Int, NEVER, NEVER;
    XDP_ADJUST_TAIL 65 "xdp_adjust_tail": (Ctx, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    SKB_GET_XFRM_STATE 66 "skb_get_xfrm_state": (Ctx, Anything, MemOut, Size, Anything) -> Int, NEVER, NEVER;
    GET_STACK 67 "get_stack": (Ctx, MemOut, SizeOrZero, Anything) -> Int, NEVER, NEVER;
    SKB_LOAD_BYTES_RELATIVE 68 "skb_load_bytes_relative": (Ctx, Anything, MemOut, Size, Anything) -> Int, NEVER, NEVER;
    FIB_LOOKUP 69 "fib_lookup": (Ctx, Mem, Size, Anything) -> Int, NEVER, NEVER;
    SOCK_HASH_UPDATE 70 "sock_hash_update": (Ctx, Map, Key, Anything) -> Int, NEVER, V5_10, PACKET;
    MSG_REDIRECT_HASH 71 "msg_redirect_hash": (Ctx, Map, Key, Anything) -> Int, V5_10, NEVER;
    SK_REDIRECT_HASH 72 "sk_redirect_hash": (Ctx, Map, Key, Anything) -> Int, NEVER, NEVER;
    LWT_PUSH_ENCAP 73 "lwt_push_encap": (Ctx, Anything, Mem, Size) -> Int, NEVER, NEVER, MOVES_PACKET;
    LWT_SEG6_STORE_BYTES 74 "lwt_seg6_store_bytes": (Ctx, Anything, Mem, Size) -> Int, NEVER, NEVER, MOVES_PACKET;
    LWT_SEG6_ADJUST_SRH 75 "lwt_seg6_adjust_srh": (Ctx, Anything, Anything) -> Int, NEVER, NEVER, MOVES_PACKET;
    LWT_SEG6_ACTION 76 "lwt_seg6_action": (Ctx, Anything, Mem, Size) -> Int, NEVER, NEVER, MOVES_PACKET;
    RC_REPEAT 77 "rc_repeat";
    RC_KEYDOWN 78 "rc_keydown";
    SKB_CGROUP_ID 79 "skb_cgroup_id": (Ctx) -> Int, NEVER, NEVER;
    GET_CURRENT_CGROUP_ID 80 "get_current_cgroup_id": () -> Int, V5_10, V6_12;
    GET_LOCAL_STORAGE 81 "get_local_storage": (Map, Anything) -> MapValue, NEVER, V5_10;
    SK_SELECT_REUSEPORT 82 "sk_select_reuseport": (Ctx, Map, Key, Anything) -> Int, NEVER, NEVER;
    SKB_ANCESTOR_CGROUP_ID 83 "skb_ancestor_cgroup_id": (Ctx, Anything) -> Int, NEVER, NEVER;
    SK_LOOKUP_TCP 84 "sk_lookup_tcp": (Ctx, Mem, SizeOrZero, Anything, Anything) -> SocketOrNull, NEVER, NEVER, PACKET;
    SK_LOOKUP_UDP 85 "sk_lookup_udp": (Ctx, Mem, SizeOrZero, Anything, Anything) -> SocketOrNull, NEVER, NEVER, PACKET;
    SK_RELEASE 86 "sk_release": (SockRelease) -> Int, NEVER, NEVER;
    MAP_PUSH_ELEM 87 "map_push_elem": (Map, Value, Anything) -> Int, V5_10, V5_10, PACKET;
    MAP_POP_ELEM 88 "map_pop_elem": (Map, ValueOut) -> Int, V5_10, V5_10;
    MAP_PEEK_ELEM 89 "map_peek_elem": (Map, ValueOut) -> Int, V5_10, V5_10;
    MSG_PUSH_DATA 90 "msg_push_data": (Ctx, Anything, Anything, Anything) -> Int, V5_10, NEVER, MOVES_PACKET;
    MSG_POP_DATA 91 "msg_pop_data": (Ctx, Anything, Anything, Anything) -> Int, V5_10, NEVER, MOVES_PACKET;
    RC_POINTER_REL 92 "rc_pointer_rel";
    SPIN_LOCK 93 "spin_lock": (SpinLock) -> Void, V5_10, V5_10;
    SPIN_UNLOCK 94 "spin_unlock": (SpinLock) -> Void, V5_10, V5_10;
    SK_FULLSOCK 95 "sk_fullsock": (SockCommon) -> SocketOrNull, NEVER, NEVER;
    TCP_SOCK 96 "tcp_sock": (SockCommon) -> TcpSockOrNull, NEVER, V5_10;
    SKB_ECN_SET_CE 97 "skb_ecn_set_ce": (Ctx) -> Int, NEVER, NEVER;
    GET_LISTENER_SOCK 98 "get_listener_sock": (SockCommon) -> SocketOrNull, NEVER, NEVER;
    SKC_LOOKUP_TCP 99 "skc_lookup_tcp": (Ctx, Mem, SizeOrZero, Anything, Anything) -> SockCommonOrNull, NEVER, NEVER, PACKET;
    TCP_CHECK_SYNCOOKIE 100 "tcp_check_syncookie";
    SYSCTL_GET_NAME 101 "sysctl_get_name": (Ctx, MemInOut, Size, Anything) -> Int, NEVER, NEVER;
    SYSCTL_GET_CURRENT_VALUE 102 "sysctl_get_current_value": (Ctx, MemOut, Size) -> Int, NEVER, NEVER;
    SYSCTL_GET_NEW_VALUE 103 "sysctl_get_new_value": (Ctx, MemOut, Size) -> Int, NEVER, NEVER;
    SYSCTL_SET_NEW_VALUE 104 "sysctl_set_new_value": (Ctx, Mem, Size) -> Int, NEVER, NEVER;
    STRTOL 105 "strtol": (Mem, Size, Anything, LongOut) -> Int, V6_1, V6_1;
    STRTOUL 106 "strtoul": (Mem, Size, Anything, LongOut) -> Int, V6_1, V6_1;
    SK_STORAGE_GET 107 "sk_storage_get": (Map, BtfSock, ValueOrNull, Anything) -> MapValueOrNull, V5_10, V5_10;
    SK_STORAGE_DELETE 108 "sk_storage_delete": (Map, BtfSock) -> Int, V5_10, V5_10;
    SEND_SIGNAL 109 "send_signal": (Anything) -> Int, V6_18, V6_18;
    TCP_GEN_SYNCOOKIE 110 "tcp_gen_syncookie";
    SKB_OUTPUT 111 "skb_output";
    PROBE_READ_USER 112 "probe_read_user": (MemOut, SizeOrZero, Anything) -> Int, V5_10, V5_10;
    PROBE_READ_KERNEL 113 "probe_read_kernel": (MemOut, SizeOrZero, Anything) -> Int, V5_10, V5_10;
    PROBE_READ_USER_STR 114 "probe_read_user_str": (MemOut, SizeOrZero, Anything) -> Int, V5_10, V5_10;
    PROBE_READ_KERNEL_STR 115 "probe_read_kernel_str": (MemOut, SizeOrZero, Anything) -> Int, V5_10, V5_10;
    TCP_SEND_ACK 116 "tcp_send_ack";
    SEND_SIGNAL_THREAD 117 "send_signal_thread": (Anything) -> Int, V6_18, V6_18;
    JIFFIES64 118 "jiffies64": () -> Int, V5_10, V5_10;
    READ_BRANCH_RECORDS 119 "read_branch_records";
    GET_NS_CURRENT_PID_TGID 120 "get_ns_current_pid_tgid": (Anything, Anything, MemOut, Size) -> Int, V6_12, V6_12;
    XDP_OUTPUT 121 "xdp_output";
    GET_NETNS_COOKIE 122 "get_netns_cookie": (CtxOrNull) -> Int, V6_1, V6_1;
    GET_CURRENT_ANCESTOR_CGROUP_ID 123 "get_current_ancestor_cgroup_id": (Anything) -> Int, V5_10, V6_12;
    SK_ASSIGN 124 "sk_assign": (Ctx, BtfSock, Anything) -> Int, NEVER, NEVER;
    KTIME_GET_BOOT_NS 125 "ktime_get_boot_ns": () -> Int, V5_10, V5_10;
    SEQ_PRINTF 126 "seq_printf": (Structure(Object::SeqFile), Mem, Size, MemOrNull, SizeOrZero) -> Int, NEVER, NEVER;
    SEQ_WRITE 127 "seq_write": (Structure(Object::SeqFile), Mem, SizeOrZero) -> Int, NEVER, NEVER;
    SK_CGROUP_ID 128 "sk_cgroup_id";
    SK_ANCESTOR_CGROUP_ID 129 "sk_ancestor_cgroup_id";
    RINGBUF_OUTPUT 130 "ringbuf_output": (Map, Mem, SizeOrZero, Anything) -> Int, V5_10, V5_10;
    RINGBUF_RESERVE 131 "ringbuf_reserve": (Map, AllocSize, Anything) -> RingbufMemOrNull, V5_10, V5_10;
    RINGBUF_SUBMIT 132 "ringbuf_submit": (RingbufMem, Anything) -> Void, V5_10, V5_10;
    RINGBUF_DISCARD 133 "ringbuf_discard": (RingbufMem, Anything) -> Void, V5_10, V5_10;
    RINGBUF_QUERY 134 "ringbuf_query": (Map, Anything) -> Int, V5_10, V5_10;
    CSUM_LEVEL 135 "csum_level": (Ctx, Anything) -> Int, NEVER, NEVER;
    SKC_TO_TCP6_SOCK 136 "skc_to_tcp6_sock": (BtfSock) -> BtfOrNull(Object::Tcp6Sock), V5_10, V5_10;
    SKC_TO_TCP_SOCK 137 "skc_to_tcp_sock": (BtfSock) -> BtfOrNull(Object::TcpSock), V5_10, V5_10;
    SKC_TO_TCP_TIMEWAIT_SOCK 138 "skc_to_tcp_timewait_sock": (BtfSock) -> BtfOrNull(Object::TcpTimewaitSock), V5_10, V5_10;
    SKC_TO_TCP_REQUEST_SOCK 139 "skc_to_tcp_request_sock": (BtfSock) -> BtfOrNull(Object::TcpRequestSock), V5_10, V5_10;
    SKC_TO_UDP6_SOCK 140 "skc_to_udp6_sock": (BtfSock) -> BtfOrNull(Object::Udp6Sock), V5_10, V5_10;
    GET_TASK_STACK 141 "get_task_stack": (Task, MemOut, SizeOrZero, Anything) -> Int, V6_18, V6_18;
    LOAD_HDR_OPT 142 "load_hdr_opt": (Ctx, MemInOut, Size, Anything) -> Int, NEVER, V5_10;
    STORE_HDR_OPT 143 "store_hdr_opt": (Ctx, Mem, Size, Anything) -> Int, NEVER, V5_10, MOVES_PACKET;
    RESERVE_HDR_OPT 144 "reserve_hdr_opt": (Ctx, Anything, Anything) -> Int, NEVER, V5_10;
    INODE_STORAGE_GET 145 "inode_storage_get";
    INODE_STORAGE_DELETE 146 "inode_storage_delete";
    D_PATH 147 "d_path";
    COPY_FROM_USER 148 "copy_from_user": (MemOut, SizeOrZero, Anything) -> Int, V6_18, V6_18, SLEEPS;
    SNPRINTF_BTF 149 "snprintf_btf": (MemInOut, Size, Mem, Size, Anything) -> Int, V5_10, V5_10;
    SEQ_PRINTF_BTF 150 "seq_printf_btf";
    SKB_CGROUP_CLASSID 151 "skb_cgroup_classid": (Ctx) -> Int, NEVER, NEVER;
    REDIRECT_NEIGH 152 "redirect_neigh": (Anything, MemOrNull, SizeOrZero, Anything) -> Int, NEVER, NEVER;
    PER_CPU_PTR 153 "per_cpu_ptr": (PerCpu, Anything) -> Other, V5_10, V5_10;
    THIS_CPU_PTR 154 "this_cpu_ptr": (PerCpu) -> Other, V5_10, V5_10;
    REDIRECT_PEER 155 "redirect_peer": (Anything, Anything) -> Int, NEVER, NEVER;
    TASK_STORAGE_GET 156 "task_storage_get": (Map, TaskOrNull, ValueOrNull, Anything) -> MapValueOrNull, V6_18, V6_18;
    TASK_STORAGE_DELETE 157 "task_storage_delete": (Map, TaskOrNull) -> Int, V6_18, V6_18;
    GET_CURRENT_TASK_BTF 158 "get_current_task_btf": () -> BtfTrusted(Object::Task), V6_1, V6_1;
    BPRM_OPTS_SET 159 "bprm_opts_set";
    KTIME_GET_COARSE_NS 160 "ktime_get_coarse_ns": () -> Int, V6_1, V6_1;
    IMA_INODE_HASH 161 "ima_inode_hash";
    SOCK_FROM_FILE 162 "sock_from_file": (Structure(Object::File)) -> BtfOrNull(Object::Socket), NEVER, NEVER;
    CHECK_MTU 163 "check_mtu";
    FOR_EACH_MAP_ELEM 164 "for_each_map_elem": (Map, Func, StackOrNull, Anything) -> Int, V6_1, V6_1;
    SNPRINTF 165 "snprintf": (MemOutOrNull, SizeOrZero, ConstStr, MemOrNull, SizeOrZero) -> Int, V6_1, V6_1;
    SYS_BPF 166 "sys_bpf";
    BTF_FIND_BY_NAME_KIND 167 "btf_find_by_name_kind";
    SYS_CLOSE 168 "sys_close";
    TIMER_INIT 169 "timer_init": (Timer, Map, Anything) -> Int, V6_1, V6_1;
    TIMER_SET_CALLBACK 170 "timer_set_callback": (Timer, Func) -> Int, V6_1, V6_1;
    TIMER_START 171 "timer_start": (Timer, Anything, Anything) -> Int, V6_1, V6_1;
    TIMER_CANCEL 172 "timer_cancel": (Timer) -> Int, V6_1, V6_1;
    GET_FUNC_IP 173 "get_func_ip": (Ctx) -> Int, NEVER, NEVER;
    GET_ATTACH_COOKIE 174 "get_attach_cookie": (Ctx) -> Int, NEVER, NEVER;
    TASK_PT_REGS 175 "task_pt_regs": (Task) -> Btf(Object::PtRegs), V6_1, V6_1;
    GET_BRANCH_SNAPSHOT 176 "get_branch_snapshot": (MemOut, SizeOrZero) -> Int, V6_18, V6_18;
    TRACE_VPRINTK 177 "trace_vprintk": (Mem, Size, MemOrNull, SizeOrZero) -> Int, V6_1, V6_1;
    SKC_TO_UNIX_SOCK 178 "skc_to_unix_sock": (BtfSock) -> BtfOrNull(Object::UnixSock), V6_1, V6_1;
    KALLSYMS_LOOKUP_NAME 179 "kallsyms_lookup_name";
    FIND_VMA 180 "find_vma": (Task, Anything, Func, StackOrNull, Anything) -> Int, V6_18, V6_18;
    LOOP 181 "loop": (Anything, Func, StackOrNull, Anything) -> Int, V6_1, V6_1;
    STRNCMP 182 "strncmp": (Mem, Size, ConstStr) -> Int, V6_1, V6_1;
    GET_FUNC_ARG 183 "get_func_arg": (Ctx, Anything, LongOut) -> Int, NEVER, NEVER;
    GET_FUNC_RET 184 "get_func_ret": (Ctx, LongOut) -> Int, NEVER, NEVER;
    GET_FUNC_ARG_CNT 185 "get_func_arg_cnt": (Ctx) -> Int, NEVER, NEVER;
    GET_RETVAL 186 "get_retval": () -> Int, NEVER, NEVER;
    SET_RETVAL 187 "set_retval": (Anything) -> Int, NEVER, NEVER;
    XDP_GET_BUFF_LEN 188 "xdp_get_buff_len": (Ctx) -> Int, NEVER, NEVER;
    XDP_LOAD_BYTES 189 "xdp_load_bytes": (Ctx, Anything, MemOut, Size) -> Int, NEVER, NEVER;
    XDP_STORE_BYTES 190 "xdp_store_bytes": (Ctx, Anything, Mem, Size) -> Int, NEVER, NEVER;
    COPY_FROM_USER_TASK 191 "copy_from_user_task": (MemOut, SizeOrZero, Anything, Task, Anything) -> Int, V6_18, V6_18, SLEEPS;
    SKB_SET_TSTAMP 192 "skb_set_tstamp": (Ctx, Anything, Anything) -> Int, NEVER, NEVER;
    IMA_FILE_HASH 193 "ima_file_hash";
    KPTR_XCHG 194 "kptr_xchg": (KptrDest, KptrSource) -> Other, V6_1, V6_1;
    MAP_LOOKUP_PERCPU_ELEM 195 "map_lookup_percpu_elem": (Map, Key, Anything) -> MapValueOrNull, V6_1, V6_1, PACKET;
    SKC_TO_MPTCP_SOCK 196 "skc_to_mptcp_sock": (SockCommon) -> BtfOrNull(Object::MptcpSock), V6_1, V6_1;
    DYNPTR_FROM_MEM 197 "dynptr_from_mem": (MemOut, SizeOrZero, Anything, DynptrOut(Local)) -> Int, V6_1, V6_1;
    RINGBUF_RESERVE_DYNPTR 198 "ringbuf_reserve_dynptr": (Map, Anything, Anything, DynptrOut(Ringbuf)) -> Int, V6_1, V6_1;
    RINGBUF_SUBMIT_DYNPTR 199 "ringbuf_submit_dynptr": (DynptrRelease, Anything) -> Void, V6_1, V6_1;
    RINGBUF_DISCARD_DYNPTR 200 "ringbuf_discard_dynptr": (DynptrRelease, Anything) -> Void, V6_1, V6_1;
    DYNPTR_READ 201 "dynptr_read": (MemOut, SizeOrZero, Dynptr, Anything, Anything) -> Int, V6_1, V6_1;
    DYNPTR_WRITE 202 "dynptr_write": (Dynptr, Anything, Mem, SizeOrZero, Anything) -> Int, V6_1, V6_1;
    DYNPTR_DATA 203 "dynptr_data": (Dynptr, Anything, AllocSize) -> DynptrMemOrNull, V6_1, V6_1;
    TCP_RAW_GEN_SYNCOOKIE_IPV4 204 "tcp_raw_gen_syncookie_ipv4";
    TCP_RAW_GEN_SYNCOOKIE_IPV6 205 "tcp_raw_gen_syncookie_ipv6";
    TCP_RAW_CHECK_SYNCOOKIE_IPV4 206 "tcp_raw_check_syncookie_ipv4";
    TCP_RAW_CHECK_SYNCOOKIE_IPV6 207 "tcp_raw_check_syncookie_ipv6";
    KTIME_GET_TAI_NS 208 "ktime_get_tai_ns": () -> Int, V6_1, V6_1;
    USER_RINGBUF_DRAIN 209 "user_ringbuf_drain": (Map, Func, StackOrNull, Anything) -> Int, V6_1, V6_1;
    CGRP_STORAGE_GET 210 "cgrp_storage_get": (Map, CgroupOrNull, ValueOrNull, Anything) -> MapValueOrNull, V6_12, V6_12;
    CGRP_STORAGE_DELETE 211 "cgrp_storage_delete": (Map, CgroupOrNull) -> Int, V6_12, V6_12;
}

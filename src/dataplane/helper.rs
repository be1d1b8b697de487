//! Numbers of the helpers the programs call (`enum bpf_func_id`, include/uapi/linux/bpf.h).

pub(super) const MAP_LOOKUP_ELEM: i32 = 1;
pub(super) const MAP_UPDATE_ELEM: i32 = 2;
pub(super) const MAP_DELETE_ELEM: i32 = 3;
pub(super) const TAIL_CALL: i32 = 12;
pub(super) const GET_SOCKET_COOKIE: i32 = 46;
pub(super) const SETSOCKOPT: i32 = 49;
pub(super) const GETSOCKOPT: i32 = 57;
pub(super) const SOCK_OPS_CB_FLAGS_SET: i32 = 59;
pub(super) const SOCK_HASH_UPDATE: i32 = 70;
pub(super) const MSG_REDIRECT_HASH: i32 = 71;
pub(super) const SK_STORAGE_GET: i32 = 107;
/// Linux 5.5; GPL-compatible programs with CAP_PERFMON only.
pub(super) const PROBE_READ_KERNEL: i32 = 113;
/// Callable from both program types since Linux 5.15.
pub(super) const GET_NETNS_COOKIE: i32 = 122;

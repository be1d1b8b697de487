//! Numbers of the helpers the programs call (`enum bpf_func_id`, include/uapi/linux/bpf.h).

pub(in crate::dataplane) const MAP_LOOKUP_ELEM: i32 = 1;
pub(in crate::dataplane) const MAP_UPDATE_ELEM: i32 = 2;
pub(in crate::dataplane) const MAP_DELETE_ELEM: i32 = 3;
pub(in crate::dataplane) const TAIL_CALL: i32 = 12;
pub(in crate::dataplane) const GET_SOCKET_COOKIE: i32 = 46;
pub(in crate::dataplane) const SETSOCKOPT: i32 = 49;
pub(in crate::dataplane) const GETSOCKOPT: i32 = 57;
pub(in crate::dataplane) const SOCK_OPS_CB_FLAGS_SET: i32 = 59;
pub(in crate::dataplane) const SOCK_HASH_UPDATE: i32 = 70;
pub(in crate::dataplane) const MSG_REDIRECT_HASH: i32 = 71;
pub(in crate::dataplane) const SK_STORAGE_GET: i32 = 107;
/// Linux 5.5; GPL-compatible programs with CAP_PERFMON only.
pub(in crate::dataplane) const PROBE_READ_KERNEL: i32 = 113;
/// Callable from both program types since Linux 5.15.
pub(in crate::dataplane) const GET_NETNS_COOKIE: i32 = 122;

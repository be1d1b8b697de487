//! Flags and return values of programs, helpers and commands.

/// `SK_PASS` and `SK_DROP` of `enum sk_action`: what a SK_MSG program returns.
pub const SK_DROP: i32 = 0;
/// See [`SK_DROP`].
pub const SK_PASS: i32 = 1;
/// `BPF_F_INGRESS`: `bpf_msg_redirect_hash` puts the message into the receive queue of the target.
pub const F_INGRESS: i32 = 1;
/// `BPF_SK_STORAGE_GET_F_CREATE`.
pub const STORAGE_CREATE: i32 = 1;
/// `BPF_ANY`, `BPF_NOEXIST` and `BPF_EXIST` of an update.
pub const ANY: i32 = 0;
/// See [`ANY`].
pub const NOEXIST: i32 = 1;
/// See [`ANY`].
pub const EXIST: i32 = 2;

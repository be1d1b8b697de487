//! `struct bpf_sockopt`.

#![allow(missing_docs, reason = "the names are the kernel's")]

super::fields! {
    40:
    /// A pointer.
    SK "sk" = 0, 8;
    OPTVAL "optval" = 8, 8;
    OPTVAL_END "optval_end" = 16, 8;
    LEVEL "level" = 24, 4;
    OPTNAME "optname" = 28, 4;
    OPTLEN "optlen" = 32, 4;
    RETVAL "retval" = 36, 4;
}

/// `TCP_BPF_SOCK_OPS_CB_FLAGS`, include/uapi/linux/bpf.h: which callbacks a socket has (for programs since Linux 6.12).
pub const TCP_BPF_SOCK_OPS_CB_FLAGS: i32 = 1008;

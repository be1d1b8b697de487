//! The contexts of our programs, as structures with typed fields.

use crate::asm::{Field, Pointer, Ptr, Reg};
use crate::dataplane::context::context;
use crate::dataplane::kernel::objects::{File, IterMeta, TcpSock};
use crate::dataplane::state::socket::Socket;
use crate::uapi::ctx::{iter_sockmap, iter_storage, iter_task_file, sk_msg, sock_ops, sockopt};

/// What a tracing program is given, 8 bytes each: the arguments of the function or trace point, and at a function's exit what it
/// returns.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataplane) enum Arguments {}

impl Arguments {
    /// The one with this number.
    pub(in crate::dataplane) const fn at(number: u8) -> Field<Self, u64> {
        Field::new(number as i32 * 8)
    }
}

context! {
    /// `struct bpf_sock_ops`.
    pub(in crate::dataplane) SockOps, sock_ops:
    OP: u32;
    FAMILY: u32;
    REMOTE_IP4: u32;
    LOCAL_IP4: u32;
    REMOTE_IP6: [u32; 4];
    LOCAL_IP6: [u32; 4];
    REMOTE_PORT: u32;
    LOCAL_PORT: u32;
    IS_FULLSOCK: u32;
    CB_FLAGS: u32;
    RCV_NXT: u32;
    SND_NXT: u32;
    SND_UNA: u32;
    SK_TXHASH: u32;
    SKB_TCP_FLAGS: u32;
    LOST_OUT: u32;
    REPLYLONG: [u32; 3];
    BYTES_RECEIVED: u64;
    BYTES_ACKED: u64;
    SK: Pointer<TcpSock>;
    SKB_LEN: u32;
}

context! {
    /// `struct sk_msg_md`.
    pub(in crate::dataplane) SkMsg, sk_msg:
    REMOTE_IP4: u32;
    LOCAL_IP4: u32;
    REMOTE_PORT: u32;
    LOCAL_PORT: u32;
    LENGTH: u32;
    SK: Pointer<TcpSock>;
}

context! {
    /// `struct bpf_sockopt`.
    pub(in crate::dataplane) SockOpt, sockopt:
    SK: Pointer<TcpSock>;
    LEVEL: u32;
    OPTNAME: u32;
    OPTLEN: u32;
}

context! {
    /// `struct bpf_iter__sockmap`.
    pub(in crate::dataplane) IterSockmap, iter_sockmap:
    META: Pointer<IterMeta>;
    KEY: Pointer<Key>;
    SK: Pointer<TcpSock>;
}

context! {
    /// `struct bpf_iter__bpf_sk_storage_map`.
    pub(in crate::dataplane) IterStorage, iter_storage:
    META: Pointer<IterMeta>;
    SK: Pointer<TcpSock>;
    VALUE: Pointer<Socket>;
}

context! {
    /// `struct bpf_iter__task_file`.
    pub(in crate::dataplane) IterTaskFile, iter_task_file:
    META: Pointer<IterMeta>;
    FILE: Pointer<File>;
}

/// A key of the sockhash.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataplane) enum Key {}

/// The context of each program, in R6 from its first instruction on.
pub(in crate::dataplane) const SOCK_OPS: Ptr<SockOps> = Ptr::new(Reg::R6);
/// See [`SOCK_OPS`].
pub(in crate::dataplane) const SK_MSG: Ptr<SkMsg> = Ptr::new(Reg::R6);
/// See [`SOCK_OPS`].
pub(in crate::dataplane) const ITER_SOCKMAP: Ptr<IterSockmap> = Ptr::new(Reg::R6);
/// See [`SOCK_OPS`].
pub(in crate::dataplane) const ITER_STORAGE: Ptr<IterStorage> = Ptr::new(Reg::R6);
/// See [`SOCK_OPS`].
pub(in crate::dataplane) const ITER_TASK_FILE: Ptr<IterTaskFile> = Ptr::new(Reg::R6);

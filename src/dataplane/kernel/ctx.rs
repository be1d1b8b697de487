//! The contexts of our programs, as structures with typed fields.

use crate::asm::{Field, Laid, Pointer, Ptr, Reg};
use crate::dataplane::kernel::objects::{File, IterMeta, TcpSock};
use crate::dataplane::state::socket::Socket;
use crate::uapi::ctx::{self, iter_sockmap, iter_storage, iter_task_file, sk_msg, sock_ops, sockopt};

/// Whether the ABI has a field of this size at this place, and so whether a type fits it.
const fn is_field(fields: &[ctx::Field], offset: i16, bytes: usize) -> bool {
    let mut index = 0;
    while index < fields.len() {
        if fields[index].offset == offset as u32 {
            return fields[index].size as usize == bytes;
        }
        index += 1;
    }
    false
}

/// Gives fields of a context their types, which must have the sizes that the ABI says.
macro_rules! context {
    ($(#[$doc:meta])* $name:ident, $abi:ident: $($field:ident: $type:ty;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(in crate::dataplane) enum $name {}

        #[allow(dead_code, reason = "only the benchmark uses some of them")]
        impl $name {
            $(pub(in crate::dataplane) const $field: Field<Self, $type> = Field::new($abi::$field as i32);)*
        }

        const _: () = {
            $(assert!(
                is_field($abi::FIELDS, $abi::$field, <$type as Laid>::BYTES),
                "the field has another size"
            );)*
        };
    };
}

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
    SockOps, sock_ops:
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
    SkMsg, sk_msg:
    REMOTE_IP4: u32;
    LOCAL_IP4: u32;
    REMOTE_PORT: u32;
    LOCAL_PORT: u32;
    LENGTH: u32;
    SK: Pointer<TcpSock>;
}

context! {
    /// `struct bpf_sockopt`.
    SockOpt, sockopt:
    SK: Pointer<TcpSock>;
    LEVEL: u32;
    OPTNAME: u32;
    OPTLEN: u32;
}

context! {
    /// `struct bpf_iter__sockmap`.
    IterSockmap, iter_sockmap:
    META: Pointer<IterMeta>;
    KEY: Pointer<Key>;
    SK: Pointer<TcpSock>;
}

context! {
    /// `struct bpf_iter__bpf_sk_storage_map`.
    IterStorage, iter_storage:
    META: Pointer<IterMeta>;
    SK: Pointer<TcpSock>;
    VALUE: Pointer<Socket>;
}

context! {
    /// `struct bpf_iter__task_file`.
    IterTaskFile, iter_task_file:
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

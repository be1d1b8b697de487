//! Where the fields we read lie in this kernel's structures.
//!
//! Plain data: the agent fills it from `/sys/kernel/btf/vmlinux`, the simulator with a layout of its own.

/// One field the gate reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Structure, as the kernel names it.
    pub structure: &'static str,
    /// Path from there, through embedded structures.
    pub path: &'static str,
    /// Bytes the programs read.
    pub size: u8,
}

macro_rules! kernel_offsets {
    ($( $(#[doc = $doc:literal])* $name:ident: $structure:literal . $path:literal, $size:literal; )*) => {
        /// Byte offsets of the fields of [`FIELDS`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct KernelOffsets { $( $(#[doc = $doc])* pub $name: u16, )* }

        /// Every field the programs read, in the order of [`KernelOffsets`].
        pub const FIELDS: &[Field] = &[ $( Field { structure: $structure, path: $path, size: $size }, )* ];

        impl KernelOffsets {
            /// Asks `lookup` for each field's byte offset, and returns its first error.
            pub fn resolve<E>(mut lookup: impl FnMut(&Field) -> Result<u16, E>) -> Result<Self, E> {
                Ok(Self { $( $name: lookup(&Field { structure: $structure, path: $path, size: $size })?, )* })
            }
        }
    };
}

kernel_offsets! {
    /// Next byte this socket's application will read from the stack.
    copied_seq: "tcp_sock"."copied_seq", 4;
    /// Next byte this socket's application will hand to the stack.
    write_seq: "tcp_sock"."write_seq", 4;
    /// Non-zero while a thread is inside a system call on this socket.
    lock_owned: "sock"."sk_lock.owned", 4;
    /// SO_RCVLOWAT.
    rcvlowat: "sock"."sk_rcvlowat", 4;
    /// RCV_SHUTDOWN and SEND_SHUTDOWN bits.
    shutdown: "sock"."sk_shutdown", 1;
    /// The `struct socket`, null before accept(2).
    socket: "sock"."sk_socket", 8;
    /// The `sk_psock`, with flags in the low bits.
    user_data: "sock"."sk_user_data", 8;
    /// The open file, null for kernel sockets.
    file: "socket"."file", 8;
    /// O_NONBLOCK and its kin.
    f_flags: "file"."f_flags", 4;
    /// List of redirected messages not yet read.
    ingress_msg: "sk_psock"."ingress_msg", 8;
    /// One for the map, one more for each thread inside a system call on the socket.
    psock_refcnt: "sk_psock"."refcnt.refs.counter", 4;
}

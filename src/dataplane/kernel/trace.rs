//! Where the fields lie that the programs read which watch others receive.

use super::KernelField;

macro_rules! trace_offsets {
    ($( $(#[doc = $doc:literal])* $name:ident: $structure:literal . $path:literal, $size:literal; )*) => {
        /// Byte offsets of the fields of [`TraceOffsets::FIELDS`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct TraceOffsets {
            $( $(#[doc = $doc])* pub $name: u16, )*
        }

        impl TraceOffsets {
            /// Every field, in the order of the structure.
            pub const FIELDS: &[KernelField] = &[ $( KernelField { structure: $structure, path: $path, size: $size }, )* ];

            /// Asks `lookup` for each field's byte offset, and returns its first error.
            pub fn resolve<E>(mut lookup: impl FnMut(&KernelField) -> Result<u16, E>) -> Result<Self, E> {
                Ok(Self {
                    $( $name: lookup(&KernelField { structure: $structure, path: $path, size: $size })?, )*
                })
            }
        }
    };
}

trace_offsets! {
    /// The first thread of a task's process.
    group_leader: "task_struct"."group_leader", 8;
    /// When a task began, in nanoseconds since boot. With the number of its process it names one process forever.
    start: "task_struct"."start_boottime", 8;
    /// A task's open files.
    files: "task_struct"."files", 8;
    /// Their table.
    fdt: "files_struct"."fdt", 8;
    /// The table's length.
    max_fds: "fdtable"."max_fds", 4;
    /// The table's array.
    fd: "fdtable"."fd", 8;
    /// What a file is of.
    inode: "file"."f_inode", 8;
    /// The kind of file and its permissions.
    mode: "inode"."i_mode", 2;
    /// The `struct socket` of a file that is one.
    private_data: "file"."private_data", 8;
    /// The socket's `struct sock`.
    sk: "socket"."sk", 8;
    /// First argument of a system call.
    di: "pt_regs"."di", 8;
    /// IPPROTO_TCP and others.
    protocol: "sock"."sk_protocol", 2;
    /// An error that the next call on the socket returns.
    err: "sock"."sk_err", 4;
    /// AF_INET or AF_INET6.
    family: "sock"."__sk_common.skc_family", 2;
    /// The socket's number, 0 until a program or a process asks for it.
    cookie: "sock"."__sk_common.skc_cookie.counter", 8;
    /// The peer's address and our own, IPv4.
    daddr: "sock"."__sk_common.skc_daddr", 4;
    /// Our own.
    rcv_saddr: "sock"."__sk_common.skc_rcv_saddr", 4;
    /// The peer's port, network byte order.
    dport: "sock"."__sk_common.skc_dport", 2;
    /// Our port, host byte order.
    num: "sock"."__sk_common.skc_num", 2;
    /// The peer's address, IPv6.
    v6_daddr: "sock"."__sk_common.skc_v6_daddr", 16;
    /// Our own.
    v6_rcv_saddr: "sock"."__sk_common.skc_v6_rcv_saddr", 16;
}

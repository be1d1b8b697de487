//! Where the fields lie that the programs read which watch others receive.

use super::KernelField;
use super::objects::{File, FileTable, Files, Inode, Registers, Sock, Socket, Task};
use crate::asm::{Field, Laid, Pointer};
use crate::uapi::system_call;

macro_rules! trace_offsets {
    ($( $(#[doc = $doc:literal])* $name:ident: $structure:literal . $path:expr, $object:ty, $value:ty; )*) => {
        /// Where the fields of [`TraceOffsets::FIELDS`] lie.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct TraceOffsets {
            $( $(#[doc = $doc])* pub $name: Field<$object, $value>, )*
        }

        impl TraceOffsets {
            /// Every field, in the order of the structure.
            pub const FIELDS: &[KernelField] = &[ $( KernelField { structure: $structure, path: $path, size: <$value as Laid>::BYTES as u8 }, )* ];

            /// Asks `lookup` for each field's byte offset, and returns its first error.
            pub fn resolve<E>(mut lookup: impl FnMut(&KernelField) -> Result<u16, E>) -> Result<Self, E> {
                Ok(Self {
                    $( $name: Field::new(i32::from(lookup(&KernelField {
                        structure: $structure,
                        path: $path,
                        size: <$value as Laid>::BYTES as u8,
                    })?)), )*
                })
            }
        }
    };
}

trace_offsets! {
    /// The first thread of a task's process.
    group_leader: "task_struct"."group_leader", Task, Pointer<Task>;
    /// When a task began, in nanoseconds since boot. With the number of its process it names one process forever.
    start: "task_struct"."start_boottime", Task, u64;
    /// A task's open files.
    files: "task_struct"."files", Task, Pointer<Files>;
    /// Their table.
    fdt: "files_struct"."fdt", Files, Pointer<FileTable>;
    /// The table's length.
    max_fds: "fdtable"."max_fds", FileTable, u32;
    /// The table's array.
    fd: "fdtable"."fd", FileTable, Pointer<Pointer<File>>;
    /// What a file is of.
    inode: "file"."f_inode", File, Pointer<Inode>;
    /// The kind of file and its permissions.
    mode: "inode"."i_mode", Inode, u16;
    /// The `struct socket` of a file that is one.
    private_data: "file"."private_data", File, Pointer<Socket>;
    /// The socket's `struct sock`.
    sk: "socket"."sk", Socket, Pointer<Sock>;
    /// First argument of a system call.
    argument: "pt_regs".system_call::FIRST_ARGUMENT, Registers, u64;
    /// IPPROTO_TCP and others.
    protocol: "sock"."sk_protocol", Sock, u16;
    /// An error that the next call on the socket returns.
    err: "sock"."sk_err", Sock, u32;
    /// AF_INET or AF_INET6.
    family: "sock"."__sk_common.skc_family", Sock, u16;
    /// The socket's number, 0 until a program or a process asks for it.
    cookie: "sock"."__sk_common.skc_cookie.counter", Sock, u64;
    /// The peer's address and our own, IPv4.
    daddr: "sock"."__sk_common.skc_daddr", Sock, [u32; 1];
    /// Our own.
    rcv_saddr: "sock"."__sk_common.skc_rcv_saddr", Sock, [u32; 1];
    /// The peer's port, network byte order.
    dport: "sock"."__sk_common.skc_dport", Sock, u16;
    /// Our port, host byte order.
    num: "sock"."__sk_common.skc_num", Sock, u16;
    /// The peer's address, IPv6.
    v6_daddr: "sock"."__sk_common.skc_v6_daddr", Sock, [u32; 4];
    /// Our own.
    v6_rcv_saddr: "sock"."__sk_common.skc_v6_rcv_saddr", Sock, [u32; 4];
}

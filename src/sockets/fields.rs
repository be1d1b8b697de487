//! Where the fields that the iterator reads lie in this kernel's structures.

/// One field of a kernel structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Structure, as the kernel names it.
    pub structure: &'static str,
    /// Path from there, through embedded structures.
    pub path: &'static str,
    /// Bytes that the program reads.
    pub size: u8,
}

macro_rules! socket_offsets {
    ($( $(#[doc = $doc:literal])* $name:ident: $structure:literal . $path:literal, $size:literal; )*) => {
        /// Byte offsets of the fields of [`FIELDS`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct SocketOffsets {
            $( $(#[doc = $doc])* pub $name: u16, )*
            /// How to get to a socket's cgroup; nothing where its place holds other things too (before Linux 5.15).
            pub cgroup: Option<CgroupOffsets>,
        }

        /// Every field that the iterator reads, in the order of [`SocketOffsets`].
        pub const FIELDS: &[Field] = &[ $( Field { structure: $structure, path: $path, size: $size }, )* ];

        impl SocketOffsets {
            /// Asks `lookup` for each field's byte offset, and returns its first error.
            pub fn resolve<E>(mut lookup: impl FnMut(&Field) -> Result<u16, E>) -> Result<Self, E> {
                Ok(Self {
                    $( $name: lookup(&Field { structure: $structure, path: $path, size: $size })?, )*
                    cgroup: CgroupOffsets::resolve(lookup).ok(),
                })
            }
        }
    };
}

socket_offsets! {
    /// The process (thread group) that has the file open.
    tgid: "task_struct"."tgid", 4;
    /// The name of the task.
    comm: "task_struct"."comm", 16;
    /// O_NONBLOCK and other flags of the open file.
    f_flags: "file"."f_flags", 4;
    /// The inode of the socket.
    f_inode: "file"."f_inode", 8;
    /// Its number, which `/proc/PID/fd` shows.
    i_ino: "inode"."i_ino", 8;
    /// The socket of the protocol; null while the descriptor is being closed.
    sk: "socket"."sk", 8;
    /// Address family.
    family: "sock"."__sk_common.skc_family", 2;
    /// State of the connection.
    state: "sock"."__sk_common.skc_state", 1;
    /// Own port, host byte order.
    local_port: "sock"."__sk_common.skc_num", 2;
    /// The peer's port, network byte order.
    remote_port: "sock"."__sk_common.skc_dport", 2;
    /// Own IPv4 address.
    local_v4: "sock"."__sk_common.skc_rcv_saddr", 4;
    /// The peer's IPv4 address.
    remote_v4: "sock"."__sk_common.skc_daddr", 4;
    /// Own IPv6 address.
    local_v6: "sock"."__sk_common.skc_v6_rcv_saddr", 16;
    /// The peer's IPv6 address.
    remote_v6: "sock"."__sk_common.skc_v6_daddr", 16;
    /// The network namespace.
    net: "sock"."__sk_common.skc_net.net", 8;
    /// Its inode number, which `/proc/PID/ns/net` shows.
    net_inum: "net"."ns.inum", 4;
    /// The socket's number, which never repeats while the machine runs; 0 until something asks for it.
    cookie: "sock"."__sk_common.skc_cookie", 8;
    /// RCV_SHUTDOWN and SEND_SHUTDOWN bits.
    shutdown: "sock"."sk_shutdown", 1;
    /// The `sk_psock` of a member of a socket map, with flags in the low bits.
    user_data: "sock"."sk_user_data", 8;
    /// The upper layer protocol, for example kernel TLS.
    ulp: "inet_connection_sock"."icsk_ulp_ops", 8;
    /// First byte that the peer has not acknowledged.
    snd_una: "tcp_sock"."snd_una", 4;
    /// Next byte that the application hands to the stack.
    write_seq: "tcp_sock"."write_seq", 4;
    /// Next byte that is expected from the peer.
    rcv_nxt: "tcp_sock"."rcv_nxt", 4;
    /// Next byte that the application reads from the stack.
    copied_seq: "tcp_sock"."copied_seq", 4;
    /// Bytes that the peer has acknowledged.
    bytes_acked: "tcp_sock"."bytes_acked", 8;
    /// Bytes received in order.
    bytes_received: "tcp_sock"."bytes_received", 8;
    /// Data segments sent.
    data_segs_out: "tcp_sock"."data_segs_out", 4;
    /// Data segments received.
    data_segs_in: "tcp_sock"."data_segs_in", 4;
}

/// Byte offsets on the way from a socket to the ID of the cgroup that it was made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupOffsets {
    /// `sock.sk_cgrp_data.cgroup`.
    pub cgroup: u16,
    /// `cgroup.kn`: its node in cgroupfs.
    pub kn: u16,
    /// `kernfs_node.id`: on 64-bit machines the inode number of the directory.
    pub id: u16,
}

impl CgroupOffsets {
    fn resolve<E>(mut lookup: impl FnMut(&Field) -> Result<u16, E>) -> Result<Self, E> {
        let mut pointer = |structure, path| lookup(&Field { structure, path, size: 8 });
        Ok(Self {
            cgroup: pointer("sock", "sk_cgrp_data.cgroup")?,
            kn: pointer("cgroup", "kn")?,
            id: pointer("kernfs_node", "id")?,
        })
    }
}

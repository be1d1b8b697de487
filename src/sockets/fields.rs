//! Where the fields that the iterator reads lie in this kernel's structures.

use super::objects::{Cgroup, File, Inode, Net, Node, Sock, Socket, SuperBlock, Task, TcpSock};
use crate::asm::{Field, Laid, Pointer};
use crate::dataplane::KernelField;

macro_rules! socket_offsets {
    ($( $(#[doc = $doc:literal])* $name:ident: $structure:literal . $path:literal, $object:ty, $value:ty; )*) => {
        /// The fields of [`FIELDS`], each at the offset that this kernel has for it.
        #[derive(Clone, Copy, Debug)]
        pub struct SocketOffsets {
            $( $(#[doc = $doc])* pub $name: Field<$object, $value>, )*
            /// How to get to a socket's cgroup; nothing where its place holds other things too (before Linux 5.15).
            pub cgroup: Option<CgroupOffsets>,
            /// How to see whether a namespace tracks connections; nothing where the kernel cannot.
            pub tracking: Option<TrackingOffsets>,
            /// How to get from a file to its socket without `bpf_sock_from_file`.
            pub sockfs: SockFsOffsets,
        }

        /// Every field that the iterator reads, in the order of [`SocketOffsets`].
        pub const FIELDS: &[KernelField] = &[ $( field::<$value>($structure, $path), )* ];

        impl SocketOffsets {
            /// Asks `lookup` for each field's byte offset, and returns its first error.
            pub fn resolve<E>(mut lookup: impl FnMut(&KernelField) -> Result<u16, E>) -> Result<Self, E> {
                Ok(Self {
                    $( $name: Field::new(lookup(&field::<$value>($structure, $path))?.into()), )*
                    sockfs: SockFsOffsets::resolve(&mut lookup)?,
                    tracking: TrackingOffsets::resolve(&mut lookup).ok(),
                    cgroup: CgroupOffsets::resolve(lookup).ok(),
                })
            }
        }
    };
}

const fn field<V: Laid>(structure: &'static str, path: &'static str) -> KernelField {
    KernelField { structure, path, size: V::BYTES as u8 }
}

socket_offsets! {
    /// The process (thread group) that has the file open.
    tgid: "task_struct"."tgid", Task, u32;
    /// The name of the task.
    comm: "task_struct"."comm", Task, [u8; 16];
    /// O_NONBLOCK and other flags of the open file.
    f_flags: "file"."f_flags", File, u32;
    /// The inode of the socket.
    f_inode: "file"."f_inode", File, Pointer<Inode>;
    /// Its number, which `/proc/PID/fd` shows.
    i_ino: "inode"."i_ino", Inode, u64;
    /// The socket of the protocol; null while the descriptor is being closed.
    sk: "socket"."sk", Socket, Pointer<Sock>;
    /// Address family.
    family: "sock"."__sk_common.skc_family", Sock, u16;
    /// State of the connection.
    state: "sock"."__sk_common.skc_state", Sock, u8;
    /// Own port, host byte order.
    local_port: "sock"."__sk_common.skc_num", Sock, u16;
    /// The peer's port, network byte order.
    remote_port: "sock"."__sk_common.skc_dport", Sock, u16;
    /// Own IPv4 address.
    local_v4: "sock"."__sk_common.skc_rcv_saddr", Sock, u32;
    /// The peer's IPv4 address.
    remote_v4: "sock"."__sk_common.skc_daddr", Sock, u32;
    /// Own IPv6 address.
    local_v6: "sock"."__sk_common.skc_v6_rcv_saddr", Sock, [u8; 16];
    /// The peer's IPv6 address.
    remote_v6: "sock"."__sk_common.skc_v6_daddr", Sock, [u8; 16];
    /// The network namespace.
    net: "sock"."__sk_common.skc_net.net", Sock, Pointer<Net>;
    /// Its inode number, which `/proc/PID/ns/net` shows.
    net_inum: "net"."ns.inum", Net, u32;
    /// The socket's number, which never repeats while the machine runs; 0 until something asks for it.
    cookie: "sock"."__sk_common.skc_cookie", Sock, u64;
    /// RCV_SHUTDOWN and SEND_SHUTDOWN bits.
    shutdown: "sock"."sk_shutdown", Sock, u8;
    /// The `sk_psock` of a member of a socket map, with flags in the low bits.
    user_data: "sock"."sk_user_data", Sock, u64;
    /// The upper layer protocol, for example kernel TLS.
    ulp: "inet_connection_sock"."icsk_ulp_ops", TcpSock, u64;
    /// First byte that the peer has not acknowledged.
    snd_una: "tcp_sock"."snd_una", TcpSock, u32;
    /// Next byte that the application hands to the stack.
    write_seq: "tcp_sock"."write_seq", TcpSock, u32;
    /// Next byte that is expected from the peer.
    rcv_nxt: "tcp_sock"."rcv_nxt", TcpSock, u32;
    /// Next byte that the application reads from the stack.
    copied_seq: "tcp_sock"."copied_seq", TcpSock, u32;
    /// Bytes that the peer has acknowledged.
    bytes_acked: "tcp_sock"."bytes_acked", TcpSock, u64;
    /// Bytes received in order.
    bytes_received: "tcp_sock"."bytes_received", TcpSock, u64;
    /// Data segments sent.
    data_segs_out: "tcp_sock"."data_segs_out", TcpSock, u32;
    /// Data segments received.
    data_segs_in: "tcp_sock"."data_segs_in", TcpSock, u32;
}

/// The way from a socket to the ID of the cgroup that it was made in.
#[derive(Clone, Copy, Debug)]
pub struct CgroupOffsets {
    /// `sock.sk_cgrp_data.cgroup`.
    pub cgroup: Field<Sock, Pointer<Cgroup>>,
    /// `cgroup.kn`: its node in cgroupfs.
    pub node: Field<Cgroup, Pointer<Node>>,
    /// `kernfs_node.id`: on 64-bit machines the inode number of the directory.
    pub id: Field<Node, u64>,
}

impl CgroupOffsets {
    fn resolve<E>(mut lookup: impl FnMut(&KernelField) -> Result<u16, E>) -> Result<Self, E> {
        let mut offset = |structure, path| lookup(&field::<u64>(structure, path)).map(i32::from);
        Ok(Self {
            cgroup: Field::new(offset("sock", "sk_cgrp_data.cgroup")?),
            node: Field::new(offset("cgroup", "kn")?),
            id: Field::new(offset("kernfs_node", "id")?),
        })
    }
}

/// What tells whether connection tracking is in use in a namespace: it needs defragmentation, which counts its users
/// (`nf_ct_netns_do_get`, net/netfilter/nf_conntrack_proto.c; `nf_defrag_ipv4_enable`).
#[derive(Clone, Copy, Debug)]
pub enum TrackingOffsets {
    /// `net.nf.defrag_ipv4_users` and `defrag_ipv6_users`.
    Users([Field<Net, u32>; 2]),
    /// `net.nf.defrag_ipv4` and `defrag_ipv6`: whether it was ever used (before Linux 5.13).
    Used([Field<Net, u8>; 2]),
}

impl TrackingOffsets {
    fn resolve<E>(lookup: &mut impl FnMut(&KernelField) -> Result<u16, E>) -> Result<Self, E> {
        let mut both = |paths: [&'static str; 2], size| -> Result<[i32; 2], E> {
            let mut offset = |path| lookup(&KernelField { structure: "net", path, size }).map(i32::from);
            Ok([offset(paths[0])?, offset(paths[1])?])
        };
        if let Ok(users) = both(["nf.defrag_ipv4_users", "nf.defrag_ipv6_users"], 4) {
            return Ok(Self::Users(users.map(Field::new)));
        }
        Ok(Self::Used(both(["nf.defrag_ipv4", "nf.defrag_ipv6"], 1)?.map(Field::new)))
    }
}

/// The way from a file to its socket for kernels without `bpf_sock_from_file` (before Linux 5.11).
#[derive(Clone, Copy, Debug)]
pub struct SockFsOffsets {
    /// `inode.i_sb`.
    pub i_sb: Field<Inode, Pointer<SuperBlock>>,
    /// `super_block.s_magic`, which tells sockfs from other file systems.
    pub s_magic: Field<SuperBlock, u64>,
    /// `file.private_data`: of a file on sockfs its `struct socket` (`sock_alloc_file`, net/socket.c).
    pub private_data: Field<File, u64>,
    /// `sock.sk_type`: SOCK_STREAM and others.
    pub sk_type: Field<Sock, u16>,
    /// `sock.sk_protocol`.
    pub sk_protocol: Field<Sock, u16>,
}

impl SockFsOffsets {
    fn resolve<E>(lookup: &mut impl FnMut(&KernelField) -> Result<u16, E>) -> Result<Self, E> {
        let mut long = |structure, path| lookup(&field::<u64>(structure, path)).map(i32::from);
        let (i_sb, s_magic) = (long("inode", "i_sb")?, long("super_block", "s_magic")?);
        let private_data = long("file", "private_data")?;
        let mut short = |path| lookup(&field::<u16>("sock", path)).map(i32::from);
        Ok(Self {
            i_sb: Field::new(i_sb),
            s_magic: Field::new(s_magic),
            private_data: Field::new(private_data),
            sk_type: Field::new(short("sk_type")?),
            sk_protocol: Field::new(short("sk_protocol")?),
        })
    }
}

//! Where the fields we read lie in this kernel's structures.
//!
//! Plain data: the agent fills it from `/sys/kernel/btf/vmlinux`, where each field must have the size that is expected; the
//! simulator has a layout of its own.

use crate::asm::{Field, Laid, Pointer};
use crate::dataplane::kernel::casts::Casts;
use crate::dataplane::kernel::objects::{
    Cgroup, Directory, EpollItem, File, ListHead, MemoryGroup, Packet, PageCounter, PollEntry, Proto, Psock, Request,
    Sock, SockOpsKern, Socket, TcpSock, WaitQueue, Word,
};

/// One field that the programs read, as the kernel's BTF names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelField {
    /// Structure, as the kernel names it.
    pub structure: &'static str,
    /// Path from there, through embedded structures.
    pub path: &'static str,
    /// Bytes that it takes in the kernel; 0 for an embedded structure of which other fields are read.
    pub size: u8,
}

impl KernelField {
    const fn of<V: Laid>(structure: &'static str, path: &'static str) -> Self {
        Self { structure, path, size: V::BYTES as u8 }
    }

    /// The byte offset of a field that BTF has at this bit and of this many bytes. Its size must be the one that the
    /// programs expect, since they would read another one wrongly; the error says what differs.
    pub fn offset(&self, bit_offset: u32, bytes: u32) -> Result<u16, String> {
        let fits = self.size == 0 || bytes == u32::from(self.size);
        // A bit field must be the low bits of its byte.
        u16::try_from(bit_offset / 8).ok().filter(|_| fits && bit_offset.is_multiple_of(8)).ok_or_else(|| {
            let Self { structure, path, size } = self;
            format!(
                "{structure}.{path} is at bit {bit_offset} and {bytes} bytes long, where {size} bytes within the first \
                 65536 were expected"
            )
        })
    }
}

/// Bits of `sk_flags` for socket options whose effect redirected bytes do not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionBits {
    /// At the sender: SO_ZEROCOPY, whose notifications would never come.
    pub sender: u32,
    /// At the receiver: SO_TIMESTAMP and the options like it, SO_OOBINLINE.
    pub receiver: u32,
}

impl OptionBits {
    /// Asks `number_of` for the number of each option in `enum sock_flags` (include/net/sock.h). What it does not know,
    /// this kernel does not have.
    pub fn resolve(number_of: impl Fn(&str) -> Option<u32>) -> Self {
        // A bit that an instruction's signed immediate holds; there were 24 options in Linux 6.18.
        let bit = |name: &&str| number_of(name).filter(|number| *number < 31).map_or(0, |number| 1 << number);
        let bits = |names: &[&str]| names.iter().map(bit).fold(0, |all, bit| all | bit);
        Self {
            sender: bits(&["SOCK_ZEROCOPY"]),
            receiver: bits(&["SOCK_RCVTSTAMP", "SOCK_TIMESTAMPING_RX_SOFTWARE", "SOCK_URGINLINE"]),
        }
    }
}

/// `SOCK_SNDBUF_LOCK` and `SOCK_RCVBUF_LOCK`, include/net/sock.h.
pub(in crate::dataplane) const SNDBUF_LOCK: i32 = 1;
pub(in crate::dataplane) const RCVBUF_LOCK: i32 = 2;

/// `sock.sk_userlocks`, which is half a byte before Linux 6.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferLocks {
    /// The byte.
    pub byte: Field<Sock, u8>,
    /// Where in it `SOCK_SNDBUF_LOCK` (include/net/sock.h) is; `SOCK_RCVBUF_LOCK` is the next bit.
    pub shift: u8,
}

/// Declares a group of fields: each with its place in the kernel, the type of its object and its own.
macro_rules! field_group {
    (
        $(#[$meta:meta])* $group:ident {
            $( $(#[doc = $doc:literal])* $name:ident: $structure:literal . $path:literal, $object:ty, $value:ty; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $group {
            $( $(#[doc = $doc])* pub $name: Field<$object, $value>, )*
        }

        impl $group {
            /// The fields, as the kernel's BTF names them.
            pub const FIELDS: &'static [KernelField] = &[
                $( KernelField::of::<$value>($structure, $path), )*
            ];

            fn resolve_all<E>(mut lookup: impl FnMut(&KernelField) -> Result<u16, E>) -> Result<Self, E> {
                Ok(Self { $(
                    $name: Field::new(lookup(&KernelField::of::<$value>($structure, $path))?.into()),
                )* })
            }
        }
    };
}

field_group! {
    /// How to get from a socket to the epoll instances that watch it, and what they watch for.
    EpollFields {
        /// Who waits for the socket.
        queue: "sock"."sk_wq", Sock, Pointer<WaitQueue>;
        /// The list of those who wait.
        list: "socket_wq"."wait.head", WaitQueue, ListHead;
        /// Of an epoll instance's entry: its place in that list.
        entry: "eppoll_entry"."wait.entry", PollEntry, ListHead;
        /// Of an epoll instance's entry: what is watched.
        item: "eppoll_entry"."base", PollEntry, Pointer<EpollItem>;
        /// The file that is watched.
        file: "epitem"."ffd.file", EpollItem, Pointer<File>;
        /// The descriptor it was registered by.
        fd: "epitem"."ffd.fd", EpollItem, u32;
        /// `EPOLL*` bits.
        events: "epitem"."event.events", EpollItem, u32;
        /// What the program gets back with each event.
        data: "epitem"."event.data", EpollItem, u64;
    }
}

impl EpollFields {
    /// Asks `lookup` for each field's byte offset, and returns its first error.
    pub fn resolve<E>(lookup: impl FnMut(&KernelField) -> Result<u16, E>) -> Result<Self, E> {
        Self::resolve_all(lookup)
    }

    /// From the place of an entry in the list to what it watches.
    pub(in crate::dataplane) const fn item_of_entry(&self) -> Field<ListHead, Pointer<EpollItem>> {
        Field::new(self.item.offset() - self.entry.offset())
    }
}

field_group! {
    /// The limits on memory that a socket's group and those above it can have: `memory.max`, or in version 1 of the
    /// controller `memory.kmem.tcp.limit_in_bytes`.
    MemoryLimit {
        /// Bytes that the socket has been granted already.
        granted: "sock"."sk_forward_alloc", Sock, u32;
        /// The group, or null, with flags in the low bits on some kernels.
        group: "sock"."sk_memcg", Sock, Pointer<MemoryGroup>;
        /// What sockets are charged to in version 2; [`MemoryLimit::VERSION_1`] in version 1.
        counter: "mem_cgroup"."memory", MemoryGroup, PageCounter;
        /// In pages.
        usage: "page_counter"."usage.counter", PageCounter, u64;
        /// In pages.
        most: "page_counter"."max", PageCounter, u64;
        /// That of the group above, or null.
        parent: "page_counter"."parent", PageCounter, Pointer<PageCounter>;
    }
}

impl MemoryLimit {
    /// What sockets are charged to in version 1 of the controller.
    pub const VERSION_1: KernelField = KernelField::of::<PageCounter>("mem_cgroup", "tcpmem");

    /// Asks `lookup` for each field's byte offset, and returns its first error. `version_2` says which version of the
    /// controller limits memory.
    pub fn resolve<E>(version_2: bool, mut lookup: impl FnMut(&KernelField) -> Result<u16, E>) -> Result<Self, E> {
        let counter = KernelField::of::<PageCounter>("mem_cgroup", "memory");
        Self::resolve_all(|field| lookup(if !version_2 && *field == counter { &Self::VERSION_1 } else { field }))
    }
}

field_group! {
    /// What tells which connections are to leave.
    MemberFields {
        /// Address family.
        family: "sock"."__sk_common.skc_family", Sock, u16;
        /// Own port, host byte order.
        local_port: "sock"."__sk_common.skc_num", Sock, u16;
        /// The peer's port, network byte order.
        remote_port: "sock"."__sk_common.skc_dport", Sock, u16;
        /// Own IPv4 address.
        local_v4: "sock"."__sk_common.skc_rcv_saddr", Sock, u32;
        /// The peer's IPv4 address.
        remote_v4: "sock"."__sk_common.skc_daddr", Sock, u32;
        /// Own IPv6 address.
        local_v6: "sock"."__sk_common.skc_v6_rcv_saddr", Sock, [u64; 2];
        /// The peer's IPv6 address.
        remote_v6: "sock"."__sk_common.skc_v6_daddr", Sock, [u64; 2];
        /// The cgroup in which the socket was made; see [`MemberFields::OLDER_CGROUP`].
        cgroup: "sock"."sk_cgrp_data.cgroup", Sock, Pointer<Cgroup>;
        /// A cgroup's directory.
        directory: "cgroup"."kn", Cgroup, Pointer<Directory>;
        /// The directory's number, by which user space knows the cgroup.
        id: "kernfs_node"."id", Directory, u64;
        /// The cgroup above.
        parent: "cgroup"."self.parent", Cgroup, Pointer<Cgroup>;
    }
}

field_group! {
    /// What proves that two sockets which exist already are the ends of one connection.
    AdoptionFields {
        /// The socket's number; 0 until something asks for it.
        cookie: "sock"."__sk_common.skc_cookie", Sock, u64;
        /// State of the connection.
        state: "sock"."__sk_common.skc_state", Sock, u8;
        /// The number with which it marks its packets.
        sent_mark: "sock"."sk_txhash", Sock, u32;
        /// The mark of the last packet that it has received (`sock_rps_save_rxhash`, include/net/sock.h).
        received_mark: "sock"."__sk_common.skc_rxhash", Sock, u32;
        /// First byte that the peer has not acknowledged.
        snd_una: "tcp_sock"."snd_una", TcpSock, u32;
        /// Next byte that is expected from the peer.
        rcv_nxt: "tcp_sock"."rcv_nxt", TcpSock, u32;
    }
}

impl AdoptionFields {
    /// Asks `lookup` for each field's byte offset, and returns its first error.
    pub fn resolve<E>(lookup: impl FnMut(&KernelField) -> Result<u16, E>) -> Result<Self, E> {
        Self::resolve_all(lookup)
    }
}

impl MemberFields {
    /// Where the cgroup is before Linux 5.15. net_prio and net_cls keep their numbers in the same place, and then bit 0 is set
    /// (`sock_cgroup_ptr`, include/linux/cgroup.h).
    pub const OLDER_CGROUP: KernelField = KernelField::of::<u64>("sock", "sk_cgrp_data.val");

    /// Asks `lookup` for each field's byte offset, and returns its first error.
    pub fn resolve<E>(lookup: impl FnMut(&KernelField) -> Result<u16, E>) -> Result<Self, E> {
        Self::resolve_all(lookup)
    }
}

macro_rules! kernel_offsets {
    ($( $(#[doc = $doc:literal])* $name:ident: $structure:literal . $path:literal, $object:ty, $value:ty; )*) => {
        /// Byte offsets of the fields of [`FIELDS`], and how they are read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct KernelOffsets {
            $( $(#[doc = $doc])* pub $name: Field<$object, $value>, )*
            /// What direct loads need; without it, every field is read with `bpf_probe_read_kernel`.
            pub casts: Option<Casts>,
            /// Socket options that keep a connection on the stack.
            pub options: OptionBits,
            /// Which buffers have a size that the application has set; without it, none has.
            pub buffer_locks: Option<BufferLocks>,
            /// How a socket's edge-triggered readers are recognised; without it, all may be.
            pub epoll: Option<EpollFields>,
            /// Where groups' limits on memory are; without it, there are no such limits.
            pub memory_limit: Option<MemoryLimit>,
            /// Whether iterators may call `bpf_sk_storage_get` (Linux 5.11), with which the drain finds a socket's peer.
            pub iterators_have_storage: bool,
            /// `socket.sk`, where the sockets that have a storage must be found by their files: there the kernel's own
            /// iterator over a map of storages is not safe ([`Self::UNSAFE_STORAGE_ITERATOR`]).
            pub sockets_by_file: Option<Field<Socket, Pointer<TcpSock>>>,
            /// Whether programs can read keepalive's settings, and wake a reader by setting SO_RCVLOWAT (Linux 6.1).
            pub readers_can_be_woken: bool,
            /// Whether the processor lets loads pass loads, and stores pass stores, as arm64 does and x86 does not: then the programs
            /// need atomic operations that fetch (Linux 5.12, on arm64 5.18).
            pub weakly_ordered: bool,
        }

        /// Every field the programs read, in the order of [`KernelOffsets`].
        pub const FIELDS: &[KernelField] =
            &[ $( KernelField::of::<$value>($structure, $path), )* ];

        impl KernelOffsets {
            /// A function of kernels in which `bpf_iter_bpf_sk_storage_map` is not safe. It came with Linux 7.0, and makes
            /// `bpf_local_storage_elem.local_storage` null while a socket is freed. `__bpf_sk_storage_map_seq_show`
            /// (net/core/bpf_sk_storage.c) dereferences it unchecked: a guest of Linux 7.3.4 reported a NULL pointer
            /// dereference there, twice.
            pub const UNSAFE_STORAGE_ITERATOR: &str = "bpf_selem_unlink_nofail";

            /// [`Self::sockets_by_file`].
            pub const SOCK_OF_SOCKET: KernelField = KernelField::of::<Pointer<TcpSock>>("socket", "sk");

            /// Asks `lookup` for each field's byte offset, and returns its first error.
            pub fn resolve<E>(mut lookup: impl FnMut(&KernelField) -> Result<u16, E>) -> Result<Self, E> {
                Ok(Self {
                    $( $name: Field::new(lookup(&KernelField::of::<$value>($structure, $path))?.into()), )*
                    casts: None,
                    options: OptionBits::default(),
                    buffer_locks: None,
                    epoll: None,
                    memory_limit: None,
                    iterators_have_storage: false,
                    sockets_by_file: None,
                    readers_can_be_woken: false,
                    weakly_ordered: false,
                })
            }
        }
    };
}

kernel_offsets! {
    /// Next byte this socket's application will read from the stack.
    copied_seq: "tcp_sock"."copied_seq", TcpSock, u32;
    /// Next byte this socket's application will hand to the stack.
    write_seq: "tcp_sock"."write_seq", TcpSock, u32;
    /// How the stack gathers small messages; 4 bits, the low ones of their byte (checked by who looks it up).
    nonagle: "tcp_sock"."nonagle", TcpSock, u8;
    /// Non-zero while a thread is inside a system call on this socket.
    lock_owned: "sock"."sk_lock.owned", Sock, u32;
    /// SO_RCVLOWAT.
    rcvlowat: "sock"."sk_rcvlowat", Sock, u32;
    /// RCV_SHUTDOWN and SEND_SHUTDOWN bits.
    shutdown: "sock"."sk_shutdown", Sock, u8;
    /// Socket options, a bit each; see [`OptionBits`].
    sk_flags: "sock"."__sk_common.skc_flags", Sock, u64;
    /// SO_PEEK_OFF, or -1.
    peek_off: "sock"."sk_peek_off", Sock, u32;
    /// The `struct socket`, null before accept(2).
    socket: "sock"."sk_socket", Sock, Pointer<Socket>;
    /// The `sk_psock`, with flags in the low bits.
    user_data: "sock"."sk_user_data", Sock, Pointer<Psock>;
    /// The open file, null for kernel sockets.
    file: "socket"."file", Socket, Pointer<File>;
    /// O_NONBLOCK and other flags.
    f_flags: "file"."f_flags", File, u32;
    /// List of redirected messages not yet read.
    ingress_msg: "sk_psock"."ingress_msg", Psock, ListHead;
    /// The `struct sock` or `struct request_sock` a sock_ops program runs for.
    ops_sk: "bpf_sock_ops_kern"."sk", SockOpsKern, Pointer<TcpSock>;
    /// The client's initial sequence number.
    rcv_isn: "tcp_request_sock"."rcv_isn", Request, u32;
    /// The server's initial sequence number.
    snt_isn: "tcp_request_sock"."snt_isn", Request, u32;
    /// One for each map, one more for each thread inside a system call on the socket.
    psock_refcnt: "sk_psock"."refcnt.refs.counter", Psock, u32;
    /// List of the maps that the socket is in.
    psock_maps: "sk_psock"."link", Psock, ListHead;
    /// The callbacks that sock_ops programs have asked for.
    callback_flags: "tcp_sock"."bpf_sock_ops_cb_flags", TcpSock, u8;
    /// What TCP_ULP has set: null, or an upper-layer protocol such as kTLS.
    ulp_ops: "inet_connection_sock"."icsk_ulp_ops", TcpSock, u64;
    /// SO_SNDBUF, doubled, as the kernel counts.
    sndbuf: "sock"."sk_sndbuf", Sock, u32;
    /// SO_RCVBUF, doubled.
    rcvbuf: "sock"."sk_rcvbuf", Sock, u32;
    /// `rcv_nxt` when the window was last offered.
    rcv_wup: "tcp_sock"."rcv_wup", TcpSock, u32;
    /// The window that was offered then.
    rcv_wnd: "tcp_sock"."rcv_wnd", TcpSock, u32;
    /// TCP_KEEPIDLE in the kernel's ticks, or 0 for the default.
    keepalive_time: "tcp_sock"."keepalive_time", TcpSock, u32;
    /// The protocol.
    prot: "sock"."__sk_common.skc_prot", Sock, Pointer<Proto>;
    /// Address of the word that says whether TCP as a whole is under memory pressure.
    memory_pressure: "proto"."memory_pressure", Proto, Pointer<Word>;
    /// The packet a sock_ops program runs for, or null.
    ops_skb: "bpf_sock_ops_kern"."skb", SockOpsKern, Pointer<Packet>;
    /// The number with which a local sender has marked the packet.
    packet_hash: "sk_buff"."hash", Packet, u32;
    /// The number with which a listener marks its answer to a SYN.
    request_hash: "tcp_request_sock"."txhash", Request, u32;
    /// Bytes that the peer has acknowledged.
    bytes_acked: "tcp_sock"."bytes_acked", TcpSock, u64;
    /// Bytes received in order.
    bytes_received: "tcp_sock"."bytes_received", TcpSock, u64;
}

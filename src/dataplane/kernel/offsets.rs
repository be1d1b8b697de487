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

/// Ids in the kernel's BTF with which `bpf_rdonly_cast` (Linux 6.2) makes a pointer to a kernel object of an address. A
/// load through it is one instruction that yields 0 where there is no memory, instead of a helper call: a fifth of the
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Casts {
    /// The kernel function `bpf_rdonly_cast`.
    pub rdonly_cast: u32,
    /// `struct tcp_sock`, which starts with its `struct sock`.
    pub tcp_sock: u32,
    /// `struct sk_psock`.
    pub sk_psock: u32,
    /// `struct bpf_sock_ops_kern`.
    pub sock_ops: u32,
    /// `struct tcp_request_sock`.
    pub request: u32,
    /// `WORDS`: our own storage as the kernel may see it.
    pub words: u32,
}

/// A structure that is nothing but numbers and larger than our storage's head, `include/uapi/linux/if_link.h`: the kernel
/// wants a type of its own for every cast.
const WORDS: &str = "rtnl_link_stats64";

impl Casts {
    /// Asks `id_of` for the id of each name; nothing when one is missing.
    pub fn resolve(mut id_of: impl FnMut(&str) -> Option<u32>) -> Option<Self> {
        Some(Self {
            rdonly_cast: id_of("bpf_rdonly_cast")?,
            tcp_sock: id_of("tcp_sock")?,
            sk_psock: id_of("sk_psock")?,
            sock_ops: id_of("bpf_sock_ops_kern")?,
            request: id_of("tcp_request_sock")?,
            words: id_of(WORDS)?,
        })
    }
}

/// Bits of `sk_flags` for socket options whose effect redirected bytes do not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionBits {
    /// At the sender: SO_ZEROCOPY, whose notifications would never come.
    pub sender: u32,
    /// At the receiver: SO_TIMESTAMP and its kin, SO_OOBINLINE.
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

/// `sock.sk_userlocks`, which is half a byte before Linux 6.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferLocks {
    /// Offset of the byte.
    pub byte: u16,
    /// Where in it `SOCK_SNDBUF_LOCK` (include/net/sock.h) is; `SOCK_RCVBUF_LOCK` is the next bit.
    pub shift: u8,
}

/// How to get from a socket to the epoll instances that watch it, and what they watch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpollFields {
    /// `sock.sk_wq`.
    pub queue: u16,
    /// `socket_wq.wait.head`: the list of those who wait for the socket.
    pub list: u16,
    /// From an entry's place in that list (`eppoll_entry.wait.dispatcher`) to `eppoll_entry.base`.
    pub to_item: i16,
    /// `epitem.ffd.file`: the file that is watched.
    pub file: u16,
    /// `epitem.ffd.fd`: the descriptor it was registered by.
    pub fd: u16,
    /// `epitem.event.events`.
    pub events: u16,
    /// `epitem.event.data`: what the program gets back with each event.
    pub data: u16,
}

/// The limits on memory that a socket's group and those above it can have: `memory.max`, or in version 1 of the
/// controller `memory.kmem.tcp.limit_in_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// `sock.sk_forward_alloc`: bytes that the socket has been granted already.
    pub granted: u16,
    /// `sock.sk_memcg`: the group, or null, with flags in the low bits on some kernels.
    pub group: u16,
    /// The `struct page_counter` that sockets are charged to: `mem_cgroup.memory`, or `mem_cgroup.tcpmem`.
    pub counter: u16,
    /// `page_counter.usage`, in pages.
    pub usage: u16,
    /// `page_counter.max`, in pages.
    pub most: u16,
    /// `page_counter.parent`: that of the group above, or null.
    pub parent: u16,
}

macro_rules! kernel_offsets {
    ($( $(#[doc = $doc:literal])* $name:ident: $structure:literal . $path:literal, $size:literal; )*) => {
        /// Byte offsets of the fields of [`FIELDS`], and how they are read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct KernelOffsets {
            $( $(#[doc = $doc])* pub $name: u16, )*
            /// What direct loads need; without it, every field is read with `bpf_probe_read_kernel`.
            pub casts: Option<Casts>,
            /// Socket options that keep a connection on the stack.
            pub options: OptionBits,
            /// Which buffers have a size that the application has set; without it, none has.
            pub buffer_locks: Option<BufferLocks>,
            /// How a socket's edge-triggered readers are told from others; without it, all may be.
            pub epoll: Option<EpollFields>,
            /// Where groups' limits on memory are; without it, there are no such limits.
            pub memory_limit: Option<MemoryLimit>,
            /// Whether iterators may call `bpf_sk_storage_get` (Linux 5.11), with which the drain finds a socket's peer.
            pub iterators_have_storage: bool,
            /// Whether programs can read keepalive's settings, and tell a reader anew by setting SO_RCVLOWAT (Linux 6.1).
            pub readers_can_be_woken: bool,
        }

        /// Every field the programs read, in the order of [`KernelOffsets`].
        pub const FIELDS: &[Field] = &[ $( Field { structure: $structure, path: $path, size: $size }, )* ];

        impl KernelOffsets {
            /// Asks `lookup` for each field's byte offset, and returns its first error.
            pub fn resolve<E>(mut lookup: impl FnMut(&Field) -> Result<u16, E>) -> Result<Self, E> {
                Ok(Self {
                    $( $name: lookup(&Field { structure: $structure, path: $path, size: $size })?, )*
                    casts: None,
                    options: OptionBits::default(),
                    buffer_locks: None,
                    epoll: None,
                    memory_limit: None,
                    iterators_have_storage: false,
                    readers_can_be_woken: false,
                })
            }
        }
    };
}

kernel_offsets! {
    /// Next byte this socket's application will read from the stack.
    copied_seq: "tcp_sock"."copied_seq", 4;
    /// Next byte this socket's application will hand to the stack.
    write_seq: "tcp_sock"."write_seq", 4;
    /// How the stack gathers small messages; 4 bits, the low ones of their byte (checked by who looks it up).
    nonagle: "tcp_sock"."nonagle", 1;
    /// Non-zero while a thread is inside a system call on this socket.
    lock_owned: "sock"."sk_lock.owned", 4;
    /// SO_RCVLOWAT.
    rcvlowat: "sock"."sk_rcvlowat", 4;
    /// RCV_SHUTDOWN and SEND_SHUTDOWN bits.
    shutdown: "sock"."sk_shutdown", 1;
    /// Socket options, a bit each; see [`OptionBits`].
    sk_flags: "sock"."__sk_common.skc_flags", 8;
    /// SO_PEEK_OFF, or -1.
    peek_off: "sock"."sk_peek_off", 4;
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
    /// The `struct sock` or `struct request_sock` a sock_ops program runs for.
    ops_sk: "bpf_sock_ops_kern"."sk", 8;
    /// The client's initial sequence number.
    rcv_isn: "tcp_request_sock"."rcv_isn", 4;
    /// The server's initial sequence number.
    snt_isn: "tcp_request_sock"."snt_isn", 4;
    /// One for the map, one more for each thread inside a system call on the socket.
    psock_refcnt: "sk_psock"."refcnt.refs.counter", 4;
    /// SO_SNDBUF, doubled, as the kernel counts.
    sndbuf: "sock"."sk_sndbuf", 4;
    /// SO_RCVBUF, doubled.
    rcvbuf: "sock"."sk_rcvbuf", 4;
    /// The protocol.
    prot: "sock"."__sk_common.skc_prot", 8;
    /// Address of the word that says whether TCP as a whole is under memory pressure.
    memory_pressure: "proto"."memory_pressure", 8;
}

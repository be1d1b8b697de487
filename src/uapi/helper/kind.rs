//! The kinds of arguments and results.

/// One argument (`enum bpf_arg_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arg {
    /// Any initialised register.
    Anything,
    /// The context.
    Ctx,
    /// The context or 0.
    CtxOrNull,
    /// A map.
    Map,
    /// Memory that holds a key of the map in an earlier argument.
    Key,
    /// Memory that holds a value of that map.
    Value,
    /// Memory to which a value of that map is written.
    ValueOut,
    /// Memory that holds a value of that map, or 0.
    ValueOrNull,
    /// Memory that is read, of the size in the next argument.
    Mem,
    /// The same, or 0.
    MemOrNull,
    /// Memory that is written, of the size in the next argument; it need not be initialised.
    MemOut,
    /// The same, or 0.
    MemOutOrNull,
    /// Memory that is read and written.
    MemInOut,
    /// 8 aligned bytes that are written; they need not be initialised (`long *`).
    LongOut,
    /// The size of the memory before it, not 0.
    Size,
    /// The size of the memory before it.
    SizeOrZero,
    /// A constant: the size of the memory that is returned.
    AllocSize,
    /// A `struct bpf_spin_lock` in a map's value.
    SpinLock,
    /// A `struct bpf_timer` in a map's value.
    Timer,
    /// A socket of the types with their own access tables.
    SockCommon,
    /// The same, or a kernel's socket structure.
    BtfSock,
    /// The same; its reference is released.
    SockRelease,
    /// A socket of either kind, or 0 (`bpf_get_socket_cookie` of tracing programs).
    BtfSockOrNull,
    /// A kernel's socket structure, or 0 (`bpf_sk_storage_get` of tracing programs).
    SockStructOrNull,
    /// `struct bpf_sock`, or 0.
    FullSockOrNull,
    /// A structure of the kernel.
    Structure(Object),
    /// `struct task_struct`.
    Task,
    /// The same, or 0.
    TaskOrNull,
    /// `struct cgroup`, or 0.
    CgroupOrNull,
    /// A ring buffer's record, which is released.
    RingbufMem,
    /// A string in constant map data.
    ConstStr,
    /// A subprogram.
    Func,
    /// A pointer to the stack, or 0.
    StackOrNull,
    /// A per-CPU variable.
    PerCpu,
    /// A pointer into the kernel in a map's value.
    KptrDest,
    /// The pointer that takes its place, with its reference, or NULL.
    KptrSource,
    /// A dynptr of any kind.
    Dynptr,
    /// Room for a dynptr that the helper makes.
    DynptrOut(DynptrKind),
    /// A dynptr with a record of a ring buffer, which is released.
    DynptrRelease,
}

/// What a helper returns (`enum bpf_return_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ret {
    /// A number.
    Int,
    /// Nothing.
    Void,
    /// A pointer to a value of the map.
    MapValue,
    /// The same, or 0.
    MapValueOrNull,
    /// `struct bpf_tcp_sock`, or 0.
    TcpSockOrNull,
    /// `struct bpf_sock`, or 0.
    SocketOrNull,
    /// The same, of which only what all sockets have may be read.
    SockCommonOrNull,
    /// Memory of the size in an argument, in a ring buffer, or 0.
    RingbufMemOrNull,
    /// Memory of the size in an argument, which a dynptr describes, or 0.
    DynptrMemOrNull,
    /// A kernel structure, or 0.
    BtfOrNull(Object),
    /// A kernel structure.
    Btf(Object),
    /// A kernel structure that stays valid.
    BtfTrusted(Object),
    /// Depends on things that are not simulated.
    Other,
}

/// What a dynptr describes (`enum bpf_dynptr_type`), as far as helpers of our types make them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum DynptrKind {
    /// A map's value.
    Local = 1,
    /// A record of a ring buffer, which must be submitted or discarded.
    Ringbuf = 2,
    /// A packet.
    Skb = 3,
    /// A packet, in a program of type xdp.
    Xdp = 4,
}

impl DynptrKind {
    /// The kind with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Local, Self::Ringbuf, Self::Skb, Self::Xdp].into_iter().find(|kind| *kind as u32 == number)
    }

    /// Its name in the kernel's log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ringbuf => "ringbuf",
            Self::Skb => "skb",
            Self::Xdp => "xdp",
        }
    }
}

/// The kernel structures that helpers take or return pointers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Object {
    /// `struct tcp_sock`.
    TcpSock,
    /// `struct tcp6_sock`.
    Tcp6Sock,
    /// `struct tcp_timewait_sock`.
    TcpTimewaitSock,
    /// `struct tcp_request_sock`.
    TcpRequestSock,
    /// `struct udp6_sock`.
    Udp6Sock,
    /// `struct unix_sock`.
    UnixSock,
    /// `struct mptcp_sock`.
    MptcpSock,
    /// `struct task_struct`.
    Task,
    /// `struct pt_regs`.
    PtRegs,
    /// `struct seq_file`.
    SeqFile,
    /// `struct file`.
    File,
    /// `struct socket`.
    Socket,
}

impl Object {
    /// The structure's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TcpSock => "tcp_sock",
            Self::Tcp6Sock => "tcp6_sock",
            Self::TcpTimewaitSock => "tcp_timewait_sock",
            Self::TcpRequestSock => "tcp_request_sock",
            Self::Udp6Sock => "udp6_sock",
            Self::UnixSock => "unix_sock",
            Self::MptcpSock => "mptcp_sock",
            Self::Task => "task_struct",
            Self::PtRegs => "pt_regs",
            Self::SeqFile => "seq_file",
            Self::File => "file",
            Self::Socket => "socket",
        }
    }

    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::TcpSock,
        Self::Tcp6Sock,
        Self::TcpTimewaitSock,
        Self::TcpRequestSock,
        Self::Udp6Sock,
        Self::UnixSock,
        Self::MptcpSock,
        Self::Task,
        Self::PtRegs,
        Self::SeqFile,
        Self::File,
        Self::Socket,
    ];

    /// Whether `struct sock_common` is at offset 0, so that helpers for sockets take it.
    pub fn is_sock(self) -> bool {
        !matches!(self, Self::Task | Self::PtRegs | Self::SeqFile | Self::File | Self::Socket)
    }
}

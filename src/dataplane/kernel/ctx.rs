//! Offsets and values of the program contexts (include/uapi/linux/bpf.h).

/// `struct bpf_sock_ops`.
pub(in crate::dataplane) mod sock_ops {
    pub(in crate::dataplane) const OP: i16 = 0;
    pub(in crate::dataplane) const FAMILY: i16 = 20;
    /// Network byte order.
    pub(in crate::dataplane) const REMOTE_IP4: i16 = 24;
    pub(in crate::dataplane) const LOCAL_IP4: i16 = 28;
    pub(in crate::dataplane) const REMOTE_IP6: i16 = 32;
    pub(in crate::dataplane) const LOCAL_IP6: i16 = 48;
    /// Network byte order, in a 32-bit field.
    pub(in crate::dataplane) const REMOTE_PORT: i16 = 64;
    /// Host byte order, in a 32-bit field.
    pub(in crate::dataplane) const LOCAL_PORT: i16 = 68;
    /// 0 for the request of a connection that is not established yet.
    pub(in crate::dataplane) const IS_FULLSOCK: i16 = 72;
    pub(in crate::dataplane) const CB_FLAGS: i16 = 84;
    pub(in crate::dataplane) const RCV_NXT: i16 = 100;
    pub(in crate::dataplane) const SND_NXT: i16 = 104;
    pub(in crate::dataplane) const SK: i16 = 184;

    /// `BPF_SOCK_OPS_RWND_INIT`.
    pub(in crate::dataplane) const RWND_INIT: i32 = 2;
    /// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB`.
    pub(in crate::dataplane) const ACTIVE_ESTABLISHED: i32 = 4;
    /// `BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB`.
    pub(in crate::dataplane) const PASSIVE_ESTABLISHED: i32 = 5;
    /// `BPF_SOCK_OPS_RTT_CB`.
    pub(in crate::dataplane) const RTT: i32 = 12;
    /// `BPF_SOCK_OPS_HDR_OPT_LEN_CB`: a packet is being made.
    pub(in crate::dataplane) const HDR_OPT_LEN: i32 = 14;
    /// `1 << SOCK_KEEPOPEN` of `enum sock_flags`, include/net/sock.h.
    pub(in crate::dataplane) const KEEPOPEN: i32 = 1 << 3;
    /// `SOL_SOCKET`, `SO_KEEPALIVE` and `SO_RCVLOWAT`, include/uapi/asm-generic/socket.h.
    pub(in crate::dataplane) const SOL_SOCKET: i32 = 1;
    pub(in crate::dataplane) const SO_KEEPALIVE: i32 = 9;
    pub(in crate::dataplane) const SO_RCVLOWAT: i32 = 18;
    /// `SOL_TCP`, include/linux/socket.h; `TCP_KEEPIDLE` and `TCP_KEEPINTVL`, include/uapi/linux/tcp.h.
    pub(in crate::dataplane) const SOL_TCP: i32 = 6;
    pub(in crate::dataplane) const TCP_KEEPIDLE: i32 = 4;
    pub(in crate::dataplane) const TCP_KEEPINTVL: i32 = 5;
    /// Default interval between probes in seconds, include/net/tcp.h.
    pub(in crate::dataplane) const TCP_KEEPALIVE_INTVL: i32 = 75;
    /// `BPF_SOCK_OPS_RTT_CB_FLAG`.
    pub(in crate::dataplane) const RTT_FLAG: i32 = 1 << 3;
    /// `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`, Linux 5.10.
    pub(in crate::dataplane) const WRITE_HDR_OPT_FLAG: i32 = 1 << 6;
}

/// `struct sk_msg_md`.
pub(in crate::dataplane) mod sk_msg {
    pub(in crate::dataplane) const SIZE: i16 = 68;
    /// Linux 5.8.
    pub(in crate::dataplane) const SK: i16 = 72;
}

/// `struct bpf_iter__sockmap` (net/core/sock_map.c).
pub(in crate::dataplane) mod iter_sockmap {
    pub(in crate::dataplane) const KEY: i16 = 16;
    pub(in crate::dataplane) const SK: i16 = 24;
}

/// `TCP_NAGLE_OFF`, include/net/tcp.h: the application has set TCP_NODELAY.
pub(in crate::dataplane) const NAGLE_OFF: i32 = 1;
/// `SK_PASS`, `enum sk_action`.
pub(in crate::dataplane) const SK_PASS: i32 = 1;
/// `BPF_F_INGRESS`.
pub(in crate::dataplane) const F_INGRESS: i32 = 1;
/// `BPF_SK_STORAGE_GET_F_CREATE`.
pub(in crate::dataplane) const STORAGE_CREATE: i32 = 1;
/// `AF_INET6`, include/linux/socket.h.
pub(in crate::dataplane) const AF_INET6: i32 = 10;
/// `O_NONBLOCK`, include/uapi/asm-generic/fcntl.h: the same on every architecture with BPF sockmap but MIPS and
/// SPARC, which are not supported.
pub(in crate::dataplane) const O_NONBLOCK: i32 = 0o4000;

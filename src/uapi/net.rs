//! What programs know of sockets beside BPF: families, options, states. Each is the same on every architecture that
//! sidestep supports (x86_64; aarch64 does not differ either).

/// `AF_INET`, include/linux/socket.h.
pub const AF_INET: i32 = 2;
/// `AF_INET6`, include/linux/socket.h.
pub const AF_INET6: i32 = 10;
/// `O_NONBLOCK`, include/uapi/asm-generic/fcntl.h.
pub const O_NONBLOCK: i32 = 0o4000;
/// `TCP_NAGLE_OFF`, include/net/tcp.h: the application has set TCP_NODELAY.
pub const NAGLE_OFF: i32 = 1;
/// `TCP_ESTABLISHED`, include/net/tcp_states.h.
pub const TCP_ESTABLISHED: i32 = 1;
/// `TCP_SYN_RECV`, include/net/tcp_states.h.
pub const TCP_SYN_RECV: i32 = 3;
/// `TCP_FIN_WAIT1`, include/net/tcp_states.h.
pub const TCP_FIN_WAIT1: i32 = 4;
/// `TCP_CLOSE`, include/net/tcp_states.h.
pub const TCP_CLOSE: i32 = 7;
/// `TCP_CLOSE_WAIT`, include/net/tcp_states.h.
pub const TCP_CLOSE_WAIT: i32 = 8;
/// `TCP_LAST_ACK`, include/net/tcp_states.h.
pub const TCP_LAST_ACK: i32 = 9;
/// `TCPHDR_SYN`, include/net/tcp.h.
pub const TCPHDR_SYN: i32 = 1 << 1;
/// `1 << SOCK_KEEPOPEN` of `enum sock_flags`, include/net/sock.h.
pub const SOCK_KEEPOPEN: i32 = 1 << 3;

/// `SOL_SOCKET`, include/uapi/asm-generic/socket.h.
pub const SOL_SOCKET: i32 = 1;
/// `SO_RCVBUF`, include/uapi/asm-generic/socket.h.
pub const SO_RCVBUF: i32 = 8;
/// `SO_KEEPALIVE`, include/uapi/asm-generic/socket.h.
pub const SO_KEEPALIVE: i32 = 9;
/// `SO_RCVLOWAT`, include/uapi/asm-generic/socket.h.
pub const SO_RCVLOWAT: i32 = 18;
/// `SOL_TCP`, include/linux/socket.h.
pub const SOL_TCP: i32 = 6;
/// `TCP_KEEPIDLE`, include/uapi/linux/tcp.h.
pub const TCP_KEEPIDLE: i32 = 4;
/// `TCP_KEEPINTVL`, include/uapi/linux/tcp.h.
pub const TCP_KEEPINTVL: i32 = 5;
/// `TCP_USER_TIMEOUT`, include/uapi/linux/tcp.h.
pub const TCP_USER_TIMEOUT: i32 = 18;
/// `TCP_WINDOW_CLAMP`, include/uapi/linux/tcp.h.
pub const TCP_WINDOW_CLAMP: i32 = 10;
/// `TCP_RTO_MAX_MS`, include/uapi/linux/tcp.h (Linux 6.15).
pub const TCP_RTO_MAX_MS: i32 = 44;
/// `TCP_KEEPALIVE_INTVL`, include/net/tcp.h: the default interval between two probes, in seconds.
pub const TCP_KEEPALIVE_INTVL: i32 = 75;
/// `RCV_SHUTDOWN` of `sock.sk_shutdown`, include/net/sock.h.
pub const RCV_SHUTDOWN: i32 = 1;
/// `SEND_SHUTDOWN` of `sock.sk_shutdown`, include/net/sock.h.
pub const SEND_SHUTDOWN: i32 = 2;

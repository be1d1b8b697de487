//! What the iterator writes for each socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::asm::{Field, Laid};
use crate::layout;
use crate::uapi::net::AF_INET6;

layout! {
    /// One record, as the program writes it.
    pub(super) struct Raw: 152 {
        /// The socket's address, which only tells sockets apart.
        SK: u64 = 0;
        COOKIE: u64 = 8;
        INODE: u64 = 16;
        CGROUP: u64 = 24;
        BYTES_ACKED: u64 = 32;
        BYTES_RECEIVED: u64 = 40;
        /// Network byte order; of IPv4 the first 4 bytes.
        LOCAL: [u8; 16] = 48;
        REMOTE: [u8; 16] = 64;
        COMM: [u8; 16] = 80;
        TGID: u32 = 96;
        FD: u32 = 100;
        NETNS: u32 = 104;
        FILE_FLAGS: u32 = 108;
        ISS: u32 = 112;
        IRS: u32 = 116;
        UNREAD: u32 = 120;
        UNACKED: u32 = 124;
        SEGS_OUT: u32 = 128;
        SEGS_IN: u32 = 132;
        /// Host byte order.
        LOCAL_PORT: u16 = 136;
        REMOTE_PORT: u16 = 138;
        FAMILY: u16 = 140;
        STATE: u8 = 142;
        SHUTDOWN: u8 = 143;
        IN_SOCKET_MAP: u8 = 144;
        HAS_ULP: u8 = 145;
        /// Whether the sequence numbers stood still while they were read.
        SETTLED: u8 = 146;
        /// Whether connections are tracked in the network namespace.
        TRACKED_V4: u8 = 147;
        TRACKED_V6: u8 = 148;
        PADDING: [u8; 3] = 149;
    }
}

/// One TCP socket that a process has open. A socket that several processes have open is there once for each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Tells sockets apart during one scan; an address in the kernel, never to be shown.
    pub(super) sk: u64,
    /// The socket's cookie; 0 when nothing has asked for it yet.
    pub cookie: u64,
    /// Number of its inode, as `/proc/PID/fd` shows it.
    pub inode: u64,
    /// ID of the cgroup that the socket was made in; 0 when the kernel does not show it (before Linux 5.15).
    pub cgroup: u64,
    /// Process.
    pub pid: u32,
    /// Descriptor in that process.
    pub fd: u32,
    /// First 15 bytes of the task's name.
    pub comm: String,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Whether that namespace tracks connections of this address family (nf_conntrack).
    pub tracked: bool,
    /// Own address.
    pub local: SocketAddr,
    /// The peer's address, as this end sees it.
    pub remote: SocketAddr,
    /// State of the connection.
    pub state: TcpState,
    /// Whether the file is O_NONBLOCK.
    pub nonblocking: bool,
    /// Whether this end has shut down receiving and sending.
    pub shutdown: [bool; 2],
    /// Whether the socket is in a socket map: ours or another's.
    pub in_socket_map: bool,
    /// Whether an upper layer protocol is set, for example kernel TLS.
    pub has_ulp: bool,
    /// Bytes that the peer has acknowledged; redirected bytes do not count.
    pub bytes_acked: u64,
    /// Bytes received by the stack; redirected bytes do not count.
    pub bytes_received: u64,
    /// Segments with data, sent and received.
    pub data_segments: [u32; 2],
    /// Bytes in the stack's receive queue that the application has not read.
    pub unread: u32,
    /// Bytes handed to the stack that the peer has not acknowledged.
    pub unacknowledged: u32,
    /// Own initial sequence number and the peer's, each as this end can derive it (one of them is one too high);
    /// nothing when they changed too quickly to be read.
    pub(super) initial: Option<[u32; 2]>,
}

/// A connection's state (include/net/tcp_states.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// `TCP_ESTABLISHED`.
    Established,
    /// `TCP_SYN_SENT`.
    SynSent,
    /// `TCP_FIN_WAIT1` or `TCP_FIN_WAIT2`: this end has closed.
    FinWait,
    /// `TCP_CLOSE_WAIT`: the peer has closed.
    CloseWait,
    /// `TCP_LAST_ACK` or `TCP_CLOSING`: both have closed.
    Closing,
    /// `TCP_LISTEN`.
    Listen,
    /// `TCP_CLOSE`: not connected.
    Closed,
    /// Another one, by its number.
    Other(u8),
}

impl TcpState {
    fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            4 | 5 => Self::FinWait,
            7 => Self::Closed,
            8 => Self::CloseWait,
            9 | 11 => Self::Closing,
            10 => Self::Listen,
            other => Self::Other(other),
        }
    }
}

/// `O_NONBLOCK`, as the kernel that wrote the record knows it.
const O_NONBLOCK: u32 = 0o4000;

impl Record {
    /// The socket's address in the kernel: only to be compared, and never to be shown.
    #[cfg(feature = "agent")]
    pub(crate) fn sk(&self) -> u64 {
        self.sk
    }

    /// Whether its numbers stood still while they were read, so that [`super::join`] can find its other end.
    pub fn is_settled(&self) -> bool {
        self.initial.is_some()
    }

    /// One of a socket of which nothing else is known.
    #[cfg(all(test, feature = "agent"))]
    pub(crate) fn blank(in_socket_map: bool) -> Self {
        Self { in_socket_map, ..Self::read(&[0; Raw::BYTES]) }
    }

    /// Reads one record.
    pub(super) fn read(bytes: &[u8; Raw::BYTES]) -> Self {
        let family = i32::from(u16::from_ne_bytes(value(bytes, Raw::FAMILY)));
        let address = |bytes: [u8; 16], port: [u8; 2]| {
            let ip = if family == AF_INET6 {
                IpAddr::V6(Ipv6Addr::from(bytes))
            } else {
                IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
            };
            SocketAddr::new(ip, u16::from_ne_bytes(port))
        };
        let byte = |field| value::<_, 1>(bytes, field)[0];
        let word = |field: Field<Raw, u32>| u32::from_ne_bytes(value(bytes, field));
        let long = |field: Field<Raw, u64>| u64::from_ne_bytes(value(bytes, field));
        let local = address(value(bytes, Raw::LOCAL), value(bytes, Raw::LOCAL_PORT));
        let comm: [u8; 16] = value(bytes, Raw::COMM);
        let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
        Self {
            sk: long(Raw::SK),
            cookie: long(Raw::COOKIE),
            inode: long(Raw::INODE),
            cgroup: long(Raw::CGROUP),
            pid: word(Raw::TGID),
            fd: word(Raw::FD),
            comm: String::from_utf8_lossy(&comm[..end]).into_owned(),
            netns: word(Raw::NETNS),
            tracked: byte(if local.ip().to_canonical().is_ipv4() { Raw::TRACKED_V4 } else { Raw::TRACKED_V6 }) != 0,
            local,
            remote: address(value(bytes, Raw::REMOTE), value(bytes, Raw::REMOTE_PORT)),
            state: TcpState::from_number(byte(Raw::STATE)),
            nonblocking: word(Raw::FILE_FLAGS) & O_NONBLOCK != 0,
            shutdown: [1, 2].map(|bit| byte(Raw::SHUTDOWN) & bit != 0),
            in_socket_map: byte(Raw::IN_SOCKET_MAP) != 0,
            has_ulp: byte(Raw::HAS_ULP) != 0,
            bytes_acked: long(Raw::BYTES_ACKED),
            bytes_received: long(Raw::BYTES_RECEIVED),
            data_segments: [word(Raw::SEGS_OUT), word(Raw::SEGS_IN)],
            unread: word(Raw::UNREAD),
            unacknowledged: word(Raw::UNACKED),
            initial: (byte(Raw::SETTLED) != 0).then(|| [word(Raw::ISS), word(Raw::IRS)]),
        }
    }
}

/// The `N` bytes of a field.
fn value<V: Laid, const N: usize>(bytes: &[u8; Raw::BYTES], field: Field<Raw, V>) -> [u8; N] {
    const { assert!(N == V::BYTES) };
    let place = usize::try_from(field.offset()).ok().and_then(|at| bytes.get(at..)?.first_chunk::<N>());
    // A field lies inside its structure: `layout!` checks it.
    place.copied().unwrap_or([0; N])
}

//! What the iterator writes for each socket.
//!
//! ```text
//!   0  sk, an address that only tells sockets apart   u64    8  cookie  u64   16  inode  u64   24  cgroup ID  u64
//!  32  bytes acked     u64   40  bytes received   u64
//!  48  local address, 16 bytes                        64  remote address, 16 bytes              network byte order
//!  80  comm, 16 bytes
//!  96  tgid            u32  100  fd               u32  104  namespace      u32  108  file flags     u32
//! 112  iss             u32  116  irs              u32  120  unread         u32  124  unacknowledged u32
//! 128  data segs out   u32  132  data segs in     u32
//! 136  local port      u16  138  remote port      u16  140  family         u16  142  state u8  143  shutdown u8
//! 144  in a socket map u8   145  has a ULP u8     146  settled u8          147  padding
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(super) const SK: i16 = 0;
pub(super) const COOKIE: i16 = 8;
pub(super) const INODE: i16 = 16;
pub(super) const CGROUP: i16 = 24;
pub(super) const BYTES_ACKED: i16 = 32;
pub(super) const BYTES_RECEIVED: i16 = 40;
pub(super) const LOCAL: i16 = 48;
pub(super) const REMOTE: i16 = 64;
pub(super) const COMM: i16 = 80;
pub(super) const TGID: i16 = 96;
pub(super) const FD: i16 = 100;
pub(super) const NETNS: i16 = 104;
pub(super) const FILE_FLAGS: i16 = 108;
pub(super) const ISS: i16 = 112;
pub(super) const IRS: i16 = 116;
pub(super) const UNREAD: i16 = 120;
pub(super) const UNACKED: i16 = 124;
pub(super) const SEGS_OUT: i16 = 128;
pub(super) const SEGS_IN: i16 = 132;
pub(super) const LOCAL_PORT: i16 = 136;
pub(super) const REMOTE_PORT: i16 = 138;
pub(super) const FAMILY: i16 = 140;
pub(super) const STATE: i16 = 142;
pub(super) const SHUTDOWN: i16 = 143;
pub(super) const MEMBER: i16 = 144;
pub(super) const ULP: i16 = 145;
pub(super) const SETTLED: i16 = 146;
/// Bytes of a record.
pub(super) const SIZE: i16 = 152;

/// One TCP socket that a process has open. A socket that several processes have open is there once for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Tells sockets apart during one scan; an address in the kernel, never to be shown.
    pub(super) sk: u64,
    /// The socket's cookie; 0 when nothing has asked for it yet.
    pub cookie: u64,
    /// Number of its inode, as `/proc/PID/fd` shows it.
    pub inode: u64,
    /// ID of the cgroup that the socket was made in; 0 when the kernel does not tell (before Linux 5.15).
    pub cgroup: u64,
    /// Process.
    pub pid: u32,
    /// Descriptor in that process.
    pub fd: u32,
    /// First 15 bytes of the task's name.
    pub comm: String,
    /// Inode number of the network namespace.
    pub netns: u32,
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

/// `AF_INET6` and `O_NONBLOCK`, as the kernel that wrote the record knows them.
const AF_INET6: u16 = 10;
const O_NONBLOCK: u32 = 0o4000;

impl Record {
    /// Reads one record.
    pub(super) fn read(bytes: &[u8; SIZE as usize]) -> Self {
        let [local, remote] = [LOCAL, REMOTE].map(|at| field::<16>(bytes, at));
        let [local_port, remote_port] = [LOCAL_PORT, REMOTE_PORT].map(|at| u16::from_ne_bytes(field(bytes, at)));
        let family = u16::from_ne_bytes(field(bytes, FAMILY));
        let address = |bytes: [u8; 16]| match family {
            AF_INET6 => IpAddr::V6(Ipv6Addr::from(bytes)),
            _ => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        };
        let word = |at| u32::from_ne_bytes(field(bytes, at));
        let long = |at| u64::from_ne_bytes(field(bytes, at));
        let [state, shutdown, member, ulp, settled] =
            [STATE, SHUTDOWN, MEMBER, ULP, SETTLED].map(|at| field::<1>(bytes, at)[0]);
        let comm = field::<16>(bytes, COMM);
        let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
        Self {
            sk: long(SK),
            cookie: long(COOKIE),
            inode: long(INODE),
            cgroup: long(CGROUP),
            pid: word(TGID),
            fd: word(FD),
            comm: String::from_utf8_lossy(&comm[..end]).into_owned(),
            netns: word(NETNS),
            local: SocketAddr::new(address(local), local_port),
            remote: SocketAddr::new(address(remote), remote_port),
            state: TcpState::from_number(state),
            nonblocking: word(FILE_FLAGS) & O_NONBLOCK != 0,
            shutdown: [shutdown & 1 != 0, shutdown & 2 != 0],
            in_socket_map: member != 0,
            has_ulp: ulp != 0,
            bytes_acked: long(BYTES_ACKED),
            bytes_received: long(BYTES_RECEIVED),
            data_segments: [word(SEGS_OUT), word(SEGS_IN)],
            unread: word(UNREAD),
            unacknowledged: word(UNACKED),
            initial: (settled != 0).then(|| [word(ISS), word(IRS)]),
        }
    }
}

/// The `N` bytes at an offset of the record, which all lie inside it.
fn field<const N: usize>(bytes: &[u8; SIZE as usize], at: i16) -> [u8; N] {
    let mut value = [0; N];
    if let Some(found) = bytes.get(at as usize..).and_then(|rest| rest.first_chunk::<N>()) {
        value = *found;
    }
    value
}

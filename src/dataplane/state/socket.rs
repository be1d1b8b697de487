//! One socket's own state, in `BPF_MAP_TYPE_SK_STORAGE`: freed with the socket.

use crate::asm::{BeginsWith, Field, Laid, Pointer, Ptr, Reg};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::options::{Options, Pairing, Streams};
use crate::dataplane::state::traffic::{SocketTraffic, Traffic, number};
use crate::layout;

layout! {
    /// The part of a socket's state that its peer reads, through the address that it keeps.
    pub(in crate::dataplane) struct Head: 24 {
        /// The socket's number, which never repeats while the machine runs.
        COOKIE: u64 = 0;
        /// [`WAITING`], [`PAIRED`], [`PLAIN`] or [`OPTED_OUT`]; 0 before.
        STATE: u16 = 8;
        /// Not 0 when the agent wants this socket to leave, and its pair with it: the agent alone writes it, through
        /// `programs::leave`, so that no write of ours to the words beside it can undo it.
        LEAVING: u16 = 10;
        /// Bits, from [`UNENROLLING`] on.
        FLAGS: u32 = 12;
        /// Messages this end has sent, whichever way they went; it wraps.
        SENT: u32 = 16;
        /// How many bytes in a row this socket's reader is trusted with; 0 while nothing is known of it, [`NEVER`], or
        /// [`ANY`]. Only the programs that see it receive, or mark it, write this.
        READER: u32 = 20;
    }
}

layout! {
    /// One socket's own state. Without what is measured of streams it ends behind the peer's key, and without four-tuple pairing
    /// as well behind the second word of the rendezvous key.
    pub(in crate::dataplane) struct Socket: 424 {
        HEAD: Head = 0;
        PEER_COOKIE: u64 = 24;
        PEER_STORAGE: Pointer<Head> = 32;
        PEER_SK: Pointer<TcpSock> = 40;
        OWN_SK: Pointer<TcpSock> = 48;
        OWN_STORAGE: Pointer<Head> = 56;
        /// `write_seq` when the stack was last known to be read empty and quiet.
        LAST_SEQ: u32 = 64;
        /// Messages redirected since the peer's queue was last seen empty.
        BURST_MESSAGES: u32 = 68;
        /// Bytes redirected since the peer's queue was last seen empty; in the sticky tier, since the connection began.
        BURST_BYTES: u64 = 72;
        /// The peer's SENT when we last looked.
        PEER_SENT: u32 = 80;
        /// TCP_KEEPIDLE as the application has set it, while we have our own.
        KEEPIDLE: u16 = 84;
        /// TCP_KEEPINTVL as the application has set it, while we have our own.
        KEEPINTVL: u16 = 86;
        /// TCP_USER_TIMEOUT as the application has set it, while we have our own.
        USER_TIMEOUT: u32 = 88;
        /// TCP_KEEPIDLE as the application has set it, while the pair is accelerated and we have our own.
        APP_KEEPIDLE: u16 = 92;
        /// TCP_KEEPINTVL as the application has set it, while the pair is accelerated and we have our own.
        APP_KEEPINTVL: u16 = 94;
        /// `tcp_sock.keepalive_time` as it was when we last looked; 0 when it does not matter.
        KEEPALIVE_TIME: u32 = 96;
        /// TCP_RTO_MAX_MS as the application has set it, while we have our own; 0 where the kernel does not have it.
        RTO_MAX: u32 = 100;
        /// Messages this end has sent in a row since the peer's last one.
        RUN: u32 = 104;
        /// Their bytes; it wraps.
        ROW: u32 = 108;
        /// How often data has been received here.
        RECEIVES: u32 = 112;
        /// `copied_seq` after the last receive by recvmsg.
        READ_SEQ: u32 = 116;
        /// Bytes received in a row since this end last sent; it wraps.
        READ_ROW: u32 = 120;
        /// SENT at the last receive.
        READ_SENT: u32 = 124;
        /// How many splicing programs were known when this socket's reader was last looked up.
        SPLICERS: u32 = 128;
        /// How many spliced sockets were known when we last looked for our peer among them.
        SPLICES: u32 = 132;
        /// Not 0 when the agent has been asked to let this socket join the sockhash, or when it has been in it from the start. A
        /// word of its own: `programs::receives` writes it without the socket's lock.
        JOINS: u32 = 136;
        /// Messages that have been redirected because another thread's might be underway (`gate::underway`).
        UNSURE: u32 = 140;
        /// The peer's SENT for which our callback has seen that no message of the peer was underway.
        SEEN_ALONE: u32 = 144;
        /// The same, as the drain has seen it.
        DRAIN_ALONE: u32 = 148;
        /// Size of the receive buffer before we made it small, as the kernel counts it, and when it got its size back
        /// (`membership::window`); 0 while it has never been small.
        BUFFER: u32 = 152;
        /// Its size since; 0 while it is not to get its size back. A socket with another number here is [`ARMED`].
        SMALL_BUFFER: u32 = 156;
        /// The key of the pair's answer in the pairs map, which is another for each connection of a socket.
        PAIR_KEY: PairKey = 160;
        /// Bytes of both directions that the stack has carried and that have been counted.
        TALLIED: u64 = 176;
        /// What this end has sent.
        TRAFFIC: Traffic = 184;
        /// The key of the record by which the passive end finds us; at most two words of it with sequence pairing.
        RENDEZVOUS_KEY: [u64; 5] = 224;
        /// The key of our sockhash entry, with four-tuple pairing.
        OWN_KEY: FourTuple = 264;
        /// The key of the peer's sockhash entry, with four-tuple pairing.
        PEER_KEY: FourTuple = 312;
        /// What is measured of a stream that this end sends.
        PACE: Pace = 360;
    }
}

layout! {
    /// How fast a stream goes (`gate::pace`).
    pub(in crate::dataplane) struct Pace: 64 {
        /// 0 while nothing is measured.
        PHASE: u32 = 0;
        /// Messages and bytes since the last look at the clock.
        WORK: u32 = 4;
        /// Bytes in this phase.
        BYTES: u64 = 8;
        /// When it began, in nanoseconds of `CLOCK_MONOTONIC`.
        SINCE: u64 = 16;
        /// The last look at the clock.
        SEEN: u64 = 24;
        /// Nanoseconds for 1 KiB in the last phase in which the stack carried all.
        STACK: u64 = 32;
        /// What speaks for staying.
        POINTS: u32 = 40;
        /// Pauses of the sender in this phase.
        PAUSES: u32 = 44;
        /// 1 from when the reader has been seen to have read everything to the next look at the clock.
        DRAINED: u64 = 48;
        /// TCP_WINDOW_CLAMP as it was, of a receiver that has ours.
        CLAMP: u32 = 56;
        /// Ours; 0 for none (`membership::clamp`).
        CLAMPED: u32 = 60;
    }
}

layout! {
    /// The key of a pair's answer.
    pub(in crate::dataplane) struct PairKey: 16 {
        /// The active end's cookie.
        CLIENT: u64 = 0;
        /// The active end's numbers when it was established.
        NUMBERS: Numbers = 8;
    }
}

layout! {
    /// The handshake's numbers at one end.
    pub(in crate::dataplane) struct Numbers: 8 {
        SND_NXT: u32 = 0;
        RCV_NXT: u32 = 4;
    }
}

impl Numbers {
    /// Both.
    pub(in crate::dataplane) const WORD: Field<Self, u64> = Field::new(0);
}

layout! {
    /// A 4-tuple as a key. IPv4 stands as IPv4-mapped IPv6, so that both families and mapped sockets compare.
    pub(in crate::dataplane) struct FourTuple: 48 {
        /// The cookie of the network namespace.
        NETNS: u64 = 0;
        /// The local address, network byte order.
        LOCAL: Address = 8;
        /// The remote address, network byte order.
        REMOTE: Address = 24;
        /// The local port, host byte order.
        LOCAL_PORT: u32 = 40;
        /// The remote port, host byte order.
        REMOTE_PORT: u32 = 44;
    }
}

layout! {
    /// An IPv6 address, or an IPv4 one mapped to IPv6 (RFC 4291, section 2.5.5.2).
    pub(in crate::dataplane) struct Address: 16 {
        /// 0 when it is mapped.
        FIRST: u64 = 0;
        /// 0xffff in network byte order when it is mapped.
        THIRD: u32 = 8;
        /// The IPv4 address when it is mapped.
        IP4: u32 = 12;
    }
}

/// Our own state begins with what the peer reads of it.
impl BeginsWith<Head> for Socket {}

impl Address {
    /// The four words.
    pub(in crate::dataplane) const WORDS: Field<Self, [u32; 4]> = Field::new(0);
    /// The two halves.
    pub(in crate::dataplane) const HALVES: Field<Self, [u64; 2]> = Field::new(0);
    /// The first of the bytes of the IPv4 address, when it is mapped.
    pub(in crate::dataplane) const IP4_FIRST: Field<Self, u8> = Field::new(12);
}

impl FourTuple {
    /// All its words.
    pub(in crate::dataplane) const WORDS: Field<Self, [u64; 6]> = Field::new(0);
}

impl Socket {
    /// The key of the listener of a passive end, as long as it is not known whether it gains. With announcements the key of the
    /// record takes one word, and a passive end has none.
    pub(in crate::dataplane) const LISTENER: Field<Self, u64> = Self::RENDEZVOUS_KEY.item(1);
    /// All its words.
    pub(in crate::dataplane) const WORDS: Field<Self, [u64; <Self as Laid>::BYTES / 8]> = Field::new(0);
}

/// This socket's own state, in R7 from where it is looked up to the program's end.
pub(in crate::dataplane) const OWN: Ptr<Socket> = Ptr::new(Reg::R7);

/// Where a socket keeps the first word of the key of its own sockhash entry.
pub(in crate::dataplane) const fn own_key(pairing: Pairing) -> Field<Socket, u64> {
    match pairing {
        Pairing::Sequence => Socket::HEAD.then(Head::COOKIE),
        Pairing::FourTuple => Socket::OWN_KEY.then(FourTuple::NETNS),
    }
}

/// The key of a socket's sockhash entry, out of its state; `None` when this is too short to be one.
pub fn sockhash_key(state: &[u8], key_size: usize) -> Option<Vec<u8>> {
    let pairing = if key_size == size_of::<u64>() { Pairing::Sequence } else { Pairing::FourTuple };
    let at = usize::try_from(own_key(pairing).offset()).ok()?;
    state.get(at..at.checked_add(key_size)?).map(<[u8]>::to_vec)
}

/// How a socket stands, out of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketState {
    /// Its number.
    pub cookie: u64,
    /// The number of its peer's socket; 0 when it does not know its peer.
    pub peer_cookie: u64,
    /// It has called connect(2); otherwise it has been accepted.
    pub is_client: bool,
    /// Where it stands.
    pub standing: Standing,
    /// The agent wants it to leave: its messages take the stack, and it goes when its redirected bytes have been read.
    pub is_leaving: bool,
    /// Messages of its present pair that the program has looked at while it was in the sockhash; it wraps.
    pub looked_at: u32,
    /// What it has sent.
    pub traffic: SocketTraffic,
}

/// Where a socket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Not enrolled yet, or only marked by a policy.
    Unknown,
    /// It waits for its peer.
    Waiting,
    /// It knows its peer.
    Paired,
    /// It is plain TCP forever.
    Plain,
    /// Its cgroup has opted out.
    OptedOut,
}

impl Standing {
    /// What [`Head::STATE`] says.
    pub(in crate::dataplane) fn of(state: i32) -> Self {
        match state {
            WAITING => Self::Waiting,
            PAIRED => Self::Paired,
            PLAIN => Self::Plain,
            OPTED_OUT => Self::OptedOut,
            _ => Self::Unknown,
        }
    }
}

impl SocketState {
    /// Whether this and `peer` are the ends of one pair, and neither is to leave.
    pub fn is_pair_with(&self, peer: &Self) -> bool {
        [(self, peer), (peer, self)]
            .into_iter()
            .all(|(end, other)| end.standing == Standing::Paired && end.peer_cookie == other.cookie && !end.is_leaving)
    }

    /// From the value in [`super::MapRole::Storage`]; `None` when it has another size than this version writes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let sizes = [Pairing::Sequence, Pairing::FourTuple].map(size_without_pace);
        if !sizes.iter().chain([&(Socket::SIZE as u32)]).any(|size| *size as usize == bytes.len()) {
            return None;
        }
        Some(Self {
            cookie: u64::from_ne_bytes(number(bytes, Socket::HEAD.then(Head::COOKIE).offset())?),
            peer_cookie: u64::from_ne_bytes(number(bytes, Socket::PEER_COOKIE.offset())?),
            is_client: number::<8>(bytes, Socket::PAIR_KEY.then(PairKey::CLIENT).offset())?
                == number(bytes, Socket::HEAD.then(Head::COOKIE).offset())?,
            standing: Standing::of(u16::from_ne_bytes(number(bytes, Socket::HEAD.then(Head::STATE).offset())?).into()),
            is_leaving: u16::from_ne_bytes(number(bytes, Socket::HEAD.then(Head::LEAVING).offset())?) != 0,
            looked_at: u32::from_ne_bytes(number(bytes, Socket::HEAD.then(Head::SENT).offset())?),
            traffic: SocketTraffic::read(bytes, Socket::TRAFFIC.offset())?,
        })
    }
}

/// Where a socket keeps the first word of the key of its peer's sockhash entry.
pub(in crate::dataplane) const fn peer_key(pairing: Pairing) -> Field<Socket, u64> {
    match pairing {
        Pairing::Sequence => Socket::PEER_COOKIE,
        Pairing::FourTuple => Socket::PEER_KEY.then(FourTuple::NETNS),
    }
}

/// Size of the map's value in bytes.
pub(in crate::dataplane) fn size(options: &Options) -> u32 {
    match options.streams() {
        Streams::Auto | Streams::Stay => Socket::SIZE as u32,
        Streams::Leave => size_without_pace(options.pairing),
    }
}

const fn size_without_pace(pairing: Pairing) -> u32 {
    match pairing {
        Pairing::Sequence => Socket::RENDEZVOUS_KEY.item(1).end() as u32,
        Pairing::FourTuple => Socket::PEER_KEY.then(FourTuple::REMOTE_PORT).end() as u32,
    }
}

/// [`Head::STATE`]: in the sockhash, waiting to be claimed.
pub(in crate::dataplane) const WAITING: i32 = 1;
/// [`Head::STATE`]: knows its peer.
pub(in crate::dataplane) const PAIRED: i32 = 2;
/// [`Head::STATE`]: out of the sockhash forever.
pub(in crate::dataplane) const PLAIN: i32 = 3;
/// [`Head::STATE`]: its cgroup has opted out.
pub(in crate::dataplane) const OPTED_OUT: i32 = 4;

/// [`Head::READER`]: reads in a way that redirected bytes do not support; the pair leaves.
pub(in crate::dataplane) const NEVER: i32 = 1;
/// [`Head::READER`]: trusted with any number of bytes. As unsigned the largest.
pub(in crate::dataplane) const ANY: i32 = -1;

/// [`Head::FLAGS`]: neither end may redirect any more.
pub(in crate::dataplane) const UNENROLLING: i32 = 1 << 0;
/// [`Head::FLAGS`]: [`Socket::LAST_SEQ`] is valid.
pub(in crate::dataplane) const QUIET: i32 = 1 << 1;
/// [`Head::FLAGS`]: what is looked at only once, at both ends, lets them be served.
pub(in crate::dataplane) const ENDS_OK: i32 = 1 << 2;
/// [`Head::FLAGS`]: a message of ours has taken the stack (sticky rule).
pub(in crate::dataplane) const PASSED: i32 = 1 << 3;
/// [`Head::FLAGS`]: a message of ours may be between its verdict and the peer's queue (`gate::underway`).
pub(in crate::dataplane) const UNDERWAY: i32 = 1 << 4;
/// [`Head::FLAGS`]: what this end sends takes the stack (policy).
pub(in crate::dataplane) const BY_STACK: i32 = 1 << 5;
/// [`Head::FLAGS`]: keepalive and TCP's timers have our settings, so that there are callbacks (`membership::wake_reader`).
pub(in crate::dataplane) const ARMED: i32 = 1 << 6;
/// [`Head::FLAGS`]: it was on before.
pub(in crate::dataplane) const KEPT_ALIVE: i32 = 1 << 7;
/// [`Head::FLAGS`]: from this bit on, the callbacks that another program had asked for before us.
pub(in crate::dataplane) const FOREIGN_SHIFT: i32 = 8;
/// [`Head::FLAGS`]: this passive end has put its answer into the pairs map. Above the seven bits at [`FOREIGN_SHIFT`].
pub(in crate::dataplane) const ANSWERED: i32 = 1 << 16;
/// [`Head::FLAGS`]: an active end whose peer is in our cgroups, and whose bytes by the stack count (`membership::tally`).
pub(in crate::dataplane) const LOCAL: i32 = 1 << 19;
/// [`Head::FLAGS`]: more was unread than the bounds permit, and the pair stays, since its reader is not edge-triggered.
pub(in crate::dataplane) const STAYS: i32 = 1 << 20;
/// [`Head::FLAGS`]: this end became a member of the sockhash when its connection existed already, or will (`gate::late`).
pub(in crate::dataplane) const LATE: i32 = 1 << 21;
/// [`Head::FLAGS`]: [`Socket::LAST_SEQ`] is our `write_seq` when both ends of a pair that joined late were members first.
pub(in crate::dataplane) const BEGUN: i32 = 1 << 22;
/// [`Head::FLAGS`]: its reader has been woken, so that it is not [`ARMED`] any more when its buffer has its size back.
pub(in crate::dataplane) const WOKEN: i32 = 1 << 24;
/// [`Head::FLAGS`]: we have set keepalive's times (`membership::keepalive`).
pub(in crate::dataplane) const KEEPALIVE_OURS: i32 = 1 << 17;
/// [`Head::FLAGS`]: keepalive was off when we last set its times.
pub(in crate::dataplane) const KEEPALIVE_WAS_OFF: i32 = 1 << 18;

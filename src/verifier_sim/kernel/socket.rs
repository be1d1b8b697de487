//! Sockets: their TCP state, their two receive queues, and the memory in which programs see them.

use std::collections::VecDeque;

use super::epoll::{WaitList, Waiter};
use super::layout::{self, put};
use super::memory::{GroupId, Memory};
use super::timers::Timers;
use crate::uapi::net;
use crate::verifier_sim::interp::{Access, Machine, RegionId, RegionKind};

/// A socket's number: its cookie, never given twice.
pub type SocketId = u64;

/// Size of `struct bpf_sock` (include/uapi/linux/bpf.h).
const BPF_SOCK_SIZE: usize = 80;
/// `SK_USER_DATA_NOCOPY | SK_USER_DATA_PSOCK` (include/net/sock.h).
const USER_DATA_FLAGS: u64 = 0b101;
/// `O_NONBLOCK`.
const O_NONBLOCK: u32 = 0o4000;

/// Consecutive bytes of what one socket has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Who sent them.
    pub from: SocketId,
    /// Number of the first byte in everything that socket has sent.
    pub start: u32,
    /// How many.
    pub len: u32,
}

impl Chunk {
    /// Cuts off the first `len` bytes.
    pub(super) fn split(&mut self, len: u32) -> Self {
        let head = Self { len: len.min(self.len), ..*self };
        self.start += head.len;
        self.len -= head.len;
        head
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// IPv4 address in host byte order.
    pub ip: u32,
    /// Port in host byte order.
    pub port: u16,
}

/// The cgroup of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cgroup {
    /// One without any program.
    Outside,
    /// The one that has the sock_ops program.
    #[default]
    Accelerated,
    /// One inside that, which opts out.
    OptedOut,
    /// One inside that, whose readers are trusted by name.
    Trusted,
}

/// How one end of a connection is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Cookie of its network namespace.
    pub netns: u64,
    /// Its cgroup.
    pub cgroup: Cgroup,
    /// Its own address, as it sees it.
    pub local: Address,
    /// Its peer's address, as it sees it.
    pub remote: Address,
    /// The callbacks that others have asked for (`BPF_SOCK_OPS_*_CB_FLAG`).
    pub cb_flags: u32,
    /// Its initial sequence number.
    pub isn: u32,
    /// Whether its file is O_NONBLOCK.
    pub nonblocking: bool,
    /// Whether something on the way takes the kernel's mark (`sk_buff.hash`) from the packets it sends.
    pub unmarked: bool,
}

impl End {
    /// A socket that does not block, of a program that is to be accelerated, with nothing on the way.
    pub fn new(netns: u64, local: Address, remote: Address, isn: u32) -> Self {
        let cgroup = Cgroup::default();
        Self { netns, cgroup, local, remote, cb_flags: 0, isn, nonblocking: true, unmarked: false }
    }
}

/// Sizes of a socket's buffers, as the kernel counts them, and which of them the application has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// `sk_sndbuf`.
    pub send: u32,
    /// `sk_rcvbuf`.
    pub receive: u32,
    /// `SOCK_SNDBUF_LOCK` (1) and `SOCK_RCVBUF_LOCK` (2), include/net/sock.h.
    pub locks: u8,
}

impl Default for Buffers {
    /// As `net.ipv4.tcp_wmem` and `net.ipv4.tcp_rmem` have them by default (net/ipv4/tcp.c).
    fn default() -> Self {
        Self { send: 16 << 10, receive: 128 << 10, locks: 0 }
    }
}

/// Something that arrived while a thread held the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Data(Chunk),
    Ack,
}

/// What makes a socket a member of socket maps (`struct sk_psock`).
#[derive(Clone, Debug)]
pub(super) struct Psock {
    pub(super) region: RegionId,
    pub(super) refs: u32,
    /// Whether another tool has the socket in a map of its own, which has one of the references.
    pub(super) in_other_map: bool,
    /// Redirected messages not yet read (`ingress_msg`).
    pub(super) queue: VecDeque<Chunk>,
}

/// A thread inside sendmsg whose message has the verdict "redirect" and is not yet in the peer's queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carry {
    pub(super) chunk: Chunk,
    pub(super) to: SocketId,
}

/// A thread inside recvmsg.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Through the stack (`tcp_recvmsg`), or the queue of redirected messages.
    pub(super) stack: bool,
    pub(super) locked: bool,
    /// It blocks until it has all it wants (MSG_WAITALL), and sleeps for more of the stack's bytes.
    pub(super) waits_for_all: bool,
    /// Its flags, and whether it reads a member.
    pub(super) flags: u32,
    pub(super) by_map: bool,
    pub(super) asleep: bool,
    pub(super) left: u32,
    pub(super) copied: u32,
}

/// One socket.
#[derive(Clone, Debug)]
pub struct Socket {
    pub(super) end: End,
    pub(super) peer: SocketId,
    pub(super) visible: RegionId,
    pub(super) kernel: RegionId,
    pub(super) file_regions: [RegionId; 2],
    pub(super) wait_list: WaitList,
    pub(super) waiters: Vec<Waiter>,
    pub(super) buffers: Buffers,
    /// The memory group it is charged to, and the bytes it has been granted.
    pub(super) group: Option<GroupId>,
    pub(super) granted: i32,
    pub(super) established: bool,
    pub(super) accepted: bool,
    pub(super) closed: bool,
    pub(super) cb_flags: u32,
    /// With what the kernel marks its packets (`sk_txhash`), and the mark of the last packet that has come (`sk_rxhash`).
    pub(super) mark: u32,
    pub(super) received_mark: u32,
    /// Whether it has called connect(2): its SYN counts among the bytes that have been acknowledged.
    pub(super) is_active: bool,
    /// Whether its peer's FIN has come.
    pub(super) fin_received: bool,
    pub(super) write_seq: u32,
    pub(super) rcv_nxt: u32,
    pub(super) copied_seq: u32,
    pub(super) rcvlowat: u32,
    pub(super) shutdown: u8,
    pub(super) options: u64,
    pub(super) peek_off: i32,
    /// Whether TCP_ULP has set an upper-layer protocol.
    pub(super) protocol: bool,
    pub(super) owned: bool,
    /// Bytes taken from the application.
    pub(super) sent: u32,
    pub(super) wire: VecDeque<Chunk>,
    pub(super) acks: u32,
    /// Bytes that the stack has carried: of its own, and of its peer (`bytes_acked`, `bytes_received`).
    pub(super) exchanged: (u64, u64),
    pub(super) receive_queue: VecDeque<Chunk>,
    pub(super) backlog: VecDeque<Packet>,
    pub(super) psock: Option<Psock>,
    pub(super) carry: Option<Carry>,
    pub(super) reading: Option<Reading>,
    /// Whether there has been an event since the application last asked.
    pub(super) notified: bool,
    pub(super) timers: Timers,
    /// What the socket was last offered to be sent: the number from which it counts, and how much (`rcv_wup`, `rcv_wnd`).
    pub(super) window: (u32, u32),
}

impl Socket {
    /// Whether a program has it probed every second.
    pub fn probes(&self) -> bool {
        self.timers.probes()
    }

    /// Number of the next byte the application will hand over, counted from 0.
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// Its own number in the next packet, and the one it expects (`snd_nxt`, `rcv_nxt`).
    pub fn numbers(&self) -> (u32, u32) {
        (self.write_seq, self.rcv_nxt)
    }

    /// The socket at the other end.
    pub fn peer(&self) -> SocketId {
        self.peer
    }

    /// The state of the connection (include/net/tcp_states.h).
    pub(super) fn tcp_state(&self) -> i32 {
        let fin_sent = self.shutdown & net::SEND_SHUTDOWN as u8 != 0;
        match (fin_sent, self.fin_received) {
            _ if self.closed => net::TCP_CLOSE,
            _ if !self.established => net::TCP_SYN_RECV,
            (false, false) => net::TCP_ESTABLISHED,
            (false, true) => net::TCP_CLOSE_WAIT,
            (true, false) => net::TCP_FIN_WAIT1,
            (true, true) => net::TCP_LAST_ACK,
        }
    }

    /// Bytes that its peer has acknowledged (`bytes_acked`).
    pub(super) fn bytes_acked(&self) -> u64 {
        self.exchanged.0 + u64::from(self.is_active)
    }

    /// The first byte that has not been acknowledged (`snd_una`). All that the stack has carried has been.
    pub(super) fn snd_una(&self) -> u32 {
        self.end.isn.wrapping_add(1).wrapping_add(self.exchanged.0 as u32)
    }

    /// Whether a thread inside a system call holds it.
    pub fn is_held(&self) -> bool {
        self.owned
    }

    /// Whether its connection can carry data both ways.
    pub fn is_established(&self) -> bool {
        self.tcp_state() == net::TCP_ESTABLISHED
    }

    /// The callbacks that a program has asked for.
    pub fn cb_flags(&self) -> u32 {
        self.cb_flags
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether accept(2) has returned it, or connect(2) has made it.
    pub fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// Whether its file is O_NONBLOCK.
    pub fn is_nonblocking(&self) -> bool {
        self.end.nonblocking
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> Cgroup {
        self.end.cgroup
    }

    /// Those who wait for it.
    pub fn waiters(&self) -> &[Waiter] {
        &self.waiters
    }

    /// The sizes of its buffers.
    pub fn buffers(&self) -> Buffers {
        self.buffers
    }

    /// When TCP sends by itself.
    pub fn timers(&self) -> Timers {
        self.timers
    }

    /// Bytes that its peer may still send it by the stack: the window that was last offered, from what has been read on.
    pub fn offered(&self) -> u32 {
        self.window.0.wrapping_add(self.window.1).wrapping_sub(self.copied_seq)
    }

    /// Offers as much as the buffer has room for; what has been offered once stays so (`__tcp_select_window`,
    /// net/ipv4/tcp_output.c).
    pub(super) fn offer_window(&mut self) {
        let unread: u32 = self.receive_queue.iter().map(|chunk| chunk.len).sum();
        let free = self.buffers.receive.saturating_sub(unread + self.redirected_waiting().1);
        // One byte of memory in two carries data at first; the ratio adapts to what arrives (`tcp_scaling_ratio`).
        let free = if self.end.isn & 2 == 0 { free / 2 } else { free / 5 * 4 };
        let left = self.window.0.wrapping_add(self.window.1).wrapping_sub(self.rcv_nxt);
        let left = if left.cast_signed() < 0 { 0 } else { left };
        self.window = (self.rcv_nxt, free.max(left));
    }

    /// The address by which programs know it.
    pub fn address(&self) -> u64 {
        self.visible.address()
    }

    /// SO_RCVLOWAT.
    pub fn rcvlowat(&self) -> u32 {
        self.rcvlowat
    }

    /// RCV_SHUTDOWN (1) and SEND_SHUTDOWN (2) bits.
    pub fn shutdown_bits(&self) -> u8 {
        self.shutdown
    }

    /// Socket options, a bit each.
    pub fn options(&self) -> u64 {
        self.options
    }

    /// SO_PEEK_OFF, or -1.
    pub fn peek_off(&self) -> i32 {
        self.peek_off
    }

    /// Whether it has an upper-layer protocol.
    pub fn has_protocol(&self) -> bool {
        self.protocol
    }

    /// Whether it is a member of a socket map.
    pub fn is_member(&self) -> bool {
        self.psock.is_some()
    }

    /// Messages and bytes in its queue of redirected messages.
    pub fn redirected_waiting(&self) -> (usize, u32) {
        let Some(psock) = &self.psock else { return (0, 0) };
        (psock.queue.len(), psock.queue.iter().map(|chunk| chunk.len).sum())
    }

    /// Its network namespace, local and remote address.
    pub fn addresses(&self) -> (u64, Address, Address) {
        (self.end.netns, self.end.local, self.end.remote)
    }

    /// The receiver of the message that is on its way past the stack, if there is one.
    pub fn redirecting_to(&self) -> Option<SocketId> {
        self.carry.map(|carry| carry.to)
    }

    /// References on its psock; 0 where it has none.
    pub fn references(&self) -> u32 {
        self.psock.as_ref().map_or(0, |psock| psock.refs)
    }

    /// Whether it is open and no thread is inside a call that reads it or holds it.
    pub(super) fn is_idle(&self) -> bool {
        self.accepted && !self.closed && !self.owned && self.reading.is_none()
    }

    /// Bytes that the stack has carried, in both directions, without its SYN.
    pub fn exchanged(&self) -> u64 {
        self.exchanged.0 + self.exchanged.1
    }

    /// Whether bytes of any path wait to be read.
    pub fn has_unread(&self) -> bool {
        !self.receive_queue.is_empty() || self.redirected_waiting().0 > 0 || !self.backlog.is_empty()
    }

    /// Writes what programs may see of this socket and never changes.
    pub(super) fn publish_identity(&self, machine: &mut Machine, id: SocketId, inode: u64, cgroup: u64) {
        let [socket, file] = self.file_regions;
        let (local, remote) = (self.end.local, self.end.remote);
        let sk = machine.memory.bytes_mut(self.kernel);
        put(sk, layout::FAMILY, &(net::AF_INET as u16).to_ne_bytes());
        put(sk, layout::PROTOCOL, &layout::IPPROTO_TCP.to_ne_bytes());
        put(sk, layout::COOKIE, &id.to_ne_bytes());
        put(sk, layout::CGROUP, &cgroup.to_ne_bytes());
        put(sk, layout::SADDR, &local.ip.to_be_bytes());
        put(sk, layout::DADDR, &remote.ip.to_be_bytes());
        put(sk, layout::NUM, &local.port.to_ne_bytes());
        put(sk, layout::DPORT, &remote.port.to_be_bytes());
        put(machine.memory.bytes_mut(socket), layout::SOCKET_SK, &self.visible.address().to_ne_bytes());
        let file = machine.memory.bytes_mut(file);
        put(file, layout::INODE, &inode.to_ne_bytes());
        put(file, layout::PRIVATE_DATA, &socket.address().to_ne_bytes());
    }

    /// Of these, its buffers.
    pub(super) fn publish_buffers(&self, sk: &mut [u8]) {
        put(sk, layout::SNDBUF, &self.buffers.send.to_ne_bytes());
        put(sk, layout::RCVBUF, &self.buffers.receive.to_ne_bytes());
        put(sk, layout::USERLOCKS, &[self.buffers.locks << layout::USERLOCKS_SHIFT]);
    }

    /// Writes what programs may see of this socket into the machine's memory.
    pub(super) fn publish(&self, machine: &mut Machine, memory: &Memory) {
        let user_data = self.psock.as_ref().map_or(0, |psock| psock.region.address() | USER_DATA_FLAGS);
        let [socket, file] = self.file_regions;
        let sk = machine.memory.bytes_mut(self.kernel);
        put(sk, layout::COPIED_SEQ, &self.copied_seq.to_ne_bytes());
        put(sk, layout::WRITE_SEQ, &self.write_seq.to_ne_bytes());
        // TCP_NODELAY on one socket of two, by a number that is drawn for each.
        put(sk, layout::NONAGLE, &[self.end.isn as u8 & 1]);
        put(sk, layout::LOCK_OWNED, &u32::from(self.owned).to_ne_bytes());
        put(sk, layout::CALLBACK_FLAGS, &[self.cb_flags as u8]);
        put(sk, layout::ULP_OPS, &u64::from(self.protocol).to_ne_bytes());
        put(sk, layout::RCVLOWAT, &self.rcvlowat.to_ne_bytes());
        put(sk, layout::SHUTDOWN, &[self.shutdown]);
        self.timers.publish(self.options, sk);
        put(sk, layout::BYTES_ACKED, &self.bytes_acked().to_ne_bytes());
        put(sk, layout::STATE, &[self.tcp_state() as u8]);
        put(sk, layout::SENT_MARK, &self.mark.to_ne_bytes());
        put(sk, layout::RECEIVED_MARK, &self.received_mark.to_ne_bytes());
        put(sk, layout::SND_UNA, &self.snd_una().to_ne_bytes());
        put(sk, layout::RCV_NXT, &self.rcv_nxt.to_ne_bytes());
        put(sk, layout::BYTES_RECEIVED, &self.exchanged.1.to_ne_bytes());
        put(sk, layout::RCV_WUP, &self.window.0.to_ne_bytes());
        put(sk, layout::RCV_WND, &self.window.1.to_ne_bytes());
        put(sk, layout::PEEK_OFF, &self.peek_off.to_ne_bytes());
        put(sk, layout::SOCKET, &(if self.accepted { socket.address() } else { 0 }).to_ne_bytes());
        self.publish_buffers(sk);
        put(sk, layout::PROT, &memory.proto().to_ne_bytes());
        put(sk, layout::FORWARD_ALLOC, &self.granted.to_ne_bytes());
        // Some kernels keep flags in the low bits.
        let group = self.group.map_or(0, |group| memory.group(group) | u64::from(self.end.isn & 1));
        put(sk, layout::MEMCG, &group.to_ne_bytes());
        let wait_queue = if self.accepted { self.wait_list.queue.address() } else { 0 };
        put(sk, layout::WAIT_QUEUE, &wait_queue.to_ne_bytes());
        put(sk, layout::USER_DATA, &user_data.to_ne_bytes());
        put(machine.memory.bytes_mut(socket), layout::FILE, &file.address().to_ne_bytes());
        let flags = if self.end.nonblocking { O_NONBLOCK } else { 0 };
        put(machine.memory.bytes_mut(file), layout::F_FLAGS, &flags.to_ne_bytes());
        if let Some(psock) = &self.psock {
            let head = psock.region.address() + layout::INGRESS_MSG as u64;
            // Where a message would be does not matter: only an empty list points to itself.
            let next = if psock.queue.is_empty() { head } else { head + 0x1000 };
            let bytes = machine.memory.bytes_mut(psock.region);
            put(bytes, layout::INGRESS_MSG, &next.to_ne_bytes());
            put(bytes, layout::REFCNT, &psock.refs.to_ne_bytes());
            let [first, second] = layout::MAPS_ENTRIES;
            let list: &[usize] =
                if psock.in_other_map { &[layout::MAPS, first, second] } else { &[layout::MAPS, first] };
            for (index, entry) in list.iter().enumerate() {
                let next = psock.region.address() + list[(index + 1) % list.len()] as u64;
                put(bytes, *entry, &next.to_ne_bytes());
            }
        }
    }
}

/// Memory of a socket: as programs see it, `struct tcp_sock`, `struct socket` and `struct file`, and its waiters.
type SocketMemory = (RegionId, RegionId, [RegionId; 2], WaitList);

/// Freed kernel objects, to be given out again at the same address: TCP sockets are SLAB_TYPESAFE_BY_RCU, so a stale
/// address reads another socket's state, not an error.
#[derive(Clone, Debug, Default)]
pub(super) struct Slabs {
    sockets: Vec<SocketMemory>,
    psocks: Vec<RegionId>,
}

impl Slabs {
    /// Memory for socket `id`.
    pub(super) fn socket(&mut self, machine: &mut Machine, id: SocketId) -> SocketMemory {
        let kind = RegionKind::Socket(id);
        if let Some(old) = self.sockets.pop() {
            let (visible, kernel, [socket, file], waiters) = old;
            machine.memory.reuse(visible, kind, vec![0; BPF_SOCK_SIZE]);
            for region in [kernel, socket, file, waiters.queue] {
                machine.memory.revive(region);
            }
            return old;
        }
        let visible = machine.memory.add(kind, Access::Read, vec![0; BPF_SOCK_SIZE]);
        let [kernel, socket, file] =
            [(); 3].map(|()| machine.memory.add(RegionKind::Kernel, Access::Read, vec![0; layout::STRUCT_SIZE]));
        machine.memory.set_shadow(visible, kernel);
        (visible, kernel, [socket, file], WaitList::new(machine))
    }

    /// All memory that may be given out again.
    pub(super) fn free(&self) -> impl Iterator<Item = RegionId> {
        let of_socket = |(_, kernel, [socket, file], waiters): &SocketMemory| [*kernel, *socket, *file, waiters.queue];
        self.sockets.iter().flat_map(of_socket).chain(self.psocks.iter().copied())
    }

    /// The socket's memory may be given out again.
    pub(super) fn free_socket(&mut self, socket: &Socket) {
        self.sockets.push((socket.visible, socket.kernel, socket.file_regions, socket.wait_list));
    }

    pub(super) fn psock(&mut self, machine: &mut Machine) -> Psock {
        let region = match self.psocks.pop() {
            Some(old) => {
                machine.memory.revive(old);
                old
            }
            None => machine.memory.add(RegionKind::Kernel, Access::Read, vec![0; layout::STRUCT_SIZE]),
        };
        Psock { region, refs: 0, in_other_map: false, queue: VecDeque::new() }
    }

    pub(super) fn free_psock(&mut self, psock: &Psock) {
        self.psocks.push(psock.region);
    }
}

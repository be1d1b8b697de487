//! A simulated kernel: TCP sockets, namespaces, NAT and both receive queues, with real programs attached.
//!
//! A [`World`] runs a sock_ops and an sk_msg program, and the tracing programs, the dispatcher and the programs of inner cgroups that
//! it has, in the interpreter wherever a kernel would. Nothing happens by itself: the caller says when a segment or an acknowledgement arrives and when a thread inside a system call
//! goes on. So every interleaving that a real kernel can show is a sequence of calls, and can be replayed.
//!
//! What is modelled, after net/ipv4/tcp_bpf.c, net/core/skmsg.c and net/core/sock_map.c:
//!
//! - sendmsg of a member runs the sk_msg program under the socket's lock; the message of verdict "redirect" is put into the
//!   peer's queue later, without that lock, and fails with EPIPE if the peer has left the map meanwhile;
//! - recvmsg of a member reads redirected messages first, but goes to the stack for the whole call if at its beginning
//!   only stack bytes wait;
//! - while a thread holds a socket, segments and acknowledgements wait in its backlog, and are processed before it lets go;
//! - a socket that leaves the map loses its unread redirected messages when the last reference on its psock goes;
//! - a dispatcher reaches the sk_msg program by a tail call, until the process is gone that owns both;
//! - a socket's own cgroup runs its program before the one above it;
//! - sockets are watched by epoll instances, have buffers of a size, and belong to memory groups with limits;
//! - a process calls setsockopt(2) on a socket of another one, by a descriptor of its own, and enters it into the sockhash;
//! - memory of closed sockets, their storage and their psocks is given out again at the same addresses.
//!
//! Segments are neither lost nor reordered: TCP repairs that below everything modelled here.

mod callback;
mod cgroups;
mod environment;
mod epoll;
mod iterators;
mod layout;
mod memory;
mod process;
mod setsockopt;
mod socket;
mod timers;
mod tracing;
mod transfer;

use std::collections::VecDeque;
use std::sync::Arc;

use super::interp::{Machine, Program, Trap};
use crate::uapi::net;
use callback::Contexts;
use cgroups::Cgroups;
use environment::Sockets;
use memory::Memory;
use process::Processes;

pub use epoll::{MAX_WAITERS, Waiter};
pub use iterators::Over;
pub use layout::{btf_id, buffer_locks, offset_of};
pub use memory::GroupId;
pub use process::{PROCESSES, WrongDescriptor};
pub use socket::{Address, Buffers, Cgroup, Chunk, End, Socket, SocketId};
pub use timers::Timers;
pub use tracing::{ReceiveHook, SpliceHook, Tracing};

/// Something that must never happen with correct programs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A program faulted.
    #[error("the {0} program faulted at {1}")]
    Trap(&'static str, Trap),
    /// The sk_msg program returned SK_DROP, which makes every later send fail (EACCES).
    #[error("a message of socket {0} was dropped")]
    Dropped(SocketId),
    /// A message was on its way past the stack when its receiver left the map (EPIPE).
    #[error("socket {from} could not send: socket {to} left the map meanwhile")]
    BrokenPipe {
        /// The sender.
        from: SocketId,
        /// The receiver.
        to: SocketId,
    },
}

/// How an attacker's socket comes to be established. The numbers are marks of the packets that the attacker has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Under TCP_REPAIR, without a packet.
    Repaired,
    /// By connect(2), with an initial sequence number set under TCP_REPAIR before, and a SYN-ACK from a raw socket.
    Connected(u32),
    /// By connect(2), and a SYN that crossed its own.
    Crossed(u32),
    /// By accept(2), with SYN and ACK from a raw socket.
    Accepted(u32),
    /// Not yet: a listener has answered a SYN from a raw socket.
    Announced,
}

/// The program of the sockhash, which calls another.
#[derive(Clone, Debug)]
struct Dispatcher {
    program: Program,
    /// The map that has the other one.
    programs: usize,
    /// Whether the map still has it.
    is_owned: bool,
}

/// The sock_ops programs of cgroups inside the one that has ours.
#[derive(Clone, Debug, Default)]
pub struct InnerPrograms {
    /// Of those that opt out.
    pub opt_out: Option<Program>,
    /// Of those whose readers are trusted by name.
    pub trusted: Option<Program>,
}

impl InnerPrograms {
    /// The name and the program of a socket's own cgroup.
    fn of(&self, cgroup: Cgroup) -> Option<(&'static str, &Program)> {
        let (name, program) = match cgroup {
            Cgroup::OptedOut => ("opt_out", &self.opt_out),
            Cgroup::Trusted => ("trusted", &self.trusted),
            Cgroup::Outside | Cgroup::Accelerated => return None,
        };
        Some((name, program.as_ref()?))
    }
}

/// The simulated kernel.
#[derive(Clone, Debug)]
pub struct World {
    /// Memory and maps.
    pub machine: Machine,
    sockets: Sockets,
    sock_ops: Program,
    sk_msg: Program,
    dispatcher: Option<Dispatcher>,
    inner: InnerPrograms,
    members: usize,
    next: SocketId,
    now: u64,
    /// What programs of cgroups get for a random number.
    random: u32,
    contexts: Contexts,
    memory: Memory,
    processes: Processes,
    cgroups: Cgroups,
    tracing: Arc<Tracing>,
    /// The program that runs for setsockopt(2).
    setsockopt: Option<Program>,
    /// Whether sock_ops programs are attached.
    is_attached: bool,
    /// Whether freed memory cannot be read.
    unmaps_freed: bool,
    refuses: Refusals,
    /// Bytes of the packet that is being made.
    packet_len: Option<u32>,
}

/// What this kernel, or a program of another tool, refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// TCP_RTO_MAX_MS, as before Linux 6.15.
    pub rto_max: bool,
    /// Options that programs reserve: another sock_ops program of the cgroup returns 0 when a packet is measured.
    pub options: bool,
    /// The callbacks that a program asks for outside a callback, as before Linux 6.12.
    pub callbacks: bool,
}

impl World {
    /// A kernel with both programs attached: `sk_msg` to the sockhash that is map number `members` of `machine`.
    pub fn new(mut machine: Machine, sock_ops: Program, sk_msg: Program, members: usize) -> Self {
        let contexts = Contexts::new(&mut machine);
        let memory = Memory::new(&mut machine);
        let processes = Processes::new(&mut machine);
        let cgroups = Cgroups::new(&mut machine);
        Self {
            machine,
            sockets: Sockets::default(),
            sock_ops,
            sk_msg,
            dispatcher: None,
            inner: InnerPrograms::default(),
            members,
            next: 1,
            now: 0,
            random: 0,
            contexts,
            memory,
            processes,
            cgroups,
            tracing: Arc::default(),
            setsockopt: None,
            is_attached: true,
            unmaps_freed: false,
            refuses: Refusals::default(),
            packet_len: None,
        }
    }

    /// `CLOCK_MONOTONIC` in nanoseconds. It goes on by a microsecond before each program that runs.
    pub fn clock(&self) -> u64 {
        self.now
    }

    /// The random number that sock_ops programs get from now on.
    pub fn set_random(&mut self, number: u32) {
        self.random = number;
    }

    /// From now on the program of the sockhash is `program`, which calls the sk_msg program in map number `programs`.
    pub fn dispatch(&mut self, program: Program, programs: usize) {
        self.dispatcher = Some(Dispatcher { program, programs, is_owned: true });
    }

    /// The process that has attached the programs is gone: nothing runs for cgroups any more, and the kernel has emptied the map
    /// of programs. The sockhash and its program live as long as its sockets.
    pub fn lose_owner(&mut self) {
        self.is_attached = false;
        self.tracing = Arc::default();
        self.setsockopt = None;
        if let Some(dispatcher) = &mut self.dispatcher {
            dispatcher.is_owned = false;
        }
    }

    /// The sock_ops programs are attached, or not yet: nothing runs for cgroups then.
    pub fn set_attached(&mut self, is_attached: bool) {
        self.is_attached = is_attached;
    }

    /// This program runs for setsockopt(2) on sockets of our cgroups.
    pub fn attach_setsockopt(&mut self, program: Program) {
        self.setsockopt = Some(program);
    }

    /// These programs are attached to cgroups inside the one that has the sock_ops program.
    pub fn attach_inside(&mut self, inner: InnerPrograms) {
        self.inner = inner;
    }

    /// From now on freed memory cannot be read until it is given out again, as with `CONFIG_DEBUG_PAGEALLOC`, or when it has
    /// become that of memfd_secret(2).
    pub fn unmap_freed(&mut self) {
        self.unmaps_freed = true;
    }

    /// From now on this is refused.
    pub fn refuse(&mut self, refuses: Refusals) {
        self.refuses = refuses;
    }

    /// A socket that was made and is not freed.
    pub fn socket(&self, id: SocketId) -> Option<&Socket> {
        self.sockets.all.get(&id)
    }

    /// All sockets that were made and are not freed.
    pub fn socket_ids(&self) -> Vec<SocketId> {
        self.sockets.all.keys().copied().collect()
    }

    fn get(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.sockets.get_mut(id)
    }

    fn create(&mut self, end: End, peer_isn: u32, peer: SocketId, accepted: bool) -> SocketId {
        let id = self.next;
        self.next += 1;
        let (visible, kernel, file_regions, wait_list) = self.sockets.slabs.socket(&mut self.machine, id);
        wait_list.publish(&mut self.machine, file_regions[1], &[]);
        let rcv_nxt = peer_isn.wrapping_add(1);
        let socket = Socket {
            end,
            peer,
            visible,
            kernel,
            file_regions,
            wait_list,
            waiters: Vec::new(),
            buffers: Buffers::default(),
            group: None,
            granted: 0,
            established: accepted,
            accepted,
            closed: false,
            cb_flags: end.cb_flags,
            mark: mark(id),
            received_mark: 0,
            is_active: accepted,
            fin_received: false,
            write_seq: end.isn.wrapping_add(1),
            rcv_nxt,
            copied_seq: rcv_nxt,
            rcvlowat: 1,
            shutdown: 0,
            options: 0,
            peek_off: -1,
            protocol: false,
            owned: false,
            sent: 0,
            wire: VecDeque::new(),
            acks: 0,
            exchanged: (0, 0),
            receive_queue: VecDeque::new(),
            backlog: VecDeque::new(),
            psock: None,
            carry: None,
            reading: None,
            notified: false,
            timers: Timers::default(),
            window: (rcv_nxt, 0),
        };
        let socket = self.sockets.all.entry(id).insert_entry(socket).into_mut();
        socket.offer_window();
        socket.publish_identity(&mut self.machine, id, self.processes.inode(), self.cgroups.address(end.cgroup));
        id
    }

    /// Connects: the client is established and had its callback; the server's end still waits for the last ACK.
    ///
    /// `sequence_shift` is what a middlebox adds to the client's sequence numbers, 0 for none.
    ///
    /// # Errors
    ///
    /// As all that run programs: a [`Failure`] when a program misbehaves.
    pub fn connect(&mut self, client: End, server: End, sequence_shift: u32) -> Result<(SocketId, SocketId), Failure> {
        let (first, second) = self.syn(client, server, sequence_shift)?;
        self.syn_ack(first)?;
        Ok((first, second))
    }

    /// The first half of [`World::connect`]: the listener has answered, and the answer is on its way.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn syn(&mut self, client: End, server: End, sequence_shift: u32) -> Result<(SocketId, SocketId), Failure> {
        let (first, second) = (self.next, self.next + 1);
        self.create(client, server.isn, second, true);
        self.create(server, client.isn.wrapping_add(sequence_shift), first, false);
        self.syn_received(second)?;
        Ok((first, second))
    }

    /// The second half: the answer arrives at the client.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn syn_ack(&mut self, client: SocketId) -> Result<(), Failure> {
        self.established(client, true, self.mark_received_by(client))
    }

    /// A socket of an attacker, with numbers and addresses of its choice. Nothing that it sends arrives anywhere.
    ///
    /// # Errors
    ///
    /// A [`Failure`] when a program misbehaves.
    pub fn forge(&mut self, end: End, peer_isn: u32, how: Forgery) -> Result<SocketId, Failure> {
        let connected = !matches!(how, Forgery::Accepted(_) | Forgery::Announced);
        let id = self.create(end, peer_isn, 0, connected);
        match how {
            Forgery::Repaired => self.established(id, true, None)?,
            Forgery::Connected(mark) => self.established(id, true, Some(mark))?,
            Forgery::Crossed(mark) | Forgery::Accepted(mark) => self.established(id, false, Some(mark))?,
            Forgery::Announced => self.syn_received(id)?,
        }
        Ok(id)
    }

    /// The mark of the packets that arrive at a socket: its peer's, or another where that is lost on the way.
    fn mark_received_by(&self, id: SocketId) -> Option<u32> {
        let peer = self.socket(self.socket(id)?.peer)?;
        Some(if peer.end.unmarked { mark(peer.mark.into()) } else { peer.mark })
    }

    /// The last ACK of the handshake arrives at the server's end.
    pub fn finish_handshake(&mut self, server: SocketId) -> Result<(), Failure> {
        match self.get(server) {
            Some(socket) if !socket.established && !socket.closed => socket.established = true,
            _ => return Ok(()),
        }
        self.established(server, false, self.mark_received_by(server))
    }

    /// accept(2) returns the server's end.
    pub fn accept(&mut self, server: SocketId) {
        if let Some(socket) = self.get(server).filter(|socket| socket.established) {
            socket.accepted = true;
        }
    }

    /// fcntl(2) sets or clears O_NONBLOCK.
    pub fn set_nonblocking(&mut self, id: SocketId, nonblocking: bool) {
        if let Some(socket) = self.get(id) {
            socket.end.nonblocking = nonblocking;
        }
    }

    /// setsockopt(2) of SO_RCVLOWAT.
    pub fn set_rcvlowat(&mut self, id: SocketId, bytes: u32) {
        if let Some(socket) = self.get(id) {
            socket.rcvlowat = bytes;
        }
    }

    /// setsockopt(2) of options that are bits, and of SO_PEEK_OFF.
    pub fn set_options(&mut self, id: SocketId, options: u64, peek_off: i32) {
        if let Some(socket) = self.get(id) {
            socket.options = options;
            socket.peek_off = peek_off;
        }
    }

    /// setsockopt(2) of TCP_ULP.
    pub fn set_protocol(&mut self, id: SocketId) {
        if let Some(socket) = self.get(id) {
            socket.protocol = true;
        }
    }

    /// Another sock_ops program sets these callback flags, and no others.
    pub fn replace_callbacks(&mut self, id: SocketId, flags: u32) {
        if let Some(socket) = self.get(id) {
            socket.cb_flags = flags;
        }
    }

    /// Another tool enters a member into a socket map of its own.
    pub fn enter_other_map(&mut self, id: SocketId) {
        if let Some(psock) = self.get(id).and_then(|socket| socket.psock.as_mut()).filter(|psock| !psock.in_other_map) {
            psock.in_other_map = true;
            psock.refs += 1;
        }
    }

    /// setsockopt(2) of SO_SNDBUF and SO_RCVBUF, or the kernel changes them.
    pub fn set_buffers(&mut self, id: SocketId, buffers: Buffers) {
        if let Some(socket) = self.get(id) {
            socket.buffers = buffers;
        }
    }

    /// shutdown(2) of the reading half.
    pub fn shutdown_read(&mut self, id: SocketId) {
        if let Some(socket) = self.get(id) {
            socket.shutdown |= 1;
        }
    }

    /// shutdown(2) of the writing half: a FIN, upon which both ends change their state.
    ///
    /// # Errors
    ///
    /// A [`Failure`] when a program misbehaves.
    pub fn shutdown_write(&mut self, id: SocketId) -> Result<(), Failure> {
        let Some(socket) = self.get(id).filter(|socket| socket.accepted && !socket.closed && socket.shutdown & 2 == 0)
        else {
            return Ok(());
        };
        socket.shutdown |= 2;
        let peer = socket.peer;
        self.begins_to_close(id, peer)?;
        match self.socket(peer) {
            Some(peer_socket) if peer_socket.established && !peer_socket.closed && !peer_socket.owned => {
                self.changes_state(peer, net::TCP_CLOSE_WAIT)
            }
            _ => Ok(()),
        }
    }

    /// close(2). Threads inside a system call keep a socket open, so then nothing happens.
    ///
    /// # Errors
    ///
    /// A [`Failure`] when a program misbehaves.
    pub fn close(&mut self, id: SocketId) -> Result<(), Failure> {
        let Some(socket) = self.get(id) else { return Ok(()) };
        if socket.closed || socket.carry.is_some() || socket.reading.is_some() || !socket.accepted {
            return Ok(());
        }
        let (peer, fin_sent) = (socket.peer, socket.shutdown & 2 != 0);
        socket.shutdown = 3;
        // The socket leaves its maps first (`sock_map_close`, net/core/sock_map.c).
        for _ in 0..self.machine.map(self.members).map_or(0, |map| map.entries_of(id)) {
            self.sockets.unlink(id);
        }
        for map in self.machine.maps_mut() {
            map.forget_socket(id);
        }
        if !fin_sent {
            self.begins_to_close(id, peer)?;
        }
        self.changes_state(id, net::TCP_CLOSE)?;
        if let Some(socket) = self.get(id) {
            socket.closed = true;
        }
        for map in self.machine.maps_mut().filter(|map| map.is_sk_storage()) {
            map.delete_storage(id);
        }
        self.free_closed();
        match self.socket(peer) {
            Some(peer_socket) if peer_socket.established && !peer_socket.closed && !peer_socket.owned => {
                self.changes_state(peer, net::TCP_CLOSE_WAIT)
            }
            _ => Ok(()),
        }
    }

    /// A socket is about to send its FIN, before or after that of its peer.
    fn begins_to_close(&mut self, id: SocketId, peer: SocketId) -> Result<(), Failure> {
        let second = self.socket(peer).is_none_or(|peer| peer.closed || peer.shutdown & 2 != 0);
        if let Some(peer) = self.get(peer) {
            peer.fin_received = true;
        }
        self.changes_state(id, if second { net::TCP_LAST_ACK } else { net::TCP_FIN_WAIT1 })
    }

    /// Frees the sockets to which nothing refers any longer.
    fn free_closed(&mut self) {
        let carried_to: Vec<_> = self.sockets.all.values().filter_map(Socket::redirecting_to).collect();
        let free: Vec<_> = self
            .sockets
            .all
            .iter()
            .filter(|(id, socket)| socket.closed && socket.wire.is_empty() && !carried_to.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in free {
            if let Some(socket) = self.sockets.all.remove(&id) {
                self.sockets.slabs.free_socket(&socket);
            }
        }
    }
}

/// A number that the kernel draws, never 0 (`net_tx_rndhash`); the finaliser of SplitMix64.
fn mark(seed: u64) -> u32 {
    let mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ mixed >> 31) as u32 | 1
}

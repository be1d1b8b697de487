//! Where the programs run: their contexts and their callbacks.

use super::environment::Running;
use super::layout;
use super::socket::{Cgroup, Socket, SocketId};
use super::{Failure, World};
use crate::uapi::ctx::{sk_msg, sock_ops, sockopt};
use crate::uapi::flags::SK_PASS;
use crate::uapi::net;
use crate::verifier_sim::interp::{self, Access, Limits, Machine, Program, RegionId, RegionKind};

const SOCK_OPS_SIZE: usize = sock_ops::SIZE as usize;
const SK_MSG_SIZE: usize = sk_msg::SIZE as usize;
/// What a sock_ops program may write: `reply` and `sk_txhash` (`sock_ops_is_valid_access`, net/core/filter.c).
const SOCK_OPS_WRITABLE: &[(u32, u32)] = &[(4, 8), (164, 168)];

/// What a program may write for setsockopt(2): `level`, `optname` and `optlen` (`cg_sockopt_is_valid_access`,
/// kernel/bpf/cgroup.c).
const SOCKOPT_WRITABLE: &[(u32, u32)] = &[(24, 36)];

const PASS: u64 = SK_PASS as u64;
/// `TCPHDR_ACK`, include/net/tcp.h.
const TCPHDR_ACK: u32 = 0x10;

/// What the sk_msg program wants done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Redirect(SocketId),
    Drop,
}

/// Memory for what programs are given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contexts {
    sock_ops: RegionId,
    /// `struct bpf_sock_ops_kern`, behind it.
    sock_ops_kern: RegionId,
    /// The request of the connection whose SYN a listener answers; there is one at a time.
    request: RegionId,
    /// The `sk_buff` a sock_ops program runs for.
    packet: RegionId,
    sk_msg: RegionId,
    /// `struct bpf_sockopt`.
    pub(super) sockopt: RegionId,
}

impl Contexts {
    pub(super) fn new(machine: &mut Machine) -> Self {
        let writable = Access::WriteWithin(SOCK_OPS_WRITABLE);
        let sock_ops = machine.memory.add(RegionKind::Context, writable, vec![0; SOCK_OPS_SIZE]);
        let sk_msg = machine.memory.add(RegionKind::Context, Access::Read, vec![0; SK_MSG_SIZE]);
        let [sock_ops_kern, request, packet] =
            [(); 3].map(|()| machine.memory.add(RegionKind::Kernel, Access::Read, vec![0; layout::STRUCT_SIZE]));
        machine.memory.set_shadow(sock_ops, sock_ops_kern);
        let option = vec![0; sockopt::SIZE as usize];
        let sockopt = machine.memory.add(RegionKind::Context, Access::WriteWithin(SOCKOPT_WRITABLE), option);
        Self { sock_ops, sock_ops_kern, request, packet, sk_msg, sockopt }
    }
}

/// `struct bpf_sock_ops` with the fields that describe the connection.
fn sock_ops_context(socket: &Socket, op: i32) -> Vec<u8> {
    let mut context = vec![0; SOCK_OPS_SIZE];
    let mut put = |offset: i16, value: [u8; 4]| context[offset as usize..][..4].copy_from_slice(&value);
    put(sock_ops::OP, op.to_ne_bytes());
    put(sock_ops::FAMILY, net::AF_INET.to_ne_bytes());
    put(sock_ops::REMOTE_IP4, socket.end.remote.ip.to_be_bytes());
    put(sock_ops::LOCAL_IP4, socket.end.local.ip.to_be_bytes());
    put(sock_ops::REMOTE_PORT, u32::from(socket.end.remote.port).to_be_bytes());
    put(sock_ops::LOCAL_PORT, u32::from(socket.end.local.port).to_ne_bytes());
    if op == sock_ops::RWND_INIT {
        // A request: no full socket yet, and the fields below are not its own.
        return context;
    }
    put(sock_ops::IS_FULLSOCK, 1_u32.to_ne_bytes());
    put(sock_ops::CB_FLAGS, socket.cb_flags.to_ne_bytes());
    put(sock_ops::STATE, net::TCP_ESTABLISHED.to_ne_bytes());
    put(sock_ops::RCV_NXT, socket.rcv_nxt.to_ne_bytes());
    // All that is written is sent at once, so snd_nxt is write_seq.
    put(sock_ops::SND_NXT, socket.write_seq.to_ne_bytes());
    put(sock_ops::SND_UNA, socket.snd_una().to_ne_bytes());
    for (offset, bytes) in
        [(sock_ops::BYTES_ACKED, socket.bytes_acked()), (sock_ops::BYTES_RECEIVED, socket.exchanged.1)]
    {
        context[offset as usize..][..8].copy_from_slice(&bytes.to_ne_bytes());
    }
    let mut put = |offset: i16, value: [u8; 4]| context[offset as usize..][..4].copy_from_slice(&value);
    put(sock_ops::SK_TXHASH, socket.mark.to_ne_bytes());
    context[sock_ops::SK as usize..][..8].copy_from_slice(&socket.visible.address().to_ne_bytes());
    context
}

impl World {
    /// The callback of an established connection. `packet` is the mark of the packet that has concluded the handshake; there
    /// is none for a socket that TCP_REPAIR has established.
    pub(super) fn established(&mut self, id: SocketId, active: bool, packet: Option<u32>) -> Result<(), Failure> {
        let address = self.contexts.packet.address();
        if let Some(mark) = packet {
            if let Some(socket) = self.get(id) {
                socket.received_mark = mark;
            }
            self.machine.memory.bytes_mut(self.contexts.packet)[layout::PACKET_HASH..][..4]
                .copy_from_slice(&mark.to_ne_bytes());
        }
        self.set_packet(packet.map_or(0, |_| address));
        let op = if active { sock_ops::ACTIVE_ESTABLISHED } else { sock_ops::PASSIVE_ESTABLISHED };
        self.run_sock_ops(id, op, 0)?;
        self.set_packet(0);
        if active { Ok(()) } else { self.changes_state(id, net::TCP_ESTABLISHED) }
    }

    fn set_packet(&mut self, address: u64) {
        let kern = self.machine.memory.bytes_mut(self.contexts.sock_ops_kern);
        kern[layout::OPS_SKB..layout::OPS_SKB + 8].copy_from_slice(&address.to_ne_bytes());
    }

    /// A socket enters another state: the callback, where one was asked for.
    pub(super) fn changes_state(&mut self, id: SocketId, state: i32) -> Result<(), Failure> {
        match self.get(id) {
            Some(socket) if socket.cb_flags & sock_ops::STATE_FLAG as u32 != 0 => {
                self.run_sock_ops(id, sock_ops::STATE_CHANGED, state).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The listener of the server's end answers the SYN.
    pub(super) fn syn_received(&mut self, server: SocketId) -> Result<(), Failure> {
        let Some(socket) = self.socket(server) else { return Ok(()) };
        let (client, own, mark) = (socket.rcv_nxt.wrapping_sub(1), socket.end.isn, socket.mark);
        let request = self.machine.memory.bytes_mut(self.contexts.request);
        for (offset, isn) in [(layout::RCV_ISN, client), (layout::SNT_ISN, own), (layout::REQUEST_HASH, mark)] {
            request[offset..offset + 4].copy_from_slice(&isn.to_ne_bytes());
        }
        self.run_sock_ops(server, sock_ops::RWND_INIT, 0).map(drop)
    }

    /// An acknowledgement has been processed: the callback, where one was asked for.
    pub(super) fn acknowledged(&mut self, id: SocketId) -> Result<(), Failure> {
        let mark = self.mark_received_by(id);
        if let Some(socket) = self.get(id) {
            socket.received_mark = mark.unwrap_or(socket.received_mark);
        }
        match self.get(id) {
            Some(socket) if socket.cb_flags & sock_ops::RTT_FLAG as u32 != 0 && !socket.closed => {
                self.run_sock_ops(id, sock_ops::RTT, 0).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// A packet with `len` bytes is being made: the callback in which it is measured, where one was asked for, then the window that it
    /// offers, and the callback in which options are written, where one was reserved (`__tcp_transmit_skb`, net/ipv4/tcp_output.c).
    pub(super) fn transmits(&mut self, id: SocketId, len: u32) -> Result<(), Failure> {
        let is_asked = self
            .get(id)
            .is_some_and(|socket| socket.cb_flags & sock_ops::WRITE_HDR_OPT_FLAG as u32 != 0 && !socket.closed);
        self.packet_len = Some(len);
        let reserved = if is_asked { self.run_sock_ops(id, sock_ops::HDR_OPT_LEN, 0) } else { Ok(0) };
        if let Some(socket) = self.get(id) {
            socket.offer_window();
        }
        // Where one of the programs returns 0, the kernel reserves nothing (`bpf_skops_hdr_opt_len`).
        let is_written = reserved.as_ref().is_ok_and(|bytes| *bytes > 0 && !self.refuses.options);
        let written = if is_written { self.run_sock_ops(id, sock_ops::WRITE_HDR_OPT, 0) } else { Ok(0) };
        self.packet_len = None;
        reserved.and(written).map(drop)
    }

    /// Shows programs the state of all sockets. Freed ones keep their last state until their memory is given out again,
    /// or cannot be read until then.
    pub(super) fn publish_all(&mut self) {
        if self.unmaps_freed {
            let storage = self.machine.maps_mut().filter(|map| map.is_sk_storage());
            let free: Vec<_> = storage.flat_map(|map| map.free_storage().to_vec()).collect();
            free.into_iter().chain(self.sockets.slabs.free()).for_each(|region| self.machine.memory.free(region));
        }
        for socket in self.sockets.all.values().filter(|socket| !socket.closed) {
            socket.publish(&mut self.machine, &self.memory);
        }
    }

    /// Answers how many bytes the programs have reserved for options.
    fn run_sock_ops(&mut self, id: SocketId, op: i32, state: i32) -> Result<u32, Failure> {
        let Some(socket) = self.socket(id).filter(|socket| self.is_attached && socket.end.cgroup != Cgroup::Outside)
        else {
            return Ok(0);
        };
        let (mut context, kernel) = (sock_ops_context(socket, op), socket.kernel.address());
        let cgroup = socket.end.cgroup;
        // args[1] of a change of state
        context[sock_ops::REPLYLONG as usize..][..4].copy_from_slice(&state.to_ne_bytes());
        if let Some(len) = self.packet_len {
            for (offset, value) in [(sock_ops::SKB_LEN, len), (sock_ops::SKB_TCP_FLAGS, TCPHDR_ACK)] {
                context[offset as usize..][..4].copy_from_slice(&value.to_ne_bytes());
            }
        }
        self.publish_all();
        self.now += 1000;
        self.machine.memory.bytes_mut(self.contexts.sock_ops).copy_from_slice(&context);
        let sk = if op == sock_ops::RWND_INIT { self.contexts.request.address() } else { kernel };
        let kern = self.machine.memory.bytes_mut(self.contexts.sock_ops_kern);
        kern[layout::OPS_SK..layout::OPS_SK + 8].copy_from_slice(&sk.to_ne_bytes());
        let may_enroll = matches!(op, sock_ops::ACTIVE_ESTABLISHED | sock_ops::PASSIVE_ESTABLISHED);
        let mut running = Running::new(&mut self.sockets, id, self.now);
        running.may_enroll = may_enroll;
        running.random = self.random;
        running.refuses = self.refuses;
        running.reserved = (op == sock_ops::HDR_OPT_LEN).then_some(0);
        let entry = [self.contexts.sock_ops.address()];
        // The programs of the innermost cgroup come first (`compute_effective_progs`, kernel/bpf/cgroup.c).
        for (name, program) in self.inner.of(cgroup).into_iter().chain([("sock_ops", &self.sock_ops)]) {
            interp::run(program, &mut self.machine, &mut running, &entry, Limits::default())
                .map_err(|trap| Failure::Trap(name, trap))?;
        }
        Ok(running.reserved.unwrap_or(0))
    }

    /// Runs the program of the sockhash on a message of `size` bytes: the dispatcher, which calls the sk_msg program, or where
    /// there is no dispatcher that itself.
    pub(super) fn run_sk_msg(&mut self, id: SocketId, size: u32) -> Result<Verdict, Failure> {
        let Some(socket) = self.socket(id) else { return Ok(Verdict::Pass) };
        let mut context = vec![0; SK_MSG_SIZE];
        context[sk_msg::LENGTH as usize..][..4].copy_from_slice(&size.to_ne_bytes());
        context[sk_msg::SK as usize..][..8].copy_from_slice(&socket.visible.address().to_ne_bytes());
        self.publish_all();
        self.now += 1000;
        self.machine.memory.bytes_mut(self.contexts.sk_msg).copy_from_slice(&context);
        let mut running = Running::new(&mut self.sockets, id, self.now);
        let entry = [self.contexts.sk_msg.address()];
        let mut run = |name, program: &Program, running: &mut Running| {
            interp::run(program, &mut self.machine, running, &entry, Limits::default())
                .map_err(|trap| Failure::Trap(name, trap))
        };
        let mut outcome = None;
        if let Some(dispatcher) = &self.dispatcher {
            running.programs = dispatcher.is_owned.then_some(dispatcher.programs);
            outcome = Some(run("dispatcher", &dispatcher.program, &mut running)?);
        }
        let outcome = match outcome {
            Some(outcome) if !running.tail_called => outcome,
            _ => run("sk_msg", &self.sk_msg, &mut running)?,
        };
        // `sk_psock_map_verd`, include/linux/skmsg.h
        Ok(match (outcome.r0, running.redirect) {
            (PASS, Some(to)) => Verdict::Redirect(to),
            (PASS, None) => Verdict::Pass,
            _ => Verdict::Drop,
        })
    }
}

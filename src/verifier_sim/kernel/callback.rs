//! Where the programs run: their contexts and their callbacks.

use super::environment::Running;
use super::layout;
use super::socket::{Socket, SocketId};
use super::{Failure, World};
use crate::verifier_sim::interp::{self, Access, Limits, Machine, RegionId, RegionKind};

/// Size of `struct bpf_sock_ops` and of `struct sk_msg_md` (include/uapi/linux/bpf.h).
const SOCK_OPS_SIZE: usize = 224;
const SK_MSG_SIZE: usize = 80;
/// What a sock_ops program may write: `reply` and `sk_txhash` (`sock_ops_is_valid_access`, net/core/filter.c).
const SOCK_OPS_WRITABLE: &[(u32, u32)] = &[(4, 8), (164, 168)];

/// `BPF_SOCK_OPS_RWND_INIT`.
const RWND_INIT: u32 = 2;
/// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB`.
const ACTIVE_ESTABLISHED: u32 = 4;
/// `BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB`.
const PASSIVE_ESTABLISHED: u32 = 5;
/// `BPF_SOCK_OPS_RTT_CB`.
const RTT: u32 = 12;
/// `BPF_SOCK_OPS_RTT_CB_FLAG`.
const RTT_FLAG: u32 = 1 << 3;
/// `BPF_SOCK_OPS_HDR_OPT_LEN_CB`.
const HDR_OPT_LEN: u32 = 14;
/// `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`.
const WRITE_HDR_OPT_FLAG: u32 = 1 << 6;
/// `AF_INET`.
const AF_INET: u32 = 2;
/// `TCP_ESTABLISHED`.
const TCP_ESTABLISHED: u32 = 1;

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
    sk_msg: RegionId,
}

impl Contexts {
    pub(super) fn new(machine: &mut Machine) -> Self {
        let writable = Access::WriteWithin(SOCK_OPS_WRITABLE);
        let sock_ops = machine.memory.add(RegionKind::Context, writable, vec![0; SOCK_OPS_SIZE]);
        let sk_msg = machine.memory.add(RegionKind::Context, Access::Read, vec![0; SK_MSG_SIZE]);
        let [sock_ops_kern, request] =
            [(); 2].map(|()| machine.memory.add(RegionKind::Kernel, Access::Read, vec![0; layout::STRUCT_SIZE]));
        machine.memory.set_shadow(sock_ops, sock_ops_kern);
        Self { sock_ops, sock_ops_kern, request, sk_msg }
    }
}

/// `struct bpf_sock_ops` with the fields that describe the connection.
fn sock_ops_context(socket: &Socket, op: u32) -> Vec<u8> {
    let mut context = vec![0; SOCK_OPS_SIZE];
    let mut put = |offset: usize, value: [u8; 4]| context[offset..offset + 4].copy_from_slice(&value);
    put(0, op.to_le_bytes());
    put(20, AF_INET.to_le_bytes());
    put(24, socket.end.remote.ip.to_be_bytes());
    put(28, socket.end.local.ip.to_be_bytes());
    put(64, u32::from(socket.end.remote.port).to_be_bytes());
    put(68, u32::from(socket.end.local.port).to_le_bytes());
    if op == RWND_INIT {
        // A request: no full socket yet, and the fields below are not its own.
        return context;
    }
    // is_fullsock
    put(72, 1_u32.to_le_bytes());
    put(84, socket.cb_flags.to_le_bytes());
    put(88, TCP_ESTABLISHED.to_le_bytes());
    put(100, socket.rcv_nxt.to_le_bytes());
    // All that is written is sent at once, so snd_nxt is write_seq.
    put(104, socket.write_seq.to_le_bytes());
    context[184..192].copy_from_slice(&socket.visible.address().to_le_bytes());
    context
}

impl World {
    /// The callback of an established connection.
    pub(super) fn established(&mut self, id: SocketId, active: bool) -> Result<(), Failure> {
        self.run_sock_ops(id, if active { ACTIVE_ESTABLISHED } else { PASSIVE_ESTABLISHED })
    }

    /// The listener of the server's end answers the SYN.
    pub(super) fn syn_received(&mut self, server: SocketId) -> Result<(), Failure> {
        let Some(socket) = self.socket(server) else { return Ok(()) };
        let (client, own) = (socket.rcv_nxt.wrapping_sub(1), socket.end.isn);
        let request = self.machine.memory.bytes_mut(self.contexts.request);
        for (offset, isn) in [(layout::RCV_ISN, client), (layout::SNT_ISN, own)] {
            request[offset..offset + 4].copy_from_slice(&isn.to_le_bytes());
        }
        self.run_sock_ops(server, RWND_INIT)
    }

    /// An acknowledgement has been processed: the callback, where one was asked for.
    pub(super) fn acknowledged(&mut self, id: SocketId) -> Result<(), Failure> {
        match self.get(id) {
            Some(socket) if socket.cb_flags & RTT_FLAG != 0 && !socket.closed => self.run_sock_ops(id, RTT),
            _ => Ok(()),
        }
    }

    /// A packet is being made: the callback, where one was asked for.
    pub(super) fn transmits(&mut self, id: SocketId) -> Result<(), Failure> {
        match self.get(id) {
            Some(socket) if socket.cb_flags & WRITE_HDR_OPT_FLAG != 0 && !socket.closed => {
                self.run_sock_ops(id, HDR_OPT_LEN)
            }
            _ => Ok(()),
        }
    }

    /// Shows programs the state of all sockets. Freed ones keep their last state until their memory is given out again.
    fn publish_all(&mut self) {
        for socket in self.sockets.all.values().filter(|socket| !socket.closed) {
            socket.publish(&mut self.machine);
        }
    }

    fn run_sock_ops(&mut self, id: SocketId, op: u32) -> Result<(), Failure> {
        let Some(socket) = self.socket(id).filter(|socket| socket.end.in_cgroup) else { return Ok(()) };
        let (context, kernel) = (sock_ops_context(socket, op), socket.kernel.address());
        self.publish_all();
        self.now += 1000;
        self.machine.memory.bytes_mut(self.contexts.sock_ops).copy_from_slice(&context);
        let sk = if op == RWND_INIT { self.contexts.request.address() } else { kernel };
        let kern = self.machine.memory.bytes_mut(self.contexts.sock_ops_kern);
        kern[layout::OPS_SK..layout::OPS_SK + 8].copy_from_slice(&sk.to_le_bytes());
        let may_enroll = matches!(op, ACTIVE_ESTABLISHED | PASSIVE_ESTABLISHED);
        let mut running = Running { sockets: &mut self.sockets, socket: id, now: self.now, may_enroll, redirect: None };
        let entry = [self.contexts.sock_ops.address()];
        interp::run(&self.sock_ops, &mut self.machine, &mut running, &entry, Limits::default())
            .map_err(|trap| Failure::Trap("sock_ops", trap))?;
        Ok(())
    }

    /// Runs the sk_msg program on a message of `size` bytes.
    pub(super) fn run_sk_msg(&mut self, id: SocketId, size: u32) -> Result<Verdict, Failure> {
        let Some(socket) = self.socket(id) else { return Ok(Verdict::Pass) };
        let mut context = vec![0; SK_MSG_SIZE];
        context[68..72].copy_from_slice(&size.to_le_bytes());
        context[72..80].copy_from_slice(&socket.visible.address().to_le_bytes());
        self.publish_all();
        self.now += 1000;
        self.machine.memory.bytes_mut(self.contexts.sk_msg).copy_from_slice(&context);
        let mut running =
            Running { sockets: &mut self.sockets, socket: id, now: self.now, may_enroll: false, redirect: None };
        let entry = [self.contexts.sk_msg.address()];
        let outcome = interp::run(&self.sk_msg, &mut self.machine, &mut running, &entry, Limits::default())
            .map_err(|trap| Failure::Trap("sk_msg", trap))?;
        // `sk_psock_map_verd`, include/linux/skmsg.h
        Ok(match (outcome.r0, running.redirect) {
            (1, Some(to)) => Verdict::Redirect(to),
            (1, None) => Verdict::Pass,
            _ => Verdict::Drop,
        })
    }
}

//! The helpers that need sockets.

use std::collections::BTreeMap;

use super::Refusals;
use super::layout::{self, btf_id, put};
use super::process::{Process, SOCKET_MODE};
use super::socket::{Slabs, Socket, SocketId};
use crate::uapi::ctx::sock_ops::{ALL_CB_FLAGS, CB_FLAGS};
use crate::uapi::ctx::sockopt::TCP_BPF_SOCK_OPS_CB_FLAGS;
use crate::uapi::flags::{SK_PASS, STORAGE_CREATE};
use crate::uapi::helper::id;
use crate::uapi::net::{SO_RCVBUF, SO_RCVLOWAT, SOL_SOCKET, SOL_TCP, TCP_RTO_MAX_MS};
use crate::verifier_sim::interp::{Args, EINVAL, EOPNOTSUPP, Environment, Errno, Fault, Machine, RegionKind};

/// -ENOENT.
const ENOENT: Errno = -2;
/// -EPERM.
const EPERM: Errno = -1;

/// `SOCK_MIN_RCVBUF` (2048 and the size of a `struct sk_buff`) and `SOCK_RCVBUF_LOCK`, include/net/sock.h.
const MIN_RCVBUF: u32 = 2304;
const RCVBUF_LOCK: u8 = 2;

/// What every thread is called.
const THREAD_NAME: &[u8] = b"reader";

/// What a helper says of the process that runs.
fn of_process(process: Process, helper: i32) -> Option<u64> {
    Some(match helper {
        id::GET_CURRENT_PID_TGID => u64::from(process.id.0) << 32 | u64::from(process.id.1),
        id::GET_CURRENT_TASK | id::GET_CURRENT_TASK_BTF => process.task,
        id::TASK_PT_REGS => process.registers,
        _ => return None,
    })
}

/// All sockets, and the memory of dead ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Sockets {
    pub(super) all: BTreeMap<SocketId, Socket>,
    pub(super) slabs: Slabs,
}

impl Sockets {
    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.all.get_mut(&id)
    }

    /// Takes one more reference on the socket's psock, making it when there is none (`sk_psock_init`).
    pub(super) fn link(&mut self, machine: &mut Machine, id: SocketId) {
        let Some(socket) = self.all.get_mut(&id) else { return };
        let slabs = &mut self.slabs;
        socket.psock.get_or_insert_with(|| slabs.psock(machine)).refs += 1;
    }

    /// Gives one reference back; the last one takes the unread redirected messages with it (`sk_psock_drop`).
    pub(super) fn unlink(&mut self, id: SocketId) {
        let Some(socket) = self.all.get_mut(&id) else { return };
        let Some(psock) = &mut socket.psock else { return };
        psock.refs -= 1;
        if psock.refs == 0
            && let Some(psock) = socket.psock.take()
        {
            self.slabs.free_psock(&psock);
        }
    }
}

/// What a running program is attached to.
pub(super) struct Running<'a> {
    pub(super) sockets: &'a mut Sockets,
    /// The socket in the context.
    pub(super) socket: SocketId,
    pub(super) now: u64,
    /// What `bpf_get_prandom_u32` returns.
    pub(super) random: u32,
    /// Whether sockets may be put into maps: only in the callbacks of an established connection
    /// (`sock_map_op_okay`, net/core/sock_map.c).
    pub(super) may_enroll: bool,
    /// The receiver the program chose.
    pub(super) redirect: Option<SocketId>,
    /// The process that runs, where programs ask for it.
    pub(super) process: Option<Process>,
    /// The map whose first place has the sk_msg program, while it does.
    pub(super) programs: Option<usize>,
    /// Whether that program has been called.
    pub(super) tail_called: bool,
    /// What an iterator has written.
    pub(super) output: Vec<u8>,
    pub(super) refuses: Refusals,
    /// Bytes reserved for options, where a packet is measured.
    pub(super) reserved: Option<u32>,
}

impl<'a> Running<'a> {
    /// A program that runs for a socket.
    pub(super) fn new(sockets: &'a mut Sockets, socket: SocketId, now: u64) -> Self {
        Self {
            sockets,
            socket,
            now,
            random: 0,
            may_enroll: false,
            redirect: None,
            process: None,
            programs: None,
            tail_called: false,
            output: Vec::new(),
            refuses: Refusals::default(),
            reserved: None,
        }
    }
}

impl Running<'_> {
    fn socket_argument(&self, machine: &Machine, args: &Args, argument: u8) -> Result<SocketId, Fault> {
        match machine.memory.kind_at(args.get(argument)?) {
            Some(RegionKind::Socket(id)) => Ok(id),
            _ => Err(args.bad(argument, "a socket")),
        }
    }

    fn sock_hash(&self, machine: &Machine, args: &Args, argument: u8) -> Result<usize, Fault> {
        let number = args.map(machine, argument)?;
        let is_one = machine.map(number).is_some_and(|map| map.is_sock_hash());
        if is_one { Ok(number) } else { Err(args.bad(argument, "a sockhash")) }
    }

    /// Of all options, those that change what this kernel does.
    fn set_option(&mut self, machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        let (level, option) = (args.get(2)? as i32, args.get(3)? as i32);
        let value = machine.memory.slice(args.get(4)?, args.get(5)?)?;
        let value = value.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        let Some(socket) = self.sockets.get_mut(self.socket) else { return Ok(EINVAL as u64) };
        if (level, option) == (SOL_SOCKET, SO_RCVLOWAT) {
            // `tcp_set_rcvlowat` notifies the reader of what there is.
            socket.notified |= !socket.receive_queue.is_empty();
            return Ok(0);
        }
        let result = if (level, option) == (SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS) {
            // `bpf_sol_tcp_setsockopt`, net/core/filter.c
            let is_known = value & !(ALL_CB_FLAGS as u32) == 0 && !self.refuses.callbacks;
            socket.cb_flags = if is_known { value } else { socket.cb_flags };
            if is_known { Ok(()) } else { Err(EINVAL) }
        } else if (level, option) == (SOL_SOCKET, SO_RCVBUF) {
            // `__sock_set_rcvbuf`, net/core/sock.c; here net.core.rmem_max is larger than every buffer.
            socket.buffers.receive = value.saturating_mul(2).max(MIN_RCVBUF);
            socket.buffers.locks |= RCVBUF_LOCK;
            Ok(())
        } else if self.refuses.rto_max && (level, option) == (SOL_TCP, TCP_RTO_MAX_MS) {
            Err(EINVAL)
        } else {
            socket.timers.set(level, option, value).unwrap_or(Err(EINVAL))
        };
        let kernel = machine.memory.bytes_mut(socket.kernel);
        put(kernel, layout::CALLBACK_FLAGS, &[socket.cb_flags as u8]);
        socket.publish_buffers(kernel);
        socket.timers.publish(socket.options, kernel);
        Ok(result.map_or_else(|errno| errno as u64, |()| 0))
    }

    /// Of all options, those that programs ask for.
    fn get_option(&self, machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        let (level, option) = (args.get(2)? as i32, args.get(3)? as i32);
        let place = machine.memory.slice_mut(args.get(4)?, args.get(5)?)?;
        let is_known = !(self.refuses.rto_max && (level, option) == (SOL_TCP, TCP_RTO_MAX_MS));
        let socket = self.sockets.all.get(&self.socket).filter(|_| is_known);
        let value = socket.and_then(|socket| socket.timers.get(level, option));
        // What cannot be had reads as 0 (`bpf_sock_ops_getsockopt`, net/core/filter.c).
        place.fill(0);
        place.iter_mut().zip(value.unwrap_or(0).to_ne_bytes()).for_each(|(to, from)| *to = from);
        Ok(if value.is_some() { 0 } else { EINVAL as u64 })
    }

    fn hash_update(&mut self, machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        let number = self.sock_hash(machine, args, 2)?;
        let (key, flags) = (args.key(machine, 3, number)?, args.get(4)?);
        if !self.may_enroll {
            return Ok(EOPNOTSUPP as u64);
        }
        let Some((map, _)) = machine.map_and_memory(number) else { return Ok(EINVAL as u64) };
        let replaced = map.socket(&key);
        if let Err(errno) = map.set_socket(&key, self.socket, flags) {
            return Ok(errno as u64);
        }
        self.sockets.link(machine, self.socket);
        if let Some(replaced) = replaced {
            self.sockets.unlink(replaced);
        }
        Ok(0)
    }

    fn hash_delete(&mut self, machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        let number = self.sock_hash(machine, args, 1)?;
        let key = args.key(machine, 2, number)?;
        let Some((map, _)) = machine.map_and_memory(number) else { return Ok(EINVAL as u64) };
        let Some(held) = map.socket(&key) else { return Ok(ENOENT as u64) };
        let _ = map.delete(&key);
        self.sockets.unlink(held);
        Ok(0)
    }

    fn redirect(&mut self, machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        let number = self.sock_hash(machine, args, 2)?;
        let (key, _flags) = (args.key(machine, 3, number)?, args.get(4)?);
        self.redirect = machine.map(number).and_then(|map| map.socket(&key));
        Ok(if self.redirect.is_some() { SK_PASS as u64 } else { 0 })
    }

    fn storage(&mut self, machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        let number = args.map(machine, 1)?;
        if !machine.map(number).is_some_and(|map| map.is_sk_storage()) {
            return Err(args.bad(1, "socket storage"));
        }
        let socket = self.socket_argument(machine, args, 2)?;
        if args.helper == id::SK_STORAGE_DELETE {
            let found = machine.map_and_memory(number).is_some_and(|(map, _)| map.delete_storage(socket));
            return Ok(if found { 0 } else { ENOENT as u64 });
        }
        let (value, flags) = (args.get(3)?, args.get(4)?);
        let size = machine.map(number).map_or(0, |map| u64::from(map.spec().value_size));
        let initial = if value == 0 { None } else { Some(machine.memory.slice(value, size)?.to_vec()) };
        let Some((map, memory)) = machine.map_and_memory(number) else { return Ok(0) };
        let region = match map.storage(socket) {
            None if flags & STORAGE_CREATE as u64 != 0 => {
                Some(map.storage_or_create(memory, socket, initial.as_deref()))
            }
            found => found,
        };
        Ok(region.map_or(0, |region| region.address()))
    }
}

/// `sock_from_file` (net/socket.c): the socket that a file is of, or 0.
fn socket_of_file(machine: &Machine, args: &Args) -> Result<u64, Fault> {
    let memory = &machine.memory;
    let at = |structure: u64, field: usize| structure + field as u64;
    let file = args.get(1)?;
    let inode = memory.load(at(file, layout::INODE), 8)?;
    let is_socket = memory.load(at(inode, layout::MODE), 2)? == u64::from(SOCKET_MODE);
    if is_socket { memory.load(at(file, layout::PRIVATE_DATA), 8) } else { Ok(0) }
}

impl Environment for Running<'_> {
    fn tail_call(&mut self, machine: &mut Machine, args: &Args) -> Result<bool, Fault> {
        args.get(1)?;
        let map = args.map(machine, 2)?;
        self.tail_called = self.programs == Some(map) && args.get(3)? == 0;
        Ok(self.tail_called)
    }

    fn rdonly_cast(&self) -> Option<i32> {
        btf_id("bpf_rdonly_cast").map(|id| id as i32)
    }

    fn helper(&mut self, machine: &mut Machine, args: &Args) -> Result<u64, Fault> {
        match args.helper {
            id::MAP_DELETE_ELEM => self.hash_delete(machine, args),
            id::KTIME_GET_NS => Ok(self.now),
            id::GET_PRANDOM_U32 => Ok(self.random.into()),
            id::GET_SOCKET_COOKIE => Ok(self.socket),
            id::GET_NETNS_COOKIE => Ok(self.sockets.all.get(&self.socket).map_or(0, |socket| socket.end.netns)),
            id::SOCK_OPS_CB_FLAGS_SET => {
                let (context, flags) = (args.get(1)?, args.get(2)? as u32);
                let kept = flags & ALL_CB_FLAGS as u32;
                if let Some(socket) = self.sockets.get_mut(self.socket) {
                    socket.cb_flags = kept;
                }
                // A load from the context is one from the socket (`sock_ops_convert_ctx_access`, net/core/filter.c).
                if let Some(region) = machine.memory.region_of(context) {
                    put(machine.memory.bytes_mut(region), CB_FLAGS as usize, &kept.to_ne_bytes());
                }
                Ok(u64::from(flags & !(ALL_CB_FLAGS as u32)))
            }
            id::SETSOCKOPT => self.set_option(machine, args),
            id::GETSOCKOPT => self.get_option(machine, args),
            id::RESERVE_HDR_OPT => {
                let bytes = args.get(2)? as u32;
                let Some(reserved) = &mut self.reserved else { return Ok(EPERM as u64) };
                *reserved += bytes;
                Ok(0)
            }
            id::SOCK_HASH_UPDATE => self.hash_update(machine, args),
            id::MSG_REDIRECT_HASH => self.redirect(machine, args),
            id::SK_STORAGE_GET | id::SK_STORAGE_DELETE => self.storage(machine, args),
            id::GET_CURRENT_COMM => {
                let name = machine.memory.slice_mut(args.get(1)?, args.get(2)?)?;
                name.fill(0);
                name.iter_mut().zip(THREAD_NAME).for_each(|(to, from)| *to = *from);
                Ok(0)
            }
            id::SOCK_FROM_FILE => socket_of_file(machine, args),
            id::SEQ_WRITE => {
                self.output.extend(machine.memory.slice(args.get(2)?, args.get(3)?)?);
                Ok(0)
            }
            other => self.process.and_then(|process| of_process(process, other)).ok_or(Fault::UnknownHelper(other)),
        }
    }
}

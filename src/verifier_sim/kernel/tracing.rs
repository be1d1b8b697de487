//! Tracing programs, and those that see processes receive.

use std::sync::Arc;

use super::environment::Running;
use super::iterators::Over;
use super::layout;
use super::process::{Processes, SYS_RECVFROM, SYS_SPLICE, WrongDescriptor};
use super::socket::{Chunk, SocketId};
use super::{Failure, World};
use crate::verifier_sim::interp::{self, Limits, NOEXIST, Program};

/// `EAGAIN` as a call returns it.
const EAGAIN: i64 = -11;

/// Where the program is attached that sees data received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveHook {
    /// The exit of `tcp_bpf_recvmsg`, which members of socket maps call: five arguments, of which the fourth are the flags
    /// (Linux 5.19).
    Function,
    /// The trace point `sock_recv_length`, which every receive passes.
    TracePoint,
}

/// Where the program is attached that sees splice(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpliceHook {
    /// The entry of `tcp_splice_read`.
    Function,
    /// The trace point `sys_enter`.
    TracePoint,
}

/// The tracing programs of a [`World`].
#[derive(Clone, Debug, Default)]
pub struct Tracing {
    /// Sees data received.
    pub receives: Option<(Program, ReceiveHook)>,
    /// Sees splice(2).
    pub splices: Option<(Program, SpliceHook)>,
    /// An iterator over the sockhash.
    pub drain: Option<Program>,
    /// An iterator over the sockets that have storage, which counts bytes.
    pub tally: Option<(Program, Over)>,
    /// Another one, which writes what is in the storage.
    pub states: Option<(Program, Over)>,
    /// Those that list and mark sockets.
    pub members: Vec<(Program, Over)>,
}

impl World {
    /// These tracing programs are attached.
    pub fn attach(&mut self, tracing: Tracing) {
        self.tracing = Arc::new(tracing);
    }

    /// Runs one of the programs for a process. Answers with its output.
    pub(super) fn trace(
        &mut self,
        name: &'static str,
        program: &Program,
        process: usize,
        args: &[u64],
    ) -> Result<Vec<u8>, Failure> {
        self.publish_all();
        self.now += 1000;
        let context = self.processes.arguments(&mut self.machine, args);
        let mut running = Running::new(&mut self.sockets, 0, self.now);
        running.process = Some(self.processes.running(process));
        interp::run(program, &mut self.machine, &mut running, &[context], Limits::default())
            .map_err(|trap| Failure::Trap(name, trap))?;
        Ok(running.output)
    }

    /// A call that receives has returned `copied` bytes, or none.
    pub(super) fn received(&mut self, id: SocketId, copied: u32, flags: u32, by_map: bool) -> Result<(), Failure> {
        let tracing = Arc::clone(&self.tracing);
        self.enters(id, SYS_RECVFROM, None)?;
        let Some((program, hook)) = &tracing.receives else { return Ok(()) };
        let Some(socket) = self.sockets.all.get(&id) else { return Ok(()) };
        let (sk, result) = (socket.visible.address(), if copied == 0 { EAGAIN as u64 } else { copied.into() });
        let arguments = match hook {
            ReceiveHook::Function if !by_map => return Ok(()),
            ReceiveHook::Function => [sk, 0, 0, flags.into(), 0, result],
            ReceiveHook::TracePoint => [sk, result, flags.into(), 0, 0, 0],
        };
        self.trace("receives", program, Processes::of(id), &arguments)?;
        Ok(())
    }

    /// A system call of a socket's process begins, about that socket or by another descriptor.
    fn enters(&mut self, id: SocketId, number: u64, wrong: Option<WrongDescriptor>) -> Result<(), Failure> {
        let tracing = Arc::clone(&self.tracing);
        let Some(socket) = self.sockets.all.get(&id) else { return Ok(()) };
        let files = socket.file_regions;
        let registers = match wrong {
            None => self.processes.call(&mut self.machine, id, files[1]),
            Some(wrong) => self.processes.wrong_call(&mut self.machine, files, wrong),
        };
        let Some((program, SpliceHook::TracePoint)) = &tracing.splices else { return Ok(()) };
        self.trace("splices", program, Processes::of(id), &[registers, number, 0, 0, 0, 0]).map(drop)
    }

    /// A socket's process calls splice(2) with a descriptor that is not a socket's.
    ///
    /// # Errors
    ///
    /// As all that run programs: a [`Failure`] when a program misbehaves.
    pub fn splice_another(&mut self, id: SocketId, wrong: WrongDescriptor) -> Result<(), Failure> {
        self.enters(id, SYS_SPLICE, Some(wrong))
    }

    /// A thread looks at what there is with MSG_PEEK, unless another is inside a call.
    ///
    /// # Errors
    ///
    /// As all that run programs: a [`Failure`] when a program misbehaves.
    pub fn peek(&mut self, id: SocketId) -> Result<bool, Failure> {
        let Some(socket) = self.socket(id).filter(|socket| socket.is_idle() && socket.has_unread()) else {
            return Ok(false);
        };
        self.received(id, 1, layout::MSG_PEEK, socket.is_member())?;
        Ok(true)
    }

    /// A thread calls splice(2), unless another is inside a call: for up to `want` bytes, which the stack's queue alone has.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn splice(&mut self, id: SocketId, want: u32) -> Result<Option<Vec<Chunk>>, Failure> {
        let Some(socket) = self.socket(id).filter(|socket| socket.is_idle()) else { return Ok(None) };
        let file = socket.file_regions;
        let tracing = Arc::clone(&self.tracing);
        match &tracing.splices {
            Some((program, SpliceHook::Function)) => {
                self.processes.call(&mut self.machine, id, file[1]);
                self.trace("splices", program, Processes::of(id), &[file[0].address(), 0, 0, 0, 0, 0])?;
            }
            Some((_, SpliceHook::TracePoint)) => self.enters(id, SYS_SPLICE, None)?,
            None => {}
        }
        Ok(Some(self.take_stack_bytes(id, want)))
    }

    /// The kernel takes bytes for io_uring or a reader of its own, which no tracing program sees.
    pub fn take_stack_bytes(&mut self, id: SocketId, want: u32) -> Vec<Chunk> {
        let Some(socket) = self.get(id).filter(|socket| socket.is_idle()) else { return Vec::new() };
        let (mut taken, mut left) = (Vec::new(), want);
        while let Some(front) = socket.receive_queue.front_mut().filter(|_| left > 0) {
            let chunk = front.split(left);
            left -= chunk.len;
            socket.copied_seq = socket.copied_seq.wrapping_add(chunk.len);
            if front.len == 0 {
                socket.receive_queue.pop_front();
            }
            taken.push(chunk);
        }
        taken
    }

    /// The connection of a socket is destroyed (SOCK_DESTROY of sock_diag(7)): it returns an error from now on.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn destroy(&mut self, id: SocketId) -> Result<(), Failure> {
        if self.get(id).is_some_and(|socket| socket.carry.take().is_some()) {
            self.sockets.unlink(id);
        }
        self.close(id)
    }

    /// A process enters a socket into the sockhash under `key`, as bpf(2) does.
    /// Answers whether the map has taken it.
    pub fn enroll(&mut self, id: SocketId, key: &[u8]) -> bool {
        // `sock_map_sk_state_allowed` (net/core/sock_map.c), and `sk_psock_init` of a socket with a protocol above TCP.
        if self.socket(id).is_none_or(|socket| !socket.is_established() || socket.protocol) {
            return false;
        }
        let entered = self.machine.map_and_memory(self.members).map(|(map, _)| map.set_socket(key, id, NOEXIST));
        if entered == Some(Ok(())) {
            self.sockets.link(&mut self.machine, id);
        }
        entered == Some(Ok(()))
    }

    /// A process takes a socket out of the sockhash again.
    pub fn expel(&mut self, id: SocketId, key: &[u8]) {
        let deleted = self.machine.map_and_memory(self.members).map(|(map, _)| map.delete(key));
        if deleted == Some(Ok(())) {
            self.sockets.unlink(id);
        }
    }
}

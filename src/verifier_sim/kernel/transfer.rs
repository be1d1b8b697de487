//! Bytes on their way: sendmsg, the wire, recvmsg. Each call is one step that other threads cannot split.

use super::callback::Verdict;
use super::layout::MSG_WAITALL;
use super::socket::{Carry, Chunk, Packet, Reading, SocketId};
use super::{Failure, World};

impl World {
    /// A thread calls sendmsg with `len` bytes. It returns at once, unless the message goes past the stack: then
    /// [`World::finish_send`] carries it on. Nothing happens while another thread is in the way.
    pub fn send(&mut self, id: SocketId, len: u32) -> Result<(), Failure> {
        let Some(socket) = self.get(id) else { return Ok(()) };
        if socket.closed
            || socket.owned
            || socket.carry.is_some()
            || !socket.accepted
            || socket.shutdown & 2 != 0
            || len == 0
        {
            return Ok(());
        }
        let chunk = Chunk { from: id, start: socket.sent, len };
        socket.sent += len;
        let member = socket.psock.is_some();
        if !member {
            return self.push(chunk);
        }
        // `tcp_bpf_sendmsg` holds a reference on the psock from here to its end.
        self.sockets.link(&mut self.machine, id);
        self.hold(id, true);
        let verdict = self.run_sk_msg(id, len)?;
        match verdict {
            Verdict::Drop => return Err(Failure::Dropped(id)),
            Verdict::Redirect(to) => {
                if let Some(socket) = self.get(id) {
                    socket.carry = Some(Carry { chunk, to });
                }
                self.release(id)?;
            }
            Verdict::Pass => {
                self.push(chunk)?;
                self.release(id)?;
                self.sockets.unlink(id);
            }
        }
        Ok(())
    }

    /// The thread of a redirected message puts it into the receiver's queue and returns, unless the receiver is held.
    pub fn finish_send(&mut self, id: SocketId) -> Result<(), Failure> {
        let Some(Carry { chunk, to }) = self.socket(id).and_then(|socket| socket.carry) else { return Ok(()) };
        let target = self.get(to);
        if target.as_ref().is_some_and(|target| target.owned) {
            return Ok(());
        }
        let mut result = Ok(());
        match target {
            Some(target) if !target.closed => match &mut target.psock {
                Some(psock) => {
                    psock.queue.push_back(chunk);
                    target.notified = true;
                }
                None => result = Err(Failure::BrokenPipe { from: id, to }),
            },
            // The receiver was closed: the sender learns it, as on the stack.
            _ => {}
        }
        if let Some(socket) = self.get(id) {
            socket.carry = None;
        }
        self.sockets.unlink(id);
        self.free_closed();
        result
    }

    /// Hands a chunk to the stack.
    fn push(&mut self, chunk: Chunk) -> Result<(), Failure> {
        if let Some(socket) = self.get(chunk.from) {
            socket.write_seq = socket.write_seq.wrapping_add(chunk.len);
            socket.wire.push_back(chunk);
        }
        self.transmits(chunk.from, chunk.len)
    }

    /// Keepalive sends a probe, unless a thread holds the socket.
    pub fn probe(&mut self, id: SocketId) -> Result<(), Failure> {
        if self.socket(id).is_some_and(|socket| socket.owned) {
            return Ok(());
        }
        self.transmits(id, 0)
    }

    /// The oldest segment of `from` arrives at its peer.
    pub fn deliver(&mut self, from: SocketId) -> Result<(), Failure> {
        let Some(sender) = self.socket(from) else { return Ok(()) };
        let to = sender.peer;
        if self.socket(to).is_some_and(|peer| !peer.established && !peer.closed) {
            return Ok(());
        }
        let Some(chunk) = self.get(from).and_then(|sender| sender.wire.pop_front()) else { return Ok(()) };
        let mut arrived = false;
        if let Some(peer) = self.get(to).filter(|peer| !peer.closed) {
            if peer.owned {
                peer.backlog.push_back(Packet::Data(chunk));
            } else {
                arrived = true;
            }
        }
        let received = if arrived { self.receive(to, chunk) } else { Ok(()) };
        self.free_closed();
        received
    }

    /// Takes a segment, wakes the reader, and answers with an acknowledgement.
    fn receive(&mut self, id: SocketId, chunk: Chunk) -> Result<(), Failure> {
        let mark = self.mark_received_by(id);
        if let Some(socket) = self.get(id) {
            socket.received_mark = mark.unwrap_or(socket.received_mark);
            socket.rcv_nxt = socket.rcv_nxt.wrapping_add(chunk.len);
            socket.receive_queue.push_back(chunk);
            socket.exchanged.1 += u64::from(chunk.len);
            socket.notified = true;
        }
        if let Some(sender) = self.get(chunk.from) {
            sender.acks += 1;
            sender.exchanged.0 += u64::from(chunk.len);
        }
        self.transmits(id, 0)
    }

    /// An acknowledgement arrives at the socket that sent the bytes.
    pub fn deliver_ack(&mut self, id: SocketId) -> Result<(), Failure> {
        let Some(socket) = self.get(id).filter(|socket| socket.acks > 0) else { return Ok(()) };
        socket.acks -= 1;
        if socket.owned {
            socket.backlog.push_back(Packet::Ack);
            return Ok(());
        }
        self.acknowledged(id)
    }

    fn hold(&mut self, id: SocketId, owned: bool) {
        if let Some(socket) = self.get(id) {
            socket.owned = owned;
        }
    }

    /// `release_sock`: what waited in the backlog is processed while the socket is still held.
    fn release(&mut self, id: SocketId) -> Result<(), Failure> {
        while let Some(packet) = self.get(id).and_then(|socket| socket.backlog.pop_front()) {
            match packet {
                Packet::Data(chunk) => self.receive(id, chunk)?,
                Packet::Ack => self.acknowledged(id)?,
            }
        }
        self.hold(id, false);
        Ok(())
    }

    /// A thread calls recvmsg for up to `want` bytes and decides which queue it reads. [`World::step_recv`] goes on.
    pub fn recv(&mut self, id: SocketId, want: u32) {
        self.begin_recv(id, want, false);
    }

    /// The same with MSG_WAITALL, which matters to a socket that blocks.
    pub fn recv_all(&mut self, id: SocketId, want: u32) {
        self.begin_recv(id, want, true);
    }

    fn begin_recv(&mut self, id: SocketId, want: u32, all: bool) {
        let Some(socket) = self.get(id) else { return };
        if socket.closed || socket.reading.is_some() || !socket.accepted || want == 0 {
            return;
        }
        // `tcp_bpf_recvmsg`: the stack if only the stack has bytes, else the redirected messages.
        let member = socket.psock.is_some();
        let stack = !member || (!socket.receive_queue.is_empty() && socket.redirected_waiting().0 == 0);
        let waits_for_all = all && !socket.end.nonblocking;
        let flags = if all { MSG_WAITALL } else { 0 };
        let reading = Reading {
            stack,
            locked: false,
            waits_for_all,
            flags,
            by_map: member,
            asleep: false,
            left: want,
            copied: 0,
        };
        socket.reading = Some(reading);
        if member && !stack {
            self.sockets.link(&mut self.machine, id);
        }
    }

    /// The reading thread goes on: takes the socket, copies one chunk, or lets go and returns.
    pub fn step_recv(&mut self, id: SocketId) -> Result<Option<Chunk>, Failure> {
        let Some(socket) = self.get(id) else { return Ok(None) };
        let Some(mut reading) = socket.reading else { return Ok(None) };
        if !reading.locked {
            // `sk_wait_data`: only the stack's bytes end its sleep.
            if !socket.owned && (!reading.asleep || !socket.receive_queue.is_empty()) {
                socket.owned = true;
                socket.reading = Some(Reading { locked: true, asleep: false, ..reading });
            }
            return Ok(None);
        }
        let queue =
            if reading.stack { Some(&mut socket.receive_queue) } else { socket.psock.as_mut().map(|p| &mut p.queue) };
        if let Some(queue) = queue
            && reading.left > 0
            && let Some(front) = queue.front_mut()
        {
            let taken = front.split(reading.left);
            if front.len == 0 {
                queue.pop_front();
            }
            if reading.stack {
                socket.copied_seq = socket.copied_seq.wrapping_add(taken.len);
            }
            reading.left -= taken.len;
            reading.copied += taken.len;
            socket.reading = Some(reading);
            return Ok(Some(taken));
        }
        // A blocking reader of the stack that has something processes its backlog and looks again
        // (`__sk_flush_backlog` in `tcp_recvmsg_locked`).
        if reading.stack
            && reading.copied > 0
            && reading.left > 0
            && !socket.end.nonblocking
            && !socket.backlog.is_empty()
        {
            self.release(id)?;
            self.hold(id, true);
            return Ok(None);
        }
        self.release(id)?;
        if reading.stack && reading.waits_for_all && reading.copied > 0 && reading.left > 0 {
            if let Some(socket) = self.get(id) {
                socket.reading = Some(Reading { locked: false, asleep: true, ..reading });
            }
            return Ok(None);
        }
        self.end_recv(id)?;
        Ok(None)
    }

    fn end_recv(&mut self, id: SocketId) -> Result<(), Failure> {
        let Some(reading) = self.get(id).and_then(|socket| socket.reading.take()) else { return Ok(()) };
        if !reading.stack {
            self.sockets.unlink(id);
        }
        self.received(id, reading.copied, reading.flags, reading.by_map)
    }

    /// Whether a thread sleeps inside recvmsg for more bytes of the stack.
    pub fn is_asleep(&self, id: SocketId) -> bool {
        let reading = self.socket(id).and_then(|socket| socket.reading.map(|reading| (socket, reading)));
        reading.is_some_and(|(socket, reading)| reading.asleep && socket.receive_queue.is_empty())
    }

    /// A signal ends that sleep.
    ///
    /// # Errors
    ///
    /// As all that run programs: a [`Failure`] when a program misbehaves.
    pub fn interrupt(&mut self, id: SocketId) -> Result<(), Failure> {
        if self.is_asleep(id) { self.end_recv(id) } else { Ok(()) }
    }

    /// Whether there has been an event for the reader since this was last asked.
    pub fn take_event(&mut self, id: SocketId) -> bool {
        self.get(id).is_some_and(|socket| std::mem::take(&mut socket.notified))
    }

    /// Whether acknowledgements are on their way to this socket.
    pub fn has_acks(&self, id: SocketId) -> bool {
        self.socket(id).is_some_and(|socket| socket.acks > 0)
    }

    /// What a thread inside recvmsg has received so far, and whether it has MSG_WAITALL and reads a member.
    pub fn call(&self, id: SocketId) -> Option<(u32, bool, bool)> {
        let reading = self.socket(id)?.reading?;
        Some((reading.copied, reading.flags & MSG_WAITALL != 0, reading.by_map))
    }

    /// Whether a thread is inside recvmsg.
    pub fn is_reading(&self, id: SocketId) -> bool {
        self.socket(id).is_some_and(|socket| socket.reading.is_some())
    }

    /// Whether bytes of this socket are on the wire.
    pub fn is_sending(&self, id: SocketId) -> bool {
        self.socket(id).is_some_and(|socket| !socket.wire.is_empty() || socket.carry.is_some())
    }
}

//! How a history ends: everything arrives and is read, and no promise is broken.

use std::collections::BTreeSet;

use sidestep::verifier_sim::kernel::{Socket, SocketId};

use super::sockets::is_edge_triggered;
use super::{ARMED, Broken, FOREIGN, PAIRED, STORAGE_SMALL_BUFFER, STORAGE_STATE, Simulation};

impl Simulation {
    /// A reader that sleeps for more may not be passed by.
    fn wake(&mut self, id: SocketId) -> Result<(), Broken> {
        let Some(socket) = self.world.socket(id) else { return Ok(()) };
        if !self.world.is_asleep(id) || self.world.is_sending(socket.peer()) {
            return Ok(());
        }
        if socket.redirected_waiting().0 > 0 {
            return Err(Broken(format!("socket {id} sleeps in recvmsg while redirected bytes wait")));
        }
        let before = self.world.call(id);
        self.world.interrupt(id)?;
        self.note_receive(id, before)
    }

    /// What is underway to or from a socket arrives.
    fn arrive(&mut self, id: SocketId) -> Result<(), Broken> {
        self.world.finish_handshake(id)?;
        self.world.accept(id);
        self.world.finish_send(id)?;
        self.world.deliver(id)?;
        self.world.deliver_ack(id)?;
        self.wake(id)
    }

    /// Whether a socket has bytes that its application has not read.
    fn has_unread(&self, id: SocketId) -> bool {
        self.world.socket(id).is_some_and(|socket| !socket.is_closed() && socket.has_unread())
    }

    /// Lets everything arrive, while each application looks once and then waits for an event, as those do that are
    /// edge-triggered and stop at a short read; others see what there is. No application may wait forever.
    fn wait_for_events(&mut self) -> Result<(), Broken> {
        let mut looks: BTreeSet<SocketId> = self.world.socket_ids().into_iter().collect();
        for _ in 0..200 {
            let mut busy = false;
            for id in self.world.socket_ids() {
                busy |= self.world.is_sending(id) || self.world.has_acks(id);
                self.arrive(id)?;
                self.probe(id)?;
                let notified = self.world.take_event(id);
                if notified || (self.has_unread(id) && !self.world.socket(id).is_some_and(is_edge_triggered)) {
                    looks.insert(id);
                }
                // A thread that is inside a call looks again after it.
                if !self.world.is_reading(id) && looks.remove(&id) {
                    self.world.recv(id, u32::MAX);
                }
                self.step_recv(id)?;
                busy |= self.world.is_reading(id) || self.has_unread(id);
            }
            if !busy && looks.is_empty() {
                return Ok(());
            }
        }
        for id in self.world.socket_ids() {
            // Without our callbacks nothing wakes a reader when a queue has become full.
            if self.has_unread(id) && !self.world.is_reading(id) && !self.replaced.contains(&id) {
                return Err(Broken(format!("socket {id} is not notified of what it has not read")));
            }
        }
        Ok(())
    }

    /// Each socket that still has a callback gets some, and then no socket that is plain TCP has anything of ours.
    fn check_timers(&mut self) -> Result<(), Broken> {
        for id in [(); 3].iter().flat_map(|()| self.world.socket_ids()).collect::<Vec<_>>() {
            self.world.probe(id)?;
            self.world.deliver_ack(id)?;
        }
        for id in self.world.socket_ids() {
            let Some(socket) = self.world.socket(id).filter(|socket| !socket.is_closed()) else { continue };
            // A connection without its other end needs no settings any more.
            if self.world.socket(socket.peer()).is_none_or(Socket::is_closed) {
                continue;
            }
            // Without our callbacks our settings stay; in another tool's map the socket does.
            let peer = socket.peer();
            // What an agent that was killed has left in the middle of an adoption stays so.
            let apart = |id: &SocketId| {
                self.replaced.contains(id)
                    || self.elsewhere.contains(id)
                    || self.drained.contains(id)
                    || self.adopting.abandoned.contains(id)
            };
            if [id, peer].iter().any(apart) {
                continue;
            }
            let (now, mut set) = (socket.timers(), self.timers.get(&id).copied().unwrap_or_default());
            if socket.is_member() && now.window_clamp < set.window_clamp {
                // That of a stream that stays, which comes back when its pair leaves.
                set.window_clamp = now.window_clamp;
            }
            if self.half(id, STORAGE_SMALL_BUFFER) != 0 && !self.disturbed {
                return Err(Broken(format!("the receive buffer of socket {id} stays small")));
            }
            // Another program may have taken our callbacks, and a damaged record may keep a socket waiting forever.
            if self.has_flag(id, ARMED) && !self.disturbed {
                return Err(Broken(format!("socket {id} is still armed though all is read")));
            }
            let waits_to_join =
                self.form.joins_later() && self.state(id).is_some_and(|bytes| bytes[STORAGE_STATE] == PAIRED);
            let keeps_times = (socket.is_member() || waits_to_join) && self.bounds.keepalive != 0;
            if !keeps_times && !self.has_flag(id, ARMED) && !now.agrees(set) {
                return Err(Broken(format!("socket {id} has {now:?} and its application has set {set:?}")));
            }
            let paired = self.state(id).is_some_and(|bytes| bytes[STORAGE_STATE] == PAIRED);
            // What turns keepalive off is noticed with the next message; before there is a pair, at once.
            let silent = self.silenced.contains(&id);
            if keeps_times && paired && self.servers.contains(&id) && !self.has_flag(id, ARMED) && !silent {
                let most = self.bounds.keepalive;
                let kept = set.interval > most || now.interval == set.interval;
                if !now.keepalive || now.idle > most || now.interval > most || !kept {
                    return Err(Broken(format!("socket {id} has {now:?}, and connection tracking wants {most} s")));
                }
            }
            if self.bounds.keepalive == 0 && !self.has_flag(id, ARMED) && now.keepalive != set.keepalive {
                return Err(Broken(format!("socket {id} has another SO_KEEPALIVE than its application has set")));
            }
            if (now.user_timeout, now.rto_max) != (set.user_timeout, set.rto_max) && !self.has_flag(id, ARMED) {
                return Err(Broken(format!("socket {id} has limits that its application has not set")));
            }
        }
        Ok(())
    }

    /// Lets everything arrive and be read, and checks that nothing was lost.
    pub(crate) fn finish(&mut self) -> Result<(), Broken> {
        self.end_adopting()?;
        if self.form.wakes() && !self.is_orphaned {
            self.wait_for_events()?;
        }
        for _ in 0..10_000 {
            let mut busy = false;
            for id in self.world.socket_ids() {
                busy |= self.world.is_sending(id) || self.world.is_reading(id);
                self.arrive(id)?;
                if !self.world.is_reading(id) && self.world.socket(id).is_some_and(|socket| socket.has_unread()) {
                    busy = true;
                    self.world.recv(id, u32::MAX);
                }
                self.step_recv(id)?;
            }
            if !busy {
                break;
            }
        }
        for id in self.world.socket_ids() {
            while self.world.has_acks(id) {
                self.world.deliver_ack(id)?;
            }
        }
        if self.is_orphaned {
            return self.check_all_is_read();
        }
        self.check_both_or_neither()?;
        self.recover_abandoned()?;
        if self.form.wakes() {
            self.check_timers()?;
        }
        self.check_marked()?;
        for id in &self.foreign {
            if self.world.socket(*id).is_some_and(|socket| socket.cb_flags() & FOREIGN != FOREIGN) {
                return Err(Broken(format!("socket {id} has lost the callbacks of another program")));
            }
        }
        for id in self.unclaimed.iter().filter(|_| !self.disturbed) {
            let Some(socket) = self.world.socket(*id) else { continue };
            let acknowledged =
                socket.sent() > 0 && self.world.socket(socket.peer()).is_some_and(|peer| !peer.is_closed());
            if acknowledged && socket.is_member() && !self.elsewhere.contains(id) && !self.replaced.contains(id) {
                return Err(Broken(format!("socket {id} stays in the sockhash though no end has claimed it")));
            }
        }
        for key in self.world.machine.map(self.pairs).unwrap().keys() {
            let client = u64::from_ne_bytes(key[..8].try_into().unwrap());
            let lives = |id: &SocketId| self.world.socket(*id).is_some_and(|socket| socket.peer() == client);
            // Without the callback of its close an answer stays: another program has taken it from the end that gave it.
            let unheard = |id: &SocketId| self.expected.get(id).is_some_and(|(peer, _)| *peer == client);
            if !self.world.socket_ids().iter().any(lives) && !self.replaced.iter().any(unheard) {
                return Err(Broken(format!("an answer to socket {client} has outlived the socket that gave it")));
            }
        }
        self.check_all_is_read()?;
        self.detach()
    }

    /// No byte is lost.
    fn check_all_is_read(&self) -> Result<(), Broken> {
        for (reader, (peer, next)) in &self.expected {
            let sent = self.sent.get(peer).copied().unwrap_or(0);
            let alive = self.world.socket(*reader).is_some_and(|socket| !socket.is_closed());
            if alive && *next != sent {
                return Err(Broken(format!("socket {reader} has read {next} of the {sent} bytes of {peer}")));
            }
        }
        Ok(())
    }
}

//! Pairs that the agent sends back to the stack, while the others go on.

use sidestep::verifier_sim::kernel::{Socket, SocketId};

use super::{ARMED, Broken, PAIRED, PLAIN, STORAGE_LEAVING, STORAGE_PEER, STORAGE_STATE, Simulation};

impl Simulation {
    /// Whether the agent wants a socket to leave.
    pub(super) fn is_marked(&self, id: SocketId) -> bool {
        self.state(id).is_some_and(|bytes| bytes[STORAGE_LEAVING] != 0)
    }

    /// The agent drains what is marked, once.
    pub(super) fn drain_marked(&mut self) -> Result<(), Broken> {
        if !self.form.is_gated() {
            return Ok(());
        }
        let all = !self.enabled;
        self.drain_once(|simulation, id| all || simulation.is_marked(id))
    }

    /// A pair that is marked is plain TCP when some bytes have been acknowledged.
    pub(super) fn check_marked(&mut self) -> Result<(), Broken> {
        for id in self.world.socket_ids() {
            if !self.leaves_by_itself(id) {
                continue;
            }
            let peer = self.world.socket(id).map_or(0, Socket::peer);
            for end in [id, peer, id, peer] {
                self.carry(end, 1)?;
            }
            for end in [id, peer] {
                if self.state(end).is_some_and(|bytes| bytes[STORAGE_STATE] != PLAIN) {
                    return Err(Broken(format!("socket {end} is not plain TCP though the agent has marked its pair")));
                }
            }
        }
        Ok(())
    }

    /// An acknowledgement arrives: a marked pair of which nothing is underway or unread leaves at once.
    pub(super) fn acknowledge(&mut self, id: SocketId) -> Result<(), Broken> {
        let leaves = self.leaves_by_itself(id) && self.world.has_acks(id) && {
            let peer = self.world.socket(id).map_or(0, Socket::peer);
            [id, peer].into_iter().all(|end| self.is_quiet(end))
        };
        let is_heard = self.world.has_acks(id) && self.hears(id);
        self.world.deliver_ack(id)?;
        if is_heard && self.hears(id) {
            // The callback has looked at keepalive's times.
            self.silenced.remove(&id);
        }
        if leaves && self.state(id).is_some_and(|bytes| bytes[STORAGE_STATE] != PLAIN) {
            return Err(Broken(format!("socket {id} stays, though its pair is marked and nothing is underway")));
        }
        Ok(())
    }

    /// Whether the callback of an acknowledgement looks at a pair's socket, and nothing of ours stands in its way.
    fn hears(&self, id: SocketId) -> bool {
        let socket =
            self.world.socket(id).filter(|socket| self.has_callbacks(socket) && socket.redirecting_to().is_none());
        socket.is_some()
            && !self.world.is_reading(id)
            && !self.has_flag(id, ARMED)
            && self.state(id).is_some_and(|bytes| bytes[STORAGE_STATE] == PAIRED)
    }

    /// Whether a member is not inside any call, and has read its redirected messages.
    fn is_quiet(&self, id: SocketId) -> bool {
        let socket = self.world.socket(id).filter(|socket| socket.is_member());
        socket.is_some_and(|socket| socket.redirected_waiting().0 == 0 && socket.redirecting_to().is_none())
            && !self.world.is_reading(id)
            && !self.has_flag(id, ARMED)
    }

    /// Whether a socket and its peer are marked and open, and nothing but their callbacks decides how long they stay.
    fn leaves_by_itself(&self, id: SocketId) -> bool {
        let is_open = |id: SocketId| {
            let socket = self.world.socket(id).filter(|socket| !socket.is_closed() && socket.shutdown_bits() == 0);
            socket.is_some_and(|socket| self.has_callbacks(socket))
                && !self.elsewhere.contains(&id)
                && !self.replaced.contains(&id)
                && self.is_marked(id)
        };
        let Some(socket) = self.world.socket(id) else { return false };
        let (peer, numbers) = (socket.peer(), socket.numbers());
        // Where something rewrites the numbers, the programs do not see what has been read.
        let rewritten = self.world.socket(peer).is_none_or(|peer| numbers.0 != peer.numbers().1);
        let knows = |own: SocketId, peer: SocketId| {
            self.state(own).is_some_and(|bytes| bytes[STORAGE_STATE] == PAIRED)
                && self.word(own, STORAGE_PEER) == Some(peer)
        };
        is_open(id) && is_open(peer) && knows(id, peer) && knows(peer, id) && !rewritten && !self.torn
    }
}

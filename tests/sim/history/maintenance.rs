//! The programs that the agent runs over all sockets: the drain, which empties the sockhash, and the tally, which counts what
//! open connections have exchanged by the stack.

use sidestep::dataplane::Counter;
use sidestep::verifier_sim::kernel::{Socket, SocketId};

use super::{ARMED, Broken, PAIRED, STORAGE_STATE, Simulation};

/// An active end whose peer is in our cgroups (src/dataplane/state/socket.rs).
const LOCAL: u32 = 1 << 19;

impl Simulation {
    /// Whether the sockhash has this socket.
    fn is_enrolled(&self, id: SocketId) -> bool {
        self.world.machine.map(self.members).is_some_and(|map| map.entries_of(id) > 0)
    }

    /// The agent turns the switch off and drains the sockhash once.
    pub(super) fn drain(&mut self) -> Result<(), Broken> {
        if !self.form.is_gated() {
            return Ok(());
        }
        self.enabled = false;
        self.configure();
        self.drain_once(|_, _| true)
    }

    /// The agent drains the members once of which `leaves` is true.
    pub(super) fn drain_once(&mut self, leaves: impl Fn(&Self, SocketId) -> bool) -> Result<(), Broken> {
        let ids = self.world.socket_ids();
        // The agent waits 200 ms for messages that are underway (src/agent/drain.rs). An end that has not read its peer's answer
        // does not know whose these may be; where it does, the drain sees them.
        for id in &ids {
            let to = self.world.socket(*id).and_then(Socket::redirecting_to);
            // Nor does it see a sender whose own entry it has just removed, where readers that block are served.
            let unseen =
                |to| !self.form.spares_blocking() || self.state(to).is_some_and(|bytes| bytes[STORAGE_STATE] != PAIRED);
            if to.is_some_and(unseen) {
                self.world.finish_send(*id)?;
                if self.world.socket(*id).is_some_and(|socket| socket.redirecting_to().is_some()) {
                    return Ok(());
                }
            }
        }
        let members: Vec<_> = ids.into_iter().filter(|id| self.is_enrolled(*id)).collect();
        let stays: Vec<_> =
            members.iter().map(|id| if leaves(self, *id) { self.must_stay(*id) } else { (true, true) }).collect();
        self.world.drain()?;
        for (id, (stays, may_stay)) in members.into_iter().zip(stays) {
            let enrolled = self.is_enrolled(id);
            if stays && !enrolled {
                return Err(Broken(format!(
                    "socket {id} is drained though it is armed, has unread bytes or is not to leave"
                )));
            }
            if enrolled && !may_stay && !self.torn {
                return Err(Broken(format!("socket {id} is not drained though nothing waits")));
            }
            if !enrolled {
                self.drained.insert(id);
            }
        }
        Ok(())
    }

    /// Whether a member must stay in the sockhash, and whether it may.
    fn must_stay(&self, id: SocketId) -> (bool, bool) {
        let Some(socket) = self.world.socket(id) else { return (false, true) };
        let armed = self.form.wakes() && self.has_flag(id, ARMED);
        let must = socket.redirected_waiting().0 > 0 || armed;
        let peer = socket.peer();
        let sends = |id| self.world.socket(id).is_some_and(|socket| socket.redirecting_to().is_some());
        let is_inside = |id| sends(id) || self.world.is_reading(id);
        // A peer that is gone cannot be asked, where its memory cannot be read.
        let gone = self.world.socket(peer).is_none_or(Socket::is_closed);
        (must, must || gone || is_inside(id) || is_inside(peer) || self.elsewhere.contains(&peer))
    }

    /// A socket is closed: what it has exchanged counts.
    pub(super) fn note_close(&mut self, id: SocketId) {
        let Some(socket) = self.world.socket(id).filter(|socket| !socket.is_closed()) else { return };
        if self.has_flag(id, LOCAL) {
            self.tallied.insert(id, socket.exchanged() - self.adopting.not_counted(id));
        }
    }

    /// Whether a socket's bytes count.
    pub(super) fn is_counted(&self, id: SocketId) -> bool {
        self.has_flag(id, LOCAL)
    }

    /// The application closes a socket.
    pub(super) fn close(&mut self, id: SocketId) -> Result<(), Broken> {
        if self.adopting.keeps_open(id) {
            return Ok(());
        }
        self.note_close(id);
        Ok(self.world.close(id)?)
    }

    /// The agent asks for the bytes that all connections of our cgroups have exchanged by the stack.
    pub(super) fn tally(&mut self) -> Result<(), Broken> {
        self.world.tally()?;
        for id in self.world.socket_ids() {
            self.note_close(id);
        }
        // Without the callback of its close a connection's last bytes are missing.
        if !self.form.is_gated() || !self.replaced.is_empty() {
            return Ok(());
        }
        let expected: u64 = self.tallied.values().sum();
        let counted = self.counter(Counter::StackBytes);
        if counted == expected {
            return Ok(());
        }
        Err(Broken(format!("the tally says {counted} bytes and should say {expected}: {:?}", self.tallied)))
    }

    /// The states that a process reads are those that the sockets have; reading them changes nothing.
    pub(super) fn read_states(&mut self) -> Result<(), Broken> {
        let over = self.form.over();
        let states = |simulation: &Self| -> Vec<u8> {
            let ids = simulation.world.come_to(over).into_iter();
            ids.filter_map(|id| simulation.state(id)).flatten().copied().collect()
        };
        let before = states(self);
        let read = self.world.states()?;
        if read != before || states(self) != before {
            return Err(Broken(format!("states are read as {read:?}, and are {before:?}")));
        }
        Ok(())
    }

    /// A counter over both processors.
    pub(super) fn counter(&mut self, counter: Counter) -> u64 {
        let at = Counter::ALL.iter().position(|known| *known == counter).unwrap() * 8;
        let now = self.world.machine.cpu;
        let sum = [0, 1].into_iter().map(|cpu| {
            self.world.machine.cpu = cpu;
            let value = self.world.machine.value(self.counters, &[0; 4]).unwrap();
            u64::from_ne_bytes(*value[at..].first_chunk().unwrap())
        });
        let sum = sum.sum();
        self.world.machine.cpu = now;
        sum
    }

    /// At the end of a history: all members go, and the counters are whole.
    pub(super) fn detach(&mut self) -> Result<(), Broken> {
        self.read_states()?;
        self.tally()?;
        self.drain()?;
        let left = |id: &SocketId| {
            let socket = self.world.socket(*id).filter(|socket| !socket.is_closed());
            self.is_enrolled(*id) && socket.is_some_and(|socket| self.is_idle_pair(*id, socket))
        };
        match self.world.socket_ids().iter().find(|id| self.form.is_gated() && !self.torn && left(id)) {
            Some(id) => Err(Broken(format!("socket {id} stays in the sockhash after the drain"))),
            None => Ok(()),
        }
    }

    fn is_idle_pair(&self, id: SocketId, socket: &Socket) -> bool {
        let quiet = |id: SocketId| {
            self.world.socket(id).is_some_and(|socket| !socket.is_closed())
                && !self.elsewhere.contains(&id)
                && !self.world.is_reading(id)
        };
        quiet(id) && quiet(socket.peer()) && !self.has_flag(id, ARMED)
    }
}

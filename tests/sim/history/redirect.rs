//! What must hold when a message takes one way or the other.

use sidestep::verifier_sim::kernel::{Socket, SocketId};

use super::sockets::{
    FIRST_BYTES, an_end_blocks, ends_fault, fits_beside_window, has_option, is_edge_triggered, may_ask, may_pin, pinned,
};
use super::{
    Broken, PAIRED, RTT_FLAG, STAYS, STORAGE_PEER, STORAGE_PEER_SK, STORAGE_PEER_STORAGE, STORAGE_PHASE, STORAGE_SENT,
    STORAGE_STATE, STORAGE_UNSURE, Simulation, UNENROLLING, WAITING, WRITE_HDR_OPT_FLAG, is_member,
};

/// Pages that a message must leave free in each memory group, since others take theirs before it is charged
/// (src/dataplane/gate/memory.rs).
const GROUP_RESERVE: i64 = 511;
/// Groups above each other that the programs look at (the same file).
const GROUP_LEVELS: usize = 6;
/// `RCV_SHUTDOWN` and `SEND_SHUTDOWN`, include/net/sock.h.
const RCV_SHUTDOWN: u8 = 1;
const SEND_SHUTDOWN: u8 = 2;

impl Simulation {
    /// An application sends a message.
    pub(super) fn send(&mut self, id: SocketId, len: u32) -> Result<(), Broken> {
        let redirecting = |world: &super::World| world.socket(id).and_then(Socket::redirecting_to);
        let underway = redirecting(&self.world).is_some();
        let peer = self.world.socket(id).map_or(0, Socket::peer);
        self.first_look = !self.known.contains(&(id, peer));
        self.note_ends(id);
        let (strands, calm) = (self.would_strand(id, len), self.nothing_against(id, len));
        let free = calm && self.is_proven_member(id);
        let only_large = self.queue_is_empty(id) && self.nothing_against(id, 1);
        let misses_bytes = self.may_miss_bytes(id);
        let may_begin_to_stay = self.has_flag(id, STAYS) || self.may_stay(id);
        // One that is trusted with the message has nothing to earn; then its pair may leave for another reason.
        let may_earn = self.form.watches()
            && !self.trusts(id, len)
            && self.ends_do_not_block(id)
            && self.nothing_but_trust_against(id, 1);
        let was_member = is_member(&self.world, id);
        self.world.send(id, len)?;
        let sent = self.world.socket(id).unwrap().sent();
        if underway || self.sent.insert(id, sent).unwrap_or(0) == sent {
            return Ok(());
        }
        if self.has_flag(id, STAYS) && !may_begin_to_stay {
            return Err(Broken(format!("socket {id} stays with a reader that may wait for the stack's bytes forever")));
        }
        let peer = self.world.socket(id).unwrap().peer();
        // Only what a member sends is counted: while an adopted pair has one member, that one's row grows.
        if was_member {
            self.rows.insert(peer, (0, 0));
            let (messages, bytes) = self.rows.entry(id).or_default();
            (*messages, *bytes) = (*messages + 1, *bytes + len);
        }
        if let Some(to) = redirecting(&self.world) {
            self.redirected += u64::from(len);
            self.check_redirect(id, to, len)?;
            let (messages, bytes) = self.burst(id);
            self.bursts.insert(id, (messages + 1, bytes + len));
        } else if calm && !free {
            self.note_begun(id);
        } else if strands {
            return Err(Broken(format!("socket {id} leaves bytes on the stack behind unread redirected ones")));
        } else if free {
            return Err(Broken(format!("socket {id} uses the stack, and nothing speaks against redirecting")));
        } else if only_large && self.form.spares_blocking() && self.has_flag(id, UNENROLLING) {
            return Err(Broken(format!("socket {id} is to leave the map because of one large message")));
        } else if may_earn && self.has_flag(id, UNENROLLING) {
            return Err(Broken(format!("socket {id} is to leave the map while its peer's reader may earn trust")));
        } else if misses_bytes && is_member(&self.world, id) && !self.has_flag(id, UNENROLLING) {
            return Err(Broken(format!("socket {id} keeps a peer that blocks and whose FIONREAD misses bytes")));
        }
        Ok(())
    }

    /// Remembers what the programs may remember when the ends are as they must be.
    fn note_ends(&mut self, id: SocketId) {
        let Some(sender) = self.world.socket(id) else { return };
        let Some(receiver) = self.world.socket(sender.peer()) else { return };
        if ends_fault(self.form, sender, receiver).is_none() {
            let direction = (id, sender.peer());
            self.known.insert(direction);
            if !self.may_ask(sender.peer(), receiver) {
                self.harmless.insert(direction);
            }
        }
    }

    /// Messages and bytes that were redirected since the receiver's queue was last empty.
    fn burst(&self, from: SocketId) -> (u32, u32) {
        if self.queue_is_empty(from) && self.form.is_gated() {
            (0, 0)
        } else {
            self.bursts.get(&from).copied().unwrap_or_default()
        }
    }

    /// Whether nothing redirected waits at the peer of a socket.
    fn queue_is_empty(&self, from: SocketId) -> bool {
        let peer = self.world.socket(from).and_then(|sender| self.world.socket(sender.peer()));
        peer.is_none_or(|peer| peer.redirected_waiting().0 == 0)
    }

    /// A message has just got the verdict "redirect": no application may be able to tell.
    fn check_redirect(&self, from: SocketId, to: SocketId, len: u32) -> Result<(), Broken> {
        let (sender, target) = (self.world.socket(from).unwrap(), self.world.socket(to).unwrap());
        let broken = |what: &str| Err(Broken(format!("socket {from} redirects to {to}, {what}")));
        let (mut waiting, _) = target.redirected_waiting();
        let unsure = self.may_be_behind_another(from, sender);
        if unsure {
            waiting = waiting.max(1);
        }
        if to != sender.peer() || target.is_closed() {
            return broken("which is not its peer");
        }
        if self.is_orphaned {
            return broken("though the agent is gone");
        }
        let (messages, bytes) = self.burst(from);
        if !self.form.is_gated() {
            return match () {
                () if !self.enabled => broken("while the switch is off"),
                () if bytes + len > self.bounds.sticky_bytes => broken("whose bytes are used up"),
                () => Ok(()),
            };
        }
        if !self.enabled && waiting == 0 {
            return broken("while the switch is off");
        }
        let row = self.rows.get(&from).map_or(0, |(_, bytes)| *bytes);
        if self.form.watches() && waiting == 0 && !self.trust.permits(to, row) {
            return broken("whose reader is not trusted with so many bytes in a row");
        }
        if (self.has_flag(from, UNENROLLING) || self.has_flag(to, UNENROLLING)) && waiting == 0 {
            return broken("while one of them wants to leave the map");
        }
        if (self.is_marked(from) || self.is_marked(to)) && waiting == 0 {
            return broken("while the agent wants one of them to leave the map");
        }
        if self.phase(from) % 2 == 1 && waiting == 0 {
            return broken("in a phase in which the stack carries all");
        }
        if self.may_read_as_before(from, to) {
            return broken("whose reader may be inside a call that it entered before");
        }
        if sender.has_protocol() || target.has_protocol() {
            return broken("past a protocol above TCP");
        }
        if !(self.has_callbacks(sender) && self.has_callbacks(target)) && waiting == 0 {
            return broken("without our callbacks at both ends");
        }
        let looks_once = !self.looks_each_time();
        if let Some(fault) = ends_fault(self.form, sender, target)
            && !(looks_once && self.known.contains(&(from, to)))
        {
            return broken(fault);
        }
        if target.rcvlowat() > 1 || target.shutdown_bits() & RCV_SHUTDOWN != 0 {
            return broken("which wants several bytes at once, or none");
        }
        if target.shutdown_bits() & SEND_SHUTDOWN != 0 && waiting == 0 {
            return broken("which has sent its FIN");
        }
        if self.world.is_under_memory_pressure() {
            return broken("while TCP is under memory pressure");
        }
        if self.pages_left(to, len).is_some_and(|pages| pages < GROUP_RESERVE) {
            return broken("whose memory group has no room");
        }
        if self.spares_askers() && self.may_ask(to, target) && !self.harmless.contains(&(from, to)) {
            return broken("which may ask FIONREAD");
        }
        if !self.is_probed(from, to) && waiting == 0 {
            return broken("and connection tracking may forget them");
        }
        if unsure {
            return Ok(());
        }
        if waiting > 0 && (messages >= self.bounds.max_messages || bytes + len > self.bounds.max_bytes) {
            return broken("whose queue is full");
        }
        if bytes + len > fits_beside_window(self.form, target, len) {
            return broken("whose buffer has no room for what the stack may bring");
        }
        let is_first = waiting == 0 && len <= FIRST_BYTES;
        if !is_first && pinned(messages + 1, bytes + len) > may_pin(self.form, sender, target) {
            return broken("whose redirected bytes pin more memory than the buffers allow");
        }
        Ok(())
    }

    /// Whether a message has been redirected because another thread's might be underway: who else has a reference on the sender's psock than
    /// the sockhash, another tool's map and this message is unknown to the programs. At most eight are in a row.
    fn may_be_behind_another(&self, from: SocketId, sender: &Socket) -> bool {
        let known = 2 + u32::from(self.elsewhere.contains(&from));
        let in_a_row = self.half(from, STORAGE_UNSURE);
        sender.references() > known && (1..=8).contains(&in_a_row)
    }

    /// Whether the gate looks at both ends for each message, or once and remembers.
    fn looks_each_time(&self) -> bool {
        self.form == super::Form::Loads
    }

    /// Whether a reader may ask FIONREAD: one that nothing watches, until it has sent something itself.
    fn may_ask(&self, id: SocketId, socket: &Socket) -> bool {
        may_ask(socket).unwrap_or_else(|| self.half(id, STORAGE_SENT) == 0)
    }

    /// Whether a socket has the callbacks that the programs need.
    pub(super) fn has_callbacks(&self, socket: &Socket) -> bool {
        let needed = if self.form.wakes() { RTT_FLAG | WRITE_HDR_OPT_FLAG } else { RTT_FLAG };
        socket.cb_flags() & needed == needed
    }

    fn spares_askers(&self) -> bool {
        self.bounds.spare_askers && self.form.spares_blocking()
    }

    /// Whether the connection has packets as often as it must, as far as the programs can see it.
    fn is_probed(&self, from: SocketId, to: SocketId) -> bool {
        let server = if self.servers.contains(&from) { from } else { to };
        // Where a look costs a call, it is taken once, and at the program's own socket.
        let looked_at = server == from && self.first_look;
        let visible = self.form == super::Form::Loads || (self.form.wakes() && looked_at);
        let Some(socket) = self.world.socket(server).filter(|_| visible && self.bounds.keepalive != 0) else {
            return true;
        };
        let timers = socket.timers();
        timers.keepalive && (1..=self.bounds.keepalive).contains(&timers.idle)
    }

    /// Whether an application may have taken keepalive from connection tracking.
    fn has_new_timers(&self, from: SocketId, to: SocketId) -> bool {
        self.bounds.keepalive != 0 && [from, to].iter().any(|id| self.timers.contains_key(id))
    }

    /// Whether memory keeps a message off the receiver.
    fn lacks_memory(&self, to: SocketId, len: u32) -> bool {
        self.world.is_under_memory_pressure() || self.pages_left(to, len).is_some_and(|pages| pages <= GROUP_RESERVE)
    }

    fn pages_left(&self, to: SocketId, len: u32) -> Option<i64> {
        self.world.pages_left(to, len, GROUP_LEVELS)
    }

    /// Whether a message of `from` that takes the stack now is behind redirected bytes without a good reason: a reader that
    /// is notified once reads those, and waits for an event that has been.
    fn would_strand(&self, from: SocketId, len: u32) -> bool {
        let Some(sender) = self.world.socket(from).filter(|_| self.form.is_gated() && !self.is_orphaned) else {
            return false;
        };
        let to = sender.peer();
        let Some(receiver) = self.world.socket(to) else { return false };
        let (messages, bytes) = receiver.redirected_waiting();
        let unread = self.expected.get(&to).map(|(_, next)| sender.sent() - next);
        messages > 0
            && unread == Some(bytes)
            // One that was not so when the pair stayed, is woken a second later.
            && !self.has_flag(from, STAYS)
            && is_edge_triggered(receiver)
            && !an_end_blocks(self.form, sender, receiver)
            && self.may_be_redirected(from, sender, to, receiver, len)
    }

    /// Whether a stream of `from` may stay in the sockhash: its reader is told of the stack's bytes behind redirected ones, and sees
    /// them when it asks.
    fn may_stay(&self, from: SocketId) -> bool {
        let receiver = self.world.socket(from).and_then(|sender| self.world.socket(sender.peer()));
        !self.bounds.redirect_unaccepted && receiver.is_some_and(|receiver| !is_edge_triggered(receiver))
    }

    /// Whether the receiver and its bounds permit a message, if nothing else speaks against it and neither end blocks.
    fn may_be_redirected(&self, from: SocketId, sender: &Socket, to: SocketId, receiver: &Socket, len: u32) -> bool {
        let (waiting, _) = receiver.redirected_waiting();
        let (messages, bytes) = self.burst(from);
        let queued = messages < self.bounds.max_messages
            && bytes + len <= self.bounds.max_bytes
            && pinned(messages + 1, bytes + len) <= may_pin(self.form, sender, receiver);
        !sender.is_closed()
            && !receiver.is_closed()
            && sender.is_member()
            && receiver.rcvlowat() <= 1
            && receiver.shutdown_bits() & RCV_SHUTDOWN == 0
            && !has_option(self.form, sender, receiver)
            && !sender.has_protocol()
            && !receiver.has_protocol()
            && !self.lacks_memory(to, len)
            && !(self.spares_askers() && self.may_ask(to, receiver))
            && bytes + len <= fits_beside_window(self.form, receiver, len)
            && (queued || (waiting == 0 && len <= FIRST_BYTES))
    }

    /// The phase in which a stream is measured; 0 for none.
    fn phase(&self, from: SocketId) -> u32 {
        if self.form.measures() { self.half(from, STORAGE_PHASE) } else { 0 }
    }

    /// Whether the active end will find its peer's answer, undamaged.
    fn has_answer(&self, client: SocketId) -> bool {
        let answers = self.world.machine.map(self.pairs);
        !self.torn && answers.is_some_and(|map| map.keys().any(|key| key[..8] == client.to_ne_bytes()))
    }

    /// Whether the receiver blocks, so that a message of `from` takes the stack, and does not see those bytes by FIONREAD;
    /// nothing else speaks against redirecting, and it has not been seen to be non-blocking.
    fn may_miss_bytes(&self, from: SocketId) -> bool {
        let Some(sender) = self.world.socket(from) else { return false };
        let Some(receiver) = self.world.socket(sender.peer()) else { return false };
        self.bounds.redirect_unaccepted
            && self.form.spares_blocking()
            && receiver.is_accepted()
            && !receiver.is_nonblocking()
            && sender.is_nonblocking()
            && !self.known.contains(&(from, sender.peer()))
            && self.nothing_else_against(from, 1)
    }

    /// Whether nothing at all speaks for the stack: the pair is accelerated, all is read, no thread is inside a call, and
    /// neither end has anything that matters.
    fn nothing_against(&self, from: SocketId, len: u32) -> bool {
        self.ends_do_not_block(from) && self.nothing_else_against(from, len)
    }

    fn ends_do_not_block(&self, from: SocketId) -> bool {
        let sender = self.world.socket(from);
        let ends = sender.and_then(|sender| Some((sender, self.world.socket(sender.peer())?)));
        ends.is_some_and(|(sender, receiver)| !an_end_blocks(self.form, sender, receiver))
    }

    /// The same of an end that blocks.
    fn nothing_else_against(&self, from: SocketId, len: u32) -> bool {
        self.nothing_but_trust_against(from, len) && self.trusts(from, len)
    }

    /// The same of a reader that may not have earned trust yet.
    fn nothing_but_trust_against(&self, from: SocketId, len: u32) -> bool {
        let Some(sender) =
            self.world.socket(from).filter(|_| self.form.is_gated() && self.enabled && !self.is_orphaned)
        else {
            return false;
        };
        let to = sender.peer();
        let Some(receiver) = self.world.socket(to).filter(|receiver| receiver.is_member()) else { return false };
        let knows = |own: SocketId, peer: SocketId, address: u64| {
            let storage = self.world.machine.map(self.storage).and_then(|map| map.storage(peer));
            let state = self.state(own).map(|bytes| bytes[STORAGE_STATE]);
            let right = self.word(own, STORAGE_PEER) == Some(peer)
                && self.word(own, STORAGE_PEER_STORAGE) == storage.map(|region| region.address())
                && self.word(own, STORAGE_PEER_SK) == Some(address);
            (state == Some(PAIRED) && right || state == Some(WAITING) && self.has_answer(own))
                && !self.has_flag(own, UNENROLLING)
                && !self.is_marked(own)
        };
        let unread = self.expected.get(&to).map(|(_, next)| sender.sent() - next);
        knows(from, to, receiver.address())
            && knows(to, from, sender.address())
            && unread == Some(receiver.redirected_waiting().1)
            && !self.world.is_reading(to)
            && self.may_earn_trust(to)
            && receiver.redirecting_to().is_none()
            && receiver.shutdown_bits() & SEND_SHUTDOWN == 0
            // Where something rewrites the numbers, the programs do not see what has been read.
            && sender.numbers().0 == receiver.numbers().1
            && self.rows.get(&from).is_none_or(|(messages, _)| *messages < self.bounds.stream_messages)
            && self.phase(from) == 0
            && !self.has_new_timers(from, to)
            && self.has_callbacks(sender)
            && self.has_callbacks(receiver)
            && ![from, to].iter().any(|id| self.elsewhere.contains(id) || self.replaced.contains(id))
            && self.may_be_redirected(from, sender, to, receiver, len)
    }
}

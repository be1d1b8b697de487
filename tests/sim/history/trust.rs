//! Readers that have to earn trust, said again and in another way than the programs; and the agent, which admits them.

use std::collections::{BTreeMap, BTreeSet};

use sidestep::dataplane::{Reader, ReaderEvent, ReaderEventKind, ReaderState};
use sidestep::uapi::net::AF_INET;
use sidestep::verifier_sim::kernel::{Cgroup, SocketId, World, WrongDescriptor};

use super::{Broken, PAIRED, STORAGE_SENT, STORAGE_STATE, Simulation};

/// Receives on a connection, and receives of a program for more than it is trusted with, before these count
/// (src/dataplane/options/trust.rs).
const CONNECTION_RECEIVES: u32 = 16;
const PROGRAM_RECEIVES: u32 = 64;
/// So many bytes in a row are a stream: a program that has received them is trusted with any number.
const STREAM_BYTES: u32 = 1 << 20;
/// After so many receives the agent is asked again whether the socket may join.
const ASK_AGAIN: u32 = 256;
/// The socket is never served again (src/dataplane/state/socket.rs).
const NEVER: u32 = 1;
/// Offset of what a socket's reader is trusted with, and of how far recvmsg has read the stack (the same file).
const STORAGE_READER: usize = 20;
const STORAGE_READ_SEQ: usize = 116;
/// Of a row that a socket has sent: how many messages its peer had sent then, and its bytes.
const STORAGE_PEER_SENT: usize = 80;
const STORAGE_ROW: usize = 108;
/// A socket that is read.
#[derive(Clone, Debug, Default)]
struct Socket {
    receives: u32,
    /// Bytes received in a row, and how many messages the socket had sent when it began.
    row: u32,
    sent: u32,
    trusted: u32,
    /// How many programs had spliced when its process was last looked up.
    splicers: u32,
    /// Whether its reader has been trusted with anything.
    has_earned: bool,
    /// Whether it has joined the sockhash at once, or the agent has been asked.
    has_asked: bool,
}

/// A process that reads.
#[derive(Clone, Copy, Debug, Default)]
struct Process {
    admitted: bool,
    splices: bool,
    proven: u32,
    seen: u32,
    most: u32,
}

/// What readers have earned.
#[derive(Debug, Default)]
pub(super) struct Trust {
    sockets: BTreeMap<SocketId, Socket>,
    processes: BTreeMap<(u32, u64), Process>,
    splicers: u32,
    /// Sockets that have been spliced from.
    spliced: BTreeSet<SocketId>,
    /// Sockets whose last stack bytes were taken by something else than recvmsg.
    unseen: BTreeSet<SocketId>,
    /// Events that the agent has read.
    events: usize,
    /// Processes of which it has been notified.
    appeared: Vec<(u32, u64)>,
}

impl Trust {
    /// A receive of so many bytes, on a socket that may have to join the sockhash yet.
    fn receive(&mut self, id: SocketId, bytes: u32, sent: u32, waits_for_all: bool, joins_later: bool) {
        let socket = self.sockets.entry(id).or_default();
        if waits_for_all {
            // Redirected bytes come back short from MSG_WAITALL.
            socket.trusted = NEVER;
            return;
        }
        socket.receives += 1;
        socket.row = if socket.sent == sent { socket.row + bytes } else { bytes };
        socket.sent = sent;
        let others = socket.trusted != NEVER && std::mem::replace(&mut socket.splicers, self.splicers) != self.splicers;
        let long_enough = socket.receives >= CONNECTION_RECEIVES;
        let asks = joins_later && (!socket.has_asked || socket.receives.is_multiple_of(ASK_AGAIN));
        if socket.trusted == NEVER || !(others || (asks || socket.row > socket.trusted) && long_enough) {
            return;
        }
        let process = self.processes.entry(World::process(id)).or_default();
        if process.splices {
            socket.trusted = NEVER;
        } else if process.admitted && long_enough {
            if process.proven < socket.row {
                (process.most, process.seen) = (process.most.max(socket.row), process.seen + 1);
                if process.seen < PROGRAM_RECEIVES {
                    return;
                }
                let proven = if process.most < STREAM_BYTES { process.most } else { u32::MAX };
                *process = Process { proven, seen: 0, most: 0, ..*process };
            }
            socket.trusted = process.proven;
            (socket.has_earned, socket.has_asked) = (true, true);
        }
    }

    /// A process has called splice(2) on a socket, which may be a member.
    fn splice(&mut self, id: SocketId, is_member: bool) {
        let process = self.processes.entry(World::process(id)).or_default();
        self.splicers += u32::from(!std::mem::replace(&mut process.splices, true));
        if is_member {
            self.spliced.insert(id);
        }
    }

    /// Whether a socket's reader may be sent so many bytes in a row.
    pub(super) fn permits(&self, id: SocketId, row: u32) -> bool {
        let trusted = self.sockets.get(&id).map_or(0, |socket| socket.trusted);
        trusted != NEVER && row <= trusted && !self.spliced.contains(&id) && !self.unseen.contains(&id)
    }
}

/// A call that receives, before a step: what it has received, and whether it has MSG_WAITALL and reads a member.
pub(super) type Call = Option<(u32, bool, bool)>;

impl Simulation {
    /// A half of a word of what our programs have written of a socket.
    pub(super) fn half(&self, id: SocketId, offset: usize) -> u32 {
        let bytes = self.state(id).and_then(|bytes| bytes[offset..].first_chunk());
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    /// How often a socket has received as one of its present pair.
    pub(super) fn receives(&self, id: SocketId) -> u32 {
        self.trust.sockets.get(&id).map_or(0, |socket| socket.receives)
    }

    fn is_paired(&self, id: SocketId) -> bool {
        self.state(id).is_some_and(|bytes| bytes[STORAGE_STATE] == PAIRED)
    }

    /// Whether the receiver's reader may be sent a message, as the programs have noted it.
    pub(super) fn trusts(&self, from: SocketId, len: u32) -> bool {
        let Some(sender) = self.world.socket(from).filter(|_| self.form.watches()) else {
            return true;
        };
        let to = sender.peer();
        let answered = self.half(from, STORAGE_PEER_SENT) != self.half(to, STORAGE_SENT);
        let row = if answered { 0 } else { self.half(from, STORAGE_ROW) };
        let trusted = self.half(to, STORAGE_READER);
        row.saturating_add(len) <= trusted && self.half(to, STORAGE_READ_SEQ) == sender.numbers().0
    }

    /// Whether a socket's reader reads by recvmsg alone, as far as it has been seen.
    pub(super) fn may_earn_trust(&self, id: SocketId) -> bool {
        !self.form.watches() || self.half(id, STORAGE_READER) != NEVER && !self.trust.spliced.contains(&id)
    }

    /// A step of a call that receives is over; `before` is what was known of it then.
    pub(super) fn note_receive(&mut self, id: SocketId, before: Call) -> Result<(), Broken> {
        let returned = before.filter(|_| self.form.watches() && !self.is_orphaned && !self.world.is_reading(id));
        let Some((bytes, waits_for_all, is_member)) = returned else { return Ok(()) };
        if bytes > 0 && (is_member || self.form.sees_all_receives()) && self.is_paired(id) {
            let sent = self.half(id, STORAGE_SENT);
            if !waits_for_all {
                self.trust.unseen.remove(&id);
            }
            self.trust.receive(id, bytes, sent, waits_for_all, self.form.joins_later());
            self.note_receives(id, self.trust.sockets[&id].receives);
            self.check_asked(id)?;
        }
        self.check_trust(id)
    }

    /// What the programs have noted of a socket and its process is what these have earned.
    fn check_trust(&mut self, id: SocketId) -> Result<(), Broken> {
        if self.is_orphaned {
            return Ok(());
        }
        if let Some(socket) = self.trust.sockets.get(&id).filter(|_| self.is_paired(id)) {
            let trusted = self.half(id, STORAGE_READER);
            if trusted != socket.trusted {
                return Err(Broken(format!("socket {id} is trusted with {trusted} and has earned {socket:?}")));
            }
        }
        let process = World::process(id);
        let key = Reader::key(process);
        let bytes = self.readers.and_then(|map| self.world.machine.value(map, &key));
        let known = bytes.and_then(|bytes| Reader::from_bytes(&key, bytes));
        let earned = self.trust.processes.get(&process);
        let same = match (&known, earned) {
            (None, None) => true,
            (Some(known), Some(earned)) => {
                (known.proven, known.seen, known.most) == (earned.proven, earned.seen, earned.most)
                    && (known.state == ReaderState::Splicer) == earned.splices
            }
            _ => false,
        };
        if same { Ok(()) } else { Err(Broken(format!("{known:?} has earned {earned:?}"))) }
    }

    /// The events that the agent has not read yet; sockets that are to join are put aside.
    pub(super) fn events(&mut self) -> Vec<ReaderEvent> {
        let records = self.events.and_then(|map| self.world.machine.map(map)).map_or(&[][..], |map| map.records());
        let new: Vec<_> =
            records[self.trust.events..].iter().filter_map(|record| ReaderEvent::from_bytes(record)).collect();
        self.trust.events = records.len();
        for event in &new {
            match event.kind {
                ReaderEventKind::Joins(socket) => self.joining.ask(event.process, socket),
                _ => self.trust.appeared.push(event.process),
            }
        }
        new
    }

    /// A socket of a cgroup that is trusted need not earn it.
    pub(super) fn note_trusted(&mut self, id: SocketId, cgroup: Cgroup) {
        if self.form.watches() && cgroup == Cgroup::Trusted {
            self.trust
                .sockets
                .insert(id, Socket { trusted: u32::MAX, has_earned: true, has_asked: true, ..Socket::default() });
        }
    }

    /// A socket becomes one end of a new pair: what it receives counts from now on, and the word of a cgroup that is trusted.
    pub(super) fn begin_again(&mut self, id: SocketId, cgroup: Cgroup) {
        if !self.form.watches() {
            return;
        }
        let socket = self.trust.sockets.entry(id).or_default();
        *socket = Socket { trusted: socket.trusted, has_earned: socket.has_earned, ..Socket::default() };
        if cgroup == Cgroup::Trusted {
            (socket.trusted, socket.has_earned) = (u32::MAX, true);
        }
    }

    /// Whether a socket's reader reads in a way that redirected bytes do not support.
    pub(super) fn is_never_served(&self, id: SocketId) -> bool {
        self.half(id, STORAGE_READER) == NEVER
    }

    /// The same of one whose cgroup is not.
    pub(super) fn has_earned_by_reading(&self, id: SocketId) -> bool {
        self.has_earned_once(id) && self.world.socket(id).is_some_and(|socket| socket.cgroup() != Cgroup::Trusted)
    }

    /// Whether a socket's reader has ever been trusted.
    pub(super) fn has_earned_once(&self, id: SocketId) -> bool {
        self.trust.sockets.get(&id).is_some_and(|socket| socket.has_earned)
    }

    /// A process is trusted by the agent, and does not splice.
    pub(super) fn is_admitted(&self, process: (u32, u64)) -> bool {
        self.trust.processes.get(&process).is_some_and(|process| process.admitted && !process.splices)
    }

    /// A process calls splice(2) with a descriptor that is not a socket's: it is not a splicer.
    pub(super) fn splice_another(&mut self, id: SocketId, wrong: WrongDescriptor) -> Result<(), Broken> {
        self.world.splice_another(id, wrong)?;
        self.check_trust(id)
    }

    /// The agent admits the processes of which it has been notified, trusted with so many bytes.
    pub(super) fn admit(&mut self, proven: u32) -> Result<(), Broken> {
        self.events();
        for process in self.trust.appeared.clone() {
            let Some(earned) =
                self.trust.processes.get_mut(&process).filter(|earned| !earned.admitted && !earned.splices)
            else {
                continue;
            };
            (earned.admitted, earned.proven) = (true, proven);
            let key = Reader::key(process);
            let Some(bytes) = self.readers.and_then(|map| self.world.machine.value(map, &key)) else {
                return Err(Broken(format!("the agent is notified of process {process:?}, which has no record")));
            };
            let Some(mut record) = Reader::from_bytes(&key, bytes) else { continue };
            (record.state, record.proven) = (ReaderState::Admitted, proven);
            bytes.copy_from_slice(&record.to_bytes().1);
        }
        let unknown = self.trust.processes.keys().find(|process| !self.trust.appeared.contains(process));
        match unknown {
            Some(process) => Err(Broken(format!("the agent is not notified of process {process:?}"))),
            None => Ok(()),
        }
    }

    /// A thread looks with MSG_PEEK: how it will take what it sees is not known.
    pub(super) fn peek(&mut self, id: SocketId) -> Result<(), Broken> {
        let is_member = self.world.socket(id).is_some_and(|socket| socket.is_member());
        let is_seen = is_member || self.form.sees_all_receives();
        if self.world.peek(id)? && is_seen && self.form.watches() && self.is_paired(id) {
            let socket = self.trust.sockets.entry(id).or_default();
            if socket.trusted != NEVER {
                socket.trusted = 0;
            }
        }
        self.check_trust(id)
    }

    /// A thread calls splice(2): it does not miss redirected bytes, since its connection is destroyed first.
    pub(super) fn splice(&mut self, id: SocketId, want: u32) -> Result<(), Broken> {
        let watched = self.form.watches() && !self.is_orphaned;
        let Some(socket) = self.world.socket(id).cloned().filter(|_| watched) else { return Ok(()) };
        self.admit(0)?;
        let Some(chunks) = self.world.splice(id, want)? else { return Ok(()) };
        self.trust.splice(id, socket.is_member());
        let events = self.events();
        let lost = events.iter().find_map(|event| match event.kind {
            ReaderEventKind::Loses(losing) => Some(losing),
            _ => None,
        });
        let misses = socket.redirected_waiting().0 > 0;
        let Some(losing) = lost else {
            if misses {
                return Err(Broken(format!("socket {id} is spliced from while redirected bytes wait")));
            }
            for chunk in chunks {
                self.received(id, Some(chunk))?;
            }
            return self.check_trust(id);
        };
        let (_, local, remote) = socket.addresses();
        let address = |ip: u32| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.to_be_bytes());
            bytes
        };
        let right = losing.cookie == id
            && losing.family == AF_INET as u16
            && losing.ports == (local.port, remote.port)
            && losing.addresses == (address(local.ip), address(remote.ip))
            && losing.descriptor == World::descriptor(id);
        if !(misses && right) {
            return Err(Broken(format!("socket {id} is to be destroyed as {losing:?}")));
        }
        self.note_close(id);
        self.world.destroy(id)?;
        self.expected.remove(&id);
        self.expected.remove(&socket.peer());
        Ok(())
    }

    /// Bytes of the stack are taken for io_uring: no program sees that.
    pub(super) fn take(&mut self, id: SocketId, want: u32) -> Result<(), Broken> {
        for chunk in self.world.take_stack_bytes(id, want) {
            self.trust.unseen.insert(id);
            self.received(id, Some(chunk))?;
        }
        Ok(())
    }
}

//! The agent lets pairs join the sockhash when the readers of both ends are trusted (src/agent/readers/join.rs).

use std::collections::{BTreeMap, BTreeSet};

use sidestep::dataplane::{JoiningSocket, SocketState, sockhash_key};
use sidestep::verifier_sim::kernel::{Socket, SocketId, World};

use super::{Broken, Simulation};

/// A process, and a socket that it reads.
type End = ((u32, u64), JoiningSocket);

/// Sockets that are to join.
#[derive(Debug, Default)]
pub(super) struct Joining {
    /// Those whose peer has not been named yet.
    waiting: BTreeMap<SocketId, End>,
    pairs: Vec<[End; 2]>,
    /// All for which a program has asked.
    asked: BTreeSet<SocketId>,
    /// By sender: the number of the next byte that it sent when its pair joined first.
    since: BTreeMap<SocketId, u32>,
    /// Senders that have sent a message by the stack since then, while nothing else spoke for the stack.
    begun: BTreeSet<SocketId>,
    /// Sockets of which a program has said something wrong.
    mistakes: Vec<SocketId>,
}

impl Joining {
    /// A program asks for a socket.
    pub(super) fn ask(&mut self, process: (u32, u64), socket: JoiningSocket) {
        if process != World::process(socket.cookie) || socket.descriptor != World::descriptor(socket.cookie) {
            self.mistakes.push(socket.cookie);
        }
        self.asked.insert(socket.cookie);
        let end = (process, socket);
        match self.waiting.remove(&socket.peer) {
            Some(peer) if peer.1.peer == socket.cookie => self.pairs.push([end, peer]),
            _ => drop(self.waiting.insert(socket.cookie, end)),
        }
    }
}

impl Simulation {
    /// The agent lets those join that may.
    pub(super) fn join(&mut self) -> Result<(), Broken> {
        self.events();
        if let Some(id) = self.joining.mistakes.first() {
            return Err(Broken(format!("the agent is told a wrong process or descriptor of socket {id}")));
        }
        for pair in std::mem::take(&mut self.joining.pairs) {
            self.join_pair(pair)?;
        }
        Ok(())
    }

    fn join_pair(&mut self, pair: [End; 2]) -> Result<(), Broken> {
        let [first, second] = pair.map(|(_, socket)| socket.cookie);
        if self.world.socket(first).is_some_and(|socket| socket.peer() != second) {
            return Err(Broken(format!("socket {first} is to join with {second}, which is not its peer")));
        }
        let keys: Option<Vec<_>> = pair.iter().map(|(process, socket)| self.key_of(*process, socket.cookie)).collect();
        let Some(keys) = keys.filter(|_| self.enabled) else { return Ok(()) };
        let mut entered = Vec::new();
        for (id, key) in [first, second].into_iter().zip(&keys) {
            if self.world.enroll(id, key) {
                entered.push((id, key));
            } else {
                entered.iter().for_each(|(id, key)| self.world.expel(*id, key));
                return Ok(());
            }
        }
        for id in [first, second] {
            let sent = self.world.socket(id).map_or(0, Socket::sent);
            self.joining.since.entry(id).or_insert(sent);
        }
        Ok(())
    }

    /// A pair joins that has been made of two sockets that may have been one before.
    pub(super) fn note_adopted(&mut self, ends: [SocketId; 2]) {
        for id in ends {
            let sent = self.world.socket(id).map_or(0, Socket::sent);
            self.joining.since.insert(id, sent);
            self.joining.begun.remove(&id);
        }
    }

    /// A socket has been made one of a pair, which has not joined yet.
    pub(super) fn begin_outside(&mut self, id: SocketId) {
        self.joining.since.remove(&id);
        self.joining.begun.remove(&id);
    }

    /// Whether the receiver may still be inside a call that it entered before its pair joined: it has read nothing since.
    pub(super) fn may_read_as_before(&self, from: SocketId, to: SocketId) -> bool {
        let next = self.expected.get(&to).map_or(0, |(_, next)| *next);
        self.joining.since.get(&from).is_some_and(|since| next <= *since)
    }

    /// A message has taken the stack, and only the time since its pair joined spoke against redirecting it.
    pub(super) fn note_begun(&mut self, from: SocketId) {
        self.joining.begun.insert(from);
    }

    /// Whether the pair has been in the sockhash from the start, or the receiver has read a message that was sent since.
    pub(super) fn is_proven_member(&self, from: SocketId) -> bool {
        !self.joining.since.contains_key(&from) || self.joining.begun.contains(&from)
    }

    /// Under which key a socket may join, if it may.
    fn key_of(&self, process: (u32, u64), id: SocketId) -> Option<Vec<u8>> {
        let socket = self.world.socket(id).filter(|socket| !socket.is_closed() && socket.is_nonblocking())?;
        let state = self.state(id).filter(|_| self.is_admitted(process) && !socket.is_member())?;
        if SocketState::from_bytes(state).is_none_or(|state| state.is_leaving) {
            return None;
        }
        let key_size = self.world.machine.map(self.members)?.spec().key_size as usize;
        sockhash_key(state, key_size)
    }

    /// A socket whose reader has earned trust is to join.
    pub(super) fn check_asked(&mut self, id: SocketId) -> Result<(), Broken> {
        self.events();
        if self.form.joins_later() && self.has_earned_by_reading(id) && !self.joining.asked.contains(&id) {
            return Err(Broken(format!("the agent is not asked to let socket {id} join, whose reader is trusted")));
        }
        Ok(())
    }

    /// Whether a socket may be in the sockhash yet, where sockets join it later: its reader was trusted once.
    pub(super) fn check_joined(&self, id: SocketId) -> Result<(), Broken> {
        let is_member = self.world.socket(id).is_some_and(Socket::is_member);
        if self.form.joins_later() && is_member && !self.has_earned_once(id) {
            return Err(Broken(format!("socket {id} is in the sockhash though its reader has not earned it")));
        }
        Ok(())
    }
}

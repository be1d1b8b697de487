//! Letting pairs join the sockhash when the readers of both ends are trusted, where sockets on probation are outside.
//!
//! A member gets its bytes by the stack for a moment more: what was on its way. FIONREAD does not show these, so that a reader
//! that trusts it (nginx) would wait for an event. So readers are woken until such bytes have been read.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use super::search::Search;
use super::watcher::WatchedMaps;
use crate::agent::error::{Context, Result};
use crate::dataplane::{JoiningSocket, Reader, ReaderState, SocketState, sockhash_key};
use crate::syscall::{ForeignSocket, UpdateFlags};

/// Sockets whose peer's reader is not trusted yet, and pairs that are about to join; the programs ask again after 256
/// receives, so they may be forgotten.
const MOST_WAITING: usize = 4_096;
/// Between two turns while there is something to do. Each turn does a little, so that a call that has spliced does not wait
/// for this thread: with all of it, about 1 ms.
const LOOK: Duration = Duration::from_millis(1);
/// Pairs that join in a turn.
const JOINS: usize = 16;
/// New members that are looked at in a turn.
const LOOKS: usize = 64;
/// How long there is a turn each millisecond for a new member; later, whenever the thread looks whether it is to end.
const OFTEN: Duration = Duration::from_millis(50);
/// How long new members are looked at at least: what was on its way in the kernel has come by then.
const LEAST: Duration = Duration::from_millis(5);

/// A socket, and who reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    process: (u32, u64),
    socket: JoiningSocket,
    /// Its descriptor has been looked for among all of its process.
    is_searched: bool,
}

/// What a socket's descriptor is looked for.
#[derive(Debug)]
enum Purpose {
    /// Both ends join; it is this one's.
    Join([End; 2], usize),
    /// It has joined then.
    Look(End, Instant),
}

/// What is about to join, and what just has.
#[derive(Debug, Default)]
pub(super) struct Joining {
    waiting: HashMap<u64, End>,
    ready: VecDeque<[End; 2]>,
    joined: VecDeque<(End, Instant)>,
    search: Search<Purpose>,
}

impl Joining {
    /// The reader of `end` is trusted: the pair joins if that of its peer is, too.
    pub(super) fn ask(&mut self, end: End) {
        match self.waiting.remove(&end.socket.peer) {
            Some(peer) if peer.socket.peer == end.socket.cookie => {
                if self.ready.len() < MOST_WAITING {
                    self.ready.push_back([end, peer]);
                }
            }
            _ => {
                if self.waiting.len() >= MOST_WAITING {
                    self.waiting.clear();
                }
                self.waiting.insert(end.socket.cookie, end);
            }
        }
    }

    /// Lets pairs join, and looks after new members: a turn. Says when to come again, if that is soon.
    pub(super) fn turn(&mut self, maps: &WatchedMaps) -> Option<Duration> {
        self.find();
        for _ in 0..JOINS {
            let Some(pair) = self.ready.pop_front() else { break };
            self.join(maps, pair);
        }
        self.look();
        self.again()
    }

    /// Looks for descriptors.
    fn find(&mut self) {
        for (descriptor, purpose) in self.search.step() {
            let known = |end: &mut End| (end.socket.descriptor, end.is_searched) = (descriptor, true);
            match purpose {
                Purpose::Join(mut pair, at) => {
                    pair.iter_mut().skip(at).take(1).for_each(known);
                    self.ready.push_back(pair);
                }
                Purpose::Look(mut end, then) => {
                    known(&mut end);
                    self.joined.push_back((end, then));
                }
            }
        }
    }

    /// Ends that have closed meanwhile, or block, need no word. The others ask again.
    fn join(&mut self, maps: &WatchedMaps, pair: [End; 2]) {
        let mut sockets = Vec::new();
        for (at, end) in pair.into_iter().enumerate() {
            match end.open() {
                Ok(Some(socket)) => sockets.push((end, socket)),
                Ok(None) => return self.seek(end, Purpose::Join(pair, at)),
                Err(_) => return,
            }
        }
        if join(maps, &sockets).is_ok_and(|joined| joined) {
            self.joined.extend(pair.map(|end| (end, Instant::now())));
        }
    }

    /// Looks after new members.
    ///
    /// Each look takes a descriptor of its own: one that is kept would keep a socket open that its program has closed.
    fn look(&mut self) {
        for _ in 0..self.joined.len().min(LOOKS) {
            let Some((end, then)) = self.joined.pop_front() else { break };
            let socket = match end.open() {
                Ok(Some(socket)) => socket,
                Ok(None) => {
                    self.seek(end, Purpose::Look(end, then));
                    continue;
                }
                Err(_) => continue,
            };
            let again = match socket.unread_memory() {
                Ok(0) => then.elapsed() < LEAST,
                Ok(_) => socket.wake_readers().is_ok(),
                Err(_) => false,
            };
            if again {
                self.joined.push_back((end, then));
            }
        }
    }

    /// The socket does not have the descriptor that was told: looks for the right one, once.
    fn seek(&mut self, end: End, purpose: Purpose) {
        if !end.is_searched {
            self.search.add(end.process.0, end.socket.cookie, purpose);
        }
    }

    fn again(&self) -> Option<Duration> {
        let is_busy = !self.ready.is_empty() || !self.search.is_over();
        (is_busy || self.joined.iter().any(|(_, then)| then.elapsed() < OFTEN)).then_some(LOOK)
    }
}

impl End {
    /// As the programs tell it.
    pub(super) fn new(process: (u32, u64), socket: JoiningSocket) -> Self {
        Self { process, socket, is_searched: false }
    }

    /// One more descriptor of the socket; `None` where it does not have the one that is known.
    fn open(&self) -> Result<Option<ForeignSocket>> {
        Ok(ForeignSocket::open(self.process.0, self.socket.descriptor, self.socket.cookie)?)
    }
}

/// Puts both ends into the sockhash. Answers whether they belong there.
fn join(maps: &WatchedMaps, ends: &[(End, ForeignSocket)]) -> Result<bool> {
    if !is_enabled(maps)? {
        return Ok(false);
    }
    let mut keys = Vec::new();
    for (end, socket) in ends {
        if !is_admitted(maps, end)? || !socket.is_nonblocking()? {
            return Ok(false);
        }
        let state = maps.storage.lookup(&socket.as_fd().as_raw_fd().to_ne_bytes()).context("read a socket's state")?;
        match state.filter(|state| !is_to_leave(state)).and_then(|state| sockhash_key(&state, maps.sockets.key_size()))
        {
            // A member's key is taken.
            Some(key) if maps.sockets.lookup(&key).context("look up a socket")?.is_none() => keys.push(key),
            _ => return Ok(false),
        }
    }
    for (at, (key, (_, socket))) in keys.iter().zip(ends).enumerate() {
        let value = (socket.as_fd().as_raw_fd() as u64).to_ne_bytes();
        if let Err(error) = maps.sockets.update(key, &value, UpdateFlags::NO_EXIST) {
            // Nothing has been redirected to a member whose peer is not one.
            keys.iter().take(at).for_each(|key| drop(maps.sockets.delete(key)));
            return Err(error).context("let a socket join the sockhash");
        }
    }
    if !is_enabled(maps)? {
        // The switch was turned off meanwhile, and nothing has been redirected since; the drain may be over.
        keys.iter().for_each(|key| drop(maps.sockets.delete(key)));
        return Ok(false);
    }
    Ok(true)
}

/// Whether a socket with this state is not to be accelerated any more.
fn is_to_leave(state: &[u8]) -> bool {
    SocketState::from_bytes(state).is_none_or(|state| state.is_leaving)
}

/// Whether its process has not spliced meanwhile.
fn is_admitted(maps: &WatchedMaps, end: &End) -> Result<bool> {
    let key = Reader::key(end.process);
    let record = maps.readers.lookup(&key).context("look up a reader")?;
    let reader = record.and_then(|record| Reader::from_bytes(&key, &record));
    Ok(reader.is_some_and(|reader| reader.state == ReaderState::Admitted))
}

/// The soft switch: the first word of the configuration.
fn is_enabled(maps: &WatchedMaps) -> Result<bool> {
    let config = maps.config.lookup(&[0; 4]).context("read the configuration")?;
    Ok(config.is_some_and(|config| config.iter().take(4).any(|byte| *byte != 0)))
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_closes_when_its_program_closes_it_also_with_unread_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = listener.accept().unwrap().0;
        peer.write_all(b"unread").unwrap();
        let cookie = ForeignSocket::own(socket.as_fd()).unwrap().cookie().unwrap();
        let descriptor = socket.as_raw_fd() as u32;
        let end = End::new((std::process::id(), 0), JoiningSocket { cookie, descriptor, peer: 0 });
        let mut joining = Joining { joined: [(end, Instant::now())].into(), ..Joining::default() };
        joining.look();
        assert_eq!(joining.again(), Some(LOOK));
        drop(socket);
        // Not the end of what was sent, since some of it was never read.
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        joining.look();
        while !joining.search.is_over() {
            joining.find();
        }
        assert_eq!(joining.again(), None);
        assert!(joining.joined.is_empty());
    }

    #[test]
    fn a_descriptor_that_is_not_told_is_looked_for_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = listener.accept().unwrap().0;
        let cookie = ForeignSocket::own(socket.as_fd()).unwrap().cookie().unwrap();
        // As with io_uring, whose descriptor is told.
        let descriptor = listener.as_raw_fd() as u32;
        let end = End::new((std::process::id(), 0), JoiningSocket { cookie, descriptor, peer: 0 });
        let mut joining = Joining { joined: [(end, Instant::now())].into(), ..Joining::default() };
        peer.write_all(b"unread").unwrap();
        joining.look();
        assert!(joining.joined.is_empty() && !joining.search.is_over());
        while !joining.search.is_over() {
            joining.find();
        }
        assert_eq!(joining.joined[0].0.socket.descriptor, socket.as_raw_fd() as u32);
        for _ in 0..3 {
            joining.look();
            assert!(joining.search.is_over() && joining.joined.len() == 1, "it is looked for again");
        }
        // Its program has moved it a second time: then the agent does not follow.
        let moved = socket.try_clone().unwrap();
        drop(socket);
        joining.look();
        assert!(joining.search.is_over() && joining.joined.is_empty());
        drop(moved);
    }
}

//! Letting pairs join the sockhash when the readers of both ends are trusted, where sockets on probation are outside.
//!
//! A member gets its bytes by the stack for a moment more: what was on its way. FIONREAD does not show these, so that a reader
//! that trusts it (nginx) would wait for an event. So readers are woken until such bytes have been read.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use super::watcher::WatchedMaps;
use crate::agent::error::{Context, Result};
use crate::dataplane::{JoiningSocket, Reader, ReaderState, sockhash_key};
use crate::syscall::{ForeignSocket, UpdateFlags};

/// Sockets whose peer's reader is not trusted yet; the programs ask again after 256 receives, so they may be forgotten.
const MOST_WAITING: usize = 4_096;
/// Between two looks at what new members have unread.
const LOOK: Duration = Duration::from_millis(1);
/// How long there is one each millisecond; later, whenever the thread looks whether it is to end.
const OFTEN: Duration = Duration::from_millis(50);
/// How long new members are looked at at least: what was on its way in the kernel has come by then.
const LEAST: Duration = Duration::from_millis(5);

/// A socket, and who reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) process: (u32, u64),
    pub(super) socket: JoiningSocket,
}

/// What is about to join, and what just has.
#[derive(Debug, Default)]
pub(super) struct Joining {
    waiting: HashMap<u64, End>,
    joined: Vec<(End, Instant)>,
}

impl Joining {
    /// The reader of `end` is trusted: the pair joins if that of its peer is, too.
    pub(super) fn ask(&mut self, maps: &WatchedMaps, end: End) {
        match self.waiting.remove(&end.socket.peer) {
            Some(peer) if peer.socket.peer == end.socket.cookie => {
                // Ends that have closed meanwhile, or block, need no word. The others ask again.
                if join(maps, [end, peer]).is_ok_and(|joined| joined) {
                    self.joined.extend([end, peer].map(|end| (end, Instant::now())));
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

    /// Looks after new members. Says when to come again, if that is soon.
    ///
    /// Each look takes a descriptor of its own: one that is kept would keep a socket open that its program has closed.
    pub(super) fn tend(&mut self) -> Option<Duration> {
        self.joined.retain(|(end, then)| {
            let Ok(Some(socket)) = open(end) else { return false };
            match socket.unread_memory() {
                Ok(0) => then.elapsed() < LEAST,
                Ok(_) => socket.wake_readers().is_ok(),
                Err(_) => false,
            }
        });
        self.joined.iter().any(|(_, then)| then.elapsed() < OFTEN).then_some(LOOK)
    }
}

/// Puts both ends into the sockhash. Answers whether they belong there.
fn join(maps: &WatchedMaps, ends: [End; 2]) -> Result<bool> {
    if !is_enabled(maps)? {
        return Ok(false);
    }
    let mut sockets = Vec::new();
    for end in ends {
        let socket = open(&end)?;
        match socket {
            Some(socket) if is_admitted(maps, &end)? && socket.is_nonblocking()? => sockets.push(socket),
            _ => return Ok(false),
        }
    }
    let mut keys = Vec::new();
    for socket in &sockets {
        let state = maps.storage.lookup(&socket.as_fd().as_raw_fd().to_ne_bytes()).context("read a socket's state")?;
        match state.and_then(|state| sockhash_key(&state, maps.sockets.key_size())) {
            // A member's key is taken.
            Some(key) if maps.sockets.lookup(&key).context("look up a socket")?.is_none() => keys.push(key),
            _ => return Ok(false),
        }
    }
    for (at, (key, socket)) in keys.iter().zip(&sockets).enumerate() {
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

/// One more descriptor of the socket.
fn open(End { process: (process, _), socket }: &End) -> Result<Option<ForeignSocket>> {
    let JoiningSocket { cookie, descriptor, .. } = *socket;
    Ok(match ForeignSocket::open(*process, descriptor, cookie)? {
        None => ForeignSocket::find(*process, cookie)?,
        found => found,
    })
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
        let end = End { process: (std::process::id(), 0), socket: JoiningSocket { cookie, descriptor, peer: 0 } };
        let mut joining = Joining { joined: vec![(end, Instant::now())], ..Joining::default() };
        assert_eq!(joining.tend(), Some(LOOK));
        drop(socket);
        // Not the end of what was sent, since some of it was never read.
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(joining.tend(), None);
        assert!(joining.joined.is_empty());
    }
}

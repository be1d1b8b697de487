//! Letting pairs join the sockhash when the readers of both ends are trusted, where sockets on probation are outside.
//!
//! A member gets its bytes by the stack for a moment more: what was on its way. FIONREAD does not show these, so that a reader
//! that trusts it (nginx) would wait for an event. So readers are woken until such bytes have been read.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::search::Search;
use super::watcher::WatchedMaps;
use crate::agent::drain::{Passes, RETRY_INTERVAL};
use crate::agent::error::{Context, Result};
use crate::dataplane::{JoiningSocket, Reader, ReaderState, SocketState, sockhash_key};
use crate::syscall::{ForeignSocket, Program, UpdateFlags};

/// Sockets whose peer's reader is not trusted yet, and pairs that are about to join; the programs ask again after 256
/// receives, so they may be forgotten.
const MOST_WAITING: usize = 4_096;
/// Between two turns while there is something to do. Each turn does a little, so that other events do not wait long: with all
/// of it, about 1 ms.
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Pairs that join in a turn.
const JOINS: usize = 16;
/// New members that are looked at in a turn.
const LOOKS: usize = 64;
/// How long there is a turn each millisecond for a new member; later, there is one with the clerk's next look.
const OFTEN: Duration = Duration::from_millis(50);
/// How long new members are looked at at least: what was on its way in the kernel has come by then.
const LEAST: Duration = Duration::from_millis(5);
/// How long the agent waits at its end for those that joined too late: their readers have had all the time of the drain.
const END: Duration = Duration::from_secs(1);

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

/// What has come of a pair that was to join.
#[derive(Debug)]
enum Joined {
    Yes,
    No,
    /// While the soft switch was turned off.
    Late(Late),
}

/// Sockets that have joined while the soft switch was turned off: the drain of the process that has done so may be over. Nor may
/// they just be deleted, since messages may have been redirected to them before.
#[derive(Debug)]
struct Late {
    keys: Vec<Vec<u8>>,
    /// Theirs; later its pin may be gone.
    drain: Program,
}

/// What is about to join, and what just has.
#[derive(Debug, Default)]
pub(super) struct Joining {
    waiting: HashMap<u64, End>,
    ready: VecDeque<[End; 2]>,
    joined: VecDeque<(End, Instant)>,
    late: Vec<Late>,
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
        self.late.retain_mut(|late| late.stays(maps));
        self.look();
        self.again()
    }

    /// There will be no other turn: waits a second at most until those that were late have been taken out.
    pub(super) fn end(&mut self, maps: &WatchedMaps) {
        let deadline = Instant::now() + END;
        loop {
            self.late.retain_mut(|late| late.stays(maps));
            if self.late.is_empty() || Instant::now() >= deadline {
                return;
            }
            sleep(RETRY_INTERVAL);
        }
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
        match join(maps, &sockets) {
            Ok(Joined::Yes) => self.joined.extend(pair.map(|end| (end, Instant::now()))),
            Ok(Joined::Late(late)) => self.late.push(late),
            Ok(Joined::No) | Err(_) => {}
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
        if is_busy || self.joined.iter().any(|(_, then)| then.elapsed() < OFTEN) {
            return Some(POLL_INTERVAL);
        }
        (!self.late.is_empty()).then_some(RETRY_INTERVAL)
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

impl Late {
    /// Takes them out as the drain does: what was redirected to them is read first. Answers whether some stay until another
    /// time.
    fn stays(&mut self, maps: &WatchedMaps) -> bool {
        // Where the switch has been turned on again, they are members like all others.
        if is_enabled(maps).unwrap_or(true) || self.pass(maps).is_err() {
            return false;
        }
        self.keys.retain(|key| maps.sockets.lookup(key).is_ok_and(|value| value.is_some()));
        !self.keys.is_empty()
    }

    fn pass(&self, maps: &WatchedMaps) -> Result<()> {
        Passes::new(&maps.sockets, &self.drain)?.run()
    }
}

/// Puts both ends into the sockhash, if they belong there.
fn join(maps: &WatchedMaps, ends: &[(End, ForeignSocket)]) -> Result<Joined> {
    if !is_enabled(maps)? {
        return Ok(Joined::No);
    }
    let mut keys = Vec::new();
    for (end, socket) in ends {
        if !is_admitted(maps, end)? || !socket.is_nonblocking()? {
            return Ok(Joined::No);
        }
        let state = maps.storage.lookup(&socket.as_fd().as_raw_fd().to_ne_bytes()).context("read a socket's state")?;
        match state.filter(|state| !is_to_leave(state)).and_then(|state| sockhash_key(&state, maps.sockets.key_size()))
        {
            // A member's key is taken.
            Some(key) if maps.sockets.lookup(&key).context("look up a socket")?.is_none() => keys.push(key),
            _ => return Ok(Joined::No),
        }
    }
    let drain = maps.drain.open()?;
    for (at, (key, (_, socket))) in keys.iter().zip(ends).enumerate() {
        let value = (socket.as_fd().as_raw_fd() as u64).to_ne_bytes();
        if let Err(error) = maps.sockets.update(key, &value, UpdateFlags::NO_EXIST) {
            // Nothing has been redirected to a member whose peer is not one.
            keys.iter().take(at).for_each(|key| drop(maps.sockets.delete(key)));
            return Err(error).context("let a socket join the sockhash");
        }
    }
    Ok(if is_enabled(maps)? { Joined::Yes } else { Joined::Late(Late { keys, drain }) })
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
    use crate::agent::kernel::{TierChoice, choose_tier};
    use crate::agent::load::Loaded;
    use crate::agent::readers::DrainOf;
    use crate::asm::{Asm, FP, MapRef, Reg, Size};
    use crate::dataplane::{self, Config, MapRole, Options, Pairing, Policy, Readers};
    use crate::syscall::{ProgSpec, prog_attach};
    use crate::uapi::helper::id::MSG_REDIRECT_HASH;
    use crate::uapi::{AttachType, ProgType, flags};

    /// Redirects every message to the socket with this key.
    fn redirector(sockets: &crate::syscall::Map, key: i32) -> Program {
        let mut a = Asm::new();
        a.store(Size::DW, FP, -8, key);
        a.load_map(Reg::R2, MapRef(0));
        a.mov(Reg::R3, FP);
        a.add(Reg::R3, -8);
        a.mov(Reg::R4, flags::F_INGRESS);
        a.call(MSG_REDIRECT_HASH);
        a.mov(Reg::R0, flags::SK_PASS);
        a.exit();
        let insns = a.finish().unwrap().encode_native(|_| Some(sockets.as_fd().as_raw_fd())).unwrap();
        let spec = ProgSpec::new("sidestep_test", ProgType::SK_MSG, &insns);
        Program::load(&ProgSpec { license: dataplane::LICENSE, ..spec }).unwrap()
    }

    #[test]
    fn what_was_redirected_before_the_switch_was_turned_off_is_read() {
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "NOT TESTED: it takes root");
            return eprintln!("*** NOT TESTED: it takes root ***");
        }
        let (tier, _) = choose_tier(TierChoice::Gated).unwrap();
        let (pairing, readers, policy) = (Pairing::Sequence, Readers::NonBlocking, Policy::default());
        let plane = dataplane::build(Options { pairing, tier, readers, policy }).unwrap();
        let loaded = Loaded::new(&plane, Config { enabled: false, ..Config::default() }).unwrap();
        let sockets = loaded.map(MapRole::Sockets);
        let program = redirector(sockets, 1);
        prog_attach(sockets.as_fd(), program.as_fd(), AttachType::SK_MSG_VERDICT).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        let keys: Vec<Vec<u8>> = (0..2_u64).map(|key| key.to_ne_bytes().to_vec()).collect();
        for (key, socket) in keys.iter().zip([&client, &server]) {
            sockets.update(key, &(socket.as_raw_fd() as u64).to_ne_bytes(), UpdateFlags::NO_EXIST).unwrap();
        }
        client.write_all(b"before").unwrap();
        let config = loaded.map(MapRole::Config);
        let drain = || loaded.drain.as_ref().unwrap().try_clone().unwrap();
        // Nothing else of them is looked at.
        let maps = WatchedMaps::of([config, sockets, config, config, config], DrainOf::Held(drain())).unwrap();
        let mut late = Late { keys, drain: drain() };
        assert!(late.stays(&maps), "what is unread was thrown away");
        let mut got = [0; 6];
        server.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"before");
        assert!(!late.stays(&maps), "{late:?}");
        assert!(sockets.keys().next().is_none());
        client.write_all(b"behind").unwrap();
        server.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"behind");
    }

    #[test]
    fn a_socket_closes_when_its_program_closes_it_also_with_unread_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = listener.accept().unwrap().0;
        peer.write_all(b"unread").unwrap();
        // They may arrive later than they are sent.
        socket.peek(&mut [0]).unwrap();
        let cookie = ForeignSocket::own(socket.as_fd()).unwrap().cookie().unwrap();
        let descriptor = socket.as_raw_fd() as u32;
        let end = End::new((std::process::id(), 0), JoiningSocket { cookie, descriptor, peer: 0 });
        let mut joining = Joining { joined: [(end, Instant::now())].into(), ..Joining::default() };
        joining.look();
        assert_eq!(joining.again(), Some(POLL_INTERVAL));
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
        socket.peek(&mut [0]).unwrap();
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

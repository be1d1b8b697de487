//! The threads that hear of readers.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::destroy::{destroy, is_member};
use super::join::{End, Joining};
use super::look::all;
use super::memory::SplicerMemory;
use super::program::Program;
use super::say;
use crate::agent::error::{Context, Result};
use crate::dataplane::{Reader, ReaderEvent, ReaderEventKind, ReaderState};
use crate::syscall::{Map, RingBuffer, UpdateFlags};

/// Longest wait for an event, after which the thread looks whether it is to end.
const TICK: Duration = Duration::from_millis(100);
/// Between two looks at all readers, for those whose event found no room.
const SWEEP: Duration = Duration::from_secs(1);

/// The maps that it needs.
#[derive(Debug)]
pub struct WatchedMaps {
    /// [`crate::dataplane::MapRole::Readers`].
    pub readers: Map,
    /// [`crate::dataplane::MapRole::Sockets`].
    pub sockets: Map,
    /// [`crate::dataplane::MapRole::Events`].
    pub events: Map,
    /// [`crate::dataplane::MapRole::Storage`].
    pub storage: Map,
    /// [`crate::dataplane::MapRole::Config`].
    pub config: Map,
}

impl WatchedMaps {
    /// Other handles of the same maps.
    pub fn of([readers, sockets, events, storage, config]: [&Map; 5]) -> Result<Self> {
        Ok(Self {
            readers: readers.try_clone()?,
            sockets: sockets.try_clone()?,
            events: events.try_clone()?,
            storage: storage.try_clone()?,
            config: config.try_clone()?,
        })
    }
}

/// Admits processes, destroys connections that lose bytes, and remembers who splices, until it is dropped.
#[derive(Debug)]
pub struct ReaderWatcher {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl ReaderWatcher {
    /// Begins. `trusted` are executables that need not earn trust.
    pub fn start(maps: WatchedMaps, memory: SplicerMemory, trusted: Vec<PathBuf>) -> Result<Self> {
        let bell = maps.events.try_clone()?;
        let events = RingBuffer::new(maps.events.try_clone()?).context("read the events about readers")?;
        let work = Work { maps, events, memory, trusted, swept: None, joining: Joining::default() };
        let shared = Arc::new(Shared { bell, work: Mutex::new(work), stop: AtomicBool::new(false) });
        let mut watcher = Self { shared, threads: Vec::new() };
        for cpu in two_processors() {
            let shared = Arc::clone(&watcher.shared);
            let thread = std::thread::Builder::new().name("readers".into()).spawn(move || shared.run(cpu));
            let thread =
                thread.map_err(|error| crate::syscall::Error::Invalid(format!("cannot start a thread: {error}")))?;
            watcher.threads.push(thread);
        }
        Ok(watcher)
    }
}

impl Drop for ReaderWatcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    /// The ring buffer, to wait for.
    bell: Map,
    work: Mutex<Work>,
    stop: AtomicBool,
}

impl Shared {
    /// A thread: waits, and works when it is the first.
    fn run(&self, cpu: Option<usize>) {
        hurry(cpu);
        while !self.stop.load(Ordering::Relaxed) {
            // A thread that has panicked has said why; what it was at is over.
            let again = self.work.lock().unwrap_or_else(PoisonError::into_inner).turn();
            let timeout = PollTimeout::try_from(again.unwrap_or(TICK)).unwrap_or(PollTimeout::MAX);
            let waited = poll(&mut [PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)], timeout);
            if waited.is_err_and(|errno| errno != Errno::EINTR) {
                std::thread::sleep(TICK);
            }
        }
    }
}

#[derive(Debug)]
struct Work {
    maps: WatchedMaps,
    events: RingBuffer,
    memory: SplicerMemory,
    trusted: Vec<PathBuf>,
    swept: Option<Instant>,
    joining: Joining,
}

impl Work {
    /// Handles the events that have come. Says when to come again, if that is soon.
    fn turn(&mut self) -> Option<Duration> {
        let mut heard = Vec::new();
        self.events.drain(|bytes| heard.extend(ReaderEvent::from_bytes(bytes)));
        // First those for whom a call waits.
        heard.sort_by_key(|event| !matches!(event.kind, ReaderEventKind::Loses(_)));
        for event in &heard {
            self.hear(event);
        }
        if self.swept.is_none_or(|then| then.elapsed() >= SWEEP) {
            self.sweep();
            self.swept = Some(Instant::now());
        }
        self.joining.turn(&self.maps)
    }

    fn hear(&mut self, event: &ReaderEvent) {
        let (process, start) = event.process;
        match event.kind {
            ReaderEventKind::Appeared => {
                let reader = Reader {
                    process,
                    start,
                    state: ReaderState::New,
                    proven: 0,
                    seen: 0,
                    most: 0,
                    name: event.name.clone(),
                };
                self.admit(reader);
            }
            ReaderEventKind::Splices => {
                let program = Program::of(process).map_or_else(|| event.name.clone(), |program| program.name);
                say(&format!("{program} (process {process}) reads with splice(2): its connections stay on the stack"));
                self.remember(&program);
                self.condemn(process, start, &event.name);
            }
            ReaderEventKind::Joins(socket) => {
                self.joining.ask(End::new(event.process, socket));
            }
            ReaderEventKind::Loses(socket) => {
                if !is_member(&self.maps.sockets, socket.cookie) {
                    return;
                }
                let destroyed = destroy(&socket, process);
                let program = Program::of(process).map_or_else(|| event.name.clone(), |program| program.name);
                match destroyed {
                    Ok(()) => say(&format!(
                        "{program} (process {process}) spliced from a connection with unread redirected bytes, which splice(2) does not see: the connection was reset"
                    )),
                    Err(error) => say(&format!("{program} (process {process}) has lost bytes: {error}")),
                }
            }
        }
    }

    /// Says of a process whether it may earn trust.
    fn admit(&mut self, mut reader: Reader) {
        let program = Program::of(reader.process);
        reader.state = ReaderState::Admitted;
        if let Some(program) = &program {
            if self.memory.knows(&program.name) {
                reader.state = ReaderState::Splicer;
                say(&format!("{} (process {}) is known to splice", program.name, reader.process));
            } else if self.trusted.iter().any(|named| program.is(named)) {
                reader.proven = u32::MAX;
            }
        }
        let (key, record) = reader.to_bytes();
        // The record may have been pushed out, and a process that has spliced meanwhile must stay a splicer.
        match self.maps.readers.lookup(&key).ok().flatten().and_then(|now| Reader::from_bytes(&key, &now)) {
            Some(now) if now.state == ReaderState::New => {
                if let Err(error) = self.maps.readers.update(&key, &record, UpdateFlags::EXIST) {
                    say(&format!("process {} stays on the stack: {error}", reader.process));
                }
            }
            _ => {}
        }
    }

    /// Makes sure that a process is known as a splicer: it may have been admitted in the same moment.
    fn condemn(&self, process: u32, start: u64, name: &str) {
        let state = ReaderState::Splicer;
        let reader = Reader { process, start, state, proven: 0, seen: 0, most: 0, name: name.to_owned() };
        let (key, record) = reader.to_bytes();
        // When it is not there any more, its next splice enters it again.
        let _ = self.maps.readers.update(&key, &record, UpdateFlags::EXIST);
    }

    fn remember(&mut self, program: &str) {
        if let Err(error) = self.memory.add(program) {
            say(&format!(
                "cannot write to {} that {program} splices, so this is known until sidestep ends: {error}",
                SplicerMemory::path().display()
            ));
        }
    }

    /// Looks at all readers.
    fn sweep(&mut self) {
        let Ok(readers) = all(&self.maps.readers) else { return };
        for reader in readers {
            match reader.state {
                ReaderState::New => self.admit(reader),
                ReaderState::Admitted => {}
                ReaderState::Splicer => {
                    if let Some(program) = Program::of(reader.process)
                        && !self.memory.knows(&program.name)
                    {
                        self.remember(&program.name);
                    }
                }
            }
        }
    }
}

/// Two processors that this process may use, if there are two: a call that waits for us keeps its own, on which a thread
/// that was there last would not get a turn.
fn two_processors() -> Vec<Option<usize>> {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else { return vec![None] };
    let mut cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    match (cpus.next(), cpus.next()) {
        (Some(first), Some(second)) => vec![Some(first), Some(second)],
        _ => vec![None],
    }
}

/// Runs this thread on `cpu`, and before ordinary threads, if we are let.
fn hurry(cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        let mut only = CpuSet::new();
        // Elsewhere it is slower.
        let _ = only.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &only));
    }
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameters are live; 0 is the calling thread. Without the privilege nothing changes.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
}

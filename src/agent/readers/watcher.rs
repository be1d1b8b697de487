//! The threads that hear of readers.
//!
//! A call that has spliced waits for a few milliseconds until its connection is destroyed. So the threads that do this do
//! nothing else: they hand every other event to the [`Clerk`], whose work can take long (a disk, a reader of the log, the lock of
//! a socket).

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::clerk::{Clerk, Heard};
use super::configured::Configurations;
use super::destroy::{destroy, is_member};
use super::memory::SplicerMemory;
use super::queue::{Tail, queue};
use crate::agent::error::{Context, Result};
use crate::dataplane::{ReaderEvent, ReaderEventKind};
use crate::syscall::run_first;
use crate::syscall::{Map, Program, RingBuffer};

/// Longest wait for an event, after which a thread looks whether it is to end.
const TICK: Duration = Duration::from_millis(100);

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
    /// The program that takes sockets out.
    pub drain: DrainOf,
}

/// Where the drain is.
#[derive(Debug)]
pub enum DrainOf {
    /// It is held.
    Held(Program),
    /// It is pinned: an upgrade may put another one there, so it is held only while it is needed.
    Pinned(PathBuf),
}

impl DrainOf {
    /// A descriptor of it.
    pub(super) fn open(&self) -> Result<Program> {
        Ok(match self {
            Self::Held(program) => program.try_clone()?,
            Self::Pinned(path) => Program::from_pin(path)?,
        })
    }
}

impl WatchedMaps {
    /// Other handles of the same maps.
    pub fn of([readers, sockets, events, storage, config]: [&Map; 5], drain: DrainOf) -> Result<Self> {
        Ok(Self {
            readers: readers.try_clone()?,
            sockets: sockets.try_clone()?,
            events: events.try_clone()?,
            storage: storage.try_clone()?,
            config: config.try_clone()?,
            drain,
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
        let sockets = maps.sockets.try_clone()?;
        let shared = Arc::new(Shared { bell, sockets, events: Mutex::new(events), stop: AtomicBool::new(false) });
        let mut watcher = Self { shared, threads: Vec::new() };
        let (queue, heard) = queue();
        for cpu in two_processors() {
            let (shared, queue) = (Arc::clone(&watcher.shared), queue.clone());
            watcher.spawn("readers", move || {
                hurry(cpu, 2);
                shared.run(&queue);
            })?;
        }
        // The clerk ends when all who have the queue have ended.
        drop(queue);
        let configurations = Configurations::start().map_err(no_thread)?;
        let clerk = Clerk::new(maps, memory, configurations, trusted);
        watcher.spawn("clerk", move || {
            hurry(None, 1);
            clerk.run(&heard);
        })?;
        Ok(watcher)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(work);
        self.threads.push(thread.map_err(no_thread)?);
        Ok(())
    }
}

fn no_thread(error: io::Error) -> crate::syscall::Error {
    crate::syscall::Error::Invalid(format!("cannot start a thread: {error}"))
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

/// What the threads share that destroy connections.
#[derive(Debug)]
struct Shared {
    /// The ring buffer, to wait for.
    bell: Map,
    sockets: Map,
    events: Mutex<RingBuffer>,
    stop: AtomicBool,
}

impl Shared {
    /// A thread: waits, and works when it is the first.
    fn run(&self, queue: &Tail<Heard>) {
        while !self.stop.load(Ordering::Relaxed) {
            for heard in self.heard() {
                // Those that find no room are repeated by the programs, or found by the sweep.
                queue.put(heard);
            }
            let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::MAX);
            let waited = poll(&mut [PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)], timeout);
            if waited.is_err_and(|errno| errno != Errno::EINTR) {
                std::thread::sleep(TICK);
            }
        }
    }

    /// Takes the events that have come, and destroys the connections that lose bytes.
    fn heard(&self) -> Vec<Heard> {
        let mut events: Vec<ReaderEvent> = Vec::new();
        // A thread that has panicked has said why; what it was at is over.
        let mut ring = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        ring.drain(|bytes| events.extend(ReaderEvent::from_bytes(bytes)));
        drop(ring);
        // First those for whom a call waits.
        let (waited_for, others): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| matches!(event.kind, ReaderEventKind::Loses(_)));
        waited_for.into_iter().chain(others).filter_map(|event| self.hear(event)).collect()
    }

    fn hear(&self, event: ReaderEvent) -> Option<Heard> {
        let ReaderEventKind::Loses(socket) = event.kind else { return Some(Heard::Event(event)) };
        let is_ours = is_member(&self.sockets, socket.cookie);
        is_ours.then(|| Heard::Destroyed(destroy(&socket, event.process.0), event))
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

/// Runs this thread on `cpu`, and before ordinary threads and those of a lower priority, if we are let.
fn hurry(cpu: Option<usize>, priority: libc::c_int) {
    if let Some(cpu) = cpu {
        let mut only = CpuSet::new();
        // Elsewhere it is slower.
        let _ = only.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &only));
    }
    // Without the privilege nothing changes.
    let _ = run_first(priority);
}

//! What can wait: admitting processes, remembering who splices, saying so, and letting pairs join.

use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::configured::{Configurations, Configured};
use super::join::{End, Joining};
use super::look::all;
use super::memory::SplicerMemory;
use super::names::Names;
use super::queue::Front;
use super::say;
use super::watcher::WatchedMaps;
use crate::agent::error::Result;
use crate::dataplane::{Reader, ReaderEvent, ReaderEventKind, ReaderState};
use crate::syscall::UpdateFlags;

/// Longest wait for an event.
const TICK: Duration = Duration::from_millis(100);
/// Between two looks at all readers, for those whose event found no room.
const SWEEP: Duration = Duration::from_secs(1);

/// What the clerk hears.
#[derive(Debug)]
pub(super) enum Heard {
    /// An event, as the programs have sent it.
    Event(ReaderEvent),
    /// What came of destroying the connection that the event is about.
    Destroyed(Result<()>, ReaderEvent),
}

/// Does it, one after the other.
#[derive(Debug)]
pub(super) struct Clerk {
    maps: WatchedMaps,
    memory: SplicerMemory,
    names: Names,
    configurations: Configurations,
    trusted: Vec<PathBuf>,
    swept: Option<Instant>,
    joining: Joining,
}

impl Clerk {
    pub(super) fn new(
        maps: WatchedMaps,
        memory: SplicerMemory,
        configurations: Configurations,
        trusted: Vec<PathBuf>,
    ) -> Self {
        let (names, joining) = (Names::default(), Joining::default());
        Self { maps, memory, names, configurations, trusted, swept: None, joining }
    }

    /// Works until all threads have ended that could send it something.
    pub(super) fn run(mut self, heard: &Front<Heard>) {
        let mut again = None;
        loop {
            match heard.take(again.unwrap_or(TICK)) {
                Ok(first) => {
                    let more = std::iter::from_fn(|| heard.take(Duration::ZERO).ok());
                    std::iter::once(first).chain(more).for_each(|one| match one {
                        Heard::Event(event) => self.hear(&event),
                        Heard::Destroyed(destroyed, event) => self.report(&destroyed, &event),
                    });
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.joining.end(&self.maps),
            }
            if self.swept.is_none_or(|then| then.elapsed() >= SWEEP) {
                self.sweep();
                self.swept = Some(Instant::now());
            }
            again = self.joining.turn(&self.maps);
        }
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
                let program = self.names.of(event);
                self.condemn(process, start, &event.name);
                say(&format!("{program} (process {process}) reads with splice(2): its connections stay on the stack"));
                self.remember(&program);
            }
            ReaderEventKind::Joins(socket) => {
                self.joining.ask(End::new(event.process, socket));
            }
            // The other threads have seen to it, and say what came of it.
            ReaderEventKind::Loses(_) => {}
        }
    }

    fn report(&self, destroyed: &Result<()>, event: &ReaderEvent) {
        let process = event.process.0;
        let program = self.names.of(event);
        match destroyed {
            Ok(()) => say(&format!(
                "{program} (process {process}) spliced from a connection with unread redirected bytes, which splice(2) does not see: the connection was reset"
            )),
            Err(error) => say(&format!("{program} (process {process}) has lost bytes: {error}")),
        }
    }

    /// Says of a process whether it may earn trust. One of which this is not known yet is asked for again by the next sweep.
    fn admit(&mut self, mut reader: Reader) {
        let process = (reader.process, reader.start);
        let program = self.names.look(process);
        reader.state = ReaderState::Admitted;
        if let Some(program) = &program {
            if self.memory.knows(&program.name) {
                reader.state = ReaderState::Splicer;
                say(&format!("{} (process {}) is known to splice", program.name, reader.process));
            } else if self.trusted.iter().any(|named| program.is(named)) {
                reader.proven = u32::MAX;
            } else {
                match self.configurations.of(process, program) {
                    Some(Configured::Without) => {}
                    Some(Configured::Splices(place)) => {
                        reader.state = ReaderState::Splicer;
                        say(&format!(
                            "{} (process {}) is configured to read with splice(2) ({place}): its connections stay on the stack",
                            program.name, reader.process
                        ));
                    }
                    Some(Configured::Unknown(_)) | None => return,
                }
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
        self.names.follow(&readers);
        self.configurations.follow(&readers);
        for reader in readers {
            match reader.state {
                ReaderState::New => self.admit(reader),
                ReaderState::Admitted => {}
                ReaderState::Splicer => {
                    let process = (reader.process, reader.start);
                    // What a configuration says can be another thing tomorrow.
                    if let Some(program) = self.names.known(process)
                        && !self.memory.knows(&program.name)
                        && let Some(Configured::Without | Configured::Unknown(_)) =
                            self.configurations.of(process, &program)
                    {
                        self.remember(&program.name);
                    }
                }
            }
        }
    }
}

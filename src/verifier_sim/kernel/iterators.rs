//! Iterators: programs that a process runs over all sockets.

use std::sync::Arc;

use super::process::{PROCESSES, Processes};
use super::socket::SocketId;
use super::{Failure, World};
use crate::uapi::ctx::{iter_sockmap, iter_storage, iter_task_file};
use crate::verifier_sim::interp::Program;

/// Largest key of a socket map that an iterator is given.
const KEY_SIZE: usize = 64;

/// What an iterator looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The entries of the sockhash.
    Sockhash,
    /// The storages of sockets.
    Storages,
    /// The open files of all tasks.
    Files,
}

/// One that an iterator comes to.
enum Item {
    Entry(Vec<u8>),
    Storage(SocketId),
    File(u64),
}

/// The words of a context, behind the first one, which is the same in all of them.
type Words = [u64; 3];

/// Where a field is in a context's words.
const fn word(offset: i16) -> usize {
    offset as usize / 8 - 1
}

impl World {
    /// The drain is run over all entries of the sockhash.
    ///
    /// # Errors
    ///
    /// As all that run programs: a [`Failure`] when a program misbehaves.
    pub fn drain(&mut self) -> Result<(), Failure> {
        let tracing = Arc::clone(&self.tracing);
        let Some(program) = &tracing.drain else { return Ok(()) };
        self.iterate("drain", program, Over::Sockhash).map(drop)
    }

    /// The tally is run over all sockets that have storage.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn tally(&mut self) -> Result<(), Failure> {
        let tracing = Arc::clone(&self.tracing);
        let Some((program, over)) = &tracing.tally else { return Ok(()) };
        self.iterate("tally", program, *over).map(drop)
    }

    /// The states are read: what the program writes for all sockets.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn states(&mut self) -> Result<Vec<u8>, Failure> {
        let tracing = Arc::clone(&self.tracing);
        let Some((program, over)) = &tracing.states else { return Ok(Vec::new()) };
        self.iterate("states", program, *over)
    }

    /// The programs that list and mark sockets are run. Answers with what they write, one after the other.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn list(&mut self) -> Result<Vec<u8>, Failure> {
        let tracing = Arc::clone(&self.tracing);
        let mut output = Vec::new();
        for (program, over) in &tracing.members {
            output.extend(self.iterate("members", program, *over)?);
        }
        Ok(output)
    }

    /// The sockets to which such an iterator comes, in its order.
    pub fn come_to(&self, over: Over) -> Vec<SocketId> {
        let socket = |item| match item {
            Item::Entry(key) => self.machine.map(self.members)?.socket(&key),
            Item::Storage(id) => Some(id),
            Item::File(file) => {
                let mut all = self.sockets.all.iter();
                all.find_map(|(id, socket)| (socket.file_regions[1].address() == file).then_some(*id))
            }
        };
        self.items(over).into_iter().filter_map(socket).collect()
    }

    fn items(&self, over: Over) -> Vec<Item> {
        match over {
            Over::Sockhash => {
                let keys = self.machine.map(self.members).into_iter().flat_map(|map| map.keys());
                keys.map(|key| Item::Entry(key.to_vec())).collect()
            }
            Over::Storages => self.sockets.all.keys().map(|id| Item::Storage(*id)).collect(),
            Over::Files => (0..PROCESSES).flat_map(|process| self.files(process)).map(Item::File).collect(),
        }
    }

    /// The open files of a process: of a pipe, of its sockets, of some that it shares with another process, and of a socket that
    /// has been released.
    fn files(&self, process: usize) -> Vec<u64> {
        let has =
            |id: SocketId| Processes::of(id) == process || id.is_multiple_of(3) && Processes::of(id + 1) == process;
        let sockets = self.sockets.all.iter().filter(|(id, socket)| has(**id) && socket.accepted && !socket.closed);
        let [pipe, released] = self.processes.other_files();
        [pipe]
            .into_iter()
            .chain(sockets.map(|(_, socket)| socket.file_regions[1].address()))
            .chain([released])
            .collect()
    }

    /// Runs an iterator, with the last call that has nothing. Answers with its output.
    fn iterate(&mut self, name: &'static str, program: &Program, over: Over) -> Result<Vec<u8>, Failure> {
        let mut output = Vec::new();
        for item in self.items(over).into_iter().map(Some).chain([None]) {
            let words = match item {
                None => Some(Words::default()),
                Some(item) => self.words(item),
            };
            let Some(words) = words else { continue };
            let context = [&[self.processes.meta()][..], &words].concat();
            output.extend(self.trace(name, program, 0, &context)?);
        }
        Ok(output)
    }

    /// The context for an item, if it is still there.
    fn words(&mut self, item: Item) -> Option<Words> {
        let mut words = Words::default();
        match item {
            Item::Entry(key) => {
                let id = self.machine.map(self.members)?.socket(&key)?;
                words[word(iter_sockmap::SK)] = self.sockets.all.get(&id)?.visible.address();
                words[word(iter_sockmap::KEY)] = self.processes.key(&mut self.machine, &key[..key.len().min(KEY_SIZE)]);
            }
            Item::Storage(id) => {
                let storage = self.machine.maps_mut().filter(|map| map.is_sk_storage()).find_map(|map| map.storage(id));
                words[word(iter_storage::VALUE)] = storage?.address();
                words[word(iter_storage::SK)] = self.sockets.all.get(&id)?.visible.address();
            }
            Item::File(file) => words[word(iter_task_file::FILE)] = file,
        }
        Some(words)
    }
}

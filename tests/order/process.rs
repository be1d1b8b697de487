//! Processes: what one processor does, as a tree of what it does next after each answer that it has got.
//!
//! A process is a function that asks for each access to a shared word. It is run again from the start with the answers so far, up to
//! its next access. So it can be stopped between any two accesses, although the interpreter runs programs from entry to exit,
//! and each point of it is worked out once, however many schedules pass it.

use std::collections::BTreeSet;

use sidestep::verifier_sim::byte_order::{from_memory, to_memory};
use sidestep::verifier_sim::interp::Machine;
use sidestep::verifier_sim::kernel::offset_of;

use super::event::{Accesses, Change, Event, Loc, Order};
use super::hash::Map;
use super::kernel::THREAD;
use super::pair::{Changed, Pair};

/// A process stops here: it waits for an answer, or has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop;

/// What a process does.
pub(crate) type Script<'a> = dyn Fn(&mut Cpu) -> Result<(), Stop> + 'a;

/// A processor that runs a process from its start with the answers so far.
pub(crate) struct Cpu<'a> {
    pub(crate) pair: &'a Pair,
    /// Memory and maps that are its own in this scenario.
    pub(crate) machine: Machine,
    /// What it sees of the structures that programs share, apart from the shared words.
    private: Vec<(u64, Vec<u8>)>,
    answers: &'a [u64],
    next: Option<Event>,
    touched: Touched,
    /// What it has changed of each end, or found changed, outside the shared words.
    changed: [Changed; 2],
    /// Whether it owns each end's lock, under which processes keep bytes for each other.
    owns: [bool; 2],
    /// The last message that it has received from each thread.
    received: [u64; 2],
}

/// An access to a byte outside the shared words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Touch {
    pub(crate) byte: u64,
    pub(crate) is_write: bool,
    /// Under the lock of its socket, with which the byte is handed on.
    is_kept: bool,
}

pub(crate) type Touched = BTreeSet<Touch>;

impl Touch {
    /// Whether another process's access is to the same byte, and the lock does not keep both apart.
    pub(crate) fn clashes_with(&self, other: &Self) -> bool {
        self.byte == other.byte && !(self.is_kept && other.is_kept)
    }
}

impl Cpu<'_> {
    fn event(&mut self, event: Event) -> Result<u64, Stop> {
        if let Some((answer, rest)) = self.answers.split_first() {
            self.answers = rest;
            return Ok(*answer);
        }
        self.next = Some(event);
        Err(Stop)
    }

    pub(crate) fn load(&mut self, loc: Loc) -> Result<u64, Stop> {
        self.event(Event::Load(loc))
    }

    pub(crate) fn store(&mut self, loc: Loc, value: u64) -> Result<(), Stop> {
        self.event(Event::Store(loc, value)).map(drop)
    }

    pub(crate) fn store_release(&mut self, loc: Loc, value: u64) -> Result<(), Stop> {
        self.event(Event::StoreRelease(loc, value)).map(drop)
    }

    /// Gives the old value.
    pub(crate) fn update(&mut self, loc: Loc, change: Change, order: Order) -> Result<u64, Stop> {
        self.event(Event::Update(loc, change, order))
    }

    pub(crate) fn fence(&mut self) -> Result<(), Stop> {
        self.event(Event::Fence).map(drop)
    }

    /// Sleeps.
    pub(crate) fn pause(&mut self) -> Result<(), Stop> {
        self.event(Event::Pause).map(drop)
    }

    pub(crate) fn lock(&mut self, lock: Loc, owner: Option<Loc>) -> Result<(), Stop> {
        self.event(Event::Lock(lock, owner)).map(drop)
    }

    /// For what must hold alone.
    pub(crate) fn note(&mut self, loc: Loc, value: u64) -> Result<(), Stop> {
        self.event(Event::Note(loc, value)).map(drop)
    }

    /// What was noted.
    pub(crate) fn ask(&mut self, loc: Loc) -> Result<u64, Stop> {
        self.event(Event::Ask(loc))
    }

    /// The owner of an end's lock finds what the one before has left.
    pub(crate) fn find_kept(&mut self, end: usize) -> Result<(), Stop> {
        let Some(kept) = self.pair.ends[end].kept else { return Ok(()) };
        let number = self.event(Event::Kept(kept))?;
        self.owns[end] = true;
        self.changed[end] = self.pair.left(number);
        for (address, byte) in self.changed[end].clone() {
            let (region, at) = self.place(address, 1).expect("a byte of a structure");
            self.private[region].1[at] = byte;
        }
        Ok(())
    }

    /// It leaves what it has changed for the next one.
    pub(crate) fn leave_kept(&mut self, end: usize) -> Result<(), Stop> {
        let Some(kept) = self.pair.ends[end].kept else { return Ok(()) };
        let number = self.pair.number_of(&self.changed[end]);
        self.owns[end] = false;
        self.event(Event::Keep(kept, number)).map(drop)
    }

    fn touch(&mut self, region: usize, bytes: impl Iterator<Item = u64>, is_write: bool) {
        let is_kept = self.owns.get(end_of(region)).is_some_and(|owns| *owns);
        self.touched.extend(bytes.map(|byte| Touch { byte, is_write, is_kept }));
    }

    /// What must never happen has happened.
    pub(crate) fn fail(&mut self, what: impl Into<String>) -> Stop {
        self.next = Some(Event::Fail(what.into()));
        Stop
    }

    /// The application gets the messages of a list, which have been numbered as they were sent.
    pub(crate) fn receive(&mut self, mut list: u64) -> Result<(), Stop> {
        while list != 0 {
            let (thread, message) = ((list & 15) / THREAD, list & 15);
            let last = &mut self.received[thread as usize];
            if message % THREAD != *last % THREAD + 1 {
                let what = format!("message {message} is read after message {last}");
                return Err(self.fail(what));
            }
            (*last, list) = (message, list >> 4);
        }
        Ok(())
    }

    /// The application sees the messages of a list before it gets them: the next ones in the order in which they were sent.
    pub(crate) fn see(&mut self, list: u64) -> Result<(), Stop> {
        let before = self.received;
        self.receive(list)?;
        self.received = before;
        Ok(())
    }

    /// The application has sent all that it sends.
    pub(crate) fn end_sending(&mut self) -> Result<(), Stop> {
        let [_, senders] = self.pair.senders.expect("senders are counted");
        self.update(senders, Change::Add(u64::MAX), Order::Full).map(drop)
    }

    /// Waits until all senders have ended.
    pub(crate) fn wait_for_senders(&mut self) -> Result<(), Stop> {
        let [waits, senders] = self.pair.senders.expect("senders are counted");
        self.lock(waits, Some(senders))
    }

    /// How many messages the application has got, by their threads.
    pub(crate) fn messages(&self) -> [u64; 2] {
        self.received.map(|last| last % THREAD)
    }

    /// The application has got this many messages, by their threads.
    pub(crate) fn has_received(&mut self, messages: [u64; 2]) -> Result<(), Stop> {
        let received = self.messages();
        if received == messages {
            Ok(())
        } else {
            Err(self.fail(format!("{received:?} messages are read of {messages:?}")))
        }
    }

    /// An end has handed one byte to the stack.
    pub(crate) fn advance_write_seq(&mut self, end: usize) -> Result<(), Stop> {
        let at = self.pair.ends[end].sk + u64::from(offset_of("tcp_sock", "write_seq").unwrap());
        let seq = self.read(at, 4).expect("the socket")?;
        self.write(at, 4, seq + 1).expect("the socket")
    }

    fn place(&self, address: u64, size: u64) -> Option<(usize, usize)> {
        let has = |(base, bytes): &(u64, Vec<u8>)| address >= *base && address + size <= base + bytes.len() as u64;
        let region = self.private.iter().position(has)?;
        Some((region, (address - self.private[region].0) as usize))
    }

    /// Bytes of the structures that programs share; `None` where there are none.
    pub(crate) fn read(&mut self, address: u64, size: u64) -> Option<Result<u64, Stop>> {
        let (region, at) = self.place(address, size)?;
        let mut bytes = self.private[region].1[at..at + size as usize].to_vec();
        let mut own: BTreeSet<u64> = (address..address + size).collect();
        for loc in self.pair.words_in(address, size) {
            let word = &self.pair.words[loc];
            let value = match self.load(loc) {
                Ok(value) => word.seen(value),
                Err(stop) => return Some(Err(stop)),
            };
            let from = (word.address - address) as usize;
            to_memory(&mut bytes[from..from + word.size as usize], value);
            own.retain(|byte| !(word.address..word.address + word.size).contains(byte));
        }
        self.touch(region, own.into_iter(), false);
        Some(Ok(from_memory(&bytes)))
    }

    /// Stores to them.
    pub(crate) fn write(&mut self, address: u64, size: u64, value: u64) -> Option<Result<(), Stop>> {
        let (region, at) = self.place(address, size)?;
        match self.pair.words_in(address, size)[..] {
            [] => {}
            [loc] if self.pair.words[loc].size == size => return Some(self.store(loc, value)),
            _ => panic!("a store to more than one shared word at {address:#x}"),
        }
        let bytes = &mut self.private[region].1[at..at + size as usize];
        to_memory(bytes, value);
        self.changed[end_of(region)].extend((address..).zip(bytes.iter().copied()));
        self.touch(region, address..address + size, true);
        Some(Ok(()))
    }
}

/// The end to which one of the structures belongs: there are three of each. What belongs to neither end comes behind them.
fn end_of(region: usize) -> usize {
    region / 3
}

struct Node {
    event: Event,
    children: Map<u64, u32>,
    /// The node before, and the answer that leads here.
    from: Option<(u32, u64)>,
}

/// A process, as far as schedules have gone.
pub(crate) struct Process<'a> {
    pub(crate) name: &'static str,
    pair: &'a Pair,
    script: Box<Script<'a>>,
    nodes: Vec<Node>,
    pub(crate) touched: Touched,
    /// As far as it is known.
    pub(crate) accesses: Accesses,
}

impl<'a> Process<'a> {
    pub(crate) fn new(name: &'static str, pair: &'a Pair, script: Box<Script<'a>>) -> Self {
        let (touched, accesses) = (Touched::default(), Accesses::default());
        let mut process = Self { name, pair, script, nodes: Vec::new(), touched, accesses };
        process.grow(None);
        process
    }

    /// The process's first point.
    pub(crate) const START: u32 = 0;

    pub(crate) fn event(&self, node: u32) -> &Event {
        &self.nodes[node as usize].event
    }

    /// Where the process is when its event at `node` is answered.
    pub(crate) fn after(&mut self, node: u32, answer: u64) -> u32 {
        match self.nodes[node as usize].children.get(&answer) {
            Some(next) => *next,
            None => {
                let next = self.grow(Some((node, answer)));
                self.nodes[node as usize].children.insert(answer, next);
                next
            }
        }
    }

    fn grow(&mut self, from: Option<(u32, u64)>) -> u32 {
        let (mut answers, mut at) = (Vec::new(), from);
        while let Some((node, answer)) = at {
            answers.push(answer);
            at = self.nodes[node as usize].from;
        }
        answers.reverse();
        let mut cpu = Cpu {
            pair: self.pair,
            machine: self.pair.machine.clone(),
            private: self.pair.structures.clone(),
            answers: &answers,
            next: None,
            touched: Touched::default(),
            changed: [Changed::new(), Changed::new()],
            owns: [false; 2],
            received: [0; 2],
        };
        let end = (self.script)(&mut cpu);
        let event = match (end, cpu.next) {
            (Ok(()), None) => Event::Done,
            (_, Some(next)) => next,
            (Err(Stop), None) => panic!("{} stops for no reason", self.name),
        };
        assert!(cpu.answers.is_empty(), "{} does not use all answers: it is not deterministic", self.name);
        self.touched.extend(cpu.touched);
        self.accesses.add(event.accesses());
        self.nodes.push(Node { event, children: Map::default(), from });
        self.nodes.len() as u32 - 1
    }
}

//! Processes: what one processor does, as a tree of what it does next after each answer that it has got.
//!
//! A process is a function that asks for each access to a shared word. It is run again from the start with the answers so far, up to
//! its next access. So it can be stopped between any two accesses, although the interpreter runs programs from entry to exit,
//! and each point of it is worked out once, however many schedules pass it.

use std::collections::{BTreeSet, HashMap};

use sidestep::verifier_sim::interp::Machine;
use sidestep::verifier_sim::kernel::offset_of;

use super::event::{Accesses, Change, Event, Loc, Order};
use super::pair::Pair;

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
    /// The last message that it has received.
    received: u64,
}

/// Addresses of bytes outside the shared words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    pub(crate) read: BTreeSet<u64>,
    pub(crate) written: BTreeSet<u64>,
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

    /// What must never happen has happened.
    pub(crate) fn fail(&mut self, what: impl Into<String>) -> Stop {
        self.next = Some(Event::Fail(what.into()));
        Stop
    }

    /// The application gets the messages of a list, which have been numbered as they were sent.
    pub(crate) fn receive(&mut self, mut list: u64) -> Result<(), Stop> {
        while list != 0 {
            let message = list & 15;
            if message != self.received + 1 {
                return Err(self.fail(format!("message {message} is read after message {}", self.received)));
            }
            (self.received, list) = (message, list >> 4);
        }
        Ok(())
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
        let mut bytes = [0; 8];
        bytes[..size as usize].copy_from_slice(&self.private[region].1[at..at + size as usize]);
        let mut own: BTreeSet<u64> = (address..address + size).collect();
        for loc in self.pair.words_in(address, size) {
            let word = &self.pair.words[loc];
            let value = match self.load(loc) {
                Ok(value) => word.seen(value),
                Err(stop) => return Some(Err(stop)),
            };
            let from = (word.address - address) as usize;
            bytes[from..from + word.size as usize].copy_from_slice(&value.to_le_bytes()[..word.size as usize]);
            own.retain(|byte| !(word.address..word.address + word.size).contains(byte));
        }
        self.touched.read.extend(own);
        Some(Ok(u64::from_le_bytes(bytes)))
    }

    /// Stores to them.
    pub(crate) fn write(&mut self, address: u64, size: u64, value: u64) -> Option<Result<(), Stop>> {
        let (region, at) = self.place(address, size)?;
        match self.pair.words_in(address, size)[..] {
            [] => {}
            [loc] if self.pair.words[loc].size == size => return Some(self.store(loc, value)),
            _ => panic!("a store to more than one shared word at {address:#x}"),
        }
        self.private[region].1[at..at + size as usize].copy_from_slice(&value.to_le_bytes()[..size as usize]);
        self.touched.written.extend(address..address + size);
        Some(Ok(()))
    }
}

struct Node {
    event: Event,
    children: HashMap<u64, u32>,
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
            received: 0,
        };
        let end = (self.script)(&mut cpu);
        let event = match (end, cpu.next) {
            (Ok(()), None) => Event::Done,
            (_, Some(next)) => next,
            (Err(Stop), None) => panic!("{} stops for no reason", self.name),
        };
        assert!(cpu.answers.is_empty(), "{} does not use all answers: it is not deterministic", self.name);
        self.touched.read.extend(cpu.touched.read);
        self.touched.written.extend(cpu.touched.written);
        self.accesses.add(event.accesses());
        self.nodes.push(Node { event, children: HashMap::new(), from });
        self.nodes.len() as u32 - 1
    }
}

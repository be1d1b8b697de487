//! Memory as several processors see it.
//!
//! **x86_64** is total store order: each processor has a buffer of stores, which reach memory one after the other. Loads read the own
//! buffer's newest store to the word, or memory. A locked instruction waits until the buffer is empty.
//!
//! **arm64** is weaker. Stores leave the buffer in any order, but for those to one word, and a store-release waits for all before it. A
//! load may have been done early: it reads any value that the word has had since the last acquire or full barrier of this
//! processor, unless that processor has read or written a newer one. An atomic operation without order takes the old value at
//! once, and its store waits in the buffer; meanwhile no other processor writes that word (an exclusive pair). All processors see
//! one memory (multi-copy atomicity, as ARMv8 has it). A load is not done later than a store behind it.

use super::event::{Change, Event, Loc, Order, Words};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    X86,
    Arm,
}

/// A store that has not reached memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    loc: Loc,
    value: u64,
    is_release: bool,
    is_exclusive: bool,
}

/// Most words of a scenario.
const WORDS: usize = 40;
/// Most values of a word that may be readable at one time.
const VALUES: usize = 15;

/// The values of a word that some processor may still read; the last one is in memory.
#[derive(Clone, Copy, Debug, Default)]
struct History {
    len: u8,
    values: [u64; VALUES],
}

impl History {
    fn all(&self) -> &[u64] {
        &self.values[..usize::from(self.len)]
    }

    fn push(&mut self, value: u64) {
        self.values[usize::from(self.len)] = value;
        self.len += 1;
    }

    fn forget(&mut self, oldest: u8) {
        self.values.rotate_left(usize::from(oldest));
        self.len -= oldest;
    }
}

/// One processor's view.
#[derive(Clone, Debug)]
struct View {
    buffer: Vec<Pending>,
    /// For each word the oldest of its values that it may still read.
    floors: [u8; WORDS],
    /// The words that its process loads.
    loads: Words,
}

#[derive(Clone, Debug)]
pub(crate) struct Memory {
    architecture: Architecture,
    values: Vec<History>,
    views: Vec<View>,
    /// Where there are too many values of a word, the oldest is readable no more. A search of all schedules must not do that.
    pub(crate) forgets: bool,
}

/// What a processor can do: the answer to its event, and memory after it.
pub(crate) type Answer = (u64, Memory);

impl Memory {
    /// Memory with these values, and a processor for each process, which loads these words.
    pub(crate) fn new(architecture: Architecture, initial: impl Iterator<Item = u64>, loads: &[Words]) -> Self {
        let history = |value| {
            let mut history = History::default();
            history.push(value);
            history
        };
        let values: Vec<_> = initial.map(history).collect();
        assert!(values.len() <= WORDS);
        let views = loads.iter().map(|loads| View { buffer: Vec::new(), floors: [0; WORDS], loads: *loads }).collect();
        Self { architecture, values, views, forgets: false }
    }

    fn now(&self, loc: Loc) -> u64 {
        self.values[loc].all()[usize::from(self.newest(loc))]
    }

    fn newest(&self, loc: Loc) -> u8 {
        self.values[loc].len - 1
    }

    fn write(&mut self, cpu: usize, loc: Loc, value: u64) {
        if self.now(loc) != value {
            if self.forgets && usize::from(self.values[loc].len) == VALUES {
                self.values[loc].forget(1);
                for view in &mut self.views {
                    view.floors[loc] = view.floors[loc].saturating_sub(1);
                }
            }
            self.values[loc].push(value);
        }
        if self.architecture == Architecture::X86 {
            let before = self.newest(loc);
            self.values[loc].forget(before);
        } else {
            self.views[cpu].floors[loc] = self.newest(loc);
            self.trim(loc);
        }
    }

    /// Forgets values that no processor can read any more.
    fn trim(&mut self, loc: Loc) {
        let newest = self.newest(loc);
        let mut least = newest;
        for view in &mut self.views {
            if view.loads & 1 << loc == 0 {
                view.floors[loc] = newest;
            }
            least = least.min(view.floors[loc]);
        }
        if least > 0 {
            self.values[loc].forget(least);
            for view in &mut self.views {
                view.floors[loc] -= least;
            }
        }
    }

    /// From now on the processor reads nothing that is older than what memory has now.
    fn catch_up(&mut self, cpu: usize) {
        for loc in 0..self.values.len() {
            self.views[cpu].floors[loc] = self.newest(loc);
            self.trim(loc);
        }
    }

    /// The processor reads no more.
    pub(crate) fn end(&mut self, cpu: usize) {
        self.views[cpu].loads = 0;
        self.catch_up(cpu);
    }

    fn has_pending(&self, cpu: usize, loc: Loc) -> bool {
        self.views[cpu].buffer.iter().any(|pending| pending.loc == loc)
    }

    /// Whether another processor is between the two halves of an atomic operation on this word.
    fn is_reserved(&self, cpu: usize, loc: Loc) -> bool {
        let others = self.views.iter().enumerate().filter(|(other, _)| *other != cpu);
        others.flat_map(|(_, view)| &view.buffer).any(|pending| pending.loc == loc && pending.is_exclusive)
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut memory = self.clone();
        change(&mut memory);
        memory
    }

    fn push(&mut self, cpu: usize, loc: Loc, value: u64, is_release: bool, is_exclusive: bool) {
        self.views[cpu].buffer.push(Pending { loc, value, is_release, is_exclusive });
    }

    /// All that can come of an event; nothing while it has to wait.
    pub(crate) fn answers(&self, cpu: usize, event: &Event) -> Vec<Answer> {
        match *event {
            Event::Load(loc) => self.load(cpu, loc),
            Event::Store(loc, value) => vec![(0, self.with(|memory| memory.push(cpu, loc, value, false, false)))],
            Event::StoreRelease(loc, value) => vec![(0, self.with(|memory| memory.push(cpu, loc, value, true, false)))],
            Event::Update(loc, change, order) => self.update(cpu, loc, change, order),
            Event::Fence if self.views[cpu].buffer.is_empty() => vec![(0, self.with(|memory| memory.catch_up(cpu)))],
            Event::Pause if self.views.iter().all(|view| view.buffer.is_empty()) => {
                vec![(0, self.with(|memory| (0..memory.views.len()).for_each(|cpu| memory.catch_up(cpu))))]
            }
            Event::Lock(lock, owner) => {
                let is_free = [Some(lock), owner].into_iter().flatten().all(|loc| self.now(loc) == 0);
                if is_free { self.update(cpu, lock, Change::Set(1), Order::Acquire) } else { Vec::new() }
            }
            Event::Note(loc, value) | Event::Keep(loc, value) => {
                vec![(0, self.with(|memory| memory.write(cpu, loc, value)))]
            }
            Event::Ask(loc) | Event::Kept(loc) => vec![(self.now(loc), self.clone())],
            Event::Fence | Event::Pause | Event::Done | Event::Fail(_) => Vec::new(),
        }
    }

    fn load(&self, cpu: usize, loc: Loc) -> Vec<Answer> {
        if let Some(pending) = self.views[cpu].buffer.iter().rev().find(|pending| pending.loc == loc) {
            return vec![(pending.value, self.clone())];
        }
        let floor = self.views[cpu].floors[loc];
        let read = |at: u8| {
            let memory = self.with(|memory| {
                memory.views[cpu].floors[loc] = at;
                memory.trim(loc);
            });
            (self.values[loc].all()[usize::from(at)], memory)
        };
        (floor..self.values[loc].len).map(read).collect()
    }

    fn update(&self, cpu: usize, loc: Loc, change: Change, order: Order) -> Vec<Answer> {
        let order = if self.architecture == Architecture::X86 { Order::Full } else { order };
        let waits_for_all = matches!(order, Order::Full | Order::Release) && !self.views[cpu].buffer.is_empty();
        if waits_for_all || self.has_pending(cpu, loc) || self.is_reserved(cpu, loc) {
            return Vec::new();
        }
        let old = self.now(loc);
        let memory = self.with(|memory| {
            if let Some(new) = change.of(old) {
                if order == Order::Relaxed {
                    memory.push(cpu, loc, new, false, true);
                } else {
                    memory.write(cpu, loc, new);
                }
            }
            match order {
                Order::Full | Order::Acquire => memory.catch_up(cpu),
                Order::Relaxed | Order::Release => {}
            }
        });
        vec![(old, memory)]
    }

    /// The words whose stores can reach memory next, and memory after that.
    pub(crate) fn arrivals(&self, cpu: usize) -> Vec<(Loc, Self)> {
        let buffer = &self.views[cpu].buffer;
        let may_leave = |at: &usize| {
            let pending = buffer[*at];
            let is_first = *at == 0;
            let in_order = match self.architecture {
                Architecture::X86 => is_first,
                Architecture::Arm => {
                    is_first || !pending.is_release && buffer[..*at].iter().all(|before| before.loc != pending.loc)
                }
            };
            in_order && !self.is_reserved(cpu, pending.loc)
        };
        let arrive = |at: usize| {
            let Pending { loc, value, .. } = buffer[at];
            let memory = self.with(|memory| {
                memory.views[cpu].buffer.remove(at);
                memory.write(cpu, loc, value);
            });
            (loc, memory)
        };
        (0..buffer.len()).filter(may_leave).map(arrive).collect()
    }

    /// Everything that matters, as bytes. `number` makes a small number of a value.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>, mut number: impl FnMut(u64) -> u8) {
        for history in &self.values {
            bytes.push(history.len);
            bytes.extend(history.all().iter().map(|value| number(*value)));
        }
        for view in &self.views {
            if self.architecture == Architecture::Arm {
                bytes.extend(&view.floors[..self.values.len()]);
            }
            bytes.push(view.buffer.len() as u8);
            for pending in &view.buffer {
                let kind = u8::from(pending.is_release) | u8::from(pending.is_exclusive) << 1;
                bytes.extend([pending.loc as u8, number(pending.value), kind]);
            }
        }
    }
}

//! What a processor does next that others can see, and the words that they share.

/// A word that several processors access, by its number in the scenario's list.
pub(crate) type Loc = usize;

/// How an atomic operation orders the accesses around it, where the architecture leaves that open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Not at all.
    Relaxed,
    /// Before all accesses behind it.
    Acquire,
    /// After all accesses before it.
    Release,
    /// Both, and stores before it are visible before loads behind it are done.
    Full,
}

/// What an atomic operation does to the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add(u64),
    /// `refcount_inc_not_zero`.
    IncrementUnlessZero,
    Set(u64),
}

impl Change {
    /// The new value, if there is one.
    pub(crate) fn of(self, old: u64) -> Option<u64> {
        match self {
            Self::Add(amount) => Some(u64::from((old as u32).wrapping_add(amount as u32))),
            Self::IncrementUnlessZero => (old != 0).then_some(old + 1),
            Self::Set(new) => Some(new),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Load(Loc),
    Store(Loc, u64),
    /// Behind all accesses before it.
    StoreRelease(Loc, u64),
    /// Its answer is the old value.
    Update(Loc, Change, Order),
    /// A full barrier.
    Fence,
    /// Far more time than a store takes to become visible, or than a load can be early: a moment at which no store waits.
    Pause,
    /// Waits until all these words are 0, and makes the first one 1, with acquire: a spin lock, and the owner of a socket.
    Lock(Loc, Option<Loc>),
    /// For what must hold alone: what every processor sees at once, and orders nothing.
    Note(Loc, u64),
    Ask(Loc),
    /// What only the owner of a lock accesses, so that no order matters to it: it is put back before the lock is given up, and looked at
    /// when it has been taken.
    Keep(Loc, u64),
    Kept(Loc),
    /// The process has come to its end.
    Done,
    /// What must never happen.
    Fail(String),
}

/// Some words, a bit each.
pub(crate) type Words = u64;

/// Which words a process accesses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accesses {
    /// By loads, which may find older values than those in memory.
    pub(crate) loads: Words,
    /// By whatever changes them.
    pub(crate) writes: Words,
    /// In any way.
    pub(crate) all: Words,
    /// As locks, and as their owners, which are changed under the lock alone.
    pub(crate) locks: Words,
}

impl Accesses {
    pub(crate) fn add(&mut self, other: Self) {
        self.loads |= other.loads;
        self.writes |= other.writes;
        self.all |= other.all;
        self.locks |= other.locks;
    }
}

impl Event {
    pub(crate) fn accesses(&self) -> Accesses {
        let (loads, writes, asks) = match *self {
            Self::Load(loc) => (1 << loc, 0, 0),
            Self::Ask(loc) | Self::Kept(loc) => (0, 0, 1 << loc),
            Self::Store(loc, _) | Self::StoreRelease(loc, _) | Self::Note(loc, _) | Self::Keep(loc, _) => {
                (0, 1 << loc, 0)
            }
            Self::Update(loc, ..) => (0, 1 << loc, 0),
            Self::Lock(loc, owner) => {
                let locks = 1 << loc | owner.map_or(0, |owner| 1 << owner);
                return Accesses { locks, writes: 1 << loc, all: locks, loads: 0 };
            }
            Self::Fence | Self::Pause | Self::Done | Self::Fail(_) => (0, 0, 0),
        };
        Accesses { loads, writes, all: loads | writes | asks, locks: 0 }
    }
}

/// A shared word.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) name: String,
    /// Where programs find it, and its bytes; 0 bytes when only the kernel knows it.
    pub(crate) address: u64,
    pub(crate) size: u64,
    pub(crate) initial: u64,
    /// The word is a list, of which programs see whether it is empty: whether it points to its own head.
    pub(crate) is_list: bool,
}

impl Word {
    /// What a program reads when the word is `value`.
    pub(crate) fn seen(&self, value: u64) -> u64 {
        match (self.is_list, value) {
            (false, _) => value,
            (true, 0) => self.address,
            // Where the message is does not matter.
            (true, _) => self.address + 0x1000,
        }
    }
}

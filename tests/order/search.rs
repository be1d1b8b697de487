//! All schedules of a few processes, depth first.

use super::event::{Accesses, Event, Word};
use super::hash::{Map, Set};
use super::memory::{Architecture, Memory};
use super::process::{Process, Touch};

#[derive(Clone)]
pub(crate) struct State {
    pub(crate) memory: Memory,
    /// Where each process is.
    pub(crate) at: Vec<u32>,
}

/// A step of a schedule.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Answered { cpu: usize, event: Event, answer: u64 },
    Arrived { cpu: usize, loc: usize },
}

/// What a search has found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Different states.
    pub(crate) states: usize,
    /// The first schedule that ends in something that must never happen.
    pub(crate) failure: Option<Failure>,
}

/// A schedule, and what it ends in.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) schedule: Vec<String>,
}

/// Makes small numbers of values, for the bytes of a state.
#[derive(Default)]
struct Numbers(Map<u64, u8>);

impl Numbers {
    fn of(&mut self, value: u64) -> u8 {
        let next = self.0.len();
        *self.0.entry(value).or_insert_with(|| u8::try_from(next).expect("few values"))
    }
}

/// Tries every schedule of `processes`, whose shared words are `words`.
///
/// What only one processor can notice is not interleaved: a store into its own buffer, a load of a word that no other process
/// writes, the arrival of a store to a word that no other process accesses. Which words those are shows in the search itself; it begins
/// again when a process accesses one more.
pub(crate) fn search(architecture: Architecture, words: &[Word], processes: &mut [Process]) -> Found {
    loop {
        let known: Vec<_> = processes.iter().map(|process| process.accesses).collect();
        let found = search_once(architecture, words, processes, &known);
        let is_known = processes.iter().zip(&known).all(|(process, before)| process.accesses == *before);
        if found.failure.is_some() || is_known {
            if found.failure.is_none() {
                require_declared(processes);
            }
            return found;
        }
    }
}

fn search_once(architecture: Architecture, words: &[Word], processes: &mut [Process], known: &[Accesses]) -> Found {
    let loads: Vec<_> = known.iter().map(|accesses| accesses.loads).collect();
    let memory = Memory::new(architecture, words.iter().map(|word| word.initial), &loads);
    let start = State { memory, at: vec![Process::START; processes.len()] };
    let (mut seen, mut numbers, mut bytes) = (Set::<Box<[u8]>>::default(), Numbers::default(), Vec::new());
    encode(&start, &mut numbers, &mut bytes);
    seen.insert(bytes.as_slice().into());
    // Each with the steps that have not been tried.
    let mut stack = vec![(None, steps(&start, processes, known))];
    while let Some((_, open)) = stack.last_mut() {
        let Some((step, state)) = open.pop() else {
            stack.pop();
            continue;
        };
        encode(&state, &mut numbers, &mut bytes);
        if seen.contains(bytes.as_slice()) {
            continue;
        }
        seen.insert(bytes.as_slice().into());
        let next = steps(&state, processes, known);
        if let Some(what) = ending(&state, next.is_empty(), processes) {
            let taken = stack.iter().filter_map(|(step, _)| step.as_ref()).chain([&step]);
            let schedule = taken.map(|step| describe(step, words, processes)).collect();
            return Found { states: seen.len(), failure: Some(Failure { what, schedule }) };
        }
        stack.push((Some(step), next));
    }
    Found { states: seen.len(), failure: None }
}

/// What a schedule ends in, if it must never happen. `is_stuck` says that no process can go on.
pub(crate) fn ending(state: &State, is_stuck: bool, processes: &[Process]) -> Option<String> {
    let failed = processes.iter().zip(&state.at).find_map(|(process, at)| match process.event(*at) {
        Event::Fail(what) => Some(what.clone()),
        _ => None,
    });
    let is_over = processes.iter().zip(&state.at).all(|(process, at)| *process.event(*at) == Event::Done);
    failed.or((is_stuck && !is_over).then(|| "no process can go on".to_owned()))
}

/// No process accesses a byte that another one writes, but those of shared words.
pub(crate) fn require_declared(processes: &[Process]) {
    for (at, process) in processes.iter().enumerate() {
        for other in processes.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other) {
            let clashes =
                |access: &&Touch| access.is_write && other.touched.iter().any(|with| access.clashes_with(with));
            let both: Vec<_> = process.touched.iter().filter(clashes).map(|access| access.byte).collect();
            let (writer, reader) = (process.name, other.name);
            assert!(both.is_empty(), "{writer} writes what {reader} accesses, and it is not declared: {both:#x?}");
        }
    }
}

pub(crate) fn steps(state: &State, processes: &mut [Process], known: &[Accesses]) -> Vec<(Step, State)> {
    let mut all = Vec::new();
    for (cpu, process) in processes.iter_mut().enumerate() {
        let mut others = Accesses::default();
        for (_, accesses) in known.iter().enumerate().filter(|(other, _)| *other != cpu) {
            others.add(*accesses);
        }
        for (loc, memory) in state.memory.arrivals(cpu) {
            let step = (Step::Arrived { cpu, loc }, State { memory, at: state.at.clone() });
            // Until a store arrives that sets a lock free, no other process can do anything with it, unless it loads the word.
            let is_own_lock = others.locks & !others.loads & 1 << loc != 0;
            if others.all & 1 << loc == 0 || is_own_lock {
                return vec![step];
            }
            all.push(step);
        }
        let node = state.at[cpu];
        let event = process.event(node).clone();
        let is_private = match event {
            Event::Store(..) | Event::StoreRelease(..) | Event::Keep(..) | Event::Kept(_) => true,
            Event::Load(loc) => others.writes & 1 << loc == 0,
            _ => false,
        };
        let mut own = Vec::new();
        for (answer, mut memory) in state.memory.answers(cpu, &event) {
            let next = process.after(node, answer);
            if *process.event(next) == Event::Done {
                memory.end(cpu);
            }
            let mut at = state.at.clone();
            at[cpu] = next;
            own.push((Step::Answered { cpu, event: event.clone(), answer }, State { memory, at }));
        }
        if is_private && !own.is_empty() {
            return own;
        }
        all.append(&mut own);
    }
    all
}

/// Writes the state over what is in `bytes`.
fn encode(state: &State, numbers: &mut Numbers, bytes: &mut Vec<u8>) {
    bytes.clear();
    for at in &state.at {
        bytes.extend(at.to_le_bytes());
    }
    state.memory.encode(bytes, |value| numbers.of(value));
}

pub(crate) fn describe(step: &Step, words: &[Word], processes: &[Process]) -> String {
    let name = |loc: usize| &words[loc].name;
    match step {
        Step::Arrived { cpu, loc } => format!("{}: its store to {} reaches memory", processes[*cpu].name, name(*loc)),
        Step::Answered { cpu, event, answer } => {
            let what = match event {
                Event::Load(loc) => format!("loads {} = {answer:#x}", name(*loc)),
                Event::Store(loc, value) => format!("stores {} = {value:#x}", name(*loc)),
                Event::StoreRelease(loc, value) => format!("stores {} = {value:#x} (release)", name(*loc)),
                Event::Update(loc, change, order) => {
                    format!("{} was {answer:#x}, atomically {change:x?}, {order:?}", name(*loc))
                }
                Event::Fence => "full barrier".to_owned(),
                Event::Pause => "sleeps".to_owned(),
                Event::Lock(loc, _) => format!("takes {}", name(*loc)),
                Event::Note(loc, value) => format!("({} is {value:#x})", name(*loc)),
                Event::Ask(loc) => format!("({} is {answer:#x})", name(*loc)),
                Event::Keep(loc, value) => format!("(leaves {} = {value:#x})", name(*loc)),
                Event::Kept(loc) => format!("(finds {} = {answer:#x})", name(*loc)),
                Event::Done | Event::Fail(_) => String::new(),
            };
            format!("{}: {what}", processes[*cpu].name)
        }
    }
}

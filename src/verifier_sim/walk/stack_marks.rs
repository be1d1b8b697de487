//! The kernel's own search for the stack slots that are still read, as far as its log shows it (kernel/bpf/liveness.c).
//!
//! What pruning needs of it is in `program::stack_liveness`. This follows the kernel instruction by instruction, so that the
//! lines come in its order.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::asm::Insn;
use crate::verifier_sim::program::{Aux, Subprog, successors};
use crate::verifier_sim::state::{MAX_FRAMES, State};
use crate::verifier_sim::walk::env::Env;
use crate::verifier_sim::walk::log::Log;

/// Slots of one frame at one instruction, as bits.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    read: u64,
    written: u64,
    /// Written here or later in the function, on every path.
    written_later: u64,
    live: u64,
}

/// A function as it is called from one place.
#[derive(Debug)]
struct Instance {
    /// The calls that lead to it, and its first slot.
    chain: Vec<usize>,
    /// The first slots of the functions of these calls, its own last.
    starts: Vec<usize>,
    subprog: usize,
    frames: [Option<Vec<Marks>>; MAX_FRAMES],
    /// The instructions that have been walked at least once.
    walked: Vec<bool>,
    updated: bool,
    dropped: bool,
}

impl Instance {
    fn start(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    fn marks(&mut self, frame: usize, insn: usize) -> &mut Marks {
        let at = insn - self.start();
        let len = self.walked.len();
        &mut self.frames[frame].get_or_insert_with(|| vec![Marks::default(); len])[at]
    }
}

/// All instances, and the instruction that is being walked.
#[derive(Debug, Default)]
pub(super) struct StackMarks {
    instances: Vec<Instance>,
    by_chain: HashMap<Vec<usize>, usize>,
    current: Option<usize>,
    writes: [u64; MAX_FRAMES],
    at: usize,
    /// Each function's instructions, those at its end first, and its length.
    order: Vec<Vec<usize>>,
    lengths: Vec<usize>,
}

fn slots(mask: u64) -> String {
    let slots: Vec<_> =
        (0..64).filter(|slot| mask & 1 << slot != 0).map(|slot| format!("-{}", (slot + 1) * 8)).collect();
    slots.join(",")
}

impl StackMarks {
    pub(super) fn new(insns: &[Insn], subprogs: &[Subprog]) -> Self {
        let mut seen = vec![false; insns.len()];
        let mut order = Vec::new();
        for subprog in subprogs {
            let mut function = Vec::new();
            let mut explored = HashMap::new();
            let mut todo = vec![subprog.start];
            seen[subprog.start] = true;
            while let Some(&top) = todo.last() {
                if explored.insert(top, ()).is_some() {
                    function.push(top);
                    todo.pop();
                    continue;
                }
                for next in successors(insns, top, false).into_iter().flatten() {
                    if next < insns.len() && !seen[next] {
                        seen[next] = true;
                        todo.push(next);
                    }
                }
            }
            order.push(function);
        }
        let ends = subprogs.iter().skip(1).map(|next| next.start).chain([insns.len()]);
        let lengths = subprogs.iter().zip(ends).map(|(subprog, end)| end - subprog.start).collect();
        Self { order, lengths, ..Self::default() }
    }

    fn instance(&mut self, chain: Vec<usize>, starts: Vec<usize>, subprog: usize) -> usize {
        if let Some(&known) = self.by_chain.get(&chain) {
            return known;
        }
        let number = self.instances.len();
        let walked = vec![false; self.lengths[subprog]];
        self.by_chain.insert(chain.clone(), number);
        self.instances.push(Instance {
            chain,
            starts,
            subprog,
            frames: Default::default(),
            walked,
            updated: false,
            dropped: false,
        });
        number
    }

    /// The instance of the function of frame `frame` of `state`.
    fn of(&mut self, state: &State, subprogs: &[Subprog], frame: usize) -> usize {
        let starts: Vec<_> = state.frames[..=frame].iter().map(|frame| subprogs[frame.subprog].start).collect();
        let calls = state.frames[1..=frame].iter().map(|callee| callee.callsite);
        let chain = calls.chain([starts[frame]]).collect();
        self.instance(chain, starts, state.frames[frame].subprog)
    }

    pub(super) fn forget_current(&mut self) {
        self.current = None;
    }

    fn read(&mut self, instance: usize, frame: usize, insn: usize, mask: u64) {
        let instance = &mut self.instances[instance];
        let marks = instance.marks(frame, insn);
        let more = marks.read | mask;
        let news = more != marks.read && more | marks.live != marks.live;
        marks.read = more;
        instance.updated |= news;
    }

    fn commit(&mut self, number: usize) {
        let (at, writes) = (self.at, self.writes);
        let instance = &mut self.instances[number];
        let place = at - instance.start();
        let walked = instance.walked[place];
        for (frame, mut mask) in writes.into_iter().enumerate().take(instance.starts.len()) {
            if mask == 0 && !walked {
                continue;
            }
            let marks = instance.marks(frame, at);
            let old = marks.written;
            if walked {
                mask &= old;
            }
            marks.written = mask;
            instance.updated |= old != mask;
            instance.dropped |= old & !mask != 0;
        }
        instance.walked[place] = true;
    }

    /// Brings one instance up to date; returns the lines of the log.
    fn update(&mut self, number: usize, insns: &[Insn], aux: &[Aux]) -> String {
        let mut text = String::new();
        let instance = &mut self.instances[number];
        let start = instance.start();
        if instance.dropped {
            for marks in instance.frames.iter_mut().flatten().flatten() {
                marks.written_later = 0;
            }
        }
        let label: Vec<_> = instance.chain.iter().map(usize::to_string).collect();
        let label = format!("({})", label.join(","));
        let mut rounds = 0;
        let mut changed = true;
        while changed {
            changed = false;
            rounds += 1;
            for frame in 0..instance.starts.len() {
                let Some(frame_marks) = &mut instance.frames[frame] else { continue };
                for &at in &self.order[instance.subprog] {
                    let (mut later, mut live, mut any) = (u64::MAX, 0, false);
                    for next in successors(insns, at, false).into_iter().flatten() {
                        let Some(next) = frame_marks.get(next.wrapping_sub(start)) else { continue };
                        any = true;
                        live |= next.live;
                        later &= next.written_later;
                    }
                    if !any {
                        continue;
                    }
                    let marks = &mut frame_marks[at - start];
                    let (old, new) = (*marks, (live & !marks.written | marks.read, later | marks.written));
                    changed |= (old.live, old.written_later) != new;
                    if marks.read != 0 || marks.written != 0 || at == start || aux[at].prune_point {
                        let lines = [("live", old.live, new.0), ("written", old.written_later, new.1)];
                        for (what, old, new) in lines.into_iter().filter(|(_, old, new)| old != new) {
                            let _ = write!(text, "{label} frame {frame} insn {at} ");
                            if new & !old != 0 {
                                let _ = write!(text, "+{what} {} ", slots(new & !old));
                            }
                            if old & !new != 0 {
                                let _ = write!(text, "-{what} {}", slots(old & !new));
                            }
                            text.push('\n');
                        }
                    }
                    (marks.live, marks.written_later) = new;
                }
            }
        }
        let _ = writeln!(text, "{label} live stack update done in {rounds} iterations");
        self.hand_to_caller(number);
        text
    }

    /// What the function reads and writes of its callers' stacks happens at the call.
    fn hand_to_caller(&mut self, number: usize) {
        let instance = &self.instances[number];
        let Some(depth) = instance.starts.len().checked_sub(1).filter(|depth| *depth > 0) else { return };
        let (callsite, start) = (instance.chain[depth - 1], instance.start());
        let mut chain = instance.chain[..depth].to_vec();
        let starts = instance.starts[..depth].to_vec();
        chain[depth - 1] = starts[depth - 1];
        let Some(&outer) = self.by_chain.get(&chain) else { return };
        (self.at, self.writes) = (callsite, [0; MAX_FRAMES]);
        for frame in 0..depth {
            let instance = &mut self.instances[number];
            if instance.frames[frame].is_none() {
                continue;
            }
            let marks = *instance.marks(frame, start);
            self.writes[frame] |= marks.written_later;
            self.read(outer, frame, callsite, marks.live);
        }
        self.commit(outer);
    }
}

impl Env<'_> {
    /// Works on the marks, if there is a log.
    pub(super) fn stack_marks(&mut self, work: impl FnOnce(&mut StackMarks)) {
        if let Some(log) = self.log.as_mut().filter(|log| !log.stack.order.is_empty()) {
            work(&mut log.stack);
        }
    }

    /// An instruction begins.
    pub(in crate::verifier_sim) fn log_stack_begin(&mut self) {
        let Some(Log { stack, .. }) = self.log.as_mut().filter(|log| !log.stack.order.is_empty()) else { return };
        if stack.current.is_none() {
            stack.current = Some(stack.of(&self.cur, &self.subprogs, self.cur.depth()));
        }
        (stack.at, stack.writes) = (self.at, [0; MAX_FRAMES]);
    }

    /// An instruction is done.
    pub(in crate::verifier_sim) fn log_stack_commit(&mut self) {
        self.stack_marks(|stack| {
            if let Some(current) = stack.current {
                stack.commit(current);
            }
        });
    }

    /// The instruction reads these slots of a frame.
    pub(in crate::verifier_sim) fn log_stack_read(&mut self, frame: usize, slots: u64) {
        let at = self.at;
        self.stack_marks(|stack| {
            if let Some(current) = stack.current {
                stack.read(current, frame, at, slots);
            }
        });
    }

    /// The instruction overwrites a slot of a frame.
    pub(in crate::verifier_sim) fn log_stack_write(&mut self, frame: usize, slot: usize) {
        self.stack_marks(|stack| stack.writes[frame] |= 1 << slot);
    }

    /// A path or a function ends: what was read and written flows to where it matters (`bpf_update_live_stack`).
    pub(in crate::verifier_sim) fn log_stack_update(&mut self) {
        let mut text = String::new();
        let Some(Log { stack, .. }) = self.log.as_mut().filter(|log| !log.stack.order.is_empty()) else { return };
        stack.forget_current();
        for frame in (0..self.cur.frames.len()).rev() {
            let number = stack.of(&self.cur, &self.subprogs, frame);
            if stack.instances[number].updated {
                text += &stack.update(number, self.insns, &self.aux);
                let instance = &mut stack.instances[number];
                (instance.updated, instance.dropped) = (false, false);
            }
        }
        if let Some(log) = &mut self.log {
            log.push(&text);
        }
    }
}

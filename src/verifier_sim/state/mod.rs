//! The state of the whole program at one instruction of one path.

pub(super) mod reg;
pub(super) mod stack;

use std::rc::Rc;

use crate::verifier_sim::state::reg::{Kind, Reg};
use crate::verifier_sim::state::stack::Slot;

/// Registers r0 to r10.
pub(in crate::verifier_sim) const REGS: usize = 11;
/// The frame pointer.
pub(in crate::verifier_sim) const FP: usize = 10;
/// Calls may be nested this deep, the main program included (`MAX_CALL_FRAMES`).
pub(in crate::verifier_sim) const MAX_FRAMES: usize = 8;

/// One function's registers and stack (`struct bpf_func_state`).
#[derive(Clone, Debug)]
pub(in crate::verifier_sim) struct Frame {
    /// r0 to r10.
    pub(in crate::verifier_sim) regs: [Reg; REGS],
    /// The part of the stack that was touched, from the frame pointer downwards.
    pub(in crate::verifier_sim) stack: Rc<Vec<Slot>>,
    /// The instruction that called this function; unused in the main program.
    pub(in crate::verifier_sim) callsite: usize,
    /// Number of the function.
    pub(in crate::verifier_sim) subprog: usize,
    /// Whether a helper called it.
    pub(in crate::verifier_sim) in_callback: bool,
    /// Whether the kernel calls it later, when no frame of the program is left (a timer or a work queue). Then how many such
    /// functions led to each other.
    pub(in crate::verifier_sim) async_depth: u32,
    /// How often the path went through the callback of the call at which this function stands.
    pub(in crate::verifier_sim) callback_depth: u64,
}

impl Frame {
    /// A frame in which only r10 is set.
    pub(in crate::verifier_sim) fn new(number: usize, callsite: usize, subprog: usize) -> Self {
        let mut regs = [Reg::NOT_INIT; REGS];
        regs[FP] = Reg::pointer(Kind::Stack, number as u32);
        Self {
            regs,
            stack: Rc::new(Vec::new()),
            callsite,
            subprog,
            in_callback: false,
            async_depth: 0,
            callback_depth: 0,
        }
    }

    /// Slot `index`, touched or not.
    pub(in crate::verifier_sim) fn slot(&self, index: usize) -> &Slot {
        self.stack.get(index).unwrap_or(&Slot::EMPTY)
    }

    /// Slot `index` for writing.
    pub(in crate::verifier_sim) fn slot_mut(&mut self, index: usize) -> &mut Slot {
        let stack = Rc::make_mut(&mut self.stack);
        if stack.len() <= index {
            stack.resize(index + 1, Slot::EMPTY);
        }
        &mut stack[index]
    }
}

/// A resource that must be released (`struct bpf_reference_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) struct Reference {
    /// Its number, as in [`Reg::ref_id`].
    pub(in crate::verifier_sim) id: u32,
    /// Where it was acquired.
    pub(in crate::verifier_sim) insn: usize,
}

/// The spin lock that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) struct Lock {
    /// Number of the map whose value holds the lock; `None` if it is in an object that the program has allocated.
    pub(in crate::verifier_sim) map: Option<u32>,
    /// Id of the pointer to that value or object.
    pub(in crate::verifier_sim) id: u32,
}

impl Lock {
    /// That in the value or object that the register points to.
    pub(in crate::verifier_sim) fn in_value(reg: &Reg) -> Self {
        Self { map: (reg.kind == Kind::MapValue).then_some(reg.arg), id: reg.id }
    }
}

/// All frames, and what belongs to none of them (`struct bpf_verifier_state`).
#[derive(Clone, Debug)]
pub(in crate::verifier_sim) struct State {
    /// The main program's frame first.
    pub(in crate::verifier_sim) frames: Vec<Rc<Frame>>,
    /// Unreleased references.
    pub(in crate::verifier_sim) refs: Vec<Reference>,
    /// The lock that is held.
    pub(in crate::verifier_sim) lock: Option<Lock>,
    /// Whether `bpf_rcu_read_lock` was called.
    pub(in crate::verifier_sim) rcu_lock: bool,
    /// How often `bpf_preempt_disable` was called.
    pub(in crate::verifier_sim) preempt_locks: u32,
    /// Whether it may sleep: a work queue calls it.
    pub(in crate::verifier_sim) may_sleep: bool,
    /// Whether only a processor that speculates goes this way.
    pub(in crate::verifier_sim) speculative: bool,
    /// How often the path went through a may_goto.
    pub(in crate::verifier_sim) may_goto_depth: u32,
    /// How often the path entered a callback.
    pub(in crate::verifier_sim) callback_unroll_depth: u32,
    /// How much of the history does not lead here, since the kernel calls the path's first function later.
    pub(in crate::verifier_sim) begin: usize,
    /// Entries that the kernel's history of the path has since the last checkpoint.
    pub(in crate::verifier_sim) history: u32,
    /// The checkpoint that this path last passed.
    pub(in crate::verifier_sim) parent: Option<u32>,
}

impl State {
    /// The state at the program's first instruction.
    pub(in crate::verifier_sim) fn entry() -> Self {
        let mut frame = Frame::new(0, 0, 0);
        frame.regs[1] = Reg::pointer(Kind::Ctx, 0);
        Self::entry_of(frame)
    }

    /// The state at a function's first instruction, when it is judged alone.
    pub(in crate::verifier_sim) fn entry_of(frame: Frame) -> Self {
        Self {
            frames: vec![Rc::new(frame)],
            refs: Vec::new(),
            lock: None,
            rcu_lock: false,
            preempt_locks: 0,
            may_sleep: false,
            speculative: false,
            may_goto_depth: 0,
            callback_unroll_depth: 0,
            begin: 0,
            history: 0,
            parent: None,
        }
    }

    /// Number of the current frame.
    pub(in crate::verifier_sim) fn depth(&self) -> usize {
        self.frames.len() - 1
    }

    /// The current frame.
    pub(in crate::verifier_sim) fn top(&self) -> &Frame {
        &self.frames[self.frames.len() - 1]
    }

    /// The current frame for writing.
    pub(in crate::verifier_sim) fn top_mut(&mut self) -> &mut Frame {
        let last = self.frames.len() - 1;
        Rc::make_mut(&mut self.frames[last])
    }

    /// Frame `number` for writing.
    pub(in crate::verifier_sim) fn frame_mut(&mut self, number: usize) -> &mut Frame {
        Rc::make_mut(&mut self.frames[number])
    }

    /// Whether an iterator that had more elements in `old` has moved on since (`iter_active_depths_differ`).
    pub(in crate::verifier_sim) fn has_moved_on(&self, old: &Self) -> bool {
        old.frames.iter().zip(&self.frames).any(|(old, cur)| {
            old.stack.iter().enumerate().any(|(index, slot)| {
                let active = slot.is_iterator() && slot.reg.off == stack::iterator::ACTIVE;
                active && slot.reg.map_uid != cur.slot(index).reg.map_uid
            })
        })
    }

    /// Calls `edit` on every register and every saved register for which `wanted` holds. Frames that have none stay shared.
    pub(in crate::verifier_sim) fn for_each_reg(
        &mut self,
        wanted: impl Fn(&Reg) -> bool,
        mut edit: impl FnMut(&mut Reg),
    ) {
        for frame in &mut self.frames {
            let in_regs = frame.regs.iter().any(&wanted);
            let in_stack = frame.stack.iter().any(|slot| slot.is_spill() && wanted(&slot.reg));
            if in_regs || in_stack {
                let frame = Rc::make_mut(frame);
                frame.regs.iter_mut().filter(|reg| wanted(reg)).for_each(&mut edit);
                if in_stack {
                    let stack = Rc::make_mut(&mut frame.stack);
                    let spilled = stack.iter_mut().filter(|slot| slot.is_spill()).map(|slot| &mut slot.reg);
                    spilled.filter(|reg| wanted(reg)).for_each(&mut edit);
                }
            }
        }
    }
}

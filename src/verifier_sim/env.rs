//! Everything that one verification carries along (`struct bpf_verifier_env`).

use super::maps::Map;
use super::program::{Aux, Subprog};
use super::prune::Explored;
use super::reg::Reg;
use super::spec::{Kernel, Options, Privilege, ProgType};
use super::stack_liveness::StackLiveness;
use super::state::{FP, REGS, State};
use super::stop::{Step, reject};
use super::types::KernelTypes;
use crate::asm::Insn;

/// A branch that is still to be walked.
pub(super) struct Pending {
    /// The state in which to begin.
    pub(super) state: State,
    /// Where to begin.
    pub(super) insn: usize,
    /// Where the branch was taken.
    pub(super) from: usize,
    /// How much of the trail leads to it.
    pub(super) trail: usize,
}

/// Branches waiting at the same time (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`).
const MAX_PENDING: usize = 8192;

/// How much work has been done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    /// Instructions walked.
    pub(super) insns: u64,
    /// Jumps walked.
    pub(super) jumps: u64,
    /// `insns` at the last checkpoint.
    pub(super) insns_at_checkpoint: u64,
    /// `jumps` at the last checkpoint.
    pub(super) jumps_at_checkpoint: u64,
    /// Paths cut short.
    pub(super) pruned: u64,
}

/// One verification.
pub(super) struct Env<'a> {
    pub(super) prog: ProgType,
    pub(super) kernel: Kernel,
    pub(super) privilege: Privilege,
    /// Demand alignment everywhere (`BPF_F_STRICT_ALIGNMENT`).
    pub(super) strict_alignment: bool,
    /// Make a checkpoint at each prune point (`BPF_F_TEST_STATE_FREQ`).
    pub(super) checkpoint_always: bool,
    /// Contradictory ranges are an error (`BPF_F_TEST_REG_INVARIANTS`).
    pub(super) check_invariants: bool,
    pub(super) insns: &'a [Insn],
    pub(super) aux: Vec<Aux>,
    pub(super) maps: Vec<Map<'a>>,
    pub(super) subprogs: Vec<Subprog>,
    /// Whether the program has loops that the kernel cuts off.
    pub(super) has_may_goto: bool,
    /// Possible CPUs, 0 if that is not known.
    pub(super) cpus: u32,
    /// The types of the kernel, if they are known.
    pub(super) types: Option<&'static KernelTypes>,
    /// The state of the current path.
    pub(super) cur: State,
    /// The current instruction.
    pub(super) at: usize,
    /// The instructions of the current path, in order.
    pub(super) trail: Vec<u32>,
    pub(super) pending: Vec<Pending>,
    pub(super) explored: Explored,
    pub(super) stack_reads: StackLiveness,
    pub(super) work: Work,
    pub(super) next_id: u32,
    pub(super) log: Option<super::log::Log>,
}

impl<'a> Env<'a> {
    /// A verification that stands before the first instruction.
    pub(super) fn new(prog: ProgType, flags: u32, insns: &'a [Insn], maps: Vec<Map<'a>>, options: &Options) -> Self {
        Self {
            prog,
            kernel: options.kernel,
            privilege: options.privilege,
            strict_alignment: flags & super::BPF_F_STRICT_ALIGNMENT != 0 && flags & super::BPF_F_ANY_ALIGNMENT == 0,
            checkpoint_always: flags & super::BPF_F_TEST_STATE_FREQ != 0,
            check_invariants: flags & super::BPF_F_TEST_REG_INVARIANTS != 0,
            insns,
            aux: vec![Aux::default(); insns.len()],
            maps,
            subprogs: Vec::new(),
            has_may_goto: insns.iter().any(super::program::is_may_goto),
            cpus: options.cpus,
            types: options.types,
            cur: State::entry(),
            at: 0,
            trail: Vec::new(),
            pending: Vec::new(),
            explored: Explored::default(),
            stack_reads: StackLiveness::new(insns),
            work: Work::default(),
            next_id: 0,
            log: None,
        }
    }

    /// A number that no id has had.
    pub(super) fn new_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// Pointers may be stored, compared and returned.
    pub(super) fn may_leak_pointers(&self) -> bool {
        self.privilege == Privilege::Full
    }

    /// Stack that was never written may be read.
    pub(super) fn may_read_uninit_stack(&self) -> bool {
        self.privilege == Privilege::Full && self.kernel >= Kernel::V6_1
    }

    /// Register `number` of the current frame; `number` must be below 11.
    pub(super) fn reg(&self, number: u8) -> &Reg {
        &self.cur.top().regs[usize::from(number)]
    }

    /// The same for writing.
    pub(super) fn reg_mut(&mut self, number: u8) -> &mut Reg {
        &mut self.cur.top_mut().regs[usize::from(number)]
    }

    /// The map with this number.
    pub(super) fn map(&self, number: u32) -> &Map<'a> {
        &self.maps[number as usize]
    }

    /// Whether register `number` holds a pointer that must not leak.
    pub(super) fn is_secret(&self, number: u8) -> bool {
        !self.may_leak_pointers() && !self.reg(number).is_scalar()
    }

    /// The register is about to be read.
    pub(super) fn check_source(&self, number: u8) -> Step {
        if usize::from(number) >= REGS {
            reject!("R{number} is invalid");
        }
        if self.reg(number).kind == super::reg::Kind::NotInit {
            reject!("R{number} !read_ok");
        }
        Ok(())
    }

    /// The register is about to be written.
    pub(super) fn check_destination(&self, number: u8) -> Step {
        if usize::from(number) >= REGS {
            reject!("R{number} is invalid");
        }
        if usize::from(number) == FP {
            reject!("frame pointer is read only");
        }
        Ok(())
    }

    /// Remembers to walk from `target` in `state` later.
    pub(super) fn push_state(&mut self, mut state: State, target: usize) -> Step {
        if self.pending.len() >= MAX_PENDING {
            reject!("The sequence of {} jumps is too complex.", self.pending.len() + 1);
        }
        state.parent = self.cur.parent;
        if let Some(parent) = state.parent {
            self.explored.add_branch(parent);
        }
        self.pending.push(Pending { state, insn: target, from: self.at, trail: self.trail.len() });
        Ok(())
    }

    /// Contradictory ranges stand for values that cannot occur; the kernel then forgets all it knows.
    pub(super) fn settle(&self, reg: &mut Reg, context: &str) -> Step {
        if let Some(what) = reg.val.violation().filter(|_| self.kernel >= Kernel::V6_12) {
            if self.check_invariants {
                reject!("REG INVARIANTS VIOLATION ({context}): {what}");
            }
            reg.val.forget_ranges();
        }
        Ok(())
    }
}

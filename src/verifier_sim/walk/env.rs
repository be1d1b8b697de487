//! Everything that one verification carries along (`struct bpf_verifier_env`).

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::asm::Insn;
use crate::verifier_sim::load_flags;
use crate::verifier_sim::place::Place;
use crate::verifier_sim::program::hook::Hook;
use crate::verifier_sim::program::maps::Map;
use crate::verifier_sim::program::record::Record;
use crate::verifier_sim::program::stack_liveness::StackLiveness;
use crate::verifier_sim::program::{Aux, Subprog, is_may_goto};
use crate::verifier_sim::spec::{FunctionSpec, Kernel, Options, Privilege};
use crate::verifier_sim::state::reg::Reg;
use crate::verifier_sim::state::{FP, REGS, State};
use crate::verifier_sim::stop::{Step, Stop, reject};
use crate::verifier_sim::types::{KernelTypes, ProgramTypes};
use crate::verifier_sim::walk::history::History;
use crate::verifier_sim::walk::prune::Explored;

/// A branch that is still to be walked.
pub(in crate::verifier_sim) struct Pending {
    /// The state in which to begin.
    pub(in crate::verifier_sim) state: State,
    /// Where to begin.
    pub(in crate::verifier_sim) insn: usize,
    /// Where the branch was taken.
    pub(in crate::verifier_sim) from: usize,
    /// How much of the history leads to it.
    pub(in crate::verifier_sim) history: usize,
}

/// Branches waiting at the same time (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`).
pub(in crate::verifier_sim) const MAX_PENDING: usize = 8192;

/// How much work has been done.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::verifier_sim) struct Work {
    /// Instructions walked.
    pub(in crate::verifier_sim) insns: u64,
    /// Jumps walked.
    pub(in crate::verifier_sim) jumps: u64,
    /// `insns` at the last checkpoint.
    pub(in crate::verifier_sim) insns_at_checkpoint: u64,
    /// `jumps` at the last checkpoint.
    pub(in crate::verifier_sim) jumps_at_checkpoint: u64,
    /// Paths cut short.
    pub(in crate::verifier_sim) pruned: u64,
}

/// One verification.
pub(in crate::verifier_sim) struct Env<'a> {
    /// Type, attach type and kernel.
    pub(in crate::verifier_sim) place: Place,
    /// What a tracing program traces.
    pub(in crate::verifier_sim) hook: Option<Hook>,
    pub(in crate::verifier_sim) kernel: Kernel,
    pub(in crate::verifier_sim) privilege: Privilege,
    /// Demand alignment everywhere (`BPF_F_STRICT_ALIGNMENT`).
    pub(in crate::verifier_sim) strict_alignment: bool,
    /// Make a checkpoint at each prune point (`BPF_F_TEST_STATE_FREQ`).
    pub(in crate::verifier_sim) checkpoint_always: bool,
    /// Contradictory ranges are an error (`BPF_F_TEST_REG_INVARIANTS`).
    pub(in crate::verifier_sim) check_invariants: bool,
    pub(in crate::verifier_sim) insns: &'a [Insn],
    pub(in crate::verifier_sim) aux: Vec<Aux>,
    pub(in crate::verifier_sim) maps: Vec<Map<'a>>,
    /// The special fields of the objects that the program can allocate, by the IDs of their structures.
    pub(in crate::verifier_sim) objects: BTreeMap<u32, Record>,
    pub(in crate::verifier_sim) subprogs: Vec<Subprog>,
    /// What BTF says of them; empty without BTF.
    pub(in crate::verifier_sim) functions: &'a [FunctionSpec],
    /// The global function that is judged; 0 is the main program.
    pub(in crate::verifier_sim) judged: usize,
    /// Global functions that are called, in the order of their numbers.
    pub(in crate::verifier_sim) called: BTreeSet<usize>,
    /// Whether the program has loops of which the kernel does not walk every round: those that it cuts off, and callbacks.
    pub(in crate::verifier_sim) has_open_loops: bool,
    /// Possible CPUs, 0 if that is not known.
    pub(in crate::verifier_sim) cpus: u32,
    /// Whether the kernel refuses the program's own types.
    pub(in crate::verifier_sim) refuses_types: bool,
    /// The program's own types.
    pub(in crate::verifier_sim) own: Option<&'a ProgramTypes>,
    /// The types of the kernel, if they are known.
    pub(in crate::verifier_sim) types: Option<&'static KernelTypes>,
    /// The state of the current path.
    pub(in crate::verifier_sim) cur: State,
    /// The current instruction.
    pub(in crate::verifier_sim) at: usize,
    /// The instructions of the current path, in order.
    pub(in crate::verifier_sim) history: History,
    pub(in crate::verifier_sim) pending: Vec<Pending>,
    pub(in crate::verifier_sim) explored: Explored,
    pub(in crate::verifier_sim) stack_reads: StackLiveness,
    pub(in crate::verifier_sim) work: Work,
    pub(in crate::verifier_sim) next_id: u32,
    pub(in crate::verifier_sim) log: Option<crate::verifier_sim::walk::log::Log>,
    /// Registers of the current frame that the log has to show, as bits; the slots likewise.
    pub(in crate::verifier_sim) scratched_regs: Cell<u16>,
    pub(in crate::verifier_sim) scratched_slots: u64,
}

impl<'a> Env<'a> {
    /// A verification that stands before the first instruction.
    pub(in crate::verifier_sim) fn new(
        place: Place,
        flags: u32,
        insns: &'a [Insn],
        maps: Vec<Map<'a>>,
        options: &Options,
    ) -> Self {
        Self {
            place,
            hook: None,
            kernel: options.kernel,
            privilege: options.privilege,
            strict_alignment: flags & load_flags::BPF_F_STRICT_ALIGNMENT != 0
                && flags & load_flags::BPF_F_ANY_ALIGNMENT == 0,
            checkpoint_always: flags & load_flags::BPF_F_TEST_STATE_FREQ != 0,
            check_invariants: flags & load_flags::BPF_F_TEST_REG_INVARIANTS != 0,
            insns,
            aux: vec![Aux::default(); insns.len()],
            maps,
            objects: BTreeMap::new(),
            subprogs: Vec::new(),
            functions: &[],
            judged: 0,
            called: BTreeSet::new(),
            has_open_loops: insns.iter().any(is_may_goto),
            cpus: options.cpus,
            refuses_types: false,
            own: None,
            types: options.types,
            cur: State::entry(),
            at: 0,
            history: History::default(),
            pending: Vec::new(),
            explored: Explored::new(insns.len()),
            stack_reads: StackLiveness::new(insns),
            work: Work::default(),
            next_id: 0,
            log: None,
            scratched_regs: Cell::new(u16::MAX),
            scratched_slots: u64::MAX,
        }
    }

    /// A number that no id has had.
    pub(in crate::verifier_sim) fn new_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// Pointers may be stored, compared and returned.
    pub(in crate::verifier_sim) fn may_leak_pointers(&self) -> bool {
        self.privilege == Privilege::Full
    }

    /// Stack that was never written may be read.
    pub(in crate::verifier_sim) fn may_read_uninit_stack(&self) -> bool {
        self.privilege == Privilege::Full && self.kernel >= Kernel::V6_1
    }

    /// Register `number` of the current frame; `number` must be below 11.
    pub(in crate::verifier_sim) fn reg(&self, number: u8) -> &Reg {
        &self.cur.top().regs[usize::from(number)]
    }

    /// The same for writing.
    pub(in crate::verifier_sim) fn reg_mut(&mut self, number: u8) -> &mut Reg {
        &mut self.cur.top_mut().regs[usize::from(number)]
    }

    /// The map with this number.
    pub(in crate::verifier_sim) fn map(&self, number: u32) -> &Map<'a> {
        &self.maps[number as usize]
    }

    /// Whether register `number` holds a pointer that must not leak.
    pub(in crate::verifier_sim) fn is_secret(&self, number: u8) -> bool {
        !self.may_leak_pointers() && !self.reg(number).is_scalar()
    }

    /// The log has to show these registers, as bits.
    pub(in crate::verifier_sim) fn scratch(&self, regs: u16) {
        self.scratched_regs.set(self.scratched_regs.get() | regs);
    }

    /// The register is about to be read.
    pub(in crate::verifier_sim) fn check_source(&self, number: u8) -> Step {
        if usize::from(number) >= REGS {
            reject!("R{number} is invalid");
        }
        self.scratch(1 << number);
        if self.reg(number).kind == crate::verifier_sim::state::reg::Kind::NotInit {
            reject!("R{number} !read_ok");
        }
        Ok(())
    }

    /// The register is about to be written.
    pub(in crate::verifier_sim) fn check_destination(&self, number: u8) -> Step {
        if usize::from(number) >= REGS {
            reject!("R{number} is invalid");
        }
        self.scratch(1 << number);
        if usize::from(number) == FP {
            reject!("frame pointer is read only");
        }
        Ok(())
    }

    /// Remembers to walk from `target` in `state` later.
    pub(in crate::verifier_sim) fn push_state(&mut self, mut state: State, target: usize) -> Step {
        if self.pending.len() >= MAX_PENDING {
            // Also a speculative path may not go on.
            let rule = format!("The sequence of {} jumps is too complex.", self.pending.len() + 1);
            return Err(Stop::RejectAt(self.at, rule));
        }
        state.parent = self.cur.parent;
        if let Some(parent) = state.parent {
            self.explored.add_branch(parent);
        }
        self.pending.push(Pending { state, insn: target, from: self.at, history: self.history.len() });
        Ok(())
    }

    /// Contradictory ranges stand for values that cannot occur; the kernel then forgets all it knows.
    pub(in crate::verifier_sim) fn check_bounds(&self, reg: &mut Reg, context: &str) -> Step {
        if let Some(what) = reg.val.violation().filter(|_| self.kernel >= Kernel::V6_12) {
            if self.check_invariants {
                reject!("REG INVARIANTS VIOLATION ({context}): {what}");
            }
            reg.val.forget_ranges();
        }
        Ok(())
    }
}

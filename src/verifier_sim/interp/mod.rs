//! A concrete interpreter: RFC 9669 and the kernel's v4 instructions on checked memory.
//!
//! Where the verifier asks "can this ever go wrong", the interpreter asks "did it go wrong this time": whatever would
//! crash a kernel is a [`Trap`] here, never a panic. Every program the verifier accepts must run without one.
//!
//! - [`Machine`]: memory and maps, shared by all programs of a simulation.
//! - [`Program`]: instruction slots, and which of them load which map.
//! - [`Environment`]: the helpers that need more than memory and maps, such as sockets.
//! - [`run`]: one program from entry to exit.

pub(super) mod alu;
mod atomic;
mod fault;
mod helpers;
mod machine;
mod map;
mod memory;
mod run;

pub use fault::{Fault, Trap};
pub use helpers::{Args, Elsewhere, Environment, NoKernel};
pub use machine::Machine;
pub use map::{E2BIG, EEXIST, EINVAL, ENOENT, EOPNOTSUPP, EXIST, Errno, Map, NOEXIST};
pub use memory::{Access, Memory, RegionId, RegionKind};
pub use run::{Limits, Outcome, run};

use crate::asm::Insn;
use crate::verifier_sim::spec::MapLoad;

/// A program ready to run: its slots, and the machine's map number behind each map load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    insns: Vec<Insn>,
    /// By slot.
    maps: Vec<Option<usize>>,
}

impl Program {
    /// A program whose map loads `loads` refer to entries of `numbers`, which are map numbers of a [`Machine`].
    ///
    /// Loads of slots or maps that do not exist are left out; running into such an instruction is a fault.
    pub fn new(insns: Vec<Insn>, loads: &[MapLoad], numbers: &[usize]) -> Self {
        let mut maps = vec![None; insns.len()];
        for load in loads {
            if let (Some(slot), Some(&number)) = (maps.get_mut(load.insn), numbers.get(load.map)) {
                *slot = Some(number);
            }
        }
        Self { insns, maps }
    }

    /// The instruction slots.
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }
}

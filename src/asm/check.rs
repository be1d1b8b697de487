//! Named checks: the conditions of a program that have names, by which they can be dropped.

use std::panic::Location;

use super::opcode as op;
use super::{Insn, Program};

/// A check that [`Asm::require`](super::Asm::require), [`Asm::permit`](super::Asm::permit) or
/// [`Asm::guard`](super::Asm::guard) has put into a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, behind those of the emitters around it: `gate/order/all stack bytes are read`.
    pub name: String,
    /// The slots of its instructions, ascending. Between them may lie an island that belongs to other jumps.
    pub slots: Vec<usize>,
    /// The label to which it jumps.
    pub label: String,
    /// The Rust line that emitted it.
    pub origin: &'static Location<'static>,
    /// Dropped, it always jumps; others then never jump.
    pub(super) jumps: bool,
}

impl Program {
    /// The named checks, in the order in which they were emitted. Several can have one name.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The same program without one check: what it requires is then taken to hold, what it guards is never done.
    ///
    /// ```
    /// use sidestep::asm::{Asm, Reg::*};
    ///
    /// let mut a = Asm::new();
    /// let out = a.label("out");
    /// a.mov(R0, 0);
    /// a.require(R1.differs(0), out, "not null");
    /// a.mov(R0, 1);
    /// a.bind(out);
    /// a.exit();
    /// let program = a.finish()?;
    /// let [check] = program.checks() else { panic!("there is one check") };
    /// assert_eq!((check.name.as_str(), check.label.as_str(), &check.slots[..]), ("not null", "out", &[1][..]));
    /// assert_eq!(program.without(check).insns()[1], sidestep::asm::Insn::NOP);
    /// # Ok::<(), sidestep::asm::Error>(())
    /// ```
    #[must_use]
    pub fn without(&self, check: &Check) -> Self {
        let mut program = self.clone();
        for (index, slot) in check.slots.iter().enumerate() {
            let Some(insn) = program.insns.get_mut(*slot) else { continue };
            *insn = match (check.jumps, index, check.slots.len()) {
                // The jump itself, without its condition; its offset stays.
                (true, 0, 1) => Insn { off: insn.off, ..Insn::NOP },
                // if !cond goto +1; gotol label: the second is reached.
                (true, 0, 2) | (false, ..) => Insn::NOP,
                // if cond goto +1; goto +1; gotol label
                (true, 1, 3) => Insn::NOP,
                (true, ..) => *insn,
            };
        }
        program
    }
}

impl Insn {
    /// An instruction that does nothing: a jump to the next.
    pub const NOP: Self = Self { code: op::JMP | op::JA, dst: 0, src: 0, off: 0, imm: 0 };
}

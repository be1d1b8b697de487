//! What an emitter declares about registers.

use super::Regs;

/// The register contract of an emitter: a Rust function that emits a part of a program. Every instruction that it emits is
/// held to it when the program is finished; see [`Asm::emitter`](super::Asm::emitter).
///
/// The frame pointer may always be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    pub(super) reads: Regs,
    pub(super) writes: Regs,
    pub(super) gives: Regs,
}

impl Uses {
    /// Reads and writes no register.
    pub const fn nothing() -> Self {
        Self { reads: Regs::NONE, writes: Regs::NONE, gives: Regs::NONE }
    }

    /// May write R0 to R5, as everything that calls a helper does.
    pub const fn scratch() -> Self {
        Self { reads: Regs::NONE, writes: Regs::SCRATCH, gives: Regs::NONE }
    }

    /// Also reads what its caller has put into these registers.
    #[must_use]
    pub fn reads(mut self, regs: impl Into<Regs>) -> Self {
        self.reads = self.reads | regs.into();
        self
    }

    /// May also write these registers, or lose what they hold.
    #[must_use]
    pub fn writes(mut self, regs: impl Into<Regs>) -> Self {
        self.writes = self.writes | regs.into();
        self
    }

    /// Writes these registers on every path to its end, and nothing takes that away again before.
    #[must_use]
    pub fn gives(mut self, regs: impl Into<Regs>) -> Self {
        self.gives = self.gives | regs.into();
        self
    }
}

//! What the simulator answers.

use std::fmt;

use super::spec::Origin;

/// The answer for one program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The kernel would load it.
    Accept(Stats),
    /// The kernel would refuse it.
    Reject(Box<Rejection>),
    /// The program uses something whose rules are not simulated; nothing is claimed.
    Unsupported(Unsupported),
}

impl Verdict {
    /// Whether the program is accepted.
    pub fn is_accept(&self) -> bool {
        matches!(self, Self::Accept(_))
    }

    /// Why the program is refused, if it is.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Reject(rejection) => Some(rejection),
            Self::Accept(_) | Self::Unsupported(_) => None,
        }
    }

    /// The word that stands for the verdict in machine-readable output.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Accept(_) => "accept",
            Self::Reject(_) => "reject",
            Self::Unsupported(_) => "unsupported",
        }
    }

    /// The reason in the kernel's words, the line that decides last; empty for an accepted program.
    pub fn reason(&self) -> String {
        match self {
            Self::Accept(_) => String::new(),
            Self::Reject(rejection) => match rejection.insn {
                Some(insn) => format!("insn {insn}: {}", rejection.rule),
                None => rejection.rule.clone(),
            },
            Self::Unsupported(unsupported) => unsupported.to_string(),
        }
    }
}

/// How much work an accepted program was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Instructions walked over all paths; the kernel gives up at 1,000,000.
    pub insns_processed: u64,
    /// States kept for pruning at the end.
    pub states_kept: u64,
    /// Paths cut short since an earlier state covered them.
    pub paths_pruned: u64,
    /// Bytes of stack of the deepest chain of calls.
    pub stack_depth: u32,
}

/// Why a program is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// The instruction at which the rule was broken; `None` when the program as a whole breaks it.
    pub insn: Option<usize>,
    /// The rule in the kernel's words.
    pub rule: String,
    /// The registers that the instruction uses, as the kernel's log prints them: `(register, state)`.
    pub registers: Vec<(u8, String)>,
    /// The last instructions of the path that led there, oldest first, without the failing one.
    pub path: Vec<usize>,
    /// The line of Rust that emitted the instruction, when the program carries origins.
    pub origin: Option<Origin>,
}

impl fmt::Display for Rejection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.insn {
            Some(insn) => write!(out, "instruction {insn}: {}", self.rule)?,
            None => write!(out, "the program: {}", self.rule)?,
        }
        if let Some(origin) = self.origin {
            write!(out, " (emitted at {origin})")?;
        }
        Ok(())
    }
}

/// Something whose rules are not simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsupported {
    /// The instruction that needs it; `None` when it is a property of the whole program.
    pub insn: Option<usize>,
    /// What it is.
    pub what: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.insn {
            Some(insn) => write!(out, "insn {insn}: {}", self.what),
            None => out.write_str(&self.what),
        }
    }
}

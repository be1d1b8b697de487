//! Why the walk ends early.

use std::fmt;

/// The end of a verification other than acceptance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A rule of the kernel is broken at the current instruction; the text is the kernel's.
    Reject(String),
    /// The same at another instruction.
    RejectAt(usize, String),
    /// The rules for something are not simulated.
    Unsupported(String),
}

/// A rule behind which the kernel's log has no end of line.
pub(super) const NOT_PROGRAMS: &str = "expected prog array map for tail call";

/// A step of the walk.
pub(super) type Step<T = ()> = Result<T, Stop>;

impl Stop {
    /// A broken rule. Out of line, since most places never need it.
    #[cold]
    #[inline(never)]
    pub(super) fn rejection(rule: fmt::Arguments<'_>) -> Self {
        Self::Reject(rule.to_string())
    }

    /// Something that is not simulated.
    #[cold]
    #[inline(never)]
    pub(super) fn unsupported(what: fmt::Arguments<'_>) -> Self {
        Self::Unsupported(what.to_string())
    }
}

/// Ends the walk with a broken rule.
macro_rules! reject {
    ($($arg:tt)*) => { return Err($crate::verifier_sim::stop::Stop::rejection(format_args!($($arg)*))) };
}

/// Ends the walk with something that is not simulated.
macro_rules! unsupported {
    ($($arg:tt)*) => { return Err($crate::verifier_sim::stop::Stop::unsupported(format_args!($($arg)*))) };
}

pub(super) use {reject, unsupported};

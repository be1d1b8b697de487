//! What the agent can fail with: one sentence with a remedy.

use crate::{asm, syscall};

/// Shorthand for results of the agent.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the agent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel, or a file of it, said no.
    #[error("{0}")]
    Syscall(#[from] syscall::Error),
    /// A call failed, and its message does not say what it was for.
    #[error("cannot {action}: {source}")]
    Context {
        /// What was being done, as an infinitive.
        action: &'static str,
        /// Why it failed.
        source: syscall::Error,
    },
    /// The state of the kernel, or another process, stands in the way.
    #[error("{what}; {remedy}")]
    Conflict {
        /// What there is.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Our own program does not assemble: a fault of this build.
    #[error("the data plane does not assemble: {0}; this is a bug, please report it")]
    Assemble(#[from] asm::Error),
    /// A feature is asked for that this kernel or this process does not have.
    #[error("{what}: {why}; {remedy}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// Why it cannot be had.
        why: String,
        /// What to do instead.
        remedy: &'static str,
    },
}

impl Error {
    /// The verifier's log, when it was the verifier that refused.
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            Self::Syscall(source) | Self::Context { source, .. } => source.log(),
            Self::Assemble(_) | Self::Conflict { .. } | Self::Unsupported { .. } => None,
        }
    }
}

/// Adds what was being done to a failure of the layer below.
pub(super) trait Context<T> {
    fn context(self, action: &'static str) -> Result<T>;
}

impl<T> Context<T> for syscall::Result<T> {
    fn context(self, action: &'static str) -> Result<T> {
        self.map_err(|source| Error::Context { action, source })
    }
}

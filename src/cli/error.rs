//! What a command can fail with, and the exit status that goes with it.

use std::io;
use std::process::ExitCode;

/// A failed command. Its text is one sentence with a remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The arguments are wrong; exit status 2.
    #[error("{0}")]
    Usage(String),
    /// The command could not do its work; exit status 1.
    #[error("{0}")]
    Failed(String),
    /// Standard output could not be written; exit status 1.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// Exit status of a usage error, as in getopt(1) and most of GNU.
    pub const USAGE: u8 = 2;

    /// The exit status of the process.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(Self::USAGE),
            Self::Failed(_) | Self::Output(_) => ExitCode::FAILURE,
        }
    }
}

impl From<crate::agent::Error> for Error {
    fn from(error: crate::agent::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<crate::pods::Error> for Error {
    fn from(error: crate::pods::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<crate::syscall::Error> for Error {
    fn from(error: crate::syscall::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

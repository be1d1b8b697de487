//! What a benchmark can fail with: one sentence with a remedy.

use std::io;
use std::path::PathBuf;

use crate::{agent, syscall, testbed};

/// A failure of the benchmark.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data plane could not be started, read or stopped.
    #[error(transparent)]
    Agent(#[from] agent::Error),
    /// The kernel refused something.
    #[error(transparent)]
    Syscall(#[from] syscall::Error),
    /// The pods could not be made.
    #[error(transparent)]
    Testbed(#[from] testbed::Error),
    /// One end of a pair failed.
    #[error("the {end} of {cell} ({variant}) failed: {why}")]
    Worker {
        /// Client or server.
        end: &'static str,
        /// What was being measured.
        cell: String,
        /// How the bytes travelled.
        variant: &'static str,
        /// What it said, or how it ended.
        why: String,
    },
    /// The calibration's own connection took the stack.
    #[error(
        "only {redirected} of {messages} messages of the calibration went past the stack; `sidestep check` says what this machine lacks"
    )]
    NotAccelerated {
        /// Messages that went past the stack.
        redirected: u64,
        /// All messages.
        messages: u64,
    },
    /// Results of an earlier run could not be read.
    #[error("cannot compare {}: {why}; name a directory that `sidestep bench --out` has written", .path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Results could not be written.
    #[error("cannot write {}: {source}; name a directory that can be written to with --out", .path.display())]
    Output {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something of the operating system that hardly ever fails.
    #[error("cannot {what}: {source}; the benchmark needs root and a Linux of 5.10 or later")]
    System {
        /// What was tried, as a verb phrase.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Readers do not earn trust.
    #[error(
        "no message was redirected in {0} round trips, so nothing can be said of the probation; `sidestep check` says whether the data plane works here"
    )]
    Probation(u64),
    /// There is no cgroup2.
    #[error(
        "no cgroup2 is mounted, so that plain and accelerated TCP cannot run side by side; mount one with `mount -t cgroup2 none /sys/fs/cgroup`"
    )]
    NoCgroup,
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Shorthand for results of the benchmark.
pub type Result<T> = std::result::Result<T, Error>;

/// Adds what was being tried to a failure of the operating system.
pub(super) fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::System { what, source: error.into() }
}

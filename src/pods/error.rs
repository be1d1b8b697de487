//! What can go wrong between the container runtime and us.

use std::path::PathBuf;
use std::time::Duration;

/// A call that has not succeeded. Its text is one sentence with a remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no socket where runtimes have theirs.
    #[error("no container runtime has a socket at {0}; start it, or name its CRI socket with --cri")]
    NoSocket(String),
    /// The socket cannot be connected to, or the connection has ended.
    #[error("cannot speak with the container runtime at {socket}: {why}; start it, or name its CRI socket with --cri")]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// What the operating system or the protocol says.
        why: String,
    },
    /// It has not answered in time.
    #[error(
        "the container runtime at {socket} has not answered {method} within {} s; look whether it hangs",
        limit.as_secs()
    )]
    Late {
        /// Where.
        socket: PathBuf,
        /// The call.
        method: &'static str,
        /// The time that it had.
        limit: Duration,
    },
    /// It does not know the call.
    #[error(
        "the container runtime at {socket} does not know {method}; it must speak CRI version 1, as containerd 1.6, CRI-O 1.20 and \
         later ones do"
    )]
    Unknown {
        /// Where.
        socket: PathBuf,
        /// The call.
        method: &'static str,
    },
    /// It refuses the call.
    #[error("the container runtime at {socket} refuses {method} with status {code}: {message:?}; look into its log")]
    Refused {
        /// Where.
        socket: PathBuf,
        /// The call.
        method: &'static str,
        /// The status code of gRPC.
        code: u32,
        /// What it says.
        message: String,
    },
    /// Its answer is not what the protocol allows.
    #[error(
        "what answers {method} at {socket} does not speak CRI: {why}; name the CRI socket of the container runtime with --cri"
    )]
    Malformed {
        /// Where.
        socket: PathBuf,
        /// The call.
        method: &'static str,
        /// What is wrong with the answer.
        why: String,
    },
    /// A thread, a descriptor or an event loop cannot be had.
    #[error("cannot wait for the container runtime: {0}; close programs that use the last threads or descriptors")]
    System(String),
}

/// What a call returns.
pub type Result<T> = std::result::Result<T, Error>;

//! The value of a case: what it saw, line by line, written out at once so that a case that hangs still tells how far
//! it came.

use std::fmt::Display;
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::sys::{self, Outcome};

/// Ends the lines of a case that came to its end.
pub(crate) const END: &str = ".";
/// Begins the line of a case that could not do what it is for.
pub(crate) const BROKEN: &str = "!";

/// Where a case writes what it sees.
#[derive(Clone, Copy)]
pub(crate) struct Log(pub(crate) RawFd);

impl Log {
    /// One line.
    pub(crate) fn say(self, what: impl Display) {
        let line = format!("{what}\n");
        // A line is shorter than PIPE_BUF, so it goes whole; without a reader it may be lost.
        let _ = sys::write(self.0, line.as_bytes());
    }

    /// One call and what came of it.
    pub(crate) fn call<T: Display>(self, name: &str, outcome: Outcome<T>) {
        self.say(format_args!("{name} {}", shown(outcome)));
    }

    /// One recv(2): how many bytes, and whether they are what they should be.
    pub(crate) fn received(self, name: &str, outcome: Outcome<Vec<u8>>, expected: &[u8]) {
        self.call(name, outcome.map(|bytes| content(&bytes, expected)));
    }

    /// A yes or a no.
    pub(crate) fn fact(self, name: &str, holds: bool) {
        self.say(format_args!("{name}: {}", if holds { "yes" } else { "no" }));
    }
}

/// The length, and whether `bytes` is the beginning of `expected`.
pub(crate) fn content(bytes: &[u8], expected: &[u8]) -> String {
    shown_content(bytes.len(), expected.starts_with(bytes))
}

/// So many bytes, as they should be or not.
pub(crate) fn shown_content(length: usize, good: bool) -> String {
    format!("{length}{}", if good { "" } else { " wrong" })
}

/// An outcome as the matrix shows it.
pub(crate) fn shown<T: Display>(outcome: Outcome<T>) -> String {
    match outcome {
        Ok(value) => value.to_string(),
        // The name alone: "EAGAIN: Try again" is how nix shows it.
        Err(errno) => name(errno),
    }
}

fn name(errno: Errno) -> String {
    format!("{errno:?}")
}

/// Poll events by name.
pub(crate) fn events(outcome: Outcome<i16>) -> String {
    const NAMES: [(i16, &str); 7] = [
        (libc::POLLIN, "IN"),
        (libc::POLLOUT, "OUT"),
        (libc::POLLPRI, "PRI"),
        (libc::POLLERR, "ERR"),
        (libc::POLLHUP, "HUP"),
        (libc::POLLRDHUP, "RDHUP"),
        (libc::POLLNVAL, "NVAL"),
    ];
    match outcome {
        Err(errno) => name(errno),
        Ok(0) => "nothing".into(),
        Ok(events) => {
            NAMES.iter().filter(|(bit, _)| events & bit != 0).map(|(_, name)| *name).collect::<Vec<_>>().join("|")
        }
    }
}

//! Where a command reads and writes.

use std::io::{self, BufRead, Write};

/// What every command has at hand besides its arguments.
pub(super) struct Streams<'a> {
    /// Standard input, or a buffer in tests.
    pub(super) input: &'a mut dyn BufRead,
    /// Standard output, or a buffer in tests.
    pub(super) out: &'a mut dyn Write,
}

/// Writes a line to standard error, as JSON where the command was asked for that. `eprintln!` panics when standard error is closed; here such a line is lost.
pub(super) fn note(line: std::fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(super::log::note_line(&line.to_string()).as_bytes());
}

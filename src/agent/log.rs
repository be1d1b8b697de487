//! What the agent's threads say.

use std::io::Write;
use std::sync::OnceLock;

static WRITER: OnceLock<fn(&str)> = OnceLock::new();

/// Hands each line to `writer` from now on; without, they go to standard error. The first call in a process counts.
pub fn set_log(writer: fn(&str)) {
    let _ = WRITER.set(writer);
}

/// A line of the log.
pub(super) fn say(line: &str) {
    match WRITER.get() {
        Some(writer) => writer(line),
        // A line that cannot be written stops nothing.
        None => drop(writeln!(std::io::stderr(), "sidestep: {line}")),
    }
}

//! What each reader runs, kept from when it was first seen.
//!
//! A process that splices once can end before its event is read. /proc does not say any more what it ran, and its program
//! would not be remembered.

use std::collections::HashMap;

use super::program::Program;
use crate::dataplane::{Reader, ReaderEvent};

/// A process: its number, and when it started, in nanoseconds since boot.
pub(super) type Process = (u32, u64);

/// Programs by process; none for one that /proc did not show when it was looked at.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<Process, Option<Program>>);

impl Names {
    /// What the process runs now. It is kept for later.
    pub(super) fn look(&mut self, process: Process) -> Option<Program> {
        let program = Program::of(process.0);
        self.0.insert(process, program.clone());
        program
    }

    /// What the process runs, or ran when it was last seen.
    pub(super) fn known(&self, process: Process) -> Option<Program> {
        Program::of(process.0).or_else(|| self.0.get(&process).cloned().flatten())
    }

    /// The name of the same, or that of the thread of which the event tells, for a process that was never seen alive.
    pub(super) fn of(&self, event: &ReaderEvent) -> String {
        self.known(event.process).map_or_else(|| event.name.clone(), |program| program.name)
    }

    /// Looks at those that are new, and forgets those that are not among `readers` any more.
    pub(super) fn follow(&mut self, readers: &[Reader]) {
        let mut before = std::mem::take(&mut self.0);
        for reader in readers {
            let process = (reader.process, reader.start);
            match before.remove(&process) {
                Some(program) => _ = self.0.insert(process, program),
                None => _ = self.look(process),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::dataplane::ReaderState;

    fn reader(process: u32) -> Reader {
        Reader { process, start: 7, state: ReaderState::Admitted, proven: 0, seen: 0, most: 0, name: "thread".into() }
    }

    #[test]
    fn a_process_that_has_ended_keeps_its_name_while_it_is_a_reader() {
        // It waits for its input to end.
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = (child.id(), 7);
        let mut names = Names::default();
        let is_cat = |program: Option<Program>| program.is_some_and(|program| program.name.ends_with("cat"));
        assert!(is_cat(names.known((process.0, 8))), "what runs can be asked");
        names.follow(&[reader(process.0)]);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(is_cat(names.known(process)), "{names:?}");
        assert_eq!(names.known((process.0, 8)), None, "another process of the same number");
        names.follow(&[reader(process.0)]);
        assert!(is_cat(names.known(process)), "{names:?}");
        names.follow(&[]);
        assert_eq!(names.known(process), None);
    }
}

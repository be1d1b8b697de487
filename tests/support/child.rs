//! A child process that does not outlive its handle.

use std::io::Read;
use std::ops::{Deref, DerefMut};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::{timeout, wait_within};

/// A running child. Dropping it kills it and takes its exit status.
pub(crate) struct ChildGuard(Child);

/// How a child has ended, and what it has written to the pipes that were left to its handle.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl ChildGuard {
    /// Starts `command`.
    #[track_caller]
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display())))
    }

    /// Starts `command` in a cgroup, with nothing to read: it never runs outside.
    #[track_caller]
    pub(crate) fn spawn_in(cgroup: &Path, command: &mut Command) -> Self {
        let procs = cgroup.join("cgroup.procs");
        // 0 stands for the process that writes it (Documentation/admin-guide/cgroup-v2.rst).
        // SAFETY: opens a file and writes to it, as in the standard library's own preparations of a child.
        unsafe { command.pre_exec(move || std::fs::write(&procs, "0")) };
        Self::spawn(command.stdin(Stdio::null()))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    /// Sends a signal, and waits for the end.
    #[track_caller]
    pub(crate) fn stop(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.end()
    }

    /// Waits for the end; panics when it takes longer than [`timeout`].
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        self.end_within(timeout())
    }

    /// Waits for the end; panics when it takes longer than `limit`.
    #[track_caller]
    pub(crate) fn end_within(mut self, limit: Duration) -> Ended {
        // What it still writes must not fill a pipe, on which it would wait.
        let out = self.0.stdout.take().map(read);
        let err = self.0.stderr.take().map(read);
        let status =
            wait_within(limit, || self.0.try_wait().unwrap().ok_or_else(|| format!("process {} hangs", self.0.id())));
        let text =
            |reader: Option<JoinHandle<String>>| reader.map_or_else(String::new, |reader| reader.join().unwrap());
        Ended { status, out: text(out), err: text(err) }
    }
}

impl Deref for ChildGuard {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for ChildGuard {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // It may have ended by itself; waiting takes its status either way.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads all that comes, in a thread of its own.
pub(super) fn read(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A command of this test binary's own: one of its tests in another process, without anything else.
pub(crate) fn this_test(name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", name, "--include-ignored", "--nocapture", "--test-threads=1"]).stdin(Stdio::null());
    command
}

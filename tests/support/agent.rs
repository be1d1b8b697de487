//! `sidestep run` in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::thread::panicking;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};

use super::child::{ChildGuard, read};
use super::wait::timeout;

/// It runs and has attached.
pub(crate) struct Agent {
    // Dropped first, so that the pipes have an end.
    child: ChildGuard,
    lines: Unread<ChildStdout>,
    errors: Unread<ChildStderr>,
    /// Its output until it had attached, and what [`Agent::says`] has read since.
    pub(crate) said: String,
    warned: String,
}

/// What it writes. When a test fails, what the test has not read is shown.
struct Unread<P: Read>(Option<BufReader<P>>);

/// Everything that it has written.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The command, without flags. Its streams are pipes. SIGHUP and SIGQUIT end it also where the tests were started by nohup(1), or in
/// the background by a shell without job control, with these signals ignored.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    command.arg("run").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: a system call, which may be made between fork and exec.
    let heed = |number| unsafe { signal(number, SigHandler::SigDfl) }.map(drop);
    let not_ignored = move || heed(Signal::SIGHUP).and_then(|()| heed(Signal::SIGQUIT)).map_err(Into::into);
    // SAFETY: the closure makes two system calls and takes no memory.
    unsafe { command.pre_exec(not_ignored) };
    command
}

impl Agent {
    /// Starts [`command`] with its flags, and waits until it says that it has attached.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = ChildGuard::spawn(command);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("interrupt to stop") {
            if lines.read_line(&mut said).unwrap() == 0 {
                panic!("sidestep run has ended: {said}{:?}", child.end());
            }
        }
        let (lines, errors) = (Unread(Some(lines)), Unread(child.stderr.take().map(BufReader::new)));
        Self { child, lines, errors, said, warned: String::new() }
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub(crate) fn says(&mut self, text: &str) {
        read_until(self.lines.reader(), &mut self.said, text);
    }

    /// Waits until it has printed `text` as an error or a warning.
    #[track_caller]
    pub(crate) fn warns(&mut self, text: &str) {
        read_until(self.errors.reader(), &mut self.warned, text);
    }

    /// Its process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// SIGKILL.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Asks it to stop, which must succeed.
    #[track_caller]
    pub(crate) fn stop(self) -> Said {
        self.stop_by(Signal::SIGTERM)
    }

    /// [`Agent::stop`] by another signal.
    #[track_caller]
    pub(crate) fn stop_by(self, signal: Signal) -> Said {
        self.child.signal(signal);
        let (out, err) = (read(self.lines.into_reader()), read(self.errors.into_reader()));
        let ended = self.child.end();
        let (out, err) = (self.said + &out.join().unwrap(), self.warned + &err.join().unwrap());
        println!("{out}{err}");
        assert!(ended.status.success(), "{signal}: {}", ended.status);
        Said { out, err }
    }

    /// Closes the pipe to which it writes; its exit status.
    #[track_caller]
    pub(crate) fn close_output(self) -> Option<i32> {
        drop(OwnedFd::from(self.lines.into_reader().into_inner()));
        let _err = read(self.errors.into_reader());
        self.child.end().status.code()
    }
}

impl<P: Read> Unread<P> {
    fn reader(&mut self) -> &mut BufReader<P> {
        self.0.as_mut().expect("only into_reader takes it")
    }

    fn into_reader(mut self) -> BufReader<P> {
        self.0.take().expect("only this takes it")
    }
}

impl<P: Read> Drop for Unread<P> {
    fn drop(&mut self) {
        if let Some(reader) = &mut self.0
            && panicking()
        {
            let mut text = String::new();
            let _ = reader.read_to_string(&mut text);
            eprintln!("the agent: {text}");
        }
    }
}

/// Reads lines until `text` is among what was read.
#[track_caller]
fn read_until<P: Read + AsFd>(lines: &mut BufReader<P>, said: &mut String, text: &str) {
    // What it does at its next look may take a minute until it begins.
    let limit = PollTimeout::try_from(timeout() + Duration::from_secs(120)).unwrap();
    while !said.contains(text) {
        if lines.buffer().is_empty() {
            let ready = poll(&mut [PollFd::new(lines.get_ref().as_fd(), PollFlags::POLLIN)], limit).unwrap();
            assert_ne!(ready, 0, "it has not said {text:?}: {said}");
        }
        assert_ne!(lines.read_line(said).unwrap(), 0, "it has ended before it said {text:?}: {said}");
    }
}

impl Said {
    /// The last value of a counter; 0 when it was not printed.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let words: Vec<_> = self.out.split_whitespace().collect();
        words.windows(2).rev().find(|pair| pair[0] == name).map_or(0, |pair| pair[1].parse().unwrap())
    }
}

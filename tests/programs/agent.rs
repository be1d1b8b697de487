//! `sidestep run` in a process of its own, and the counters that it prints.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sidestep::dataplane::Counter;

use crate::fixture::text;

/// A running `sidestep run`.
pub(crate) struct Sidestep {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Sidestep {
    /// Starts it. It remembers the programs that splice in `state`, and knows none at first.
    pub(crate) fn start(cgroup: &Path, state: &Path) -> Result<Self, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
        command.env("STATE_DIRECTORY", state);
        command.args(["run", "--cgroup"]).arg(cgroup).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(text)?;
        let output = BufReader::new(process.stdout.take().ok_or("no output")?);
        let mut sidestep = Self { process, output };
        let mut line = String::new();
        while !line.starts_with("accelerating") {
            line.clear();
            if sidestep.output.read_line(&mut line).map_err(text)? == 0 {
                return Err("`sidestep run` has ended; its words are above".into());
            }
        }
        Ok(sidestep)
    }

    /// Interrupts it; what it has said.
    pub(crate) fn stop(mut self) -> Result<String, String> {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGINT).map_err(text)?;
        let mut output = String::new();
        self.output.read_to_string(&mut output).map_err(text)?;
        let status = self.process.wait().map_err(text)?;
        if !status.success() {
            return Err(format!("`sidestep run` ended with {status}: {output}"));
        }
        Ok(output)
    }
}

impl Drop for Sidestep {
    fn drop(&mut self) {
        // Only when a test has failed: a graceful end first, so that nothing stays attached.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGINT);
            let _ = self.process.wait();
        }
    }
}

/// The counters that `sidestep run` has printed last.
pub(crate) fn counters(output: &str) -> Vec<(Counter, u64)> {
    let words: Vec<_> = output.split_whitespace().collect();
    let last = |name| words.windows(2).rev().find(|pair| pair[0] == name);
    let value = |counter: &Counter| Some((*counter, last(counter.name())?[1].parse().ok()?));
    Counter::ALL.iter().filter_map(value).collect()
}

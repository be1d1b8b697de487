//! Owners that are killed, and pins that are removed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sidestep::agent::lifecycle::{Orphan, Orphans};

use crate::fixture::{DRAIN, Fixture, Ids, Version, alive, all_gone, ensure};
use crate::streams::{PATIENCE, Probe, Streams};

/// A `sidestep run` that has attached, and what it said first.
pub(crate) struct Run {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    said: String,
}

impl Run {
    pub(crate) fn start(fixture: &Fixture, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sidestep"))
            .args(["run", "--interval", "1", "--trust", "all", "--cgroup"])
            .arg(fixture.cgroup_path())
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("accelerating") {
            assert!(lines.read_line(&mut said).unwrap() > 0, "it has ended: {said}");
        }
        Self { child, lines, said }
    }

    pub(crate) fn pinned(fixture: &Fixture) -> Self {
        Self::start(fixture, &["--bpffs", fixture.bpffs().to_str().unwrap()])
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns the rest of what it says, and all of its errors.
    pub(crate) fn stop_with_errors(mut self) -> (String, String) {
        let mut errors = self.child.stderr.take().unwrap();
        let said = self.stop();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut errors, &mut text).unwrap();
        (said, text)
    }

    /// SIGTERM; returns the rest of what it says.
    fn stop(self) -> String {
        self.stop_by(Signal::SIGTERM)
    }

    /// A signal; returns the rest of what it says.
    fn stop_by(mut self, signal: Signal) -> String {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut text).unwrap();
        assert!(self.child.wait().unwrap().success(), "{text}");
        text
    }

    /// Closes the pipe that it writes to; returns its exit status.
    fn close_output(mut self) -> Option<i32> {
        let closed = BufReader::new(std::process::ChildStdout::from(std::os::fd::OwnedFd::from(
            std::fs::File::open("/dev/null").unwrap(),
        )));
        drop(std::mem::replace(&mut self.lines, closed));
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < Duration::from_secs(30), "sidestep run does not see that its output is closed");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The kernel's numbers of what it holds open.
    fn objects(&self) -> Ids {
        let mut ids = Ids::new();
        for entry in std::fs::read_dir(format!("/proc/{}/fdinfo", self.child.id())).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            for (word, kind) in [("map_id:", "map"), ("prog_id:", "program"), ("link_id:", "link")] {
                let id = text.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
                ids.extend(id.map(|id| (kind, id)));
            }
        }
        ids
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Only after a failure is it still there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_agent_that_is_killed_is_taken_over_without_touching_a_connection() {
    let fixture = Fixture::new();
    let run = Run::pinned(&fixture);
    let seen = fixture.is_healthy();
    let (streams, probe) = (Streams::start(64), Probe::new());
    streams.carry(4 << 20);
    assert!(probe.is_redirected(), "nothing is redirected");
    assert!(fixture.status().unwrap().owned);
    let refused = fixture.sidestep("detach", &[]);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("sidestep run"), "detach must leave it alone");
    run.kill();

    // Without an owner everything goes on.
    streams.carry(4 << 20);
    assert!(probe.is_redirected(), "nothing is redirected after the kill");
    assert!(!fixture.status().unwrap().owned);
    assert_eq!(fixture.is_healthy(), seen);

    let run = Run::pinned(&fixture);
    assert!(run.said.contains("taking over"), "{}", run.said);
    assert_eq!(fixture.is_healthy(), seen, "the takeover has replaced something");
    streams.carry(4 << 20);
    assert!(probe.is_redirected(), "nothing is redirected after the takeover");
    assert!(run.stop().contains("detached; nothing is left"));
    streams.carry(4 << 20);
    fixture.is_gone(&seen);
    streams.finish();
}

#[test]
fn a_run_detaches_at_every_signal_that_asks_it_to_end() {
    let fixture = Fixture::new();
    for signal in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTERM] {
        let run = Run::pinned(&fixture);
        let seen = fixture.is_healthy();
        let text = run.stop_by(signal);
        assert!(text.contains("detached; nothing is left"), "{signal}: {text}");
        fixture.is_gone(&seen);
    }
}

#[test]
fn a_run_detaches_when_its_output_is_closed() {
    let fixture = Fixture::new();
    // It prints nothing, a line when the counters change, or fails with its first line.
    for interval in ["0", "1"] {
        let run = Run::start(&fixture, &["--interval", interval, "--bpffs", fixture.bpffs().to_str().unwrap()]);
        let seen = fixture.is_healthy();
        assert_eq!(run.close_output(), Some(0));
        fixture.is_gone(&seen);
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sidestep"))
        .args(["run", "--cgroup"])
        .arg(fixture.cgroup_path())
        .arg("--bpffs")
        .arg(fixture.bpffs())
        .stdout(full)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("No space left"), "{text}");
    assert!(fixture.status().is_none(), "it is still attached");
}

#[test]
fn a_run_says_which_flags_it_replaces() {
    let fixture = Fixture::new();
    fixture.succeeds("attach", &["--exclude-port", "81"]);
    let output = Command::new(env!("CARGO_BIN_EXE_sidestep"))
        .args(["run", "--cgroup"])
        .arg(fixture.cgroup_path())
        .args(["--exclude-port", "82", "--bpffs"])
        .arg(fixture.bpffs())
        // The error of the first line of output ends it.
        .stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--exclude-port=81 --trust=all, are replaced by --exclude-port=82"), "{text}");
}

#[test]
fn a_run_sees_an_upgrade_through_and_can_leave_everything_attached() {
    let fixture = Fixture::new();
    let run = Run::start(&fixture, &["--keep", "--bpffs", fixture.bpffs().to_str().unwrap()]);
    let mut seen = fixture.is_healthy();
    let streams = Streams::start(8);
    streams.carry(1 << 20);
    // Under the eyes of the agent: the same maps, then others, whose counters begin at zero.
    for flags in [&["--exclude-port", "1"][..], &["--readers", "any"]] {
        assert!(fixture.succeeds("upgrade", flags).contains("replaced"));
        seen.extend(fixture.is_healthy());
        std::thread::sleep(Duration::from_millis(1500));
        streams.carry(1 << 20);
    }
    let last = fixture.is_healthy();
    assert!(run.stop().contains("stays attached"));
    assert_eq!(fixture.is_healthy(), last);
    fixture.succeeds("detach", &[]);
    streams.finish();
    fixture.is_gone(&seen);
}

/// The orphans among these objects, once the kernel has noticed.
fn orphans(seen: &Ids) -> Vec<Orphan> {
    let start = Instant::now();
    loop {
        let Orphans::Found(mut orphans) = Orphan::find().unwrap() else { panic!("root may walk") };
        orphans.retain(|orphan| seen.contains(&("map", orphan.sockhash)));
        if !orphans.is_empty() || start.elapsed() > PATIENCE {
            return orphans;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_pins_a_kill_sends_everything_to_the_stack_and_orphans_can_be_recovered() {
    let fixture = Fixture::new();
    let run = Run::start(&fixture, &["--unpinned"]);
    let seen = run.objects();
    assert!(seen.len() >= 10, "{seen:?}");
    let streams = Streams::start(64);
    streams.carry(4 << 20);
    let probe = Probe::new();
    assert!(probe.is_redirected(), "nothing is redirected");
    run.kill();
    let orphans = orphans(&seen);
    assert_eq!(orphans.len(), 1, "the sockhash of the sockets that are still open");
    streams.carry(4 << 20);
    assert!(!probe.is_redirected(), "members still skip the stack");
    assert_eq!(orphans[0].recover(DRAIN).unwrap(), 0);
    streams.carry(4 << 20);
    all_gone(&seen);
    drop(probe);
    streams.finish();
}

#[test]
fn removed_pins_lose_nothing_and_leave_nothing_but_open_sockets() {
    let fixture = Fixture::new();
    ensure(&fixture.instance(), &fixture.cgroup(), Version::First, &mut |_| {});
    let seen = fixture.is_healthy();
    let streams = Streams::start(64);
    streams.carry(4 << 20);
    nix::mount::umount2(fixture.bpffs(), nix::mount::MntFlags::empty()).unwrap();
    streams.carry(4 << 20);
    streams.finish();
    all_gone(&seen);
    assert!(alive().intersection(&seen).next().is_none());
}

//! `sidestep run` on a cgroup of the test's own, and what it says.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sidestep::syscall::cgroup;
use sidestep::testbed::TemporaryCgroup;

/// A cgroup, a directory for what is remembered, and `sidestep run` when it runs.
pub(crate) struct Place {
    cgroup: TemporaryCgroup,
    state: PathBuf,
    /// The tests take turns: what a reader does in some milliseconds decides, and others would take its processor.
    _turn: MutexGuard<'static, ()>,
}

/// Whether the test can run; says so when it cannot, and fails in CI.
pub(crate) fn require_root(test: &str) -> bool {
    nix::unistd::geteuid().is_root() || missing(test, "it needs root")
}

/// Reports that `test` cannot run because of `reason`; a failure where `CI` is set.
pub(crate) fn missing(test: &str, reason: &str) -> bool {
    assert!(std::env::var_os("CI").is_none(), "{test}: NOT TESTED: {reason}");
    eprintln!("\n*** {test}: NOT TESTED: {reason} ***\n");
    false
}

/// Whether this kernel shows how programs read; elsewhere nothing is accelerated by default.
pub(crate) fn readers_are_seen() -> bool {
    sidestep::agent::watch().is_ok()
}

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static TURN: Mutex<()> = Mutex::new(());
        // A test that failed has left nothing that the next one could find.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let root = cgroup::find().unwrap().expect("cgroup2 is mounted");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let state = std::env::temp_dir().join(format!("sidestep-splice-{}-{number}", std::process::id()));
        let cgroup = TemporaryCgroup::new(&root, &format!("sidestep-splice-{number}-")).unwrap();
        Self { cgroup, state, _turn: turn }
    }

    pub(crate) fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// Starts `sidestep run` with more flags, and waits until it has attached.
    pub(crate) fn run(&self, flags: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
        command.args(["run", "--unpinned", "--interval", "0", "--cgroup"]).arg(self.cgroup()).args(flags);
        command.env("STATE_DIRECTORY", &self.state).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        while !out.contains("interrupt to stop") {
            let mut byte = [0];
            let got = stdout.read(&mut byte).unwrap();
            if got == 0 {
                let mut error = String::new();
                child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
                panic!("sidestep run has ended: {out}{error}");
            }
            out.push(char::from(byte[0]));
        }
        Running(child)
    }

    /// What is remembered.
    pub(crate) fn remembered(&self) -> String {
        std::fs::read_to_string(self.state.join("splicers")).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

/// It runs.
pub(crate) struct Running(Child);

/// What it has said.
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) log: String,
}

impl Running {
    /// Tells it to stop.
    pub(crate) fn stop(mut self) -> Said {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM).unwrap();
        let start = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(30), "sidestep run hangs after SIGTERM");
            std::thread::sleep(Duration::from_millis(10));
        }
        let (mut out, mut log) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        let said = Said { out, log };
        println!("{}{}", said.out, said.log);
        assert!(self.0.wait().unwrap().success());
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Said {
    /// A counter; 0 when it was not printed.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let mut words = self.out.split_whitespace();
        let mut last = 0;
        while words.by_ref().any(|word| word == name) {
            last = words.next().unwrap().parse().unwrap();
        }
        last
    }
}

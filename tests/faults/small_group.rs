//! A cgroup with a memory limit (cgroup v2) for tests, and processes in it.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sidestep::agent::{Acceleration, TierChoice, choose_tier};
use sidestep::dataplane::{Config, Options, Pairing, Policy, Readers};
use sidestep::syscall::cgroup::{self, Cgroup};

use crate::guest;
use crate::scope::Scope;

/// Says to a test that it is the process in the limited group, and what it needs to know.
const INSIDE: &str = "SIDESTEP_TEST_INSIDE";

/// A cgroup with a limit and one without, in one that both belong to. Of the scope it needs the turn alone.
pub(crate) struct Small<'a> {
    top: PathBuf,
    pub(crate) limited: PathBuf,
    pub(crate) free: PathBuf,
    scope: &'a Scope,
}

impl<'a> Small<'a> {
    /// None where the memory controller is not cgroup2's.
    pub(crate) fn new(scope: &'a Scope) -> Option<Self> {
        let root = cgroup::find().unwrap().expect("cgroup2 is mounted nowhere");
        let has = |file: &str| {
            let controllers = std::fs::read_to_string(root.join(file)).unwrap();
            controllers.split_whitespace().any(|name| name == "memory")
        };
        if !has("cgroup.controllers") {
            eprintln!(
                "\n*** a small memory.max: NOT TESTED: cgroup2 has no memory controller here; tests/matrix/run tests it \
                 in its guests ***\n"
            );
            return None;
        }
        if !has("cgroup.subtree_control") {
            if !guest::is_ours("a small memory.max") {
                return None;
            }
            std::fs::write(root.join("cgroup.subtree_control"), "+memory").unwrap();
        }
        let top = root.join(format!("sidestep-small-{}", std::process::id()));
        let small = Self { limited: top.join("limited"), free: top.join("free"), top, scope };
        Cgroup::create(&small.top).unwrap();
        std::fs::write(small.top.join("cgroup.subtree_control"), "+memory").unwrap();
        Cgroup::create(&small.limited).unwrap();
        Cgroup::create(&small.free).unwrap();
        Some(small)
    }

    /// So many events of the limited group.
    pub(crate) fn event(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(self.limited.join("memory.events")).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap()
    }

    pub(crate) fn limit(&self, bytes: usize) {
        std::fs::write(self.limited.join("memory.max"), bytes.to_string()).unwrap();
    }

    pub(crate) fn accelerate(&self) -> Acceleration {
        let (tier, _) = choose_tier(TierChoice::Gated).unwrap();
        let (pairing, readers, policy) = (Pairing::Sequence, Readers::NonBlocking, Policy::default());
        let options = Options { pairing, tier, readers, policy };
        Acceleration::start(&Cgroup::open(&self.top).unwrap(), options, Config::default()).unwrap()
    }

    /// A test in a process that lives in the limited group.
    pub(crate) fn start(&self, test: &str, told: &str) -> Inside {
        let procs = self.limited.join("cgroup.procs");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", test, "--nocapture", "--test-threads=1"]);
        command.env(INSIDE, told).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: opens a file and writes to it.
        Inside(unsafe { command.pre_exec(move || enter(&procs)) }.spawn().unwrap())
    }

    /// It must come to its end, and neither it nor anybody else be killed.
    pub(crate) fn ends(&self, what: &str, mut inside: Inside) {
        let status = inside.0.wait().unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        inside.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        inside.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert!(status.success(), "{what}: {status}: {out}{err}");
        assert_eq!(self.event("oom_kill "), 0, "{what}");
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        self.scope.leave();
        for path in [&self.limited, &self.free, &self.top] {
            // What has just ended is still in it for a moment.
            for _ in 0..100 {
                if std::fs::remove_dir(path).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// A process in the limited group, killed with the value.
pub(crate) struct Inside(Child);

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// 0 stands for the process that writes it (Documentation/admin-guide/cgroup-v2.rst).
fn enter(procs: &Path) -> std::io::Result<()> {
    std::fs::write(procs, "0")
}

/// What [`Small::start`] was given, for the test that it runs.
pub(crate) fn told() -> String {
    std::env::var(INSIDE).expect("NOT TESTED: only in a cgroup that another test makes")
}

//! A cgroup with a memory limit (cgroup v2) for tests, and processes in it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use sidestep::agent::{Acceleration, TierChoice, choose_tier};
use sidestep::dataplane::{Config, Options, Pairing, Policy, Readers};

use crate::machine;
use crate::nested::NestedCgroups;
use crate::support::cgroup::{self, TestCgroup};
use crate::support::child::{ChildGuard, this_test};
use crate::support::wait::scaled;

/// Says to a test that it is the process in the limited group, and what it needs to know.
const INSIDE: &str = "SIDESTEP_TEST_INSIDE";

/// How long a process may take whose group is out of memory; see [`scaled`].
const LIMIT: Duration = Duration::from_secs(120);

/// A cgroup with a limit and one without, in one that both belong to. Of the nested cgroups it needs the turn alone.
pub(crate) struct Small<'a> {
    top: TestCgroup,
    pub(crate) limited: PathBuf,
    pub(crate) free: PathBuf,
    cgroups: &'a NestedCgroups,
}

impl<'a> Small<'a> {
    /// None where the memory controller is not cgroup2's.
    pub(crate) fn new(cgroups: &'a NestedCgroups) -> Option<Self> {
        let root = cgroup::root();
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
            if !machine::is_ours("a small memory.max") {
                return None;
            }
            std::fs::write(root.join("cgroup.subtree_control"), "+memory").unwrap();
        }
        let top = TestCgroup::new();
        std::fs::write(top.path().join("cgroup.subtree_control"), "+memory").unwrap();
        Some(Self { limited: top.child("limited"), free: top.child("free"), top, cgroups })
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
        Acceleration::start(&self.top, options, Config::default()).unwrap()
    }

    /// A test in a process that lives in the limited group.
    pub(crate) fn start(&self, test: &str, argument: &str) -> ChildGuard {
        let mut command = this_test(test);
        command.env(INSIDE, argument).stdout(Stdio::piped()).stderr(Stdio::piped());
        ChildGuard::spawn_in(&self.limited, &mut command)
    }

    /// Whether a test in such a process comes to its end; otherwise the process was killed, because its group is out of memory.
    pub(crate) fn survives(&self, test: &str, argument: &str) -> bool {
        let before = self.event("oom_kill ");
        let ended = self.start(test, argument).end_within(scaled(LIMIT));
        let is_killed = self.event("oom_kill ") > before;
        assert!(is_killed || ended.status.success(), "{argument}: {ended:?}");
        !is_killed
    }

    /// It must come to its end, and neither it nor another process be killed.
    pub(crate) fn ends(&self, what: &str, inside: ChildGuard) {
        let ended = inside.end_within(scaled(LIMIT));
        assert!(ended.status.success(), "{what}: {ended:?}");
        assert_eq!(self.event("oom_kill "), 0, "{what}");
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        // Before the group goes, and with it all that is in it.
        self.cgroups.leave();
    }
}

/// What [`Small::start`] was given, for the test that it runs.
pub(crate) fn argument() -> String {
    std::env::var(INSIDE).expect("NOT TESTED: only in a cgroup that another test makes")
}

//! A cgroup for one test, and this process in it.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sidestep::syscall::cgroup::{self, Cgroup};
use sidestep::testbed::TemporaryCgroup;

use super::wait::wait_for;

/// How many groups this process has made.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Where cgroup2 is mounted.
pub(crate) fn root() -> PathBuf {
    cgroup::find().unwrap().expect("cgroup2 is not mounted; mount it with `mount -t cgroup2 none DIR`")
}

/// A cgroup that goes with this value: the processes in it are killed, and the groups in it are removed. Those of tests that
/// were killed are removed by the next test.
pub(crate) struct TestCgroup {
    group: TemporaryCgroup,
    cgroup: Cgroup,
}

impl TestCgroup {
    /// One below the root.
    pub(crate) fn new() -> Self {
        let group = temporary(&root());
        let cgroup = Cgroup::open(group.path()).unwrap();
        Self { group, cgroup }
    }

    /// Makes a group in it.
    pub(crate) fn child(&self, name: &str) -> PathBuf {
        self.group.child(name).unwrap()
    }
}

/// A group below another one, which may be of version 1; it goes with the value, as [`TestCgroup`] does.
pub(crate) fn temporary(parent: &Path) -> TemporaryCgroup {
    // A prefix that other processes have, too: this finds what a killed one has left.
    let prefix = format!("sidestep-test-{}-", NEXT.fetch_add(1, Ordering::Relaxed));
    TemporaryCgroup::new(parent, &prefix).unwrap()
}

impl Deref for TestCgroup {
    type Target = Cgroup;
    fn deref(&self) -> &Cgroup {
        &self.cgroup
    }
}

/// The cgroup in which this process was; it goes back there with the value.
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn new() -> Self {
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        Self(root().join(path))
    }

    /// Goes back at once.
    pub(crate) fn enter(&self) {
        enter(&self.0);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.enter();
    }
}

/// Removes groups that this process and its children have left. A thread that ends is not moved and stays in its group until
/// the kernel has released it, which may be after the process was waited for; until then the group is busy.
pub(crate) fn remove(groups: impl IntoIterator<Item = impl AsRef<Path>>) {
    for group in groups {
        let path = group.as_ref();
        wait_for(|| std::fs::remove_dir(path).map_err(|error| format!("{}: {error}", path.display())));
    }
}

/// Moves this process: sockets that it makes from now on belong to the group.
pub(crate) fn enter(path: &Path) {
    Cgroup::open(path).unwrap().enter(std::process::id()).unwrap();
}

//! The machine: whether a test can run on it, may change it, and has it to itself.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::{Flock, FlockArg};
use sidestep::syscall::memlock;

/// Whether the test can run. Without root it says loudly that nothing was tested and returns `false`; where `CI` is
/// set that is a failure, since CI runs as root.
pub(crate) fn require_root(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        memlock::raise_if_needed().unwrap();
        return true;
    }
    missing(test, "it needs root")
}

/// Reports that `test` cannot run because of `reason`; a failure where `CI` is set.
pub(crate) fn missing(test: &str, reason: &str) -> bool {
    assert!(std::env::var_os("CI").is_none(), "{test}: NOT TESTED: {reason}");
    eprintln!("\n*** {test}: NOT TESTED: {reason} ***\n");
    false
}

/// A name that no other test, thread or process of this machine uses now.
pub(crate) fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The machine, for one test at a time, over all test binaries. Sockets belong to the cgroup in which their process is when
/// they are made, and tests look at state that the whole machine shares.
pub(crate) struct Turn {
    _lock: Flock<File>,
}

impl Turn {
    /// Waits for it. The kernel gives it back when its process ends, however that happens.
    pub(crate) fn take() -> Self {
        let path = std::env::temp_dir().join("sidestep-tests.lock");
        // Each call opens the file, so threads of one process wait for each other, too (flock(2)).
        let file = File::options().create(true).append(true).open(&path).unwrap();
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
        Self { _lock: lock.unwrap_or_else(|errno| panic!("{}: {errno}", path.display())) }
    }
}

/// Whether the machine is a guest of the kernel matrix, which says so. Everything is slow there, and no other program runs.
pub(crate) fn is_guest() -> bool {
    std::env::var_os("SIDESTEP_GUEST").is_some()
}

/// Of what long tests do, the part that `SIDESTEP_TEST_SCALE` leaves for slow machines: 1 is all of it.
pub(crate) fn scale() -> f64 {
    std::env::var("SIDESTEP_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0)
}

/// Whether an emulator runs this: tests that do too much for it do less.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os("SIDESTEP_TEST_SCALE").is_some()
}

/// Whether `test` may change the whole machine: only in a guest of the kernel matrix. Elsewhere it is said loudly that it
/// is left out, which does not fail: the matrix runs it.
pub(crate) fn is_ours(test: &str) -> bool {
    if !is_guest() {
        eprintln!(
            "\n*** {test}: NOT TESTED: it changes the whole machine; tests/matrix/run tests it in its guests ***\n"
        );
    }
    is_guest()
}

/// A file of /proc/sys with another value, until this goes.
pub(crate) struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    pub(crate) fn new(name: &str, value: &str) -> Self {
        let path = PathBuf::from("/proc/sys").join(name);
        let setting = Self { before: std::fs::read_to_string(&path).unwrap(), path };
        std::fs::write(&setting.path, value).unwrap();
        setting
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        std::fs::write(&self.path, &self.before).unwrap();
    }
}

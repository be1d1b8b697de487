//! A bpf file system of a test's own.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use sidestep::syscall::bpffs;

use super::machine::unique;

/// A mounted one. It goes with the value, and with it the pins that a failed test has left.
pub(crate) struct TestBpffs(PathBuf);

impl TestBpffs {
    pub(crate) fn new() -> Self {
        let mounted = Self(std::env::temp_dir().join(unique("sidestep-bpffs")));
        std::fs::create_dir(mounted.path()).unwrap();
        mounted.mount();
        mounted
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Mounts it again after [`TestBpffs::unmount`].
    pub(crate) fn mount(&self) {
        bpffs::mount_at(&self.0).unwrap();
    }

    /// Not detached lazily: no process may hold it.
    pub(crate) fn unmount(&self) {
        umount2(&self.0, MntFlags::empty()).unwrap();
    }
}

impl Drop for TestBpffs {
    fn drop(&mut self) {
        // A test may have unmounted it. Only an empty directory can be removed.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        if let Err(error) = std::fs::remove_dir(&self.0) {
            eprintln!("left behind: {}: {error}", self.0.display());
        }
    }
}

//! The cgroup that holds the data plane of pods, as long as this agent uses it.
//!
//! The root of cgroup2 has the mode 0555 (`kernfs_create_root`, fs/kernfs/dir.c), so removing the cgroup takes CAP_DAC_OVERRIDE,
//! which the agent gives up. A process that is started before keeps this capability alone, and does this one thing when it is told to.
//! When the agent is killed it ends, and removes nothing: what is attached to the cgroup goes on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;

use super::remover::Remover;
use crate::cli::error::Error;
use crate::cli::pods::{hold_anchor, remove_anchor};
use crate::syscall::caps::{Capabilities, Capability};

pub(super) struct Anchor {
    path: PathBuf,
    remover: Option<Remover>,
    /// Until it has been removed, or left to others.
    held: Option<Flock<File>>,
}

impl Anchor {
    /// Holds it, by `seccomp` with a process that can make hardly a system call. To be called while this process has one thread, and all of its capabilities.
    pub(super) fn hold(path: &Path, seccomp: bool) -> Result<Self, Error> {
        let may_write = Capabilities::effective().is_ok_and(|set| set.has(Capability::DacOverride));
        // Before the lock, which both would have.
        let start = || Remover::start(c"sidestep-anchor", &[path], Some(Capability::DacOverride), seccomp);
        let remover = may_write.then(start).transpose()?;
        let mut anchor = Self { path: path.to_owned(), remover, held: None };
        anchor.held = Some(hold_anchor(path)?);
        Ok(anchor)
    }

    /// Removes it, if nothing uses it any more. Returns whether it stays all the same.
    pub(super) fn remove(&mut self) -> bool {
        let Some(held) = self.held.take() else { return false };
        remove_anchor(&held, || {
            self.remover.as_mut().map(Remover::remove);
            !self.path.exists() || fs::remove_dir(&self.path).is_ok()
        })
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // After a start that has failed.
        self.remove();
    }
}

//! The cgroup that holds the data plane of pods, as long as this agent uses it.
//!
//! The root of cgroup2 has the mode 0555 (`kernfs_create_root`, fs/kernfs/dir.c), so removing the cgroup takes CAP_DAC_OVERRIDE,
//! which the agent gives up. A process that is started before keeps this capability alone, and does this one thing when it is told to.
//! When the agent is killed it ends, and removes nothing: what is attached to the cgroup goes on.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use nix::sys::prctl;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::cli::error::Error;
use crate::cli::pods::{hold_anchor, remove_anchor};
use crate::syscall::caps::{self, Capabilities, Capability};
use crate::syscall::seccomp::{Call, Filter, Rule};

/// rmdir(2), under the name that this architecture has for it.
#[cfg(target_arch = "x86_64")]
const RMDIR: Call = libc::SYS_rmdir;
#[cfg(not(target_arch = "x86_64"))]
const RMDIR: Call = libc::SYS_unlinkat;

/// The system calls of the process that removes it: it waits, removes, and ends.
const CALLS: [Rule; 4] = [
    Rule::Allow(libc::SYS_recvfrom),
    Rule::Allow(libc::SYS_restart_syscall),
    Rule::Allow(RMDIR),
    Rule::Allow(libc::SYS_exit_group),
];

pub(super) struct Anchor {
    path: PathBuf,
    remover: Option<(UnixStream, Pid)>,
    /// Until it has been removed, or left to others.
    held: Option<Flock<File>>,
}

impl Anchor {
    /// Holds it, by `seccomp` with a process that can make hardly a system call. To be called while this process has one thread, and all of its capabilities.
    pub(super) fn hold(path: &Path, seccomp: bool) -> Result<Self, Error> {
        let may_write = Capabilities::effective().is_ok_and(|set| set.has(Capability::DacOverride));
        // Before the lock, which both would have.
        let remover = if may_write { Some(start_remover(path, seccomp)?) } else { None };
        let mut anchor = Self { path: path.to_owned(), remover, held: None };
        anchor.held = Some(hold_anchor(path)?);
        Ok(anchor)
    }

    /// Removes it, if nothing uses it any more. Returns whether it stays all the same.
    pub(super) fn remove(&mut self) -> bool {
        self.held.take().is_some_and(|held| remove_anchor(&held, || self.try_remove()))
    }

    fn try_remove(&self) -> bool {
        if let Some((remover, _)) = &self.remover {
            let mut remover = remover;
            // It closes its end when it is done.
            let _ = remover.write_all(&[1]).and_then(|()| remover.read(&mut [0]));
        }
        !self.path.exists() || fs::remove_dir(&self.path).is_ok()
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // After a start that has failed.
        self.remove();
        if let Some((remover, process)) = self.remover.take() {
            drop(remover);
            let _ = waitpid(process, None);
        }
    }
}

fn start_remover(path: &Path, seccomp: bool) -> Result<(UnixStream, Pid), Error> {
    let (ours, mut theirs) = UnixStream::pair()?;
    // SAFETY: this process has one thread, so the child can do what any process can.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => Ok((ours, child)),
        Ok(ForkResult::Child) => {
            drop(ours);
            let _ = prctl::set_name(c"sidestep-anchor");
            let confined = caps::keep_only(&[Capability::DacOverride]).is_ok();
            let confined = confined && (!seccomp || Filter::new(CALLS).confine().is_ok());
            if confined && theirs.read_exact(&mut [0]).is_ok() {
                let _ = fs::remove_dir(path);
            }
            // SAFETY: it takes no memory, and does not return. What the parent has not yet written stays the parent's.
            unsafe { libc::_exit(0) }
        }
        Err(errno) => Err(Error::Failed(format!("cannot start a process: {errno}"))),
    }
}

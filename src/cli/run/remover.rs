//! A process that does one thing for the agent, which may not do it any more: it removes empty directories at the end.
//!
//! It is started before the agent gives up what removing takes, and can do nothing else. When the agent is killed it ends, and removes
//! nothing: what is attached goes on.

use std::ffi::CStr;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::prctl;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::cli::error::Error;
use crate::syscall::caps::{self, Capability};
use crate::syscall::seccomp::{Call, Filter, Rule};

/// rmdir(2), under the name that this architecture has for it.
#[cfg(target_arch = "x86_64")]
const RMDIR: Call = libc::SYS_rmdir;
#[cfg(not(target_arch = "x86_64"))]
const RMDIR: Call = libc::SYS_unlinkat;

/// Its system calls: it waits, removes, and ends.
const CALLS: [Rule; 4] = [
    Rule::Allow(libc::SYS_recvfrom),
    Rule::Allow(libc::SYS_restart_syscall),
    Rule::Allow(RMDIR),
    Rule::Allow(libc::SYS_exit_group),
];

pub(super) struct Remover {
    socket: Option<UnixStream>,
    process: Pid,
}

impl Remover {
    /// Starts it with this one capability, or with none. With `seccomp` it can make only the system calls above. To be called while
    /// this process has one thread.
    pub(super) fn start(
        name: &CStr,
        paths: &[&Path],
        capability: Option<Capability>,
        seccomp: bool,
    ) -> Result<Self, Error> {
        let (ours, mut theirs) = UnixStream::pair()?;
        // SAFETY: this process has one thread, so the child can do what any process can.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => Ok(Self { socket: Some(ours), process: child }),
            Ok(ForkResult::Child) => {
                let _ = prctl::set_name(name);
                close_others(theirs.as_raw_fd());
                let confined = caps::keep_only(capability.as_slice()).is_ok();
                let confined = confined && (!seccomp || Filter::new(CALLS).confine().is_ok());
                if confined && theirs.read_exact(&mut [0]).is_ok() {
                    for path in paths {
                        let _ = fs::remove_dir(path);
                    }
                }
                // SAFETY: it takes no memory, and does not return. What the parent has not yet written stays the parent's.
                unsafe { libc::_exit(0) }
            }
            Err(errno) => Err(Error::Failed(format!("cannot start a process: {errno}"))),
        }
    }

    /// Lets it remove the directories, and waits until it is done.
    pub(super) fn remove(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            // It closes its end when it is done.
            let _ = socket.write_all(&[1]).and_then(|()| socket.read(&mut [0]));
        }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        drop(self.socket.take());
        let _ = waitpid(self.process, None);
    }
}

/// Closes all descriptors but this one (close_range(2), Linux 5.9): the locks, ports and pipes are the agent's, and end with it.
fn close_others(kept: i32) {
    for (first, last) in [(0, kept - 1), (kept + 1, i32::MAX)] {
        // SAFETY: no addresses; nothing in this process uses a descriptor that is closed.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

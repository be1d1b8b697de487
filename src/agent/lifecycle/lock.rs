//! Locks: flock(2) on directories of the bpf file system.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::Instance;
use crate::agent::error::{Error, Result};
use crate::syscall::bpffs;

/// How long a change waits for another one to end. The longest is a drain, whose bound its caller sets; ten seconds are
/// the commands' default for it.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How often a wait looks again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long another process that only looks (`status`) may hold the owner's lock.
const LOOK_TIMEOUT: Duration = Duration::from_millis(200);

/// Held while the content of an instance's directory changes.
pub(super) struct DirectoryLock(#[allow(dead_code, reason = "closing it unlocks")] Flock<File>);

impl DirectoryLock {
    /// Locks the directory at `path`; `None` when it does not exist. With `create`, creates it.
    pub(super) fn take(path: &Path, create: bool) -> Result<Option<Self>> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if create {
                bpffs::create_directory(path)?;
            }
            match attempt(path)? {
                Attempt::Locked(lock) => return Ok(Some(Self(lock))),
                Attempt::Absent if create => {}
                Attempt::Absent => return Ok(None),
                Attempt::Held(_) if Instant::now() < deadline => sleep(POLL_INTERVAL),
                Attempt::Held(inode) => {
                    return Err(Error::Conflict {
                        what: format!(
                            "{} has locked {} for more than {} s",
                            holder(inode),
                            path.display(),
                            TIMEOUT.as_secs()
                        ),
                        remedy: "wait for it, or end it: the next command completes or undoes what it leaves half done",
                    });
                }
            }
        }
    }
}

/// Held by the process that owns an instance, as `sidestep run` does.
#[derive(Debug)]
pub struct OwnerLock {
    instance: Instance,
    #[allow(dead_code, reason = "closing it unlocks")]
    lock: Flock<File>,
}

impl Instance {
    /// Makes this process the owner of the instance; only one process can be. It need not be attached yet.
    pub fn take_ownership(&self) -> Result<OwnerLock> {
        let deadline = Instant::now() + LOOK_TIMEOUT;
        loop {
            bpffs::create_directory(&self.owner_path())?;
            match attempt(&self.owner_path())? {
                Attempt::Locked(lock) => return Ok(OwnerLock { instance: self.clone(), lock }),
                Attempt::Absent => {}
                Attempt::Held(_) if Instant::now() < deadline => sleep(POLL_INTERVAL),
                Attempt::Held(inode) => {
                    return Err(Error::Conflict {
                        what: format!("{} owns {}", holder(inode), self.dir().display()),
                        remedy: "stop that `sidestep run` with SIGTERM: it detaches by itself, unless it has --keep",
                    });
                }
            }
        }
    }

    /// The process that owns it now; `None` also where it is in another PID namespace.
    pub fn owner_pid(&self) -> Result<Option<u32>> {
        Ok(match attempt(&self.owner_path())? {
            Attempt::Held(inode) => holder_pid(inode),
            Attempt::Locked(_) | Attempt::Absent => None,
        })
    }

    /// Whether a process owns it now.
    pub fn has_owner(&self) -> Result<bool> {
        Ok(matches!(attempt(&self.owner_path())?, Attempt::Held(_)))
    }

    /// Whether a change is under way now.
    pub(super) fn is_changing(&self) -> Result<bool> {
        Ok(matches!(attempt(self.dir())?, Attempt::Held(_)))
    }
}

impl OwnerLock {
    /// What it owns.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }
}

impl Drop for OwnerLock {
    /// Takes away the directory it locked, and the instance's when nothing else is in it, as after a start that failed.
    fn drop(&mut self) {
        if let Ok(Attempt::Locked(_lock)) = attempt(self.instance.dir()) {
            // What fails here is only an empty directory that stays.
            let _ = bpffs::remove_directory(&self.instance.owner_path());
            let _ = self.instance.remove_if_empty();
        }
    }
}

/// Locks the directory at `path`; nothing when it is not there, or another process has locked it.
pub(super) fn try_lock(path: &Path) -> Result<Option<Flock<File>>> {
    match attempt(path)? {
        Attempt::Locked(lock) => Ok(Some(lock)),
        Attempt::Absent | Attempt::Held(_) => Ok(None),
    }
}

enum Attempt {
    Locked(Flock<File>),
    /// Another process has locked the directory with this inode number.
    Held(u64),
    Absent,
}

fn attempt(path: &Path) -> Result<Attempt> {
    let opened = File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path);
    let file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Attempt::Absent),
        opened => opened.map_err(|error| failed(path, &error))?,
    };
    // The lock of a directory that other users can open would be theirs to hold.
    bpffs::check_private_or_given(path)?;
    let inode = file.metadata().map_err(|error| failed(path, &error))?.ino();
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        // It may have been removed, and created again, between open and lock.
        Ok(lock) => Ok(if is_still(inode, path) { Attempt::Locked(lock) } else { Attempt::Absent }),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(Attempt::Held(inode)),
        Err((_, errno)) => Err(failed(path, &errno.into())),
    }
}

/// The path still leads to the directory with this number.
fn is_still(inode: u64, path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.ino() == inode)
}

/// The process that has locked the directory with this number, in words.
fn holder(inode: u64) -> String {
    match holder_pid(inode) {
        Some(pid) => {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim_end())
        }
        None => "another process".into(),
    }
}

fn holder_pid(inode: u64) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    locks.lines().find_map(|line| pid_of(line, inode))
}

/// The process of a line of /proc/locks, if it is a flock(2) on this inode (proc_locks(5)):
/// `1: FLOCK  ADVISORY  WRITE 4711 00:1f:35 0 EOF`.
fn pid_of(line: &str, inode: u64) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, _, pid, file, ..] = words[..] else { return None };
    let number: u64 = file.rsplit(':').next()?.parse().ok()?;
    // 0 and less stand for a process of another pid namespace.
    pid.parse().ok().filter(|pid| number == inode && *pid > 0)
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Conflict { what: format!("cannot lock {}: {error}", path.display()), remedy: "run as root" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_by_inode() {
        let line = "1: FLOCK  ADVISORY  WRITE 4711 00:1f:35 0 EOF";
        assert_eq!((pid_of(line, 35), pid_of(line, 36)), (Some(4711), None));
        assert_eq!(pid_of("2: POSIX  ADVISORY  WRITE 4711 00:1f:35 0 EOF", 35), None);
        assert_eq!(pid_of("1: FLOCK  ADVISORY  WRITE -1 00:1f:35 0 EOF", 35), None);
        assert_eq!(pid_of("", 35), None);
    }
}

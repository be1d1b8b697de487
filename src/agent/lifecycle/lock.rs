//! Locks: flock(2) on folders of the bpf file system.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
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

/// How often it looks.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Held while a folder's content changes.
pub(super) struct DirectoryLock(#[allow(dead_code, reason = "closing it unlocks")] Flock<File>);

impl DirectoryLock {
    /// Locks the folder at `path`; `None` when there is none. With `make`, makes it.
    pub(super) fn take(path: &Path, make: bool) -> Result<Option<Self>> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if make {
                bpffs::create_directory(path)?;
            }
            match attempt(path)? {
                Attempt::Locked(lock) => return Ok(Some(Self(lock))),
                Attempt::Absent if make => {}
                Attempt::Absent => return Ok(None),
                Attempt::Held if Instant::now() < deadline => sleep(POLL_INTERVAL),
                Attempt::Held => {
                    return Err(Error::Conflict {
                        what: format!("another process is changing {} and does not come to an end", path.display()),
                        remedy: "wait for it, or end it: what it leaves half done is finished by the next command",
                    });
                }
            }
        }
    }
}

/// Held by the process that looks after an instance, as `sidestep run` does.
#[derive(Debug)]
pub struct OwnerLock(#[allow(dead_code, reason = "closing it unlocks")] Flock<File>);

impl Instance {
    /// Takes charge of the instance; only one process can. It need not be attached yet.
    pub fn take_ownership(&self) -> Result<OwnerLock> {
        let deadline = Instant::now() + POLL_INTERVAL * 10;
        loop {
            bpffs::create_directory(&self.owner_path())?;
            match attempt(&self.owner_path())? {
                Attempt::Locked(lock) => return Ok(OwnerLock(lock)),
                Attempt::Absent => {}
                // Perhaps only a `status` that looks.
                Attempt::Held if Instant::now() < deadline => sleep(POLL_INTERVAL),
                Attempt::Held => {
                    return Err(Error::Conflict {
                        what: format!("another process looks after {}", self.dir().display()),
                        remedy: "stop that `sidestep run` with SIGTERM: it detaches by itself, unless it has --keep",
                    });
                }
            }
        }
    }

    /// Whether a process looks after it now.
    pub fn has_owner(&self) -> Result<bool> {
        Ok(matches!(attempt(&self.owner_path())?, Attempt::Held))
    }

    /// Whether a change is under way now.
    pub(super) fn is_changing(&self) -> Result<bool> {
        Ok(matches!(attempt(self.dir())?, Attempt::Held))
    }
}

enum Attempt {
    Locked(Flock<File>),
    Held,
    Absent,
}

fn attempt(path: &Path) -> Result<Attempt> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Attempt::Absent),
        opened => opened.map_err(|error| failed(path, &error))?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        // It may have been removed, and made anew, between open and lock.
        Ok(lock) => Ok(if is_still(&lock, path) { Attempt::Locked(lock) } else { Attempt::Absent }),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(Attempt::Held),
        Err((_, errno)) => Err(failed(path, &errno.into())),
    }
}

/// The path still leads to the folder that is open.
fn is_still(open: &File, path: &Path) -> bool {
    let inode = |metadata: std::io::Result<fs::Metadata>| metadata.map(|metadata| metadata.ino()).ok();
    inode(open.metadata()).is_some_and(|open| Some(open) == inode(fs::metadata(path)))
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Conflict { what: format!("cannot lock {}: {error}", path.display()), remedy: "run as root" }
}

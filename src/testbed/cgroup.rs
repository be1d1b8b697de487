//! A cgroup for as long as it is needed, and the removal of those that were left behind.
//!
//! A cgroup has a name, so it survives the SIGKILL of its maker. Each is therefore locked by its maker (flock(2) on the
//! directory): a lock that can be had means that the maker has gone. A process id would not do, as they come again and
//! mean different processes in different containers.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Error;

/// How long the kernel may take to let go of killed processes. On a machine with many more busy processes than CPUs, and with large
/// memory to free, a process has taken several seconds to end.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at whether they have gone.
const AGAIN: Duration = Duration::from_millis(2);
/// Between two attempts to make a group, while another maker removes the one of that name.
const MAKE_AGAIN: Duration = Duration::from_millis(10);

/// A cgroup that goes with this value, and all that is in it.
#[derive(Debug)]
pub struct TemporaryCgroup {
    path: PathBuf,
    _lock: Flock<File>,
}

impl TemporaryCgroup {
    /// Makes `PREFIX<process id>` below `parent`, a directory of a cgroup2 hierarchy, after removing every group of that
    /// prefix whose maker has gone.
    pub fn new(parent: &Path, prefix: &str) -> Result<Self, Error> {
        remove_abandoned(parent, prefix)?;
        let path = parent.join(format!("{prefix}{}", std::process::id()));
        let make = |source| Error::Cgroup { what: "make", path: path.clone(), source };
        let mut last = io::ErrorKind::ResourceBusy.into();
        // Between making and locking, another maker may take the group for an abandoned one and remove it.
        for _ in 0..100 {
            match make_locked(&path) {
                Ok(Some(lock)) => return Ok(Self { path, _lock: lock }),
                Ok(None) => {}
                Err(source) if source.kind() == io::ErrorKind::AlreadyExists => last = source,
                Err(source) => return Err(make(source)),
            }
            sleep(MAKE_AGAIN);
        }
        Err(make(last))
    }

    /// Makes a group in it.
    pub fn child(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        match fs::create_dir(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::Cgroup { what: "make", path, source }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryCgroup {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next one of its kind.
        let _ = remove(&self.path);
    }
}

/// Removes the groups `PREFIX*` below `parent` whose makers have gone, with what is in them.
fn remove_abandoned(parent: &Path, prefix: &str) -> Result<(), Error> {
    let entries =
        fs::read_dir(parent).map_err(|source| Error::Cgroup { what: "list", path: parent.to_owned(), source })?;
    for entry in entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())) {
        let path = entry.path();
        // A group whose lock cannot be had is in use, or just gone. One that has gone before the lock was had may have a successor of the
        // same name by now, which is in use.
        if let Ok(Some(lock)) = lock(&path)
            && is_still(&lock, &path)
        {
            remove(&path).map_err(|source| Error::Cgroup { what: "remove the abandoned", path, source })?;
        }
    }
    Ok(())
}

/// Makes a group and locks it; `None` when another process has locked or removed it in between.
fn make_locked(path: &Path) -> io::Result<Option<Flock<File>>> {
    fs::create_dir(path)?;
    match lock(path) {
        Ok(locked) => Ok(locked.filter(|lock| is_still(lock, path))),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The lock of a group; `None` when another process has it.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    match Flock::lock(File::open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// The path still leads to the directory that is open.
fn is_still(open: &File, path: &Path) -> bool {
    let inode = |metadata: io::Result<fs::Metadata>| metadata.map(|metadata| metadata.ino()).ok();
    inode(open.metadata()).is_some_and(|open| Some(open) == inode(fs::metadata(path)))
}

/// Whether the group was removed meanwhile. A file of it that was open before then says ENODEV (`kernfs_fop_read_iter`, fs/kernfs/file.c).
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// Ends all processes in a group and the groups in it, and removes them. It is fine when another process does the same.
fn remove(path: &Path) -> io::Result<()> {
    match try_remove(path) {
        Err(error) if is_gone(&error) => Ok(()),
        done => done,
    }
}

fn try_remove(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path())?;
    }
    let deadline = Instant::now() + TIMEOUT;
    loop {
        for pid in fs::read_to_string(path.join("cgroup.procs"))?.lines().filter_map(|line| line.parse().ok()) {
            // It may have ended meanwhile. A pid of 0 is a process of another pid namespace, and would be our group.
            if pid > 0 {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => sleep(AGAIN),
            done => return done,
        }
    }
}

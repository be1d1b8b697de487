//! Locks: flock(2) on directories of the bpf file system.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{major, minor};

use super::Instance;
use crate::agent::error::{Error, Result};
use crate::syscall::bpffs;

/// How long a change waits for another one to end. The longest is a drain, whose bound its caller sets; ten seconds are
/// the commands' default for it.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How often a wait looks again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long another process that only looks (`status`) may hold a lock: it can lose its CPU meanwhile.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one waits for an owner to let go, which may be about to end.
const OWNER_TIMEOUT: Duration = Duration::from_millis(200);

/// How often /proc/locks is read for a lock that is held. One reading misses it seldom, so that this many never all do.
const LOOKS: u32 = 16;

/// Bytes of a reading of /proc/locks. The kernel fills at most a page in one go (`seq_read_iter`).
const PAGE: usize = 4096;

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
            match attempt(path, CHANGE)? {
                Attempt::Locked(lock) => return Ok(Some(Self(lock))),
                Attempt::Absent if create => {}
                Attempt::Absent => return Ok(None),
                Attempt::Held(_) if Instant::now() < deadline => sleep(POLL_INTERVAL),
                Attempt::Held(file) => {
                    return Err(Error::Conflict {
                        what: format!(
                            "{} has locked {} for more than {} s",
                            holder(&file),
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
    lock: Flock<File>,
}

impl Instance {
    /// Makes this process the owner of the instance; only one process can be. It need not be attached yet.
    pub fn take_ownership(&self) -> Result<OwnerLock> {
        let start = Instant::now();
        // Only those who look are waited for so long.
        let waits = || -> Result<bool> {
            let waited = start.elapsed();
            Ok(waited < OWNER_TIMEOUT || (waited < LOOK_TIMEOUT && !self.has_owner()?))
        };
        loop {
            bpffs::create_directory(&self.owner_path())?;
            match attempt(&self.owner_path(), CHANGE)? {
                Attempt::Locked(lock) => return Ok(OwnerLock { instance: self.clone(), lock }),
                Attempt::Absent => {}
                Attempt::Held(_) if waits()? => sleep(POLL_INTERVAL),
                Attempt::Held(file) => {
                    return Err(Error::Conflict {
                        what: format!("{} owns {}", holder(&file), self.dir().display()),
                        remedy: "stop that `sidestep run` with SIGTERM: it detaches by itself, unless it has --keep",
                    });
                }
            }
        }
    }

    /// The process that owns it now; `None` also where it is in another PID namespace.
    pub fn owner_pid(&self) -> Result<Option<u32>> {
        Ok(match attempt(&self.owner_path(), LOOK)? {
            Attempt::Held(file) => holder_pid(&file),
            Attempt::Locked(_) | Attempt::Absent => None,
        })
    }

    /// Whether a process owns it now.
    pub fn has_owner(&self) -> Result<bool> {
        Ok(matches!(attempt(&self.owner_path(), LOOK)?, Attempt::Held(_)))
    }

    /// Whether a change is under way now.
    pub(super) fn is_changing(&self) -> Result<bool> {
        Ok(matches!(attempt(self.dir(), LOOK)?, Attempt::Held(_)))
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
        let deadline = Instant::now() + LOOK_TIMEOUT;
        loop {
            match attempt(self.instance.dir(), CHANGE) {
                Ok(Attempt::Locked(_lock)) => {
                    let path = self.instance.owner_path();
                    // Another process may own a new directory of that name by now. What fails here is only an empty one that stays.
                    if self.lock.metadata().is_ok_and(|own| is_still(own.ino(), &path)) {
                        let _ = bpffs::remove_directory(&path);
                        let _ = self.instance.remove_if_empty();
                    }
                    return;
                }
                // One who looks lets go soon. One who changes may itself wait for this lock.
                Ok(Attempt::Held(_)) if Instant::now() < deadline && !self.instance.is_changing().unwrap_or(true) => {
                    sleep(POLL_INTERVAL);
                }
                Ok(Attempt::Held(_) | Attempt::Absent) | Err(_) => return,
            }
        }
    }
}

/// Locks the directory at `path`; nothing when it is not there, or another process has locked it.
pub(super) fn try_lock(path: &Path) -> Result<Option<Flock<File>>> {
    match attempt(path, CHANGE)? {
        Attempt::Locked(lock) => Ok(Some(lock)),
        Attempt::Absent | Attempt::Held(_) => Ok(None),
    }
}

enum Attempt {
    Locked(Flock<File>),
    /// Another process has locked the directory, which is this one in /proc/locks.
    Held(String),
    Absent,
}

/// What one who changes or owns something takes.
const CHANGE: FlockArg = FlockArg::LockExclusiveNonblock;
/// What one takes who only asks whether another has the lock: two that ask at once do not take each other for it.
const LOOK: FlockArg = FlockArg::LockSharedNonblock;

fn attempt(path: &Path, kind: FlockArg) -> Result<Attempt> {
    let opened = File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path);
    let file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Attempt::Absent),
        opened => opened.map_err(|error| failed(path, &error))?,
    };
    // The lock of a directory that other users can open would be theirs to hold.
    bpffs::check_private_or_given(path)?;
    let metadata = file.metadata().map_err(|error| failed(path, &error))?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    match Flock::lock(file, kind) {
        // It may have been removed, and created again, between open and lock.
        Ok(lock) => Ok(if is_still(inode, path) { Attempt::Locked(lock) } else { Attempt::Absent }),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
            Ok(Attempt::Held(format!("{:02x}:{:02x}:{inode}", major(device), minor(device))))
        }
        Err((_, errno)) => Err(failed(path, &errno.into())),
    }
}

/// The path still leads to the directory with this number.
fn is_still(inode: u64, path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.ino() == inode)
}

/// The process that has locked this file, in words.
fn holder(file: &str) -> String {
    match holder_pid(file) {
        Some(pid) => {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim_end())
        }
        None => "another process".into(),
    }
}

/// The process that has locked this file; `None` also where it is in another PID namespace.
///
/// The kernel gives /proc/locks in parts. When a lock of an earlier part ends, those behind it move up, and the next part begins one
/// too late. So a lock that is not seen is looked for again.
fn holder_pid(file: &str) -> Option<u32> {
    let pid = (0..LOOKS).find_map(|_| locks().lines().find_map(|line| pid_of(line, file)));
    // 0 and less stand for a process of another PID namespace, whose lock may also be left out.
    pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0)
}

/// /proc/locks, in parts as large as the kernel makes them.
fn locks() -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open("/proc/locks") {
        let mut part = [0; PAGE];
        while let Ok(length @ 1..) = file.read(&mut part) {
            text.extend_from_slice(&part[..length]);
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The process of a line of /proc/locks, if it is an exclusive flock(2) on this file (proc_locks(5)); one who only looks has a shared
/// one, which is a READ:
/// `1: FLOCK  ADVISORY  WRITE 4711 00:1f:35 0 EOF`.
fn pid_of(line: &str, file: &str) -> Option<i64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", pid, locked, ..] = words[..] else { return None };
    if locked == file { pid.parse().ok() } else { None }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Conflict { what: format!("cannot lock {}: {error}", path.display()), remedy: "run as root" }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_by_file_system_and_inode() {
        let line = "1: FLOCK  ADVISORY  WRITE 4711 00:1f:35 0 EOF";
        assert_eq!((pid_of(line, "00:1f:35"), pid_of(line, "00:1f:36")), (Some(4711), None));
        assert_eq!(pid_of(line, "00:20:35"), None);
        assert_eq!(pid_of("1: FLOCK  ADVISORY  READ 4711 00:1f:35 0 EOF", "00:1f:35"), None);
        assert_eq!(pid_of("2: POSIX  ADVISORY  WRITE 4711 00:1f:35 0 EOF", "00:1f:35"), None);
        assert_eq!(pid_of("1: FLOCK  ADVISORY  WRITE -1 00:1f:35 0 EOF", "00:1f:35"), Some(-1));
        assert_eq!(pid_of("", "00:1f:35"), None);
    }

    /// A directory of this test, removed with it.
    struct Place(PathBuf);

    impl Place {
        /// On a file system whose device is the one that /proc/locks shows: that of btrfs is not.
        fn new(name: &str) -> Self {
            let place = Path::new("/dev/shm").join(format!("sidestep-{name}-{}", std::process::id()));
            bpffs::create_directory(&place).unwrap();
            Self(place)
        }

        /// As an instance.
        fn instance(&self) -> Instance {
            let instance = super::super::Pins::at(&self.0).instance(1);
            bpffs::create_directory(instance.dir()).unwrap();
            instance
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn those_who_only_look_do_not_take_each_other_for_an_owner_or_a_change() {
        let place = Place::new("looks");
        let instance = place.instance();
        bpffs::create_directory(&instance.owner_path()).unwrap();
        let look = |path| attempt(path, LOOK).unwrap();
        let (changing, owner) = (look(instance.dir()), look(&instance.owner_path()));
        assert!(matches!(&changing, Attempt::Locked(_)) && matches!(&owner, Attempt::Locked(_)));
        assert!(!instance.is_changing().unwrap() && !instance.has_owner().unwrap());
        // The other way round each is told from the other.
        drop((changing, owner));
        let change = DirectoryLock::take(instance.dir(), false).unwrap();
        let owner = instance.take_ownership().unwrap();
        assert!(instance.is_changing().unwrap() && instance.has_owner().unwrap());
        drop(change);
        drop(owner);
        assert!(!instance.dir().exists());
    }

    #[test]
    fn an_owner_that_ends_does_not_wait_for_a_change_which_may_wait_for_it() {
        let place = Place::new("ends");
        let instance = place.instance();
        let owner = instance.take_ownership().unwrap();
        let change = DirectoryLock::take(instance.dir(), false).unwrap();
        let start = Instant::now();
        drop(owner);
        assert!(start.elapsed() < LOOK_TIMEOUT, "it has waited");
        assert!(!instance.has_owner().unwrap());
        drop(change);
    }

    #[test]
    fn one_who_looks_for_a_while_hinders_neither_the_beginning_nor_the_end_of_an_owner() {
        let place = Place::new("slow");
        let instance = place.instance();
        bpffs::create_directory(&instance.owner_path()).unwrap();
        // As one who has lost its CPU: longer than a look takes otherwise.
        let look_for_a_while = |path: &Path| {
            let look = attempt(path, LOOK).unwrap();
            std::thread::spawn(move || {
                sleep(LOOK_TIMEOUT / 4);
                drop(look);
            })
        };
        let look = look_for_a_while(&instance.owner_path());
        let owner = instance.take_ownership().unwrap();
        look.join().unwrap();
        let look = look_for_a_while(instance.dir());
        drop(owner);
        look.join().unwrap();
        assert!(!instance.owner_path().exists() && !instance.dir().exists());
    }

    #[test]
    fn the_holder_of_a_lock_is_found_while_other_locks_come_and_go() {
        let place = Place::new("locks");
        let [held, other] = ["held", "other"].map(|name| place.0.join(name));
        for directory in [&held, &other] {
            bpffs::create_directory(directory).unwrap();
        }
        // The kernel lists the locks by CPU, and one that is listed later than the locks that come and go can be missed.
        let cpus = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let usable = || (0..CpuSet::count()).filter(|cpu| cpus.is_set(*cpu).unwrap());
        let stay_on = |cpu: Option<usize>| {
            let mut only = CpuSet::new();
            only.set(cpu.unwrap()).unwrap();
            sched_setaffinity(Pid::from_raw(0), &only).unwrap();
        };
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                stay_on(usable().next());
                while !ended.load(Ordering::Relaxed) {
                    drop(try_lock(&other).unwrap());
                }
            });
            let looking = scope.spawn(|| {
                stay_on(usable().next_back());
                let _lock = try_lock(&held).unwrap().unwrap();
                let Ok(Attempt::Held(file)) = attempt(&held, LOOK) else { panic!("it is locked") };
                (0..20_000).filter(|_| holder_pid(&file) != Some(std::process::id())).count()
            });
            let missed = looking.join();
            ended.store(true, Ordering::Relaxed);
            assert_eq!(missed.unwrap(), 0);
        });
    }
}

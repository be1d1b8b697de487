//! Network namespaces: handles, entering, cookies.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};

use super::Errno;
use super::error::{Error, Operation, Result};

/// `SO_NETNS_COOKIE` of `include/uapi/asm-generic/socket.h` (5.14).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// A network namespace, kept alive by this handle.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The namespace of process `pid`.
    pub fn of_process(pid: u32) -> Result<Self> {
        Self::open(&PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    /// The namespace behind a file, such as one under `/run/netns`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::file("open the network namespace", path, &error))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Runs `work` with the calling thread inside the namespace (takes CAP_SYS_ADMIN); no other thread is moved.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        there_and_back(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
        .map_err(|error| {
            Error::call(Operation::EnterNetns, format!("the namespace {}", self.path.display()), Errno::from(&error))
        })
    }
}

/// Runs `work`, which may move the calling thread to another network namespace, and moves the thread back to where it
/// was, also when `work` fails or panics. Where the way back fails, the error is that of the way back.
///
/// A thread that ends afterwards would have no way back to fail, but threads are 50 kB of a static binary that has no
/// other use for them.
pub fn there_and_back<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let here = File::open("/proc/thread-self/ns/net")?;
    let done = catch_unwind(AssertUnwindSafe(work));
    setns(&here, CloneFlags::CLONE_NEWNET)?;
    done.unwrap_or_else(|panic| resume_unwind(panic))
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The cookie of a socket's network namespace, the number that `bpf_get_netns_cookie` gives to programs (5.14).
pub fn cookie_of_socket(socket: BorrowedFd<'_>) -> Result<u64> {
    let mut cookie = 0_u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `cookie` is live and writable for `len` bytes, and so is `len`.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &mut len,
        )
    };
    match answer {
        0 => Ok(cookie),
        _ => Err(Error::call(Operation::NetnsCookie, "a socket", Errno::last())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::fs::MetadataExt;

    use nix::sched::unshare;

    use super::*;

    /// The inode that names the calling thread's namespace.
    fn here() -> u64 {
        std::fs::metadata("/proc/thread-self/ns/net").unwrap().st_ino()
    }

    #[test]
    fn the_thread_comes_back_from_success_failure_and_panic() {
        assert!(nix::unistd::geteuid().is_root(), "this test makes network namespaces: run it as root");
        let home = here();
        let there = there_and_back(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(here())
        });
        assert_ne!(there.unwrap(), home);
        assert_eq!(here(), home);
        let failed = there_and_back(|| -> io::Result<()> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Err(io::ErrorKind::Other.into())
        });
        assert!(failed.is_err());
        assert_eq!(here(), home);
        let panicked = catch_unwind(|| {
            there_and_back(|| -> io::Result<()> {
                unshare(CloneFlags::CLONE_NEWNET)?;
                panic!("a panic inside the namespace, which this test wants")
            })
        });
        assert!(panicked.is_err());
        assert_eq!(here(), home);
    }
}

//! Network namespaces: handles, entering, cookies.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
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

    /// Runs `work` on a thread of its own inside the namespace (takes CAP_SYS_ADMIN), so that no other thread is moved
    /// and nothing has to be undone. A panic of `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| {
                    Error::call(Operation::EnterNetns, format!("the namespace {}", self.path.display()), errno.into())
                })?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
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

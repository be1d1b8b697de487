//! Anonymous network namespaces: held by a descriptor alone.
//!
//! A namespace that is bind-mounted (as `ip netns add` does) outlives whoever made it. One that only descriptors and
//! processes refer to goes away with them, even when its maker is killed with SIGKILL.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use super::{Error, rtnetlink};

/// A network namespace without a name.
#[derive(Debug)]
pub struct NetNs {
    fd: OwnedFd,
}

impl NetNs {
    /// Makes an empty namespace: one loopback link, down. Needs CAP_SYS_ADMIN.
    pub fn new() -> Result<Self, Error> {
        // unshare(2) moves the calling thread, so a thread of its own does it and ends.
        let made = thread::spawn(|| -> io::Result<OwnedFd> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        });
        let fd = join(made.join()).map_err(Error::NamespaceNew)?;
        Ok(Self { fd })
    }

    /// Makes a namespace whose loopback link is up: 127.0.0.1 and ::1 work.
    pub fn with_loopback() -> Result<Self, Error> {
        let netns = Self::new()?;
        netns.run(|| rtnetlink::set_up(rtnetlink::Link::LOOPBACK))??;
        Ok(netns)
    }

    /// Runs `work` on a fresh thread inside the namespace. Sockets it opens stay in the namespace wherever they go.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| -> io::Result<T> {
                setns(&self.fd, CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            });
            join(inside.join()).map_err(Error::NamespaceEnter)
        })
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Hands a thread's panic on to the caller.
fn join<T>(ended: thread::Result<T>) -> T {
    ended.unwrap_or_else(|panic| resume_unwind(panic))
}

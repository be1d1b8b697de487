//! Anonymous network namespaces: held by a descriptor alone.
//!
//! A namespace that is bind-mounted (as `ip netns add` does) outlives the process that made it. One that only descriptors and
//! processes refer to goes away with them, even when its maker is killed with SIGKILL.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};

use super::{Error, rtnetlink};
use crate::syscall::netns::there_and_back;

/// A network namespace without a name.
#[derive(Debug)]
pub struct NetNs {
    fd: OwnedFd,
}

impl NetNs {
    /// Makes an empty namespace: one loopback link, down. Needs CAP_SYS_ADMIN.
    pub fn new() -> Result<Self, Error> {
        let made = there_and_back(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        });
        let fd = made.map_err(Error::NamespaceNew)?;
        Ok(Self { fd })
    }

    /// Makes a namespace whose loopback link is up: 127.0.0.1 and ::1 work.
    pub fn with_loopback() -> Result<Self, Error> {
        let netns = Self::new()?;
        netns.run(|| rtnetlink::set_up(rtnetlink::Link::LOOPBACK))??;
        Ok(netns)
    }

    /// Runs `work` inside the namespace. Sockets it opens stay in the namespace wherever they go.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        let done = there_and_back(|| {
            setns(&self.fd, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        done.map_err(Error::NamespaceEnter)
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

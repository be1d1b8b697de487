//! How often a directory is opened, by any process: inotify(7).

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(crate) struct Opens(File);

impl Opens {
    /// Counts from now on.
    pub(crate) fn of(directory: &Path) -> Self {
        let path = CString::new(directory.as_os_str().as_bytes()).unwrap();
        // SAFETY: a system call without pointers, whose descriptor nothing else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC)) };
        // SAFETY: the path is a string that lives through the call.
        let added = unsafe { libc::inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), libc::IN_OPEN) };
        assert!(added >= 0, "{}", std::io::Error::last_os_error());
        Self(fd.into())
    }

    /// How often since the last call: opens of the directory itself, and not of what is in it, whose
    /// events have a name.
    pub(crate) fn count(&self) -> usize {
        let mut buffer = [0_u8; 4096];
        let read = (&self.0).read(&mut buffer).unwrap_or(0);
        let (mut at, mut count) = (0, 0);
        while at < read {
            // struct inotify_event: 16 bytes, the last four of which are the length of the name behind them.
            let name = u32::from_ne_bytes(buffer[at + 12..at + 16].try_into().unwrap());
            count += usize::from(name == 0);
            at += 16 + name as usize;
        }
        count
    }
}

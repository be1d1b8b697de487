//! A cgroup by the kernel's number of it: what a link names, wherever its path is and whatever this process sees of it.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};

use super::{Cgroup, find_all};
use crate::syscall::error::{Error, Result};

/// `FILEID_KERNFS` of `include/linux/exportfs.h`: the handle is the 64-bit number (Linux 5.5).
const FILEID_KERNFS: i32 = 0xfe;

/// `struct file_handle` with the 8 bytes of a kernfs handle.
#[repr(C)]
struct Handle {
    handle_bytes: u32,
    handle_type: i32,
    id: u64,
}

impl Cgroup {
    /// The cgroup with this number; `None` when it was removed. Takes CAP_DAC_READ_SEARCH in the initial user namespace
    /// (open_by_handle_at(2)) and any mount of cgroup2.
    pub fn from_id(id: u64) -> Result<Option<Self>> {
        let root = find_all()?.into_iter().next();
        let root = root.ok_or_else(|| Error::Invalid("cgroup2 is not mounted".into()))?;
        let mount = File::open(&root).map_err(|error| Error::file("open the cgroup", &root, &error))?;
        let mut handle = Handle { handle_bytes: 8, handle_type: FILEID_KERNFS, id };
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: `handle` has the layout of struct file_handle with `handle_bytes` bytes behind its head, and lives
        // through the call; `mount` is open.
        let fd = unsafe { libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut handle).cast(), flags) };
        if fd < 0 {
            return match std::io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ESTALE) => Ok(None),
                error => Err(Error::file("open a cgroup by its number below", &root, &error)),
            };
        }
        // SAFETY: the call has returned a new descriptor, which nothing else owns.
        let dir = unsafe { File::from_raw_fd(fd) };
        let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or(root);
        let cgroup = Self { dir, path };
        // Linux 5.10 opens a removed one, too, while anything in the kernel refers to it.
        Ok(cgroup.exists().then_some(cgroup))
    }
}

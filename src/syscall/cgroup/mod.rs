//! cgroup2: where the hierarchy is, and one group in it.

mod by_id;
mod hierarchy;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub use hierarchy::{find, find_all};

use super::error::{Error, Result};

/// An open cgroup2 directory.
#[derive(Debug)]
pub struct Cgroup {
    dir: File,
    path: PathBuf,
}

impl Cgroup {
    /// Opens the group at `path`, and refuses directories that are not on a cgroup2 file system.
    pub fn open(path: &Path) -> Result<Self> {
        let dir = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(path)
            .map_err(|error| Error::file("open the cgroup", path, &error))?;
        let stat = nix::sys::statfs::fstatfs(&dir).map_err(|errno| Error::file("look at", path, errno))?;
        // CGROUP2_SUPER_MAGIC of include/uapi/linux/magic.h.
        if stat.filesystem_type() != nix::sys::statfs::CGROUP2_SUPER_MAGIC {
            let hint = match find() {
                Ok(Some(root)) => format!("the cgroup2 hierarchy is at {}", root.display()),
                _ => "mount one with `mount -t cgroup2 none /sys/fs/cgroup`".into(),
            };
            return Err(Error::Invalid(format!("{} is not a cgroup2 directory; {hint}", path.display())));
        }
        // Absolute, because the path is kept for commands that run elsewhere.
        Ok(Self { dir, path: path.canonicalize().unwrap_or_else(|_| path.to_owned()) })
    }

    /// Creates the group at `path` and opens it; its parent must exist. Fails if it exists.
    pub fn create(path: &Path) -> Result<Self> {
        std::fs::create_dir(path).map_err(|error| Error::file("create the cgroup", path, &error))?;
        Self::open(path)
    }

    /// Removes the group; it must hold no process and no group.
    pub fn remove(self) -> Result<()> {
        let Self { dir, path } = self;
        drop(dir);
        std::fs::remove_dir(&path).map_err(|error| Error::file("remove the cgroup", &path, &error))
    }

    /// Moves the process `pid` into the group; 0 is this process. Sockets belong to the group their process was in
    /// when it created them.
    pub fn enter(&self, pid: u32) -> Result<()> {
        let path = self.path.join("cgroup.procs");
        std::fs::write(&path, pid.to_string()).map_err(|error| Error::file("move a process by", &path, &error))
    }

    /// The processes in the group itself.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let path = self.path.join("cgroup.procs");
        let text = std::fs::read_to_string(&path).map_err(|error| Error::file("read", &path, &error))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// The kernel's number of the group, as programs and links give it: the inode number on 64-bit kernels since 5.5
    /// (kernfs_ino of `include/linux/kernfs.h`).
    pub fn id(&self) -> Result<u64> {
        Ok(self.dir.metadata().map_err(|error| Error::file("look at", &self.path, &error))?.ino())
    }

    /// Whether it is still there: rmdir(2) leaves the open directory without its files.
    pub fn exists(&self) -> bool {
        nix::sys::stat::fstatat(&self.dir, "cgroup.procs", nix::fcntl::AtFlags::empty()).is_ok()
    }

    /// A second descriptor of the same group.
    pub fn try_clone(&self) -> Result<Self> {
        let dir = self.dir.try_clone().map_err(|error| Error::file("open again", &self.path, &error))?;
        Ok(Self { dir, path: self.path.clone() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

//! Other users than root: becoming one, giving one a directory, and working in a directory that one has been given.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups, setfsgid, setfsuid, setgroups, setresgid, setresuid};

use super::error::{Error, Result};

/// A user, with the only group that it is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// The number of the group.
    pub gid: u32,
}

impl FromStr for User {
    type Err = String;

    /// `UID` or `UID:GID`. Without a group, the one that has the user's number.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (user, group) = text.split_once(':').unwrap_or((text, text));
        // -1 stands for "as it is" (setresuid(2)).
        let number = |text: &str| text.parse().ok().filter(|number| *number != u32::MAX);
        match (number(user), number(group)) {
            (Some(0), _) => Err("user 0 is root; leave this setting out to run as root".into()),
            (Some(uid), Some(gid)) => Ok(Self { uid, gid }),
            _ => Err(format!("{text:?} is not UID or UID:GID in numbers, such as 65534 or 65534:65534")),
        }
    }
}

impl User {
    /// The one that this process is.
    pub fn own() -> Self {
        Self { uid: geteuid().as_raw(), gid: getegid().as_raw() }
    }

    /// Makes this process the user, in all its threads and forever. The capabilities of this thread stay permitted.
    pub fn become_it(self) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let done = nix::sys::prctl::set_keepcaps(true)
            .and_then(|()| setgroups(&[]))
            .and_then(|()| setresgid(gid, gid, gid))
            .and_then(|()| setresuid(uid, uid, uid));
        done.map_err(|errno| {
            let why = errno.desc();
            Error::Invalid(format!(
                "cannot become user {uid}: {why}; start as root with CAP_SETUID and CAP_SETGID, or without --user"
            ))
        })
    }

    /// Tries what this user is going to do, with its rights to files.
    pub fn tries(self, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        // What may not become the user is refused when it does.
        let Ok(_acting) = Acting::with(self.uid, self.gid) else { return Ok(()) };
        work()
    }

    /// Makes it the owner of a file, or of a directory with its files and those of the directories in it. No other user can change
    /// anything in the meantime. A symbolic link, and another name of a file that has several, is removed: its former owner may have
    /// made it to be given what it leads to. `path` itself must not be a link.
    ///
    /// Where this is cut short, a directory can be this user's with such names still in it. Pins are not opened by them
    /// (`pin::get`), and the next time removes them.
    pub fn own_all(self, path: &Path) -> io::Result<()> {
        if fs::symlink_metadata(path)?.is_symlink() {
            return Err(io::Error::other("it is a symbolic link"));
        }
        // An instance has generations, and these have pins.
        self.own_levels(path, 2)
    }

    fn own_levels(self, path: &Path, levels: u8) -> io::Result<()> {
        let data = fs::symlink_metadata(path)?;
        let mut owner = data.uid();
        if data.is_dir() {
            let own = geteuid().as_raw();
            if owner != own {
                lchown(path, Some(own), None)?;
                owner = own;
            }
            // Its former owner may have let everyone write here, and so itself: also by a descriptor that it has kept.
            fs::set_permissions(path, Permissions::from_mode(data.mode() & 0o755))?;
            if levels > 0 {
                for entry in fs::read_dir(path)? {
                    self.own_levels(&entry?.path(), levels - 1)?;
                }
            }
        } else if data.is_symlink() || data.nlink() > 1 {
            return fs::remove_file(path);
        }
        if (owner, data.gid()) == (self.uid, self.gid) {
            return Ok(());
        }
        lchown(path, Some(self.uid), Some(self.gid))
    }
}

/// What a descriptor is of, as a path. Where /proc does not show it the answer is ENOSYS, as the C library's own functions that go
/// through /proc have it: otherwise what is there would look as if it was not.
pub(super) fn path_of(file: &File) -> io::Result<PathBuf> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
        found => found.map(|_| path),
    }
}

/// A path, and the rights with which to use it.
pub(super) struct Place {
    path: PathBuf,
    // Given back before the directory is closed.
    _acting: Option<Acting>,
    _directory: Option<File>,
}

impl Place {
    /// Where root works in a directory of another user, it has that user's rights to files until this is dropped, and what it makes is
    /// that user's: a link that the user has put there leads to nothing that the user could not open.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let as_it_is = || Ok(Self { path: path.to_owned(), _acting: None, _directory: None });
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return as_it_is() };
        let is_others = |data: Metadata| data.uid() != 0;
        if !geteuid().is_root() || !fs::symlink_metadata(directory).is_ok_and(is_others) {
            return as_it_is();
        }
        // By its descriptor: the user need not reach it by its path, and cannot put another one in its place.
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let directory = File::options().read(true).custom_flags(flags).open(directory)?;
        let owner = directory.metadata()?;
        let path = path_of(&directory)?.join(name);
        let acting = Acting::with(owner.uid(), owner.gid())?;
        Ok(Self { path, _acting: Some(acting), _directory: Some(directory) })
    }

    /// The path to use.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// This thread has the rights to files of another user, until this is dropped.
struct Acting {
    /// What it gets back.
    groups: Vec<libc::gid_t>,
}

impl Acting {
    fn with(uid: u32, gid: u32) -> io::Result<Self> {
        let acting = Self { groups: getgroups()?.into_iter().map(Gid::as_raw).collect() };
        if !acting.groups.is_empty() {
            set_groups(&[])?;
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        setfsgid(gid);
        setfsuid(uid);
        // They do not say whether they have succeeded; the next call returns what is set (setfsuid(2)).
        let is = (setfsuid(uid), setfsgid(gid)) == (uid, gid);
        if is { Ok(acting) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        setfsuid(geteuid());
        setfsgid(getegid());
        if !self.groups.is_empty() {
            // It was allowed before.
            let _ = set_groups(&self.groups);
        }
    }
}

/// Sets the supplementary groups of this thread alone; the C library's function does it for all.
fn set_groups(groups: &[libc::gid_t]) -> io::Result<()> {
    // SAFETY: the slice is live.
    let done = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_one_or_two_numbers() {
        assert_eq!("65534".parse(), Ok(User { uid: 65534, gid: 65534 }));
        assert_eq!("1:0".parse(), Ok(User { uid: 1, gid: 0 }));
        for text in ["", "root2", "-1", "1:", ":1", "1:2:3", "4294967295", "1:4294967295", "4294967296", "1.5"] {
            let error = text.parse::<User>().unwrap_err();
            assert!(error.contains("in numbers, such as 65534") && !error.contains('\n'), "{text:?}: {error}");
        }
        assert!("0".parse::<User>().unwrap_err().contains("root"));
    }

    #[test]
    fn a_symbolic_link_is_not_given_away_and_stays() {
        let link = std::env::temp_dir().join(format!("sidestep-given-{}", std::process::id()));
        std::os::unix::fs::symlink("/", &link).unwrap();
        let given = User::own().own_all(&link);
        fs::remove_file(&link).unwrap();
        assert_eq!(given.unwrap_err().to_string(), "it is a symbolic link");
    }
}

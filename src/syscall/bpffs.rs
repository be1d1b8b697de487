//! The bpf file system, where pins are: it holds directories and pins, no files, and no names with dots.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::error::{Error, Result};
use super::mountinfo::{Mount, mounts};
use super::user::Place;

/// Where it is usually mounted.
pub const USUAL_POINT: &str = "/sys/fs/bpf";

/// Where a bpf file system is mounted: the usual point if it is one, else any other; `None` when there is none.
pub fn find() -> Result<Option<PathBuf>> {
    Ok(choose(&mounts()?))
}

fn choose(mounts: &[Mount]) -> Option<PathBuf> {
    let of_type = |mount: &&Mount| mount.fs_type == "bpf";
    let usual = mounts.iter().filter(of_type).find(|mount| mount.point == Path::new(USUAL_POINT));
    usual.or_else(|| mounts.iter().rev().find(of_type)).map(|mount| mount.point.clone())
}

/// Whether `path` lies on a bpf file system.
pub fn contains(path: &Path) -> Result<bool> {
    let stat = nix::sys::statfs::statfs(path).map_err(|errno| Error::file("look at", path, errno))?;
    Ok(stat.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC)
}

/// Mounts a bpf file system on the directory `point`, for root alone (takes CAP_SYS_ADMIN).
pub fn mount_at(point: &Path) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME;
    mount(Some("bpf"), point, Some("bpf"), flags, Some("mode=0700"))
        .map_err(|errno| Error::file("mount a bpf file system on", point, errno))
}

/// Creates a directory, and those above it that are missing, for this user alone: a process that can open a directory
/// can lock it.
pub fn create_directory(path: &Path) -> Result<()> {
    let create = |place: Place| DirBuilder::new().recursive(true).mode(0o700).create(place.path());
    Place::of(path).and_then(create).map_err(|error| Error::file("create the directory", path, &error))
}

/// Refuses a directory in which another user could put, replace or hide pins: it must be a directory and not a link to
/// one, be this user's or root's, and give no other user the right to write. `false` when there is none.
pub fn check_private(path: &Path) -> Result<bool> {
    check(path, false)
}

/// The same, but the directory may belong to another user, if root has given it to that user: then the directory above it is private,
/// or root has given it to the same user.
pub fn check_private_or_given(path: &Path) -> Result<bool> {
    check(path, true)
}

fn check(path: &Path, may_be_given: bool) -> Result<bool> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        found => found.map_err(|error| Error::file("look at", path, &error))?,
    };
    let own = nix::unistd::geteuid().as_raw();
    let flaw = if metadata.file_type().is_symlink() {
        "is a symbolic link".to_owned()
    } else if !metadata.is_dir() {
        "is not a directory".to_owned()
    } else if metadata.mode() & 0o022 != 0 {
        format!("can be written by other users (mode {:03o})", metadata.mode() & 0o777)
    } else if metadata.uid() == own || may_be_given && is_given(path, metadata.uid(), own) {
        return Ok(true);
    } else if metadata.uid() == 0 {
        // Root lets the user of an agent pass.
        if metadata.mode() & 0o005 == 0o005 {
            return Ok(true);
        }
        return Err(Error::Invalid(format!(
            "{} belongs to root, which alone can look at what is pinned there; run as root to see it",
            path.display()
        )));
    } else {
        format!("belongs to user {}, and this is user {own}", metadata.uid())
    };
    Err(Error::Invalid(format!(
        "{} {flaw}: pins in it can be hidden or replaced; remove it, or use another bpf file system (--bpffs)",
        path.display()
    )))
}

/// Whether root, which this process must be, has given this directory to the user `owner`. Only root can: no other user can make or
/// move anything in a directory of root's that others cannot write.
fn is_given(path: &Path, owner: u32, own: u32) -> bool {
    let Some(above) = path.parent().filter(|_| own == 0) else { return false };
    let with_it = std::fs::symlink_metadata(above).is_ok_and(|data| data.uid() == owner);
    check(above, with_it).unwrap_or(false)
}

/// Lets every user see what is in this directory, and pass through it.
pub fn let_pass(path: &Path) -> Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(0o755))
        .map_err(|error| Error::file("change the mode of", path, &error))
}

/// Renames a pin or a directory within the directory above it; a pin takes the place of one that has the new name.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    let rename =
        |place: Place| std::fs::rename(place.path(), place.path().with_file_name(to.file_name().unwrap_or_default()));
    Place::of(from).and_then(rename).map_err(|error| Error::file("rename", from, &error))
}

/// Removes a pin. `false` when it did not exist.
pub fn unpin(path: &Path) -> Result<bool> {
    absent_is_none(Place::of(path).and_then(|place| std::fs::remove_file(place.path())))
        .map(|done| done.is_some())
        .map_err(|error| Error::file("remove", path, &error))
}

/// Removes an empty directory. `false` when something is in it, when it does not exist, or when root keeps this user from it.
pub fn remove_empty(path: &Path) -> Result<bool> {
    match Place::of(path).and_then(|place| std::fs::remove_dir(place.path())) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::EACCES)) => Ok(false),
        done => absent_is_none(done)
            .map(|done| done.is_some())
            .map_err(|error| Error::file("remove the directory", path, &error)),
    }
}

/// Removes a directory of pins with the pins. `false` when it did not exist.
pub fn remove_directory(path: &Path) -> Result<bool> {
    for name in names(path)? {
        unpin(&path.join(name))?;
    }
    remove_empty(path)
}

/// The names in a directory, in order; none when the directory does not exist.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let read = || -> std::io::Result<Vec<String>> {
        let place = Place::of(path)?;
        std::fs::read_dir(place.path())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    let names = absent_is_none(read()).map_err(|error| Error::file("list", path, &error))?;
    let mut names = names.unwrap_or_default();
    names.sort();
    Ok(names)
}

fn absent_is_none<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_point_wins_over_others() {
        let mount =
            |point: &str, fs_type: &str| Mount { root: "/".into(), point: point.into(), fs_type: fs_type.into() };
        let all = [mount(USUAL_POINT, "bpf"), mount("/run/bpf", "bpf"), mount("/x", "tmpfs")];
        assert_eq!(choose(&all), Some(USUAL_POINT.into()));
        assert_eq!(choose(&all[1..]), Some("/run/bpf".into()));
        assert_eq!(choose(&all[2..]), None);
    }
}

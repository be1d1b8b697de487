//! Pins: names for kernel objects on a bpf file system, which keep them alive.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::attr;
use super::error::{Error, Operation, Result};
use super::sys::{self, Command};
use super::user::{Place, path_of};

/// Pins the object behind `fd` at `path` (BPF_OBJ_PIN); never replaces an older pin.
pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let place = at(path)?;
    let name = c_path(place.path())?;
    let mut attr = attr::Obj { pathname: name.as_ptr() as u64, bpf_fd: fd.as_raw_fd() as u32, ..attr::Obj::default() };
    // SAFETY: `pathname` is a zero-terminated string that lives through the call.
    unsafe { sys::bpf(Command::ObjPin, &mut attr) }
        .map_err(|errno| Error::call(Operation::Pin, format!("at {}", path.display()), errno))?;
    Ok(())
}

/// Opens the object pinned at `path` (BPF_OBJ_GET), whatever it is.
///
/// A symbolic link is refused, and so is one of several names. In a directory that root has taken back from another user, and was
/// killed before it had looked at what is in it, that user may have put it there ([`User::own_all`](super::User::own_all)).
pub(super) fn get(path: &Path) -> Result<OwnedFd> {
    let place = at(path)?;
    let failed = |errno| Error::call(Operation::Get, path.display().to_string(), errno);
    // What is looked at is what is opened.
    let pin = File::options().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(place.path());
    let pin = pin.map_err(|error| failed((&error).into()))?;
    let data = pin.metadata().map_err(|error| failed((&error).into()))?;
    if data.is_symlink() || data.nlink() > 1 {
        let what = if data.is_symlink() { "a symbolic link" } else { "one of several names of a pin (a hard link)" };
        return Err(Error::Invalid(format!(
            "{} is {what}, which another user may have put there; remove it, or let `sidestep run` take over as root",
            path.display()
        )));
    }
    let name = c_path(&path_of(&pin).map_err(|error| Error::file("open the pin", path, &error))?)?;
    let mut attr = attr::Obj { pathname: name.as_ptr() as u64, ..attr::Obj::default() };
    // SAFETY: `pathname` is a zero-terminated string that lives through the call; the command returns a descriptor.
    unsafe { sys::bpf_fd(Command::ObjGet, &mut attr) }.map_err(failed)
}

fn at(path: &Path) -> Result<Place> {
    Place::of(path).map_err(|error| Error::file("work in the directory of", path, &error))
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::Invalid(format!("the path {path:?} contains a zero byte; use another")))
}

//! Pins: names for kernel objects on a bpf file system, which keep them alive.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::attr;
use super::error::{Error, Operation, Result};
use super::sys::{self, Command};
use super::user::Place;

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
pub(super) fn get(path: &Path) -> Result<OwnedFd> {
    let place = at(path)?;
    let name = c_path(place.path())?;
    let mut attr = attr::Obj { pathname: name.as_ptr() as u64, ..attr::Obj::default() };
    // SAFETY: `pathname` is a zero-terminated string that lives through the call; the command returns a descriptor.
    unsafe { sys::bpf_fd(Command::ObjGet, &mut attr) }
        .map_err(|errno| Error::call(Operation::Get, path.display().to_string(), errno))
}

fn at(path: &Path) -> Result<Place> {
    Place::of(path).map_err(|error| Error::file("work in the directory of", path, &error))
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::Invalid(format!("the path {path:?} contains a zero byte; use another")))
}

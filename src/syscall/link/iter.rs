//! Reading what an iterator program prints.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::Link;
use crate::syscall::attr;
use crate::syscall::error::{Error, Operation, Result};
use crate::syscall::sys::{self, Command};

/// Starts one run of an iterator (BPF_ITER_CREATE, 5.8). The program runs as the file is read, to its end.
pub fn iter_reader(link: &Link) -> Result<File> {
    let mut attr = attr::IterCreate { link_fd: link.fd.as_raw_fd() as u32, flags: 0 };
    // SAFETY: no addresses; the command returns a descriptor.
    let fd = unsafe { sys::bpf_fd(Command::IterCreate, &mut attr) }
        .map_err(|errno| Error::call(Operation::IterCreate, "an iterator", errno))?;
    Ok(File::from(fd))
}

//! Reading what an iterator program prints.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;

use super::Link;
use crate::syscall::attr;
use crate::syscall::error::{Error, Operation, Result};
use crate::syscall::sys::{self, Command};

/// One run of an iterator. The program runs as the file is read, to its end.
#[derive(Debug)]
pub struct IterReader(File);

/// Starts one run of an iterator (BPF_ITER_CREATE, 5.8).
pub fn iter_reader(link: &Link) -> Result<IterReader> {
    let mut attr = attr::IterCreate { link_fd: link.fd.as_raw_fd() as u32, flags: 0 };
    // SAFETY: no addresses; the command returns a descriptor.
    let fd = unsafe { sys::bpf_fd(Command::IterCreate, &mut attr) }
        .map_err(|errno| Error::call(Operation::IterCreate, "an iterator", errno))?;
    Ok(IterReader(File::from(fd)))
}

impl IterReader {
    /// Runs a program that prints nothing over every object: reading to the end does that.
    pub fn run(mut self) -> std::io::Result<()> {
        let mut output = [0; 64];
        while self.read(&mut output)? > 0 {}
        Ok(())
    }
}

impl Read for IterReader {
    /// Goes on after a signal, and after a million objects of which the program has printed nothing: then read(2) fails
    /// with EAGAIN (`MAX_ITER_OBJECTS` in kernel/bpf/bpf_iter.c), and the next one goes on from there.
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.0.read(bytes) {
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                answer => return answer,
            }
        }
    }
}

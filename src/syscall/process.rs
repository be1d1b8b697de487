//! A process by a descriptor, which never means another process that has got its number (pidfd_open(2), Linux 5.3).

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

/// A process, which may have ended.
#[derive(Debug)]
pub struct ProcessHandle(OwnedFd);

impl ProcessHandle {
    /// The process that has this number now.
    pub fn open(process: u32) -> Result<Self, Errno> {
        // SAFETY: no addresses; the answer is a new descriptor or -1.
        let answer = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
        // SAFETY: a descriptor fits, and this one is new.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(answer as i32) }))
    }

    /// Sends it a signal. ESRCH when it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let no_info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a null pointer stands for what kill(2) would send.
        let answer = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal as libc::c_int, no_info, 0)
        };
        Errno::result(answer).map(drop)
    }

    /// Whether it has ended, also where its parent has not waited for it yet.
    pub fn has_ended(&self) -> Result<bool, Errno> {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).map(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_gets_a_signal_until_it_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = ProcessHandle::open(child.id()).unwrap();
        assert_eq!(process.has_ended(), Ok(false));
        process.signal(Signal::SIGTERM).unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(process.has_ended(), Ok(true));
        assert_eq!(process.signal(Signal::SIGTERM), Err(Errno::ESRCH));
        assert!(ProcessHandle::open(u32::MAX).is_err());
    }
}

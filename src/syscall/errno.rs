//! An error number of the kernel, including the few that leave it by accident.

use std::fmt;

/// A positive errno value, as in `include/uapi/asm-generic/errno.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// `ENOTSUPP` of `include/linux/errno.h`: the kernel's own number, which bpf(2) lets out to user space (for
    /// example for direct values of maps that have none). The C library has no name for it.
    pub const ENOTSUPP: Self = Self(524);
    /// Operation not permitted.
    pub const EPERM: Self = Self(libc::EPERM);
    /// No such file, key, id or attachment.
    pub const ENOENT: Self = Self(libc::ENOENT);
    /// Too big: a map is full, or an attribute has bits that this kernel does not know.
    pub const E2BIG: Self = Self(libc::E2BIG);
    /// Try again.
    pub const EAGAIN: Self = Self(libc::EAGAIN);
    /// Interrupted by a signal.
    pub const EINTR: Self = Self(libc::EINTR);
    /// Permission denied; from BPF_PROG_LOAD: the verifier found an unsafe access.
    pub const EACCES: Self = Self(libc::EACCES);
    /// In use.
    pub const EBUSY: Self = Self(libc::EBUSY);
    /// Already there.
    pub const EEXIST: Self = Self(libc::EEXIST);
    /// Invalid argument.
    pub const EINVAL: Self = Self(libc::EINVAL);
    /// No space left; from BPF_PROG_LOAD: the log buffer is too small.
    pub const ENOSPC: Self = Self(libc::ENOSPC);

    /// The number the last failed call of this thread left behind.
    pub fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

impl From<&std::io::Error> for Errno {
    /// The number in an error of the standard library, or `EIO` when it did not come from the kernel.
    fn from(error: &std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<nix::errno::Errno> for Errno {
    fn from(errno: nix::errno::Errno) -> Self {
        Self(errno as i32)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (*self, nix::errno::Errno::from_raw(self.0)) {
            (Self::ENOTSUPP, _) => f.write_str("operation not supported (ENOTSUPP)"),
            (_, nix::errno::Errno::UnknownErrno) => write!(f, "error number {}", self.0),
            (_, known) => write!(f, "{} ({known:?})", known.desc()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_known_unknown_and_kernel_only_numbers() {
        assert_eq!(Errno::EPERM.to_string(), "Operation not permitted (EPERM)");
        assert_eq!(Errno(524).to_string(), "operation not supported (ENOTSUPP)");
        assert_eq!(Errno(4000).to_string(), "error number 4000");
    }
}

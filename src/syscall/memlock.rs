//! RLIMIT_MEMLOCK, to which maps and programs count before Linux 5.11.

use super::error::{Error, Operation, Result};
use super::{Errno, Release};

/// The first release that charges maps to the memory cgroup instead (commit 97306be45fbe).
pub const CHARGED_TO_CGROUP_SINCE: Release = Release(5, 11, 0);

/// Whether the limit matters on the running kernel. An unknown release counts as an old one.
pub fn matters() -> bool {
    Release::running().is_none_or(|release| release < CHARGED_TO_CGROUP_SINCE)
}

/// Lifts the limit of this process where it matters. Nothing is changed elsewhere.
pub fn raise_if_needed() -> Result<()> {
    if matters() { raise() } else { Ok(()) }
}

/// Lifts the limit of this process (takes CAP_SYS_RESOURCE).
pub fn raise() -> Result<()> {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the structure lives through the call and is only read.
    match unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &unlimited) } {
        0 => Ok(()),
        _ => Err(Error::call(Operation::RaiseMemlock, "the limit of locked memory (RLIMIT_MEMLOCK)", Errno::last())),
    }
}

/// The present soft limit in bytes; `None` when there is none.
pub fn limit() -> Result<Option<u64>> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through the call and is writable.
    match unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } {
        0 => Ok((limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)),
        _ => Err(Error::call(Operation::Info, "RLIMIT_MEMLOCK", Errno::last())),
    }
}

//! Run-time statistics of all programs: on while the value lives.

use std::os::fd::OwnedFd;

use crate::syscall::attr;
use crate::syscall::error::{Error, Operation, Result};
use crate::syscall::sys::{self, Command};

/// `BPF_STATS_RUN_TIME` of `include/uapi/linux/bpf.h`.
const BPF_STATS_RUN_TIME: u32 = 0;

/// Keeps the kernel counting [`super::ProgInfo::run_time_ns`] and `run_count` of every program on the host (5.8), at
/// a cost of some 20 to 30 ns for each run. Drop it to stop.
#[derive(Debug)]
pub struct RunTimeStats {
    _fd: OwnedFd,
}

impl RunTimeStats {
    /// Switches the statistics on (takes CAP_SYS_ADMIN).
    pub fn enable() -> Result<Self> {
        let mut attr = attr::Single { value: BPF_STATS_RUN_TIME };
        // SAFETY: no addresses; the command returns a descriptor.
        let fd = unsafe { sys::bpf_fd(Command::EnableStats, &mut attr) }
            .map_err(|errno| Error::call(Operation::EnableStats, "run-time statistics of programs", errno))?;
        Ok(Self { _fd: fd })
    }
}

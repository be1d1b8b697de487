//! What the agent may do. It gives up everything else before it loads anything.

use super::error::Result;
use crate::syscall::caps::{self, Capability};
use crate::syscall::memlock;

/// The capabilities that the agent works with.
pub fn capabilities() -> Vec<Capability> {
    let mut all = vec![Capability::Bpf, Capability::NetAdmin, Capability::Perfmon, Capability::SysPtrace];
    // Before Linux 5.11 maps count against a limit that has to be raised.
    all.extend(memlock::matters().then_some(Capability::SysResource));
    all
}

/// Gives up all capabilities but [`capabilities`] and, if this thread has them, two that make it better. Threads that are started later have no more either.
pub fn drop_privileges() -> Result<()> {
    let mut kept = capabilities();
    // The descriptor of a socket that io_uring receives from is looked for in /proc/PID/fd, which is its user's alone.
    kept.push(Capability::DacReadSearch);
    // A call that has spliced waits for the threads that watch readers, for 3 ms at most: they run before others (SCHED_FIFO).
    kept.push(Capability::SysNice);
    Ok(caps::keep_only(&kept)?)
}

//! What the agent may do. It gives up everything else before it loads anything.

use super::error::Result;
use crate::syscall::caps::{self, Capability};
use crate::syscall::{User, memlock};

/// The capabilities that the agent works with.
pub fn capabilities() -> Vec<Capability> {
    // CAP_SYS_NICE: a call that has spliced waits for the threads that watch readers, for 3 ms at most. Without SCHED_FIFO they
    // came too late on a busy machine.
    let mut all =
        vec![Capability::Bpf, Capability::NetAdmin, Capability::Perfmon, Capability::SysPtrace, Capability::SysNice];
    // Before Linux 5.11 maps count against a limit that has to be raised.
    all.extend(memlock::matters().then_some(Capability::SysResource));
    all
}

/// What `run --user` takes besides, until it has become the user. It keeps the last one.
pub const CAPABILITIES_TO_CHANGE_USER: [Capability; 4] =
    [Capability::SetUid, Capability::SetGid, Capability::Chown, Capability::DacReadSearch];

/// Gives up all capabilities but [`capabilities`] and one that helps where this thread has it, and becomes `user`, if one is given. Threads
/// that are started later have no others either.
pub fn drop_privileges(user: Option<User>) -> Result<()> {
    let mut kept = capabilities();
    // The descriptor of a socket that io_uring receives from is looked for in /proc/PID/fd, which is its user's
    // alone. Another user than root reaches its pins by it where systemd has mounted the bpf file system, for root alone.
    kept.push(Capability::DacReadSearch);
    if let Some(user) = user {
        user.become_it()?;
    }
    Ok(caps::keep_only(&kept)?)
}

//! Who runs first.

use nix::errno::Errno;

/// Has this thread run before ordinary ones, and before those of a lower priority, from when it is woken until it sleeps
/// (sched(7), `SCHED_FIFO`). What it forks is ordinary.
pub fn run_first(priority: i32) -> Result<(), Errno> {
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // The system call, since the function of that name refuses in musl.
    // SAFETY: the kernel's struct sched_param is the priority alone, which is live; 0 is the calling thread.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    Errno::result(answer).map(drop)
}

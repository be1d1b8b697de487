//! Stops a process at each of its system calls (ptrace(2)), to kill it at one that is chosen.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Runs `command` until `is_due` holds where one of its threads enters or leaves a system call, and kills it there. Answers whether
/// that was so before it ended.
#[allow(clippy::zombie_processes, reason = "waitpid reaps it, as it does each thread that is traced")]
pub(crate) fn kill_when(command: &mut Command, mut is_due: impl FnMut() -> bool) -> bool {
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    let child = unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) }.spawn().unwrap();
    let leader = Pid::from_raw(child.id() as i32);
    assert!(matches!(waitpid(leader, None).unwrap(), WaitStatus::Stopped(_, Signal::SIGTRAP)), "it has not begun");
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(leader, options).unwrap();
    ptrace::syscall(leader, None).unwrap();
    let mut was_due = false;
    loop {
        // Only what this thread traces: other tests have children of their own.
        match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)).unwrap() {
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == leader => return was_due,
            WaitStatus::PtraceSyscall(pid) => {
                if !was_due && is_due() {
                    was_due = true;
                    nix::sys::signal::kill(leader, Signal::SIGKILL).unwrap();
                } else {
                    go_on(pid, None);
                }
            }
            // The first stop of a new thread.
            WaitStatus::Stopped(pid, Signal::SIGSTOP) | WaitStatus::PtraceEvent(pid, ..) => go_on(pid, None),
            WaitStatus::Stopped(pid, signal) => go_on(pid, Some(signal)),
            _ => {}
        }
    }
}

fn go_on(pid: Pid, signal: Option<Signal>) {
    // One that has been killed meanwhile says so at the next wait.
    let _ = ptrace::syscall(pid, signal);
}

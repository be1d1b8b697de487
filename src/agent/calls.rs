//! The system calls of an agent that has attached. With all others it lives without.

use super::error::Result;
use crate::syscall::seccomp::{Call, Filter, Rule};

/// Files, descriptors and waiting.
const FILES: &[Call] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_open_by_handle_at,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_fdatasync,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
];

/// The same by older names, which only x86_64 has.
#[cfg(target_arch = "x86_64")]
const OLDER: &[Call] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[Call] = &[];

/// Sockets of its own and of others, and BPF.
const SOCKETS: &[Call] = &[
    libc::SYS_socket,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_connect,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_bpf,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
];

/// Memory, threads, time, and what it may know of itself.
const PROCESS: &[Call] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_geteuid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getaffinity,
    libc::SYS_getrandom,
    libc::SYS_uname,
];

/// What only a process that has been taken over would call. Their end is loud, where an error would let it try the next thing.
const KILLED: &[Call] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_init_module,
    libc::SYS_finit_module,
];

/// What is allowed with one argument, or with one bit of it.
fn conditional() -> [Rule; 8] {
    let executable = |call| Rule::AllowIf { call, at: 2, mask: libc::PROT_EXEC as u32, value: 0 };
    let thread = libc::CLONE_THREAD as u32;
    let request = |value| Rule::AllowIf { call: libc::SYS_ioctl, at: 1, mask: u32::MAX, value };
    let own = |call, value| Rule::AllowIf { call, at: 0, mask: u32::MAX, value };
    [
        executable(libc::SYS_mmap),
        executable(libc::SYS_mprotect),
        // A thread, and never a process.
        Rule::AllowIf { call: libc::SYS_clone, at: 0, mask: thread, value: thread },
        // Sockets that do not block, and how much they hold, which the look for faults of the kernel asks at a reload. Another
        // request could type into the terminal of the one who started the agent.
        request(libc::FIONBIO as u32),
        request(libc::TIOCOUTQ as u32),
        // Names of threads.
        own(libc::SYS_prctl, libc::PR_SET_NAME as u32),
        // The limit of its own locked memory.
        own(libc::SYS_prlimit64, 0),
        // abort(3), after a panic.
        own(libc::SYS_tgkill, std::process::id()),
    ]
}

fn filter() -> Filter {
    let allowed = [FILES, OLDER, SOCKETS, PROCESS].into_iter().flatten().copied().map(Rule::Allow);
    let killed = KILLED.iter().copied().map(Rule::Kill);
    Filter::new(conditional().into_iter().chain(allowed).chain(killed))
}

/// Lets this process make no other system calls from now on, in all its threads. To be called when everything is attached, after
/// [`super::drop_privileges`].
pub fn restrict_calls() -> Result<()> {
    Ok(filter().confine()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscall::seccomp::tests::{ends, is_killed, system_call};

    #[test]
    fn it_starts_no_program_and_looks_into_no_memory() {
        for call in KILLED {
            is_killed(system_call(&filter(), *call, [0; 3]));
        }
    }

    #[test]
    fn what_it_does_not_need_fails_as_on_a_kernel_that_does_not_have_it() {
        let refused = [
            libc::SYS_clone3,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_mount,
            libc::SYS_kill,
            libc::SYS_pidfd_send_signal,
            libc::SYS_setuid,
            libc::SYS_capset,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_keyctl,
            libc::SYS_io_uring_setup,
            libc::SYS_kexec_load,
        ];
        for call in refused {
            ends(system_call(&filter(), call, [0; 3]), libc::ENOSYS);
        }
    }

    #[test]
    fn one_argument_decides_where_the_rest_of_a_call_is_dangerous() {
        let filter = filter();
        let calls = |number, arguments, errno| ends(system_call(&filter, number, arguments), errno);
        // As fork(2) is.
        calls(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0], libc::ENOSYS);
        calls(libc::SYS_mmap, [0, 0, (libc::PROT_READ | libc::PROT_EXEC) as usize], libc::ENOSYS);
        // The error of an address that is not a page's, since the call is let through.
        calls(libc::SYS_mprotect, [1, 0, libc::PROT_READ as usize], libc::EINVAL);
        calls(libc::SYS_mprotect, [1, 0, libc::PROT_EXEC as usize], libc::ENOSYS);
        calls(libc::SYS_ioctl, [usize::MAX, libc::FIONBIO as usize, 0], libc::EBADF);
        calls(libc::SYS_ioctl, [usize::MAX, libc::TIOCOUTQ as usize, 0], libc::EBADF);
        calls(libc::SYS_ioctl, [usize::MAX, libc::TIOCSTI as usize, 0], libc::ENOSYS);
        // What is known of programs is on the disk before it counts.
        calls(libc::SYS_fdatasync, [usize::MAX, 0, 0], libc::EBADF);
        // Signals go to no other process.
        calls(libc::SYS_tgkill, [1, 1, 0], libc::ENOSYS);
        calls(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 0, 0], libc::ENOSYS);
        calls(libc::SYS_prlimit64, [1, 0, 0], libc::ENOSYS);
    }
}

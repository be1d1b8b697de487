//! Which system calls this process may make: seccomp(2), with a filter in classic BPF.
//!
//! A filter is a list of the calls that are allowed. It belongs to the binary, which brings its C library with it, so no update of a
//! library brings calls that the list lacks.

use std::io;

use super::error::{Error, Result};

/// A number of a system call.
pub type Call = libc::c_long;

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_AARCH64` (include/uapi/linux/audit.h): the machine by its number in ELF, 64 bits,
/// little-endian.
const ARCHITECTURE: u32 = 0xc000_0000 | if cfg!(target_arch = "x86_64") { 62 } else { 183 };
/// Numbers from here on are calls of x32 (`__X32_SYSCALL_BIT`, arch/x86/include/uapi/asm/unistd.h). No call of an architecture has
/// such a number.
const X32: u32 = 0x4000_0000;
/// Where `struct seccomp_data` (include/uapi/linux/seccomp.h) has the number, the architecture, and the low half of the first argument
/// on a little-endian machine.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// What holds for one call.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// It is allowed.
    Allow(Call),
    /// It is allowed when the low half of argument `at`, with only the bits of `mask`, is `value`.
    AllowIf {
        /// Which call.
        call: Call,
        /// The number of the argument, from 0.
        at: u32,
        /// The bits that count.
        mask: u32,
        /// What they must be.
        value: u32,
    },
    /// It ends the process by SIGSYS.
    Kill(Call),
}

/// A filter.
#[derive(Clone, Debug)]
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// A call that has no rule fails with ENOSYS, as on a kernel that does not have it: a C library then takes an older call. One of
    /// another architecture ends the process.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let mut filter = Self(Vec::new());
        filter.load(ARCHITECTURE_AT);
        filter.jump(libc::BPF_JEQ, ARCHITECTURE, [1, 0]);
        filter.answer(libc::SECCOMP_RET_KILL_PROCESS);
        filter.load(NUMBER_AT);
        filter.jump(libc::BPF_JGE, X32, [0, 1]);
        filter.answer(libc::SECCOMP_RET_KILL_PROCESS);
        for rule in rules {
            match rule {
                Rule::Allow(call) => filter.answer_to(call, libc::SECCOMP_RET_ALLOW),
                Rule::Kill(call) => filter.answer_to(call, libc::SECCOMP_RET_KILL_PROCESS),
                Rule::AllowIf { call, at, mask, value } => {
                    filter.jump(libc::BPF_JEQ, call as u32, [0, 5]);
                    filter.load(ARGUMENTS_AT + 8 * at);
                    filter.push(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask, [0, 0]);
                    filter.jump(libc::BPF_JEQ, value, [0, 1]);
                    filter.answer(libc::SECCOMP_RET_ALLOW);
                    // Another rule may allow it.
                    filter.load(NUMBER_AT);
                }
            }
        }
        filter.refuse();
        filter
    }

    /// Puts all threads of this process under it, forever, and each program that one of them executes. The calling thread must have
    /// no_new_privs.
    pub fn confine(&self) -> Result<()> {
        // A filter has at most BPF_MAXINSNS (4,096) instructions; the kernel refuses a longer one, and this one has hundreds.
        let program = libc::sock_fprog { len: self.0.len() as u16, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: the program and its instructions are live, as many as its length says, and the kernel only reads them.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_TSYNC,
                &raw const program,
            )
        };
        match answer {
            0 => Ok(()),
            // The thread that has another filter.
            1.. => Err(failed(&format!("thread {answer} has a filter of its own"))),
            _ => Err(failed(&io::Error::last_os_error().to_string())),
        }
    }

    fn answer_to(&mut self, call: Call, answer: u32) {
        self.jump(libc::BPF_JEQ, call as u32, [0, 1]);
        self.answer(answer);
    }

    fn refuse(&mut self) {
        self.answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    }

    fn answer(&mut self, answer: u32) {
        self.push(libc::BPF_RET | libc::BPF_K, answer, [0, 0]);
    }

    fn load(&mut self, at: u32) {
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, [0, 0]);
    }

    /// How many instructions are skipped when what was loaded compares so with `value`, and how many otherwise.
    fn jump(&mut self, comparison: u32, value: u32, skipped: [u8; 2]) {
        self.push(libc::BPF_JMP | comparison | libc::BPF_K, value, skipped);
    }

    fn push(&mut self, code: u32, k: u32, [jt, jf]: [u8; 2]) {
        self.0.push(libc::sock_filter { code: code as u16, jt, jf, k });
    }
}

fn failed(why: &str) -> Error {
    Error::Invalid(format!("cannot restrict the system calls of this process: {why}; `--seccomp off` goes on without"))
}

#[cfg(test)]
pub(crate) mod tests {
    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    const ENOSYS: i32 = libc::ENOSYS;
    /// No error has this number.
    const NOT_CONFINED: i32 = 255;

    fn filter() -> Filter {
        let (call, at) = (libc::SYS_lseek, 2);
        let conditional = Rule::AllowIf { call, at, mask: 0xff, value: libc::SEEK_CUR as u32 };
        let allowed = [libc::SYS_exit_group, libc::SYS_getppid].map(Rule::Allow);
        Filter::new([conditional, Rule::Kill(libc::SYS_execve)].into_iter().chain(allowed))
    }

    /// What a process under the filter that makes this call comes to: its exit status is the call's error.
    fn outcome(filter: &Filter, call: impl FnOnce() -> libc::c_long) -> WaitStatus {
        // SAFETY: the child makes system calls only, and takes no memory unless confining it fails.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
            ForkResult::Child => {
                let confined = nix::sys::prctl::set_no_new_privs().is_ok() && filter.confine().is_ok();
                let status = if !confined {
                    NOT_CONFINED
                } else if call() >= 0 {
                    0
                } else {
                    io::Error::last_os_error().raw_os_error().unwrap_or(NOT_CONFINED)
                };
                // SAFETY: it does not return.
                unsafe { libc::_exit(status) }
            }
        }
    }

    pub(crate) fn system_call(filter: &Filter, number: Call, arguments: [usize; 3]) -> WaitStatus {
        let [one, two, three] = arguments;
        // SAFETY: the calls of these tests write to no memory.
        outcome(filter, || unsafe { libc::syscall(number, one, two, three, 0, 0, 0) })
    }

    #[track_caller]
    pub(crate) fn ends(outcome: WaitStatus, status: i32) {
        assert!(matches!(outcome, WaitStatus::Exited(_, found) if found == status), "{outcome:?}, not {status}");
    }

    #[track_caller]
    pub(crate) fn is_killed(outcome: WaitStatus) {
        assert!(matches!(outcome, WaitStatus::Signaled(_, Signal::SIGSYS, _)), "{outcome:?}");
    }

    #[test]
    fn a_call_is_made_fails_or_kills_as_its_rule_says() {
        let filter = filter();
        ends(system_call(&filter, libc::SYS_getppid, [0; 3]), 0);
        ends(system_call(&filter, libc::SYS_getuid, [0; 3]), ENOSYS);
        // A call that no kernel has yet.
        ends(system_call(&filter, 0xffff, [0; 3]), ENOSYS);
        is_killed(system_call(&filter, libc::SYS_execve, [0; 3]));
    }

    #[test]
    fn an_argument_counts_by_the_bits_of_its_mask() {
        let filter = filter();
        let seek = |from| system_call(&filter, libc::SYS_lseek, [usize::MAX, 0, from]);
        let current = libc::SEEK_CUR as usize;
        ends(seek(current), libc::EBADF);
        ends(seek(current | 0x100), libc::EBADF);
        ends(seek(libc::SEEK_SET as usize), ENOSYS);
        // The last rule's jump does not fall into the one after it.
        ends(seek(libc::SEEK_END as usize), ENOSYS);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_call_by_the_numbers_of_another_architecture_ends_the_process() {
        let filter = filter();
        is_killed(system_call(&filter, X32 as Call | libc::SYS_getppid, [0; 3]));
        let i386 = outcome(&filter, || {
            let mut answer: libc::c_long = 64;
            // SAFETY: getppid of i386 has no arguments. A kernel without its calls sends SIGSEGV.
            unsafe { std::arch::asm!("int 0x80", inout("rax") answer) };
            answer
        });
        let (lacks, kills) = (Signal::SIGSEGV, Signal::SIGSYS);
        assert!(matches!(i386, WaitStatus::Signaled(_, signal, _) if signal == kills || signal == lacks), "{i386:?}");
    }
}

//! A process whose bpf(2) answers as on a kernel that has less: every call of it comes to us first (seccomp's user
//! notification, Linux 5.0; letting calls pass, 5.5), and its attribute can be read, which a filter alone cannot.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// `BPF_MAP_CREATE` and `BPF_MAP_TYPE_SOCKHASH` of include/uapi/linux/bpf.h.
const MAP_CREATE: u64 = 0;
const SOCKHASH: u32 = 18;
/// Where the child has the other end, which must not be closed by exec.
const LISTENER: i32 = 100;

nix::ioctl_readwrite!(notify_receive, b'!', 0, libc::seccomp_notif);
nix::ioctl_readwrite!(notify_send, b'!', 1, libc::seccomp_notif_resp);

/// What is missing, with the error number that says so.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lacks {
    /// The map type that everything stands on.
    Sockhash(i32),
    /// The whole of bpf(2).
    Bpf(i32),
}

impl Lacks {
    /// The error number for this call, unless the kernel shall answer.
    fn answer(self, call: &libc::seccomp_notif) -> io::Result<Option<i32>> {
        match self {
            Self::Bpf(errno) => Ok(Some(errno)),
            Self::Sockhash(_) if call.data.args[0] != MAP_CREATE => Ok(None),
            Self::Sockhash(errno) => {
                let mut map_type = [0; 4];
                File::open(format!("/proc/{}/mem", call.pid))?.read_exact_at(&mut map_type, call.data.args[1])?;
                Ok((u32::from_ne_bytes(map_type) == SOCKHASH).then_some(errno))
            }
        }
    }
}

/// Runs the command to its end, without input.
pub(crate) fn output(command: &mut Command, lacks: Lacks) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: `listen` makes system calls only.
    let child = unsafe { command.pre_exec(listen) }.spawn().unwrap();
    let listener = take_descriptor(child.id(), LISTENER).unwrap();
    let supervisor = std::thread::spawn(move || supervise(&listener, lacks));
    let output = child.wait_with_output().unwrap();
    supervisor.join().unwrap();
    output
}

/// Sends this process's calls of bpf(2) to the process that has [`LISTENER`].
fn listen() -> io::Result<()> {
    let insn = |code: u32, jf, k| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut filter = [
        // struct seccomp_data begins with the number of the call.
        insn(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        insn(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_bpf as u32),
        insn(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_USER_NOTIF),
        insn(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its instructions live through the call, which reads them.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    // SAFETY: plain numbers; nothing of this process has the descriptor yet.
    if listener < 0 || unsafe { libc::dup2(listener as i32, LISTENER) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A copy of another process's descriptor (pidfd_getfd(2), 5.6).
fn take_descriptor(pid: u32, number: i32) -> io::Result<OwnedFd> {
    let owned = |answer: libc::c_long| match answer {
        // SAFETY: the kernel has just made this descriptor for us.
        0.. => Ok(unsafe { OwnedFd::from_raw_fd(answer as i32) }),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: plain numbers.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: plain numbers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

/// Answers until no process is left under the filter.
fn supervise(listener: &OwnedFd, lacks: Lacks) {
    use std::os::fd::AsFd;
    loop {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        if !fds[0].revents().unwrap().contains(PollFlags::POLLIN) {
            return;
        }
        // SAFETY: all zeros is a value of this plain structure, and the one that the kernel wants.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the structure is live and writable, and as large as the number of the request says.
        if unsafe { notify_receive(listener.as_raw_fd(), &mut call) }.is_err() {
            // The caller has been killed meanwhile.
            continue;
        }
        let answer = lacks.answer(&call).unwrap();
        let mut response = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: answer.map_or(0, |errno| -errno),
            flags: if answer.is_none() { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 },
        };
        // SAFETY: as above. It fails only where the caller has been killed.
        let _ = unsafe { notify_send(listener.as_raw_fd(), &mut response) };
    }
}

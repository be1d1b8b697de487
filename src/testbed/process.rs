//! The parent's half of a testbed process: start, talk, end.
//!
//! A child cannot outlive its parent: the kernel kills it when the thread that started it ends (`PR_SET_PDEATHSIG`).

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Pid, getppid, write};

use super::report::{Event, Latency, Report};
use super::role::{COMMAND, Instructions, Role};
use super::{Error, NetNs};

/// Starts the processes of a testbed.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The `sidestep` binary.
    pub program: PathBuf,
    /// The cgroup (v2) that processes enter first of all; `None` leaves them in the parent's.
    pub cgroup: Option<PathBuf>,
    /// The only CPU they may use; `None` for any.
    pub cpu: Option<usize>,
    /// How long any answer may take.
    pub timeout: Duration,
    /// Set from outside to stop waiting.
    pub interrupted: &'static AtomicBool,
}

impl Launcher {
    /// Starts processes from the running binary, which has to be `sidestep`.
    pub fn new(interrupted: &'static AtomicBool) -> Self {
        Self {
            program: "/proc/self/exe".into(),
            cgroup: None,
            cpu: None,
            timeout: Duration::from_secs(60),
            interrupted,
        }
    }

    /// Starts a process in a pod and waits until it is ready: a server listens, a client has warmed up.
    ///
    /// The calling thread must live as long as the process is needed.
    pub fn spawn(&self, pod: &NetNs, id: u32, role: Role) -> Result<Process, Error> {
        let name = role.name();
        let spawn = |source| Error::Spawn { role: name, source };
        let parent = Pid::this();
        let instructions = Instructions { parent: parent.as_raw(), id, role };
        let argument = serde_json::to_string(&instructions).map_err(|error| spawn(error.into()))?;
        let cgroup = self.cgroup.as_ref().map(|path| {
            let path = path.join("cgroup.procs");
            OpenOptions::new().write(true).open(&path).map_err(|source| Error::Cgroup { what: "enter", path, source })
        });
        let cgroup = cgroup.transpose()?;
        let netns = pod.as_fd().try_clone_to_owned().map_err(spawn)?;
        let mut cpus = CpuSet::new();
        self.cpu.map_or(Ok(()), |cpu| cpus.set(cpu)).map_err(|errno| spawn(errno.into()))?;
        let pinned = self.cpu.is_some();

        let mut command = Command::new(&self.program);
        command.arg(COMMAND).arg(argument).stdin(Stdio::piped()).stdout(Stdio::piped());
        let prepare = move || -> io::Result<()> {
            set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != parent {
                return Err(Errno::ESRCH.into());
            }
            if let Some(procs) = &cgroup {
                // "0" is the writer itself: Documentation/admin-guide/cgroup-v2.rst.
                write(procs, b"0")?;
            }
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            if pinned {
                sched_setaffinity(Pid::from_raw(0), &cpus)?;
            }
            // Ctrl-C goes to the whole foreground group; it is the parent's to act on.
            // SAFETY: ignoring a signal runs no handler.
            unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) }?;
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes only system calls on descriptors it owns; it does not
        // allocate or lock.
        unsafe { command.pre_exec(prepare) };
        let mut child = command.spawn().map_err(spawn)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| spawn(io::ErrorKind::BrokenPipe.into()))?;
        let (timeout, interrupted) = (self.timeout, self.interrupted);
        let mut process = Process { name, child, stdin, stdout, unread: Vec::new(), timeout, interrupted };
        match process.event()? {
            Event::Ready => Ok(process),
            event => Err(process.unexpected(event)),
        }
    }
}

/// A running process of the testbed; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    unread: Vec<u8>,
    timeout: Duration,
    interrupted: &'static AtomicBool,
}

impl Process {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets a client that is ready do its measured requests.
    pub fn measure(&mut self) -> Result<Latency, Error> {
        if let Some(stdin) = &mut self.stdin {
            // A client that has died says why in its event.
            let _ = stdin.write_all(b"\n");
        }
        match self.event()? {
            Event::Measured(latency) => Ok(latency),
            event => Err(self.unexpected(event)),
        }
    }

    /// Waits for a client that has measured, or asks a server to end; then takes its report.
    pub fn finish(mut self) -> Result<Report, Error> {
        drop(self.stdin.take());
        match self.event()? {
            Event::Done(report) => Ok(report),
            event => Err(self.unexpected(event)),
        }
    }

    fn unexpected(&self, event: Event) -> Error {
        let why = match event {
            Event::Failed(why) => why,
            event => format!("it said {event:?} out of turn"),
        };
        Error::Process { role: self.name, why }
    }

    /// The next line of the process.
    fn event(&mut self) -> Result<Event, Error> {
        let broken = |name, why: String| Error::Process { role: name, why };
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|error| broken(self.name, error.to_string()));
            }
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if Instant::now() > deadline {
                return Err(Error::Timeout { role: self.name, seconds: self.timeout.as_secs() });
            }
            // Short, so that an interruption is noticed whichever thread the signal has hit.
            let mut waiting = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, PollTimeout::from(100_u8)) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(broken(self.name, errno.to_string())),
            }
            let mut bytes = [0; 4096];
            match self.stdout.read(&mut bytes).map_err(|error| broken(self.name, error.to_string()))? {
                0 => {
                    let why = match self.child.wait() {
                        Ok(status) => format!("it ended with {status}"),
                        Err(error) => error.to_string(),
                    };
                    return Err(broken(self.name, why));
                }
                length => self.unread.extend_from_slice(&bytes[..length]),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; waiting reaps it either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

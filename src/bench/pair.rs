//! The parent's side of a pair of workers: start, round, end.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::time::ClockId;
use nix::unistd::{Pid, getppid, pipe2, write};

use super::cell::{Cell, Placement, Variant};
use super::error::{Error, Result, system};
use super::results::Pinned;
use super::topology::Site;
use super::worker::{COMMAND, END, FILL, HELD, Left, Spec, Transport};
use crate::testbed::NetNs;

/// How long an answer may take; longer than any round.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What one round took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// From the first end's start to the last end's end, ns.
    pub(super) wall_ns: u64,
    /// CPU time of both ends, ns.
    pub(super) client_cpu_ns: u64,
    pub(super) server_cpu_ns: u64,
    /// How often another thread has got the CPU of either end; 0 for ends in other languages.
    pub(super) switches: u64,
}

/// How a pair is set up, apart from what its cell says.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    /// The `sidestep` binary.
    pub(super) program: &'a Path,
    /// Cgroups of client and server.
    pub(super) cgroups: (PathBuf, PathBuf),
    /// CPUs of client and server.
    pub(super) cpus: (usize, usize),
    /// The command of an end in another language.
    pub(super) foreign: Option<&'a [String]>,
    /// Set from outside to stop.
    pub(super) interrupted: &'static AtomicBool,
}

/// A client and a server, connected.
#[derive(Debug)]
pub(super) struct Pair {
    client: Worker,
    server: Worker,
}

impl Pair {
    /// Starts both ends and connects them.
    pub(super) fn new(setup: &Setup<'_>, cell: &Cell, variant: Variant, site: &Site<'_>) -> Result<Self> {
        let cannot = system("make a pair of descriptors");
        let ends = match variant {
            Variant::Unix => {
                let (a, b) =
                    socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).map_err(&cannot)?;
                Some(((a.try_clone().map_err(&cannot_io())?, a), (b.try_clone().map_err(&cannot_io())?, b)))
            }
            Variant::Pipe => {
                let (from_server, to_client) = pipe2(OFlag::O_CLOEXEC).map_err(&cannot)?;
                let (from_client, to_server) = pipe2(OFlag::O_CLOEXEC).map_err(&cannot)?;
                Some(((from_server, to_server), (from_client, to_client)))
            }
            _ => None,
        };
        let (client_ends, server_ends) = ends.unzip();
        let spawn = |is_server: bool, address: SocketAddr, inherited: &Option<(OwnedFd, OwnedFd)>| {
            let pick = |pair: &(usize, usize)| if is_server { pair.1 } else { pair.0 };
            let spec = Spec {
                parent: Pid::this().as_raw(),
                id: if is_server { site.ids.1 } else { site.ids.0 },
                is_server,
                first: is_server && cell.placement == Placement::ServerFirst,
                workload: cell.workload,
                size: cell.size,
                nagle: cell.nagle,
                transport: Transport::Tcp(address),
            };
            let netns = if is_server { site.server } else { site.client };
            let cgroup = if is_server { &setup.cgroups.1 } else { &setup.cgroups.0 };
            Worker::spawn(setup, &spec, netns, cgroup, pick(&setup.cpus), inherited, (cell.name(), variant))
        };
        let mut server = spawn(true, site.listen, &server_ends)?;
        let port = server.expect("ready")?[0] as u16;
        let mut address = site.connect;
        address.set_port(port);
        let mut client = spawn(false, address, &client_ends)?;
        client.expect("ready")?;
        if client_ends.is_none() {
            server.expect("ready")?;
        }
        Ok(Self { client, server })
    }

    /// Lets both do a number of operations.
    pub(super) fn round(&mut self, operations: u64) -> Result<Round> {
        let before = (self.client.used()?, self.server.used()?);
        self.server.command(&operations)?;
        self.client.command(&operations)?;
        let client = self.client.expect("ran")?;
        let server = self.server.expect("ran")?;
        let (start, end) = (client[0].min(server[0]), client[1].max(server[1]));
        Ok(Round {
            wall_ns: end.saturating_sub(start),
            client_cpu_ns: client[2] + (self.client.used()? - before.0),
            server_cpu_ns: server[2] + (self.server.used()? - before.1),
            switches: client[3] + server[3],
        })
    }

    /// Ends the rounds. The answer is what both have written, and what TCP carried of it.
    pub(super) fn finish(&mut self) -> Result<(u64, u64)> {
        self.client.command(&END)?;
        self.server.command(&END)?;
        let (client, server) = (self.client.expect("bye")?, self.server.expect("bye")?);
        Ok((client[0] + server[0], client[1] + server[1]))
    }

    /// After [`Pair::finish`]: what the client leaves in the kernel when the server does not read, in messages of `size` bytes.
    pub(super) fn pinned(&mut self, size: usize) -> Result<Pinned> {
        self.client.command(&FILL)?;
        let [accepted, redirected, queued, _] = self.client.expect("filled")?;
        self.server.command(&HELD)?;
        let [receiver, ..] = self.server.expect("held")?;
        let left = Left { accepted, redirected, queued };
        Ok(Pinned { bytes: left.pinned(size, receiver), accepted, unbounded: left.is_unbounded(size) })
    }
}

fn cannot_io() -> impl Fn(io::Error) -> Error {
    system("copy a descriptor")
}

/// A worker's process; dropping it kills it.
#[derive(Debug)]
struct Worker {
    /// The CPU clock of an end that cannot read its own.
    cpu: Option<ClockId>,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    unread: Vec<u8>,
    end: &'static str,
    of: (String, Variant),
    interrupted: &'static AtomicBool,
}

impl Worker {
    fn spawn(
        setup: &Setup<'_>,
        spec: &Spec,
        netns: &NetNs,
        cgroup: &Path,
        cpu: usize,
        inherited: &Option<(OwnedFd, OwnedFd)>,
        of: (String, Variant),
    ) -> Result<Self> {
        let cannot = system::<io::Error>("start a worker");
        let procs = OpenOptions::new().write(true).open(cgroup.join("cgroup.procs")).map_err(&cannot)?;
        let netns = netns.as_fd().try_clone_to_owned().map_err(&cannot)?;
        let inherited = inherited
            .as_ref()
            .map(|(read, write)| -> io::Result<_> { Ok([read.try_clone()?, write.try_clone()?]) })
            .transpose()
            .map_err(&cannot)?;
        let mut spec = spec.clone();
        if let Some([read, write]) = &inherited {
            // The child uses the copies, which stay open in it.
            spec.transport = Transport::Inherited(read.as_raw_fd(), write.as_raw_fd());
        }
        let argument = serde_json::to_string(&spec).map_err(|error| cannot(error.into()))?;
        let mut cpus = CpuSet::new();
        cpus.set(cpu).map_err(|errno| cannot(errno.into()))?;
        let parent = Pid::from_raw(spec.parent);
        let mut command = match setup.foreign {
            Some([program, arguments @ ..]) => {
                let Transport::Tcp(address) = spec.transport else {
                    return Err(cannot(io::ErrorKind::Unsupported.into()));
                };
                let mut command = Command::new(program);
                command.args(arguments).arg(if spec.is_server { "server" } else { "client" });
                command.arg(address.ip().to_string()).args([address.port().to_string(), spec.size.to_string()]);
                command
            }
            _ => {
                let mut command = Command::new(setup.program);
                command.arg(COMMAND).arg(argument);
                command
            }
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let prepare = move || -> io::Result<()> {
            set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != parent {
                return Err(Errno::ESRCH.into());
            }
            // "0" is the writer itself: Documentation/admin-guide/cgroup-v2.rst.
            write(&procs, b"0")?;
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            sched_setaffinity(Pid::from_raw(0), &cpus)?;
            for fd in inherited.iter().flatten() {
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes only system calls on descriptors it owns; it does not
        // allocate or lock.
        unsafe { command.pre_exec(prepare) };
        let mut child = command.spawn().map_err(&cannot)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| cannot(io::ErrorKind::BrokenPipe.into()))?;
        let end = if spec.is_server { "server" } else { "client" };
        let cpu = setup.foreign.is_some().then(|| ClockId::pid_cpu_clock_id(Pid::from_raw(child.id() as i32)));
        let cpu = cpu.transpose().map_err(|errno| cannot(errno.into()))?;
        Ok(Self { cpu, child, stdin, stdout, unread: Vec::new(), end, of, interrupted: setup.interrupted })
    }

    fn failed(&self, why: String) -> Error {
        Error::Worker { end: self.end, cell: self.of.0.clone(), variant: self.of.1.name(), why }
    }

    /// CPU time so far of an end that cannot read its own clock, ns; else 0.
    fn used(&self) -> Result<u64> {
        let Some(clock) = self.cpu else { return Ok(0) };
        let time = clock.now().map_err(|errno| self.failed(errno.to_string()))?;
        Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
    }

    fn command(&mut self, what: &dyn Display) -> Result<()> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        writeln!(stdin, "{what}").map_err(|error| self.failed(error.to_string()))
    }

    /// The numbers of the next line, which has to start with `word`; missing ones are 0.
    fn expect(&mut self, word: &str) -> Result<[u64; 4]> {
        let line = self.line()?;
        let mut parts = line.split_ascii_whitespace();
        if parts.next() != Some(word) {
            let why = line.strip_prefix("failed ").unwrap_or(&line).to_owned();
            return Err(self.failed(why));
        }
        let mut numbers = [0; 4];
        for (number, text) in numbers.iter_mut().zip(parts) {
            *number = text.parse().map_err(|_| self.failed(format!("it said {line:?}")))?;
        }
        Ok(numbers)
    }

    fn line(&mut self) -> Result<String> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if Instant::now() > deadline {
                return Err(self.failed(format!("no answer within {} s; traffic is stuck", TIMEOUT.as_secs())));
            }
            // Short, so that an interruption is noticed whichever thread the signal has hit.
            match poll(&mut [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)], PollTimeout::from(100_u8)) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(self.failed(errno.to_string())),
            }
            let mut bytes = [0; 1024];
            match self.stdout.read(&mut bytes) {
                Ok(0) => {
                    let why = match self.child.wait() {
                        Ok(status) => format!("it ended with {status}"),
                        Err(error) => error.to_string(),
                    };
                    return Err(self.failed(why));
                }
                Ok(length) => self.unread.extend_from_slice(&bytes[..length]),
                Err(error) => return Err(self.failed(error.to_string())),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself; waiting reaps it either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

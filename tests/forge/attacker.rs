//! An attacker, seen from the test: a process of uid 65534 without capabilities, in namespaces that it has made itself.

use std::ffi::CStr;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddrV4;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::repair::Numbers;
use crate::role::{Forgery, MARK, ROLE};
use crate::support::child::ChildGuard;

/// The user without rights, on every distribution.
const UID: u32 = 65534;

/// A running attacker. It ends with its handle.
pub(crate) struct Attacker {
    child: ChildGuard,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Attacker {
    /// Starts one in the cgroup of this process.
    pub(crate) fn new() -> Self {
        let mut command = Command::new("/proc/self/exe");
        command.args(["--exact", "role::attacks_as_it_is_asked", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        // SAFETY: `drop_privileges` makes system calls only.
        let mut child = ChildGuard::spawn(unsafe { command.pre_exec(drop_privileges) });
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut attacker = Self { child, stdin, stdout };
        assert_eq!(attacker.answer(), "ready");
        attacker
    }

    /// Makes a socket with these addresses and numbers.
    pub(crate) fn forge(&mut self, how: Forgery, local: SocketAddrV4, remote: SocketAddrV4, numbers: Numbers) {
        let Numbers { sends, expects } = numbers;
        let answer = self.ask(&format!("forge {} {local} {remote} {sends} {expects}", how.name()));
        assert_eq!(answer, "established", "the attack did not get as far as it should");
    }

    /// What all its sockets have received, and while they write.
    pub(crate) fn stolen(&mut self) -> String {
        self.ask("harvest")
    }

    /// Opens connections in its own namespace, and keeps them.
    pub(crate) fn open(&mut self, connections: usize) {
        assert_eq!(self.ask(&format!("open {connections}")), "opened");
    }

    fn ask(&mut self, request: &str) -> String {
        writeln!(self.stdin, "{request}").unwrap();
        self.answer()
    }

    /// The next line that is meant for us; the test harness prints others.
    fn answer(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the attacker has ended: {:?}", self.child.wait());
            if let Some((_, answer)) = line.trim_end_matches('\n').split_once(MARK) {
                return answer.to_owned();
            }
        }
    }
}

/// Between fork and exec: what any process may do, after giving up what only root may.
fn drop_privileges() -> io::Result<()> {
    let (user, group) = (Uid::from_raw(UID), Gid::from_raw(UID));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    set_pdeathsig(Signal::SIGKILL)?;
    // /proc/self is the process's own again.
    set_dumpable(true)?;
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    write_file(c"/proc/self/uid_map", b"0 65534 1")
}

/// Writes without allocating.
fn write_file(path: &CStr, text: &[u8]) -> io::Result<()> {
    // SAFETY: the path ends with a zero byte, the text lives through the call, and the descriptor is ours.
    let written = unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        let written = libc::write(fd, text.as_ptr().cast(), text.len());
        libc::close(fd);
        written
    };
    if written == text.len() as isize { Ok(()) } else { Err(io::Error::last_os_error()) }
}

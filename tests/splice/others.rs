//! Programs that others wrote: Go's io.Copy and CONNECT, systemd-socket-proxyd, Python.

use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::relay::listen;
use crate::role::start;
use crate::running::{Place, readers_are_seen};
use crate::support::child::ChildGuard;
use crate::support::link::free_port;
use crate::support::machine::{missing, require_root};

/// Times that the client comes to one process.
const RUNS: usize = 3;
/// What the agent says of a program that it has seen splice.
pub(crate) const SPLICES: &str = "reads with splice(2)";

/// Where the programs' sources are.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/splice/programs").join(name)
}

/// Whether `program` is installed. The guests of the kernel matrix have none of these.
pub(crate) fn installed(test: &str, program: &str) -> bool {
    if crate::support::machine::is_guest() {
        println!("{test}: {program} is tested on the host alone");
        return false;
    }
    let found = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().unwrap().status.success();
    found || missing(test, &format!("{program} is not installed"))
}

/// Sends clients through the proxy that `proxy` starts between two ports; every byte must arrive, and the agent say one of `notices` of the
/// proxy. What the agent has said of it: of programs that others run meanwhile it says the like.
pub(crate) fn gets_every_byte(
    place: &Place,
    drive: &str,
    notices: &[&str],
    proxy: impl Fn(&Place, u16, u16) -> ChildGuard,
) -> String {
    let running = place.run(&[]);
    let [front, back] = [free_port(), free_port()];
    let _echo = start(place.cgroup(), &format!("echo {back}"));
    let proxy = proxy(place, front, back);
    let done: Vec<bool> =
        (0..RUNS).map(|_| start(place.cgroup(), &format!("{drive} {front}")).wait().unwrap().success()).collect();
    let said = running.stop();
    // Its children, too, if it is one of the programs here.
    let names = [named(proxy.id()), source("").display().to_string()];
    let of_proxy = said_of(&said.err, &names);
    assert_eq!(done, [true; RUNS]);
    if readers_are_seen("that the proxy is seen to splice") {
        let seen = notices.iter().any(|notice| of_proxy.contains(notice));
        assert!(seen, "it does not splice, so this says nothing: {}", said.err);
    }
    of_proxy
}

/// How the agent names a process in what it says of it.
pub(crate) fn named(process: u32) -> String {
    format!("(process {process})")
}

/// The lines with one of these names.
pub(crate) fn said_of(lines: &str, names: &[String]) -> String {
    let named = lines.lines().filter(|line| names.iter().any(|name| line.contains(name)));
    named.flat_map(|line| [line, "\n"]).collect()
}

fn go(test: &str, mode: &str) {
    if !require_root(test) || !installed(test, "go") {
        return;
    }
    let target = std::env::temp_dir().join(format!("sidestep-relay-{mode}-{}", std::process::id()));
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&target).arg(source("relay.go")).env("CGO_ENABLED", "0");
    assert!(build.status().unwrap().success());
    let drive = if mode == "connect" { "drive-connect" } else { "drive" };
    gets_every_byte(&Place::new(), drive, &[SPLICES], |place, front, back| {
        let mut command = Command::new(&target);
        command.args([mode, &format!("127.0.0.1:{front}"), &format!("127.0.0.1:{back}")]);
        ChildGuard::spawn_in(place.cgroup(), &mut command)
    });
    std::fs::remove_file(target).unwrap();
}

#[test]
fn go_io_copy_gets_every_byte() {
    go("go_io_copy_gets_every_byte", "copy");
}

#[test]
fn go_connect_gets_every_byte() {
    go("go_connect_gets_every_byte", "connect");
}

#[test]
fn python_that_splices_gets_every_byte() {
    let test = "python_that_splices_gets_every_byte";
    if !require_root(test) || !installed(test, "python3") {
        return;
    }
    let can = Command::new("python3").args(["-c", "import os; os.splice"]).output().unwrap().status.success();
    if !can && !missing(test, "os.splice needs Python 3.10") {
        return;
    }
    gets_every_byte(&Place::new(), "drive", &[SPLICES], |place, front, back| {
        let mut command = Command::new("python3");
        command.arg(source("relay.py")).args([front, back].map(|port| port.to_string()));
        ChildGuard::spawn_in(place.cgroup(), &mut command)
    });
}

#[test]
fn socket_proxyd_gets_every_byte() {
    let test = "socket_proxyd_gets_every_byte";
    let program = "/lib/systemd/systemd-socket-proxyd";
    if !require_root(test) || !installed(test, program) {
        return;
    }
    gets_every_byte(&Place::new(), "drive-whole", &[SPLICES], |place, front, back| {
        let listener = listen(front);
        let fd = listener.as_raw_fd();
        let mut command = Command::new("sh");
        // sd_listen_fds(3): descriptors from 3 on, for the process of this number.
        command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$1\"", program, &format!("127.0.0.1:{back}")]);
        // SAFETY: system calls.
        unsafe {
            command.pre_exec(move || {
                // A descriptor that is 3 already stays one that closes.
                let kept = libc::dup2(fd, 3) == 3 && libc::fcntl(3, libc::F_SETFD, 0) == 0;
                if kept { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            })
        };
        ChildGuard::spawn_in(place.cgroup(), &mut command)
    });
}

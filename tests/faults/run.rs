//! `sidestep run` while the ground under it changes: it says what has happened, ends when it is told to, and leaves
//! nothing.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sidestep::testbed::{StackBytes, listen};

use crate::link::{ANY_PORT, back_and_forth, expect, pair, pattern, send};
use crate::scope::Scope;

/// `CLONE_NEWTIME` of include/uapi/linux/sched.h, which nix does not name.
const CLONE_NEWTIME: i32 = 0x80;

/// A running `sidestep run`.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(scope: &Scope, prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
        command.args(["run", "--interval", "1", "--trust", "all", "--cgroup"]).arg(scope.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: `prepare` makes system calls only.
        let command = unsafe { command.pre_exec(prepare) };
        // Beside the cgroup, not in it, so that it can be removed.
        scope.leave();
        let child = command.spawn().unwrap();
        scope.enter();
        Self(child)
    }

    /// Tells it to stop; what it has written, to both outputs.
    pub(crate) fn stop(mut self) -> (String, String) {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM).unwrap();
        let start = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(20), "sidestep run hangs after SIGTERM");
            std::thread::sleep(Duration::from_millis(10));
        }
        let (mut out, mut err) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert!(self.0.wait().unwrap().success(), "{out}\n{err}");
        (out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A pair that is accelerated: tries until `run` has attached.
pub(crate) fn accelerated_pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let bytes = pattern(1, 1_000);
    let start = Instant::now();
    loop {
        let pair = pair(listener, listener.local_addr().unwrap());
        for _ in 0..3 {
            send(&pair.0, &bytes);
            expect(&pair.1, &bytes);
            send(&pair.1, &bytes);
            expect(&pair.0, &bytes);
        }
        if StackBytes::of(&pair.0).unwrap().sent < 3_000 {
            return pair;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "sidestep run accelerates nothing");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn exchange((client, server): &(TcpStream, TcpStream)) {
    let bytes = pattern(2, 10_000);
    back_and_forth(client, server, &bytes, 10);
}

#[test]
fn run_says_that_its_cgroup_was_removed() {
    let scope = Scope::new();
    let running = Running::start(&scope, || Ok(()));
    let listener = listen(ANY_PORT).unwrap();
    let pair = accelerated_pair(&listener);
    scope.leave();
    std::fs::remove_dir(scope.path()).unwrap();
    exchange(&pair);
    // A line of counters comes every second.
    std::thread::sleep(Duration::from_millis(2_500));
    exchange(&pair);
    let (out, err) = running.stop();
    assert!(out.contains("nothing is left in the kernel"), "{out}\n{err}");
    assert_eq!(err.matches("the cgroup was removed").count(), 1, "{out}\n{err}");
    exchange(&pair);
}

#[test]
fn run_does_not_need_bpffs() {
    let scope = Scope::new();
    let running = Running::start(&scope, || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        // Where it is not mounted, there is nothing to take away.
        while nix::mount::umount2("/sys/fs/bpf", nix::mount::MntFlags::MNT_DETACH).is_ok() {}
        Ok(())
    });
    let listener = listen(ANY_PORT).unwrap();
    let pair = accelerated_pair(&listener);
    let (out, err) = running.stop();
    assert!(out.contains("nothing is left in the kernel") && err.is_empty(), "{out}\n{err}");
    exchange(&pair);
}

/// The agent's clock is a day ahead of the kernel's programs' and of everybody else's: nothing compares them.
#[test]
fn run_lives_in_another_time() {
    let scope = Scope::new();
    let running = Running::start(&scope, || {
        unshare(CloneFlags::from_bits_retain(CLONE_NEWTIME))?;
        std::fs::write("/proc/self/timens_offsets", "monotonic 86400 0\nboottime 86400 0\n")
    });
    let listener = listen(ANY_PORT).unwrap();
    let pair = accelerated_pair(&listener);
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/time")).unwrap();
    if namespace(&running.0.id().to_string()) == namespace("self") {
        eprintln!(
            "\n*** NOT TESTED: this kernel's execve(2) does not enter the time namespace (it does from 6.3) ***\n"
        );
    }
    exchange(&pair);
    std::thread::sleep(Duration::from_millis(1_200));
    let start = Instant::now();
    let (out, err) = running.stop();
    assert!(start.elapsed() < Duration::from_secs(5), "detaching took {:?}", start.elapsed());
    assert!(out.contains("nothing is left in the kernel") && err.is_empty(), "{out}\n{err}");
    assert!(out.contains("members 2"), "{out}");
    exchange(&pair);
}

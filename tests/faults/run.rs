//! `sidestep run` while what it stands on changes: it says what has happened, ends when it is asked to, and leaves
//! nothing.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use sidestep::testbed::{StackBytes, listen};

use crate::link::{ANY_PORT, back_and_forth, pair, pattern};
use crate::nested::NestedCgroups;
use crate::support::agent::{self, Agent, Said};
use crate::support::cgroup::remove;
use crate::support::wait::{timeout, wait_for};

/// `CLONE_NEWTIME` of include/uapi/linux/sched.h, which nix does not name.
const CLONE_NEWTIME: i32 = 0x80;

/// Starts it on the inner cgroup.
pub(crate) fn start(
    cgroups: &NestedCgroups,
    prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
) -> Agent {
    let mut command = agent::command();
    command.args(["--interval", "1", "--trust", "all", "--cgroup"]).arg(cgroups.path());
    // SAFETY: `prepare` makes system calls only.
    unsafe { command.pre_exec(prepare) };
    // Beside the cgroup, not in it, so that it can be removed.
    cgroups.leave();
    let agent = Agent::start(&mut command);
    cgroups.enter();
    agent
}

/// A pair that is accelerated.
pub(crate) fn accelerated_pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let bytes = pattern(1, 1_000);
    wait_for(|| {
        let pair = pair(listener, listener.local_addr().unwrap());
        back_and_forth(&pair.0, &pair.1, &bytes, 3);
        let accelerated = StackBytes::of(&pair.0).unwrap().sent < 3_000;
        if accelerated { Ok(pair) } else { Err("sidestep run accelerates nothing") }
    })
}

fn exchange((client, server): &(TcpStream, TcpStream)) {
    let bytes = pattern(2, 10_000);
    back_and_forth(client, server, &bytes, 10);
}

#[test]
fn run_says_that_its_cgroup_was_removed() {
    let cgroups = NestedCgroups::new();
    let mut running = start(&cgroups, || Ok(()));
    let listener = listen(ANY_PORT).unwrap();
    let pair = accelerated_pair(&listener);
    cgroups.leave();
    remove([cgroups.path()]);
    exchange(&pair);
    running.warns("the cgroup was removed");
    // It looks every second, and would say it again.
    std::thread::sleep(Duration::from_millis(1_200));
    exchange(&pair);
    let Said { out, err } = running.stop();
    assert!(out.contains("nothing is left in the kernel"), "{out}\n{err}");
    assert_eq!(err.matches("the cgroup was removed").count(), 1, "{out}\n{err}");
    exchange(&pair);
}

#[test]
fn run_does_not_need_bpffs() {
    let cgroups = NestedCgroups::new();
    let running = start(&cgroups, || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        // Where it is not mounted, there is nothing to take away.
        while nix::mount::umount2("/sys/fs/bpf", nix::mount::MntFlags::MNT_DETACH).is_ok() {}
        Ok(())
    });
    let listener = listen(ANY_PORT).unwrap();
    let pair = accelerated_pair(&listener);
    let Said { out, err } = running.stop();
    assert!(out.contains("nothing is left in the kernel") && err.is_empty(), "{out}\n{err}");
    exchange(&pair);
}

/// The agent's clock is a day ahead of the kernel's programs' and of all other programs': nothing compares them.
#[test]
fn run_lives_in_another_time() {
    let cgroups = NestedCgroups::new();
    let mut running = start(&cgroups, || {
        unshare(CloneFlags::from_bits_retain(CLONE_NEWTIME))?;
        std::fs::write("/proc/self/timens_offsets", "monotonic 86400 0\nboottime 86400 0\n")
    });
    let listener = listen(ANY_PORT).unwrap();
    let pair = accelerated_pair(&listener);
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/time")).unwrap();
    if namespace(&running.id().to_string()) == namespace("self") {
        eprintln!(
            "\n*** NOT TESTED: this kernel's execve(2) does not enter the time namespace (it does from 6.3) ***\n"
        );
    }
    exchange(&pair);
    running.says("members 2");
    let start = Instant::now();
    let Said { out, err } = running.stop();
    assert!(start.elapsed() < timeout(), "detaching took {:?}", start.elapsed());
    assert!(out.contains("nothing is left in the kernel") && err.is_empty(), "{out}\n{err}");
    exchange(&pair);
}

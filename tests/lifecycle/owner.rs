//! Owners that are killed, and pins that are removed.

use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use sidestep::agent::lifecycle::{Orphan, Orphans};

use crate::fixture::{Fixture, Version, drain, ensure};
use crate::objects::{Ids, alive, all_gone};
use crate::streams::{Probe, Streams, listener, pair};
use crate::support::agent::{self, Agent};
use crate::support::feature::Feature;
use crate::support::link::back_and_forth;
use crate::support::wait::{wait_for, wait_until};

/// Starts `sidestep run` on the fixture's cgroup.
pub(crate) fn start(fixture: &Fixture, flags: &[&str]) -> Agent {
    let mut command = agent::command();
    command.args(["--interval", "1", "--trust", "all", "--cgroup"]).arg(fixture.cgroup_path());
    Agent::start(command.args(flags))
}

/// [`start`] with pins in the fixture's file system.
pub(crate) fn pinned(fixture: &Fixture) -> Agent {
    start(fixture, &["--bpffs", fixture.bpffs().to_str().unwrap()])
}

/// The kernel's numbers of what it holds open.
fn objects(agent: &Agent) -> Ids {
    let mut ids = Ids::new();
    for entry in std::fs::read_dir(format!("/proc/{}/fdinfo", agent.id())).unwrap() {
        // The agent may close one meanwhile.
        let Ok(text) = std::fs::read_to_string(entry.unwrap().path()) else { continue };
        for (word, kind) in [("map_id:", "map"), ("prog_id:", "program"), ("link_id:", "link")] {
            let id = text.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
            ids.extend(id.map(|id| (kind, id)));
        }
    }
    ids
}

#[test]
fn an_agent_that_is_killed_is_taken_over_without_touching_a_connection() {
    let fixture = Fixture::new();
    let run = pinned(&fixture);
    let seen = fixture.is_healthy();
    let (streams, probe) = (Streams::start(64), Probe::new());
    streams.carry(4 << 20);
    assert!(probe.is_redirected(), "nothing is redirected");
    assert!(fixture.status().unwrap().owned);
    let refused = fixture.sidestep("detach", &[]);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("sidestep run"), "detach must leave it alone");
    run.kill();

    // Without an owner everything goes on.
    streams.carry(4 << 20);
    assert!(probe.is_redirected(), "nothing is redirected after the kill");
    assert!(!fixture.status().unwrap().owned);
    assert_eq!(fixture.is_healthy(), seen);

    let run = pinned(&fixture);
    assert!(run.said.contains("taking over"), "{}", run.said);
    assert_eq!(fixture.is_healthy(), seen, "the takeover has replaced something");
    streams.carry(4 << 20);
    assert!(probe.is_redirected(), "nothing is redirected after the takeover");
    assert!(run.stop().out.contains("detached; nothing is left"));
    streams.carry(4 << 20);
    fixture.is_gone(&seen);
    streams.finish();
}

#[test]
fn a_run_detaches_at_every_signal_that_asks_it_to_end() {
    let fixture = Fixture::new();
    for signal in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTERM] {
        let run = pinned(&fixture);
        let seen = fixture.is_healthy();
        let text = run.stop_by(signal).out;
        assert!(text.contains("detached; nothing is left"), "{signal}: {text}");
        fixture.is_gone(&seen);
    }
}

#[test]
fn a_run_detaches_when_its_output_is_closed() {
    let fixture = Fixture::new();
    // It prints nothing, a line when the counters change, or fails with its first line.
    for interval in ["0", "1"] {
        let run = start(&fixture, &["--interval", interval, "--bpffs", fixture.bpffs().to_str().unwrap()]);
        let seen = fixture.is_healthy();
        assert_eq!(run.close_output(), Some(0));
        fixture.is_gone(&seen);
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sidestep"))
        .args(["run", "--cgroup"])
        .arg(fixture.cgroup_path())
        .arg("--bpffs")
        .arg(fixture.bpffs())
        .stdout(full)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("No space left"), "{text}");
    assert!(fixture.status().is_none(), "it is still attached");
}

#[test]
fn a_run_says_which_flags_it_replaces() {
    let fixture = Fixture::new();
    fixture.succeeds("attach", &["--exclude-port", "81"]);
    let output = Command::new(env!("CARGO_BIN_EXE_sidestep"))
        .args(["run", "--cgroup"])
        .arg(fixture.cgroup_path())
        .args(["--exclude-port", "82", "--bpffs"])
        .arg(fixture.bpffs())
        // The error of the first line of output ends it.
        .stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--exclude-port=81 --trust=all, are replaced by --exclude-port=82"), "{text}");
}

#[test]
fn a_run_sees_an_upgrade_through_and_can_leave_everything_attached() {
    let fixture = Fixture::new();
    let run = start(&fixture, &["--keep", "--bpffs", fixture.bpffs().to_str().unwrap()]);
    let mut seen = fixture.is_healthy();
    let streams = Streams::start(8);
    streams.carry(1 << 20);
    // Under the eyes of the agent: the same maps, then others, whose counters begin at zero.
    for flags in [&["--exclude-port", "1"][..], &["--readers", "any"]] {
        assert!(fixture.succeeds("upgrade", flags).contains("replaced"));
        seen.extend(fixture.is_healthy());
        std::thread::sleep(Duration::from_millis(1500));
        streams.carry(1 << 20);
    }
    let last = fixture.is_healthy();
    assert!(run.stop().out.contains("stays attached"));
    assert_eq!(fixture.is_healthy(), last);
    fixture.succeeds("detach", &[]);
    streams.finish();
    fixture.is_gone(&seen);
}

#[test]
fn an_agent_that_prints_no_counters_sees_readers_after_an_upgrade_to_other_maps() {
    let fixture = Fixture::new();
    if !Feature::ReadersSeen.required("readers after an upgrade") {
        return;
    }
    let mut command = agent::command();
    command.args(["--interval", "0", "--cgroup"]).arg(fixture.cgroup_path());
    let run = Agent::start(command.arg("--bpffs").arg(fixture.bpffs()));
    let cgroup = fixture.cgroup_path().to_str().unwrap();
    let output = fixture.sidestep("upgrade", &["--cgroup", cgroup, "--max-connections", "1000"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("maps and programs replaced"), "{output:?}");
    let (client, server) = pair(&listener());
    wait_until("the agent has admitted the new readers, and they have earned trust", || {
        back_and_forth(&client, &server, b"message", 20);
        let live = fixture.status().unwrap().generations.into_iter().find(|generation| generation.live);
        live.and_then(|live| live.readers).is_some_and(|readers| readers.trusted > 0)
    });
    assert!(run.stop().out.contains("detached; nothing is left"));
}

/// The orphans among these objects, once the kernel has noticed.
fn orphans(seen: &Ids) -> Vec<Orphan> {
    wait_for(|| {
        let Orphans::Found(mut orphans) = Orphan::find().unwrap() else { panic!("root may walk") };
        orphans.retain(|orphan| seen.contains(&("map", orphan.sockhash)));
        if orphans.is_empty() { Err("there is no orphan") } else { Ok(orphans) }
    })
}

#[test]
fn without_pins_a_kill_sends_everything_to_the_stack_and_orphans_can_be_recovered() {
    let fixture = Fixture::new();
    let run = start(&fixture, &["--unpinned"]);
    let seen = objects(&run);
    assert!(seen.len() >= 10, "{seen:?}");
    let streams = Streams::start(64);
    streams.carry(4 << 20);
    let probe = Probe::new();
    assert!(probe.is_redirected(), "nothing is redirected");
    run.kill();
    let orphans = orphans(&seen);
    assert_eq!(orphans.len(), 1, "the sockhash of the sockets that are still open");
    streams.carry(4 << 20);
    // The kernel empties the dispatcher's array from a work queue.
    wait_until("members take the stack", || !probe.is_redirected());
    assert_eq!(orphans[0].recover(drain()).unwrap(), 0);
    streams.carry(4 << 20);
    all_gone(&seen);
    drop(probe);
    streams.finish();
}

#[test]
fn removed_pins_lose_nothing_and_leave_nothing_but_open_sockets() {
    let fixture = Fixture::new();
    ensure(&fixture.instance(), &fixture.cgroup(), Version::First, &mut |_| {});
    let seen = fixture.is_healthy();
    let streams = Streams::start(64);
    streams.carry(4 << 20);
    nix::mount::umount2(fixture.bpffs(), nix::mount::MntFlags::empty()).unwrap();
    streams.carry(4 << 20);
    streams.finish();
    all_gone(&seen);
    assert!(alive().intersection(&seen).next().is_none());
}

/// The status of each thread of a process, but for those that end meanwhile.
pub(crate) fn thread_status(process: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let status = |thread: std::fs::DirEntry| match std::fs::read_to_string(thread.path().join("status")) {
        Ok(text) => Some(text),
        // ESRCH: it has ended since the file was opened.
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => None,
        Err(error) => panic!("the status of {thread:?}: {error}"),
    };
    threads.filter_map(|thread| status(thread.unwrap())).collect()
}

/// How many filters each thread of a process is under, as proc(5) counts them.
fn filters(process: u32) -> Vec<u32> {
    let count = |text: String| text.lines().find_map(|line| line.strip_prefix("Seccomp_filters:")?.trim().parse().ok());
    thread_status(process).into_iter().map(count).collect::<Option<_>>().unwrap()
}

#[test]
fn all_threads_make_only_the_calls_that_they_need_unless_that_is_switched_off() {
    let fixture = Fixture::new();
    // A container runtime may have put this test under one.
    let own = filters(std::process::id())[0];
    for (flag, wanted) in [("on", own + 1), ("off", own)] {
        let bpffs = fixture.bpffs().to_str().unwrap();
        let run = start(&fixture, &["--bpffs", bpffs, "--metrics", "127.0.0.1:0", "--seccomp", flag]);
        let found = filters(run.id());
        assert!(found.len() > 1 && found.iter().all(|count| *count == wanted), "{flag}: {found:?}, not {wanted}");
        assert_eq!(run.said.contains("refused from now on"), flag == "on", "{}", run.said);
        run.stop();
    }
}

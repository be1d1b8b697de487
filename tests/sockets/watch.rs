//! `sidestep watch`, `run --log-format json`, and what `list` and `explain` say that a connection has sent.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use sidestep::dataplane::{MapRole, Pairing};
use sidestep::testbed::listen;

use crate::support::agent::{self, Agent};
use crate::support::bpffs::TestBpffs;
use crate::support::child::ChildGuard;
use crate::support::feature::Feature;
use crate::support::link::{ANY_PORT, accepted, back_and_forth, exchange_patterns, pair, pattern};
use crate::support::nested::NestedCgroups;
use crate::support::wait::{timeout, wait_until};

/// A running `sidestep watch`.
struct Watch {
    child: ChildGuard,
    lines: Receiver<String>,
}

/// For how long a test waits for a line. The agent adopts at its looks, between which there may be a minute on a slow machine.
fn limit() -> Duration {
    timeout() + Duration::from_secs(120)
}

fn command(bpffs: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    command.arg("watch").arg("--bpffs").arg(bpffs);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Watch {
    fn start(bpffs: &Path) -> Self {
        let mut child = ChildGuard::spawn(&mut command(bpffs));
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The next line with this event.
    fn next(&mut self, event: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(limit());
            let line = line.unwrap_or_else(|error| panic!("no event {event}: {error}"));
            let value: Value = serde_json::from_str(&line).unwrap();
            assert!(value["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
            if value["event"] == event {
                return value;
            }
        }
    }
}

fn call(args: &[&str]) -> String {
    let mut out = Vec::new();
    sidestep::cli::dispatch(args.iter().map(Into::into).collect(), &mut std::io::empty(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn port(socket: &TcpStream) -> String {
    socket.local_addr().unwrap().port().to_string()
}

#[test]
fn watch_tells_what_comes_and_goes_and_list_what_each_end_has_sent() {
    let cgroups = NestedCgroups::new();
    let pins = TestBpffs::new();
    let path = pins.path().to_str().unwrap();
    cgroups.leave();
    let mut run = agent::command();
    let agent = Agent::start(run.args(["--trust", "all", "--bpffs", path, "--cgroup"]).arg(cgroups.path()));
    let mut watch = Watch::start(pins.path());
    cgroups.enter();
    watch.next("attached");
    let mut second = Watch::start(pins.path());
    second.next("attached");
    let mut third = Watch::start(pins.path());
    third.next("attached");

    let listener = listen(ANY_PORT).unwrap();
    // One that blocks while it is made is adopted later.
    let late = (TcpStream::connect(listener.local_addr().unwrap()).unwrap(), accepted(&listener));
    late.0.set_nonblocking(true).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    let paired = watch.next("paired");
    assert_eq!(paired["remote"], client.local_addr().unwrap().to_string(), "{paired}");
    assert_eq!(second.next("paired")["time"], paired["time"]);
    let mut row = Value::Null;
    wait_until("its messages are redirected", || {
        back_and_forth(&client, &server, &pattern(1, 1_000), 3);
        row = serde_json::from_str(&call(&["list", "--json", "--bpffs", path, "--port", &port(&client)])).unwrap();
        row["client"]["sent"]["redirected_bytes"].as_u64() > Some(0)
    });
    assert_eq!(
        (&row["client"]["sent"]["standing"], &row["server"]["sent"]["standing"]),
        (&"paired".into(), &"paired".into())
    );
    assert!(row["server"]["sent"]["redirected_messages"].as_u64() > Some(0), "{row}");
    let text = call(&["list", "--bpffs", path, "--port", &port(&client)]);
    assert!(text.contains("; past the stack ") && text.contains(" messages, by it "), "{text}");

    server.set_nonblocking(false).unwrap();
    exchange_patterns(&client, &server, 700, 20);
    let left = watch.next("left");
    assert_eq!(left["reason"], "pass_blocking", "{left}");
    assert!(left["why"].as_str().unwrap().contains("blocking mode"), "{left}");
    let [one, other] = [&client, &server].map(|socket| socket.local_addr().unwrap().to_string());
    let explained = call(&["explain", "--bpffs", path, &one, &other]);
    assert!(explained.contains("  has sent ") && explained.contains("because of pass_blocking: "), "{explained}");

    assert_eq!(second.next("left")["reason"], "pass_blocking");

    // The first one reads, and the second one takes over when it is killed.
    watch.child.stop(Signal::SIGKILL);
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    let address = client.local_addr().unwrap().to_string();
    back_and_forth(&client, &server, &pattern(2, 100), 2);
    drop((client, server));
    while second.next("closed")["local"] != address {}
    if Feature::Adoption.required("adoption, watched") {
        let adopted = third.next("adopted");
        assert_eq!(adopted["remote"], late.0.local_addr().unwrap().to_string(), "{adopted}");
        assert_eq!(adopted["local"], late.1.local_addr().unwrap().to_string(), "{adopted}");
        assert!(adopted["cookie"].as_u64() > Some(0) && adopted["peer_cookie"].as_u64() > Some(0), "{adopted}");
    }
    agent.stop();
    second.next("detached");
    let ended = second.child.stop(Signal::SIGTERM);
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn what_cannot_be_watched_is_said() {
    let cgroups = NestedCgroups::new();
    let pins = TestBpffs::new();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    cgroups.leave();
    let sockhash = acceleration.loaded().map(MapRole::Sockets).info().unwrap().id;
    let mut watch = Watch::start(pins.path());
    // Those of other tests are said, too.
    let unseen = std::iter::repeat_with(|| watch.next("unseen")).find(|one| one["sockhash"] == sockhash).unwrap();
    assert!(unseen["message"].as_str().unwrap().contains("--unpinned"), "{unseen}");
}

#[test]
fn run_can_log_one_json_object_a_line() {
    let cgroups = NestedCgroups::new();
    let pins = TestBpffs::new();
    cgroups.leave();
    let mut run = agent::command();
    run.args(["--log-format", "json", "--interval", "1", "--bpffs"])
        .arg(pins.path())
        .arg("--cgroup")
        .arg(cgroups.path());
    let agent = Agent::start(&mut run);
    let said = agent.stop();
    let events: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.iter().rfind(|one| one["event"] == "counters").unwrap();
    assert_eq!(last["counters"]["redirected_bytes"], 0, "{last}");
    let names: Vec<_> = events.iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert!(names.contains(&"started") && names.last() == Some(&"detached"), "{names:?}");
    for line in said.err.lines() {
        let note: Value = serde_json::from_str(line).unwrap();
        assert!(note["event"] == "note" && note["message"].is_string(), "{line}");
    }
}

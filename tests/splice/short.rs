//! A server whose connections are short is left alone, until one of them lives longer.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use sidestep::agent::{TierChoice, adoption_support, choose_tier};
use sidestep::dataplane::{Options, Pairing, Policy, Readers};

use crate::role::start;
use crate::running::{Place, readers_are_seen};
use crate::support::agent::Agent;
use crate::support::bpffs::TestBpffs;
use crate::support::child::ChildGuard;
use crate::support::link::free_port;
use crate::support::machine::require_root;
use crate::support::wait::{timeout, wait_until};

/// Connections in a row after which a listener is left alone (src/dataplane/state/listener.rs).
const ROW: u64 = 32;
/// Connections that are adopted although they are short, since the agent looks while they live.
const BY_CHANCE: u64 = 32;

/// Whether what is left alone can be adopted on this kernel.
fn adopts(test: &str) -> bool {
    let Ok((tier, _)) = choose_tier(TierChoice::Auto) else { return false };
    let (pairing, readers, policy) = (Pairing::Sequence, Readers::NonBlocking, Policy::default());
    let support = adoption_support(&Options { pairing, tier, readers, policy });
    if let Some(why) = &support {
        eprintln!("*** NOT TESTED: {test}: {why} ***");
    }
    support.is_none()
}

/// What `sidestep explain` says of the process's connections; nothing while there are none.
fn explain(process: u32, bpffs: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    let output = command.args(["explain", "--json", "--pid", &process.to_string()]).args(bpffs).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A server and what it takes to leave its connections alone: an agent with pins of its own.
struct Setting {
    pins: TestBpffs,
    place: Place,
    port: u16,
}

impl Setting {
    /// Nothing where `test` cannot run.
    fn new(test: &str) -> Option<Self> {
        let can_run = require_root(test) && readers_are_seen(test) && adopts(test);
        can_run.then(|| Self { pins: TestBpffs::new(), place: Place::new(), port: free_port() })
    }

    fn bpffs(&self) -> [&str; 2] {
        ["--bpffs", self.pins.path().to_str().unwrap()]
    }

    fn accelerate(&self, flags: &[&str]) -> Agent {
        self.place.run_pinned(&[&self.bpffs()[..], flags].concat())
    }

    /// Replaces what is attached to the cgroup.
    fn upgrade(&self, flags: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
        command.args(["upgrade", "--cgroup"]).arg(self.place.cgroup()).args(self.bpffs()).args(flags);
        assert!(command.status().unwrap().success());
    }

    fn echo(&self) -> ChildGuard {
        start(self.place.cgroup(), &format!("echo {}", self.port))
    }

    /// So many short connections.
    fn shorts(&self, count: u64) {
        run(self.place.cgroup(), &format!("shorts {} {count}", self.port));
    }
}

fn run(cgroup: &Path, role: &str) {
    assert!(start(cgroup, role).wait().unwrap().success(), "{role}");
}

#[test]
fn a_server_whose_connections_are_short_is_left_alone_and_adopted_when_one_is_kept() {
    let test = "a_server_whose_connections_are_short_is_left_alone_and_adopted_when_one_is_kept";
    let Some(setting) = Setting::new(test) else { return };
    let running = setting.accelerate(&[]);
    let _echo = setting.echo();
    // Of those after the first ones, one of 16 is tried, 32 on average. Fewer than 4 or more than 75 are a binomial tail below 1e-9.
    const MORE: u64 = 512;
    const TRIED: std::ops::RangeInclusive<u64> = 4..=75;
    setting.shorts(ROW + MORE);
    // Left alone first, all but those that are tried; that all of these are has a chance of 1 to 16^8. The agent's next look takes
    // them in, and then they earn their trust.
    const KEPT: u64 = 8;
    let state = setting.place.state();
    std::fs::create_dir_all(state).unwrap();
    let gate = state.join("gate");
    running.signal(Signal::SIGSTOP);
    let kept = start(setting.place.cgroup(), &format!("kept {} {KEPT} 6000 {}", setting.port, gate.display()));
    wait_until("explain names it", || {
        explain(kept.id(), &setting.bpffs()).contains(r#""code":"listener_announces","holds":false"#)
    });
    running.signal(Signal::SIGCONT);
    std::fs::write(&gate, "").unwrap();
    let ended = kept.end_within(2 * timeout());
    assert!(ended.status.success(), "{ended:?}");
    let said = running.stop();
    assert!(said.out.contains("adopted "), "{said:?}");
    let (left, paired) = (said.counter("left_alone"), said.counter("paired"));
    let expected = MORE - TRIED.end() + 1..=MORE - TRIED.start() + KEPT;
    assert!(
        expected.contains(&left),
        "{left} of {MORE} connections, and some of {KEPT}, were left alone: {expected:?}"
    );
    // All but those that were left alone, and the kept ones of these.
    let expected = ROW + MORE + KEPT - left;
    let expected = expected + 1..=expected + KEPT + BY_CHANCE;
    assert!(expected.contains(&paired), "{paired} connections were paired, not {expected:?}");
    assert!(said.counter("redirected_messages") > 0);
}

#[test]
fn a_port_that_becomes_trusted_is_not_left_alone_any_more() {
    let test = "a_port_that_becomes_trusted_is_not_left_alone_any_more";
    let Some(setting) = Setting::new(test) else { return };
    let running = setting.accelerate(&[]);
    let _echo = setting.echo();
    // That all of these are tried, and none is left alone, has a chance of 1 to 16^64.
    const BEFORE: u64 = 64;
    setting.shorts(ROW + BEFORE);
    setting.upgrade(&["--trust", &format!("port:{}", setting.port)]);
    const AFTER: u64 = 256;
    setting.shorts(AFTER);
    let said = running.stop();
    let (left, paired) = (said.counter("left_alone"), said.counter("paired"));
    assert!((1..=BEFORE).contains(&left), "{left} connections were left alone");
    let expected = ROW + BEFORE + AFTER - left;
    assert!((expected..=expected + BY_CHANCE).contains(&paired), "{paired} connections were paired, not {expected}");
}

#[test]
fn without_an_agent_that_adopts_no_server_is_left_alone() {
    let test = "without_an_agent_that_adopts_no_server_is_left_alone";
    let Some(setting) = Setting::new(test) else { return };
    let running = setting.accelerate(&["--existing", "off"]);
    // Its programs leave connections alone where an agent adopts, which this one does not.
    setting.upgrade(&[]);
    let _echo = setting.echo();
    const ALL: u64 = ROW + 64;
    setting.shorts(ALL);
    let said = running.stop();
    assert_eq!((said.counter("left_alone"), said.counter("paired")), (0, ALL));
}

#[test]
fn a_server_whose_connections_are_kept_is_never_left_alone() {
    let test = "a_server_whose_connections_are_kept_is_never_left_alone";
    if !require_root(test) || !readers_are_seen(test) {
        return;
    }
    let place = Place::new();
    let port = free_port();
    let running = place.run(&[]);
    let _echo = start(place.cgroup(), &format!("echo {port}"));
    // Short ones between them are fewer in a row.
    for _ in 0..4 {
        run(place.cgroup(), &format!("shorts {port} 20"));
        run(place.cgroup(), &format!("pings {port} 40"));
    }
    let said = running.stop();
    assert_eq!((said.counter("left_alone"), said.counter("paired")), (0, 4 * 21));
}

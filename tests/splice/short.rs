//! A server whose connections are short is left alone, until one of them lives longer.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use sidestep::agent::{TierChoice, adoption_support, choose_tier};
use sidestep::dataplane::{Options, Pairing, Policy, Readers};

use crate::role::start;
use crate::running::{Place, readers_are_seen};
use crate::support::bpffs::TestBpffs;
use crate::support::link::free_port;
use crate::support::machine::require_root;
use crate::support::wait::wait_until;

/// Connections in a row after which a listener is left alone, and of how many one is tried then
/// (src/dataplane/state/listener.rs).
const ROW: u64 = 32;
const TRIED: u64 = 16;

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

fn run(cgroup: &Path, role: &str) {
    assert!(start(cgroup, role).wait().unwrap().success(), "{role}");
}

#[test]
fn a_server_whose_connections_are_short_is_left_alone_and_adopted_when_one_is_kept() {
    let test = "a_server_whose_connections_are_short_is_left_alone_and_adopted_when_one_is_kept";
    if !require_root(test) || !readers_are_seen(test) || !adopts(test) {
        return;
    }
    let place = Place::new();
    let port = free_port();
    let pins = TestBpffs::new();
    let bpffs = ["--bpffs", pins.path().to_str().unwrap()];
    let mut running = place.run_pinned(&bpffs);
    let _echo = start(place.cgroup(), &format!("echo {port}"));
    // The one after them is not a trial, also when some of them have begun before the last one ended.
    const TRIALS: u64 = 8;
    const ALL: u64 = ROW + TRIALS * TRIED + TRIED / 2;
    run(place.cgroup(), &format!("shorts {port} {ALL}"));
    // Left alone first; the agent's next look takes it in, and then it earns its trust.
    running.signal(Signal::SIGSTOP);
    let kept = start(place.cgroup(), &format!("until-trusted {port} 6000"));
    wait_until("explain names it", || {
        explain(kept.id(), &bpffs).contains(r#""code":"listener_announces","holds":false"#)
    });
    running.signal(Signal::SIGCONT);
    running.says("adopted 1 connection");
    assert!({ kept }.wait().unwrap().success());
    let said = running.stop();
    let (left, paired) = (said.counter("left_alone"), said.counter("paired"));
    // Some may have begun before the last one ended.
    let some = TRIED / 2;
    let expected = ALL - ROW - TRIALS;
    assert!((expected - some..=expected + 1).contains(&left), "{left} of {ALL} connections were left alone");
    // The last one by adoption, as may be a short one that the agent met by chance.
    let expected = ROW + TRIALS + 1;
    assert!((expected..=expected + some).contains(&paired), "{paired} connections were paired");
    assert!(said.counter("redirected_messages") > 0);
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

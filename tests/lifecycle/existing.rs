//! Connections that exist are accelerated by each command that attaches, and a takeover leaves them as they are.

use std::fs::File;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use sidestep::agent::monotonic;
use sidestep::dataplane::{Counter, MapRole};
use sidestep::syscall::Map;
use sidestep::syscall::cgroup::Cgroup;

use crate::fixture::Fixture;
use crate::owner::pinned;
use crate::streams::{Probe, Streams, listener, pair};
use crate::support::agent::{self, Agent};
use crate::support::cgroup::enter;
use crate::support::feature::Feature;
use crate::support::link::{back_and_forth, expect, send};
use crate::support::wait::wait_for;

/// Until when the agent has promised to adopt, by the clock of [`monotonic`]; nothing where it cannot promise.
pub(crate) fn promised_until(fixture: &Fixture) -> Option<Duration> {
    let status = fixture.status()?;
    let generation = status.generations.iter().find(|generation| generation.live)?;
    let map = Map::from_pin(&status.pins.join(&generation.name).join(MapRole::Adopts.name())).ok()?;
    let value = map.lookup(&[0; 4]).unwrap()?;
    Some(Duration::from_nanos(u64::from_ne_bytes(value.try_into().unwrap())))
}

#[test]
fn a_promise_to_adopt_does_not_lapse_while_the_agent_waits_for_another_command() {
    let fixture = Fixture::new();
    if !adopts(&fixture, "the promise to adopt") {
        return;
    }
    let mut command = agent::command();
    command.args(["--interval", "0", "--cgroup"]).arg(fixture.cgroup_path());
    let run = Agent::start(command.arg("--bpffs").arg(fixture.bpffs()));
    // That of a time between two looks: during one it is a minute.
    let soon = |until: &Duration| (monotonic()..monotonic() + Duration::from_secs(12)).contains(until);
    let first = wait_for(|| promised_until(&fixture).filter(soon).ok_or("it promises nothing, or looks just now"));
    let instance = File::open(fixture.instance().dir()).unwrap();
    let lock = wait_for(|| {
        Flock::lock(instance.try_clone().unwrap(), FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)
    });
    while monotonic() < first + Duration::from_secs(1) {
        assert!(promised_until(&fixture).unwrap() > monotonic(), "the promise has lapsed");
        sleep(Duration::from_millis(100));
    }
    drop(lock);
    assert!(run.stop().out.contains("detached; nothing is left"));
}

/// Whether this kernel must adopt; where it need not, the commands must say why it does not.
fn adopts(fixture: &Fixture, test: &str) -> bool {
    if Feature::Adoption.required(test) {
        return true;
    }
    let probe = Probe::new();
    let said = fixture.succeeds("attach", &[]);
    assert!(!said.contains("adopted"), "{said}");
    assert!(!probe.is_redirected());
    let status = String::from_utf8(fixture.sidestep("status", &[]).stdout).unwrap();
    assert!(status.contains("connections made before an attach stay plain TCP"), "{status}");
    false
}

#[test]
fn a_run_adopts_and_a_takeover_leaves_the_adopted_as_they_are() {
    let fixture = Fixture::new();
    if !adopts(&fixture, "adoption by run") {
        return;
    }
    let (streams, probe) = (Streams::start(8), Probe::new());
    streams.carry(1 << 20);
    let mut run = pinned(&fixture);
    // One that is in the midst of something at that moment is adopted at a later look.
    if !run.said.contains("adopted 9 connections that were plain TCP") {
        assert!(run.said.contains("adopted 8 connections that were plain TCP; 1 more stay so for now"), "{}", run.said);
        run.says("adopted 1 connection that was plain TCP");
    }
    assert!(probe.is_redirected());
    streams.carry(1 << 20);
    run.kill();
    streams.carry(1 << 20);
    assert!(probe.is_redirected(), "nothing is redirected after the kill");
    let run = pinned(&fixture);
    assert!(run.said.contains("taking over"), "{}", run.said);
    assert!(probe.is_redirected(), "nothing is redirected after the takeover");
    let seen = fixture.is_healthy();
    assert!(run.stop().out.contains("detached; nothing is left"));
    assert!(!probe.is_redirected());
    streams.carry(1 << 20);
    fixture.is_gone(&seen);
    streams.finish();
}

#[test]
fn attach_upgrade_and_a_new_cgroup_adopt_unless_they_are_not_to() {
    let fixture = Fixture::new();
    if !adopts(&fixture, "adoption by other commands") {
        return;
    }
    let [one, two] = ["one", "two"].map(|name| Cgroup::create(&fixture.cgroup_path().join(name)).unwrap());
    let [first, second] = [&one, &two].map(|cgroup| {
        enter(cgroup.path());
        Probe::new()
    });
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
        let output = command.args(words).arg("--bpffs").arg(fixture.bpffs()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let [at_one, at_two] = [&one, &two].map(|cgroup| cgroup.path().to_str().unwrap());
    let flags = ["--trust", "all"];
    let said = run(&[&["attach", "--existing", "off", "--cgroup", at_one][..], &flags].concat());
    assert!(!said.contains("adopted"), "{said}");
    assert!(!first.is_redirected());
    let said = run(&["upgrade", "--cgroup", at_one]);
    assert!(said.contains("adopted 1 connection that was plain TCP"), "{said}");
    assert!(first.is_redirected() && !second.is_redirected());
    let said = run(&["cgroup", "add", at_two]);
    assert!(said.contains("adopted 1 connection that was plain TCP"), "{said}");
    assert!(first.is_redirected() && second.is_redirected());
    run(&["detach", "--cgroup", at_one]);
    assert!(!first.is_redirected() && !second.is_redirected());
    enter(fixture.cgroup_path());
    drop((first, second));
    crate::support::cgroup::remove([one.path(), two.path()]);
}

#[test]
fn adopted_readers_are_on_probation() {
    let fixture = Fixture::new();
    if !adopts(&fixture, "adoption of readers on probation") {
        return;
    }
    let (client, server) = pair(&listener());
    let mut command = agent::command();
    command.args(["--interval", "1", "--cgroup"]).arg(fixture.cgroup_path());
    let run = Agent::start(command.arg("--bpffs").arg(fixture.bpffs()));
    assert!(run.said.contains("adopted 1 connection that was plain TCP"), "{}", run.said);
    let redirected = || {
        for _ in 0..10 {
            send(&client, b"message");
            expect(&server, b"message");
            send(&server, &[7; 100]);
            expect(&client, &[7; 100]);
        }
        let (counters, _) = fixture.instance().look().unwrap().unwrap();
        counters.get(Counter::RedirectedMessages)
    };
    assert_eq!(redirected(), 0, "its readers have not been seen to read");
    wait_for(|| match redirected() {
        0 => Err(format!("its readers have not earned trust: {:?}", fixture.status())),
        _ => Ok(()),
    });
    assert!(run.stop().out.contains("detached; nothing is left"));
    back_and_forth(&client, &server, b"message", 10);
}

//! The commands, under traffic.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sidestep::agent::lifecycle::{Leftovers, Outcome, Request, State};
use sidestep::agent::{Marked, Problem, check};
use sidestep::dataplane::{Config, Counter, Policy};
use sidestep::syscall::cgroup::Cgroup;

use crate::fixture::{Fixture, Version, drain, ensure, plane};
use crate::objects::{all_gone, objects};
use crate::streams::{Probe, Streams, listener, pair};
use crate::support::cgroup::remove;
use crate::support::feature::Feature;
use crate::support::machine::is_emulated;
use crate::support::wait::wait_until;

/// As many connections as the lifecycle promises not to touch.
const CONNECTIONS: usize = 64;

/// What each phase of a test carries.
const PHASE: u64 = 4 << 20;

fn redirected(fixture: &Fixture) -> u64 {
    fixture.instance().look().unwrap().expect("nothing is attached").0.get(Counter::RedirectedBytes)
}

#[test]
fn attach_and_detach_under_traffic_lose_nothing_and_twice_is_fine() {
    let fixture = Fixture::new();
    // Older than the data plane, so that it must leave them alone.
    let older = Streams::start(8);
    older.carry(1 << 20);
    assert!(fixture.succeeds("attach", &["--existing=off"]).starts_with("attached"));
    let seen = fixture.is_healthy();
    assert!(fixture.succeeds("attach", &["--existing=off"]).starts_with("just this was attached already"));
    assert_eq!(fixture.is_healthy(), seen, "the second attach has changed something");

    let (streams, probe) = (Streams::start(CONNECTIONS), Probe::new());
    streams.carry(PHASE);
    assert!(probe.is_redirected(), "nothing is redirected");
    let output = fixture.sidestep("status", &["--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let instance = &status["instances"][0];
    assert_eq!(instance["state"], "attached", "{status}");
    // The probe is, and the streams are but for those whose reader has fallen behind.
    let members = instance["generations"][0]["members"].as_u64().unwrap() as usize;
    assert!((2..=2 * CONNECTIONS + 2).contains(&members), "{status}");
    assert_eq!(instance["problems"], serde_json::json!([]), "{status}");
    let text = String::from_utf8(fixture.sidestep("status", &[]).stdout).unwrap();
    assert!(text.contains(": attached") && text.contains("g1: live, switched on, "), "{text}");

    assert!(fixture.succeeds("detach", &[]).starts_with("detached; nothing is left"));
    streams.carry(PHASE);
    older.carry(1 << 20);
    // While the connections still carry data.
    fixture.is_gone(&seen);
    assert!(fixture.succeeds("detach", &[]).starts_with("nothing is attached"));
    streams.finish();
    older.finish();
}

#[test]
fn an_upgrade_reaches_every_connection_and_loses_nothing() {
    let fixture = Fixture::new();
    let (instance, cgroup) = (fixture.instance(), fixture.cgroup());
    assert_eq!(ensure(&instance, &cgroup, Version::First, &mut |_| {}), Outcome::Attached);
    let mut seen = fixture.is_healthy();
    let (streams, probe) = (Streams::start(CONNECTIONS), Probe::new());
    streams.carry(PHASE);
    for version in [Version::SameLayout, Version::First, Version::SameLayout] {
        assert_eq!(ensure(&instance, &cgroup, version, &mut |_| {}), Outcome::Replaced);
        let now = fixture.is_healthy();
        let kept: Vec<_> = now.intersection(&seen).filter(|(kind, _)| *kind == "program").collect();
        assert_eq!(kept.len(), 1, "of the programs only the entry stays: {now:?} {seen:?}");
        seen.extend(now);
        // The connections made before the upgrade are redirected by the new programs.
        streams.carry(PHASE);
        assert!(probe.is_redirected(), "nothing is redirected after the upgrade");
        assert_eq!(ensure(&instance, &cgroup, version, &mut |_| {}), Outcome::Already);
    }

    let now = ensure(&instance, &cgroup, Version::OtherLayout, &mut |_| {});
    assert_eq!(now, Outcome::Superseded { left: 0 });
    let other = fixture.is_healthy();
    assert_eq!(other.intersection(&seen).count(), 1, "all but the link is new: {other:?} {seen:?}");
    // The older connections are plain TCP, newer ones are redirected.
    assert_eq!(fixture.status().unwrap().generations[0].members, 0);
    streams.carry(PHASE);
    let newer = Streams::start(CONNECTIONS);
    newer.carry(PHASE);
    assert!(!probe.is_redirected(), "an older connection is still redirected");
    let (counters, _) = instance.look().unwrap().unwrap();
    assert!(Probe::new().is_redirected(), "nothing is redirected in the new generation: {counters:?}");
    let left: Vec<_> = seen.difference(&other).copied().collect();
    all_gone(&left.into_iter().collect());

    seen.extend(other);
    assert!(fixture.succeeds("detach", &[]).starts_with("detached; nothing is left"));
    streams.carry(PHASE);
    newer.carry(PHASE);
    fixture.is_gone(&seen);
    streams.finish();
    newer.finish();
}

/// Ends another thread's work, also when its own fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_look_during_upgrades_to_other_maps_finds_what_is_attached() {
    let fixture = Fixture::new();
    let (instance, cgroup) = (fixture.instance(), fixture.cgroup());
    ensure(&instance, &cgroup, Version::First, &mut |_| {});
    let mut seen = fixture.is_healthy();
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let look = threads.spawn(|| {
            let mut looks = 0;
            while !ended.load(Ordering::Relaxed) {
                assert!(instance.look().unwrap().is_some(), "after {looks} looks nothing is attached");
                let reading = instance.reading().unwrap().expect("nothing to read");
                assert_eq!((reading.cgroup.as_path(), reading.problems), (fixture.cgroup_path(), vec![]));
                looks += 1;
            }
            looks
        });
        let ends = Ends(&ended);
        for round in 0..if is_emulated() { 6 } else { 40 } {
            if look.is_finished() {
                break;
            }
            let version = if round % 2 == 0 { Version::OtherLayout } else { Version::First };
            ensure(&instance, &cgroup, version, &mut |_| {});
        }
        drop(ends);
        assert!(look.join().unwrap() > 0, "there was no look");
    });
    seen.extend(fixture.is_healthy());
    fixture.succeeds("detach", &[]);
    fixture.is_gone(&seen);
}

#[test]
fn the_upgrade_command_keeps_the_flags_that_were_given() {
    let fixture = Fixture::new();
    let refused = fixture.sidestep("upgrade", &["--cgroup", fixture.cgroup_path().to_str().unwrap()]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && text.contains("sidestep attach"), "{text}");
    fixture.succeeds("attach", &["--readers", "any"]);
    let first = fixture.is_healthy();
    assert_eq!(fixture.status().unwrap().flags, ["--readers=any", "--trust=all"]);
    assert!(fixture.succeeds("upgrade", &[]).starts_with("just this"));
    let refused = fixture.sidestep("attach", &["--cgroup", fixture.cgroup_path().to_str().unwrap()]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && text.contains("sidestep upgrade"), "{text}");
    assert!(fixture.succeeds("upgrade", &["--readers", "nonblocking"]).contains("replaced"));
    let mut seen = fixture.is_healthy();
    assert_ne!(seen, first);
    seen.extend(first);
    fixture.succeeds("detach", &[]);
    fixture.is_gone(&seen);
}

/// Where streams are measured, the state of a socket is larger, so the older pairs leave.
#[test]
fn streams_may_stay_from_an_upgrade_on_and_leave_again_with_the_next() {
    let fixture = Fixture::new();
    fixture.succeeds("attach", &[]);
    let mut seen = fixture.is_healthy();
    let older = Streams::start(16);
    older.carry(PHASE);
    let cgroup = fixture.cgroup_path().to_str().unwrap();
    let output = fixture.sidestep("upgrade", &["--cgroup", cgroup, "--streams=auto", "--trust=all"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let misses = check::configuration().unwrap().redirect_unaccepted;
    // Elsewhere the programs are the same.
    let measured = Feature::SocketOptions.required("streams that stay");
    assert_eq!(said.contains("streams leave in spite of --streams"), misses || !measured, "{said}");
    seen.extend(fixture.is_healthy());
    assert_eq!(fixture.status().unwrap().flags.contains(&"--streams=auto".to_owned()), measured);
    let (newer, probe) = (Streams::start(16), Probe::new());
    older.carry(PHASE);
    newer.carry(PHASE);
    assert!(probe.is_redirected(), "nothing is redirected after the upgrade");
    fixture.succeeds("upgrade", &["--streams=leave"]);
    seen.extend(fixture.is_healthy());
    older.carry(PHASE);
    newer.carry(PHASE);
    fixture.succeeds("detach", &[]);
    fixture.is_gone(&seen);
    older.finish();
    newer.finish();
}

#[test]
fn cgroups_that_opt_out_have_links_of_their_own() {
    let fixture = Fixture::new();
    let [one, two] = ["one", "two"].map(|name| Cgroup::create(&fixture.cgroup_path().join(name)).unwrap());
    let flag = |cgroup: &Cgroup| format!("--exclude-cgroup={}", cgroup.path().display());
    fixture.succeeds("attach", &[&flag(&one)]);
    let mut seen = fixture.is_healthy();
    let status = fixture.status().unwrap();
    let name = format!("opt_out_{}", one.id().unwrap());
    assert!(status.generations[0].links.iter().any(|link| link.name == name), "{status:?}");
    assert!(fixture.succeeds("attach", &[&flag(&one)]).starts_with("just this"));
    assert!(fixture.succeeds("upgrade", &[]).starts_with("just this"));
    let streams = Streams::start(8);
    streams.carry(1 << 20);
    assert!(fixture.succeeds("upgrade", &[&flag(&one), &flag(&two)]).starts_with("maps and programs replaced"));
    seen.extend(fixture.is_healthy());
    streams.carry(1 << 20);
    fixture.succeeds("detach", &[]);
    fixture.is_gone(&seen);
    streams.finish();
    remove([one.path(), two.path()]);
}

#[test]
fn of_several_that_attach_at_once_one_does() {
    let fixture = Fixture::new();
    let plane = plane(Policy::default());
    let outcomes: Vec<Outcome> = std::thread::scope(|threads| {
        let attach = || {
            let (instance, cgroup) = (fixture.instance(), fixture.cgroup());
            let request = Request {
                plane: &plane,
                config: Config::default(),
                cgroup: &cgroup,
                more: &[],
                marked: Marked::default(),
                flags: &[],
                drain: drain(),
            };
            instance.attach(&request, &mut |_| {}).unwrap()
        };
        let all: Vec<_> = (0..4).map(|_| threads.spawn(attach)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Attached).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Already).count(), 3, "{outcomes:?}");
    let seen = fixture.is_healthy();
    fixture.succeeds("detach", &[]);
    fixture.is_gone(&seen);
}

#[test]
fn bytes_that_are_unread_are_waited_for_and_never_lost() {
    let fixture = Fixture::new();
    for leftovers in [Leftovers::Keep, Leftovers::Abandon] {
        ensure(&fixture.instance(), &fixture.cgroup(), Version::First, &mut |_| {});
        let seen = fixture.is_healthy();
        let listener = listener();
        let (mut client, mut server) = pair(&listener);
        let mut read = |expected: &[u8]| {
            let mut bytes = vec![0; expected.len()];
            server.set_nonblocking(false).unwrap();
            server.read_exact(&mut bytes).unwrap();
            server.set_nonblocking(true).unwrap();
            assert_eq!(bytes, expected);
        };
        // The first message may take the stack; later ones do not.
        for _ in 0..3 {
            client.write_all(b"hello").unwrap();
            read(b"hello");
        }
        let before = redirected(&fixture);
        client.write_all(&[7; 5000]).unwrap();
        assert_eq!(redirected(&fixture) - before, 5000, "not redirected, so that the test says nothing");
        let detached = fixture.instance().detach(Duration::from_millis(300), leftovers, None, &mut |_| {}).unwrap();
        assert_eq!(detached.left, 1);
        client.write_all(&[8; 3000]).unwrap();
        if leftovers == Leftovers::Keep {
            assert!(!detached.gone);
            let status = fixture.status().unwrap();
            assert_eq!((status.state, status.generations[0].members), (State::Detached, 1));
            read(&[7; 5000]);
            read(&[8; 3000]);
            let again = fixture.instance().detach(drain(), leftovers, None, &mut |_| {}).unwrap();
            assert_eq!((again.left, again.gone), (0, true));
        } else {
            assert!(detached.gone);
            read(&[7; 5000]);
            read(&[8; 3000]);
        }
        // As an abandoned socket closes, the kernel frees the rest.
        drop((client, server, listener));
        fixture.is_gone(&seen);
    }
}

#[test]
fn a_removed_cgroup_is_named_and_cleared_away() {
    let fixture = Fixture::new();
    ensure(&fixture.instance(), &fixture.cgroup(), Version::First, &mut |_| {});
    let seen = fixture.is_healthy();
    fixture.remove_cgroup();
    // The kernel detaches from a work queue; the link is seen to go after the directory, or before it on 5.10.
    wait_until("the kernel lets go of a removed cgroup", || {
        let status = fixture.status().unwrap();
        status.link.is_none() && status.state == State::CgroupGone
    });
    let status = fixture.status().unwrap();
    assert!(status.problems.contains(&Problem::CgroupRemoved), "{:?}", status.problems);
    assert_eq!(objects(&status).len(), seen.len() - 1, "only the link is gone");
    let output = fixture.sidestep("detach", &["--cgroup", fixture.cgroup_path().to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    fixture.is_gone(&seen);
}

//! One instance on several cgroups: their ends pair, and cgroups come and go under traffic.

use std::path::Path;
use std::process::{Command, Output};

use sidestep::agent::lifecycle::{Added, Instance, Leftovers, Outcome, Pins, Request, State};
use sidestep::agent::{Marked, Problem};
use sidestep::syscall::cgroup::Cgroup;

use crate::fixture::{Fixture, Version, drain};
use crate::objects::{Ids, objects};
use crate::streams::{Probe, Streams, listener};
use crate::support::cgroup::{enter, remove};
use crate::support::machine::scale;
use crate::support::wait::{wait_until, wait_within};

/// The variable with the order for the child; nothing but this test reads it.
const ORDER: &str = "SIDESTEP_LIFECYCLE_CGROUPS";

/// What a phase carries.
const PHASE: u64 = 1 << 20;

fn make<const N: usize>(fixture: &Fixture, names: [&str; N]) -> [Cgroup; N] {
    names.map(|name| Cgroup::create(&fixture.cgroup_path().join(name)).unwrap())
}

/// Attaches to all of them, as one instance.
fn ensure(fixture: &Fixture, version: Version, first: &Cgroup, more: &[Cgroup]) -> (Instance, Outcome) {
    let plane = version.plane();
    let instance = fixture.pins().instance(first.id().unwrap());
    let request = Request {
        plane: &plane,
        config: version.config(),
        cgroup: first,
        more,
        marked: Marked::default(),
        flags: &[],
        drain: drain(),
    };
    let outcome = instance.ensure(&request, &mut |_| {}).unwrap();
    (instance, outcome)
}

/// Runs `sidestep cgroup`.
fn command(fixture: &Fixture, verb: &str, path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    command.args(["cgroup", verb]).arg(path).arg("--bpffs").arg(fixture.bpffs());
    // These tests are about connections that are made later.
    let existing: &[&str] = if verb == "add" { &["--existing=off"] } else { &[] };
    command.args(existing).output().unwrap()
}

fn succeeds(fixture: &Fixture, verb: &str, path: &Path) -> String {
    let output = command(fixture, verb, path);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn ids(instance: &Instance) -> Vec<u64> {
    let cgroups = instance.cgroups().unwrap();
    assert!(cgroups.iter().all(|cgroup| cgroup.state == State::Attached), "{cgroups:?}");
    cgroups.iter().map(|cgroup| cgroup.id).collect()
}

/// Waits until the status has nothing to complain of; returns the objects.
fn is_healthy(fixture: &Fixture) -> Ids {
    fixture.is_healthy()
}

/// Whether the connections of a cgroup leave although nothing is sent (Linux 5.11).
fn idle_ones_leave() -> bool {
    sidestep::agent::kernel_offsets().unwrap().iterators_have_storage
}

#[test]
fn a_map_that_fills_is_reported_and_given_more_room_under_traffic() {
    let fixture = Fixture::new();
    fixture.succeeds("attach", &["--max-connections=2"]);
    let listener = listener();
    let probes = [Probe::on(&listener), Probe::on(&listener)];
    assert!(probes.iter().all(Probe::is_redirected), "nothing is redirected");
    let third = Probe::on(&listener);
    assert!(!third.is_redirected(), "the sockhash has more room than was asked for");
    let problems = fixture.status().unwrap().problems;
    assert_eq!(problems, [Problem::SockhashFull { members: 4, capacity: 4 }]);
    fixture.succeeds("upgrade", &["--max-connections=100", "--existing=off"]);
    assert!(!probes[0].is_redirected(), "a connection of the old maps is redirected");
    assert!(Probe::on(&listener).is_redirected(), "a new connection is not redirected");
    let seen = fixture.is_healthy();
    fixture.succeeds("detach", &[]);
    fixture.is_gone(&seen);
}

#[test]
fn cgroups_of_one_instance_pair_and_come_and_go_under_traffic() {
    let fixture = Fixture::new();
    let [one, two, three] = make(&fixture, ["one", "two", "three"]);
    let inner = Cgroup::create(&three.path().join("inner")).unwrap();
    let flags = [one.path(), two.path()].map(|path| format!("--cgroup={}", path.display()));
    let output = fixture.sidestep("attach", &[flags[0].as_str(), flags[1].as_str(), "--trust=all"]);
    assert!(output.status.success(), "{output:?}");
    let instance = fixture.pins().instance(one.id().unwrap());
    let mut seen = is_healthy(&fixture);

    // Clients in one cgroup, servers in the other.
    enter(one.path());
    let (servers, apart) = (listener(), Probe::new());
    enter(two.path());
    let (streams, between) = (Streams::start_on(&servers, 4), Probe::on(&servers));
    enter(three.path());
    let older = Probe::new();
    streams.carry(PHASE);
    assert!(between.is_redirected(), "ends in two cgroups of one instance do not pair");
    assert!(apart.is_redirected());
    assert!(!older.is_redirected(), "a cgroup that is not attached is accelerated");

    // One more, by a pattern.
    let text = succeeds(&fixture, "add", &three.path().with_file_name("t?ree"));
    assert!(text.starts_with("added: ") && text.contains("/three\n"), "{text}");
    let text = succeeds(&fixture, "add", three.path());
    assert!(text.starts_with("nothing to do: "), "{text}");
    let text = succeeds(&fixture, "add", inner.path());
    assert!(text.contains("is inside"), "{text}");
    let refused = command(&fixture, "add", fixture.cgroup_path());
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && text.contains("sidestep cgroup remove"), "{text}");
    assert_eq!(ids(&instance).len(), 3);
    seen.extend(is_healthy(&fixture));
    enter(inner.path());
    let newer = Probe::on(&servers);
    assert!(newer.is_redirected(), "a cgroup that was added is not accelerated");
    streams.carry(PHASE);

    // All links move in an upgrade of programs, and no connection notices.
    let more = [two.try_clone().unwrap(), three.try_clone().unwrap()];
    assert_eq!(ensure(&fixture, Version::SameLayout, &one, &more).1, Outcome::Replaced);
    seen.extend(is_healthy(&fixture));
    assert!(between.is_redirected() && newer.is_redirected());
    streams.carry(PHASE);

    // One goes: its connections leave, those of the others stay.
    let output = command(&fixture, "remove", two.path());
    assert!(output.status.success() || !idle_ones_leave(), "{output:?}");
    assert_eq!(ids(&instance), [one.id().unwrap(), three.id().unwrap()]);
    streams.carry(PHASE);
    assert!(!between.is_redirected(), "a connection of a removed cgroup is redirected");
    assert!(newer.is_redirected() && apart.is_redirected(), "a connection of another cgroup has left");
    seen.extend(is_healthy(&fixture));
    if idle_ones_leave() {
        wait_within(drain(), || match instance.look().unwrap().unwrap().1 {
            4 => Ok(()),
            members => Err(format!("{members} members")),
        });
        let again = command(&fixture, "remove", two.path());
        assert_eq!(again.status.code(), Some(1), "{again:?}");
    }

    // Also the one that gave the instance its name.
    let output = command(&fixture, "remove", one.path());
    assert!(output.status.success() || !idle_ones_leave(), "{output:?}");
    assert!(!apart.is_redirected() && !newer.is_redirected());
    let last = command(&fixture, "remove", three.path());
    let text = String::from_utf8(last.stderr).unwrap();
    assert!(text.contains("sidestep detach"), "{text}");
    let status = fixture.status().unwrap();
    assert_eq!((status.state, status.cgroups.len()), (State::Attached, 1), "{status:?}");
    enter(three.path());
    assert!(Probe::new().is_redirected());
    let detached = instance.detach(drain(), Leftovers::Keep, None, &mut |_| {}).unwrap();
    assert!(detached.gone, "{detached:?}");
    streams.carry(PHASE);
    fixture.is_gone(&seen);
    streams.finish();
    drop((apart, between, older, newer));
    enter(fixture.cgroup_path());
    remove([inner.path(), one.path(), two.path(), three.path()]);
}

#[test]
fn a_cgroup_that_was_removed_leaves_the_instance() {
    let fixture = Fixture::new();
    let [one, two] = make(&fixture, ["one", "two"]);
    let id = one.id().unwrap();
    let (instance, _) = ensure(&fixture, Version::First, &two, std::slice::from_ref(&one));
    let mut seen = is_healthy(&fixture);
    enter(one.path());
    let open = Probe::new();
    assert!(open.is_redirected());
    enter(two.path());
    let other = Probe::new();
    // Its sockets are still open.
    remove([one.path()]);
    assert!(other.is_redirected());
    let text = String::from_utf8(fixture.sidestep("status", &[]).stdout).unwrap();
    assert!(text.contains(": attached"), "{text}");
    let output = command(&fixture, "remove", Path::new(&id.to_string()));
    assert!(output.status.success() || !idle_ones_leave(), "{output:?}");
    assert!(!open.is_redirected() && other.is_redirected());
    wait_until("the removed cgroup has left the instance", || {
        instance.tidy().unwrap();
        ids(&instance) == [two.id().unwrap()]
    });
    seen.extend(is_healthy(&fixture));
    instance.detach(drain(), Leftovers::Keep, None, &mut |_| {}).unwrap();
    drop((open, other));
    fixture.is_gone(&seen);
    enter(fixture.cgroup_path());
    remove([two.path()]);
}

/// The child: adds or removes a cgroup and ends after a step. Run by hand it has no order and does nothing.
#[test]
#[ignore = "the other test starts it"]
fn child() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let words: Vec<&str> = order.split(' ').collect();
    let [verb, step, bpffs, first, second] = words[..] else { panic!("{order}") };
    let mut left: u32 = step.parse().unwrap();
    let [first, second] = [first, second].map(|path| Cgroup::open(path.as_ref()).unwrap());
    let instance = Pins::find(Some(bpffs.as_ref()), false).unwrap().instance(first.id().unwrap());
    let mut steps = |name: &'static str| {
        left -= 1;
        if left == 0 {
            println!("STEP {name}");
            // SAFETY: ends the process without running anything of it.
            unsafe { libc::_exit(42) };
        }
    };
    if verb == "add" {
        assert_eq!(instance.add_cgroup(&second, &mut steps).unwrap(), Added::Added);
    } else {
        instance.remove_cgroup(second.id().unwrap(), drain(), &mut steps).unwrap();
    }
}

#[test]
fn a_crash_after_any_step_of_add_and_remove_is_recovered_from() {
    let fixture = Fixture::new();
    let [one, two] = make(&fixture, ["one", "two"]);
    let (instance, _) = ensure(&fixture, Version::First, &one, &[]);
    let mut seen = is_healthy(&fixture);
    enter(one.path());
    let (servers, staying) = (listener(), Streams::start(2));
    // On a slow machine one step of the longer one.
    let is_slow = scale() < 1.0;
    let (first, stride) = if is_slow { (2_u32, 100) } else { (1, 1) };
    for verb in ["add", "remove"].into_iter().filter(|verb| !is_slow || *verb == "remove") {
        for step in (first..).step_by(stride) {
            let wanted = if verb == "add" { vec![] } else { vec![two.try_clone().unwrap()] };
            ensure(&fixture, Version::First, &one, &wanted);
            seen.extend(is_healthy(&fixture));
            enter(two.path());
            let streams = Streams::start_on(&servers, 2);
            streams.carry(64 << 10);
            let paths = [one.path(), two.path()].map(|path| path.display().to_string());
            let order = format!("{verb} {step} {} {}", fixture.bpffs().display(), paths.join(" "));
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "many::child", "--ignored", "--nocapture"])
                .env(ORDER, order)
                .output()
                .unwrap();
            seen.extend(fixture.status().map(|status| objects(&status)).unwrap_or_default());
            streams.carry(64 << 10);
            staying.carry(64 << 10);
            streams.finish();
            match output.status.code() {
                Some(42) => println!("{verb} after step {step}"),
                Some(0) => {
                    assert!(step > 2, "{verb} has hardly any steps");
                    break;
                }
                _ => panic!("{verb} step {step}: {output:?}"),
            }
        }
    }
    let detached = instance.detach(drain(), Leftovers::Keep, None, &mut |_| {}).unwrap();
    assert!(detached.gone, "{detached:?}");
    fixture.is_gone(&seen);
    staying.finish();
    enter(fixture.cgroup_path());
    remove([one.path(), two.path()]);
}

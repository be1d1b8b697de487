//! Pods that come, opt in and out, and go.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use crate::fixture::Fixture;
use crate::names;
use crate::sandbox::{Driver, TestPod};
use crate::streams::{Probe, Streams};
use crate::support::feature::Feature;
use crate::support::link::Finish;
use crate::support::wait::wait_until;

/// A new connection inside a pod.
fn probe(pod: &TestPod) -> Probe {
    pod.enter();
    Probe::new()
}

#[test]
fn pods_are_accelerated_by_their_annotations_as_they_come_and_go() {
    let mut fixture = Fixture::new();
    let mut yes = TestPod::new(&mut fixture.runtime, "yes", Driver::Cgroupfs, Some("true"));
    let mut no = TestPod::new(&mut fixture.runtime, "no", Driver::Systemd, Some("false"));
    let mut silent = TestPod::new(&mut fixture.runtime, "silent", Driver::Cgroupfs, None);
    for pod in [&mut yes, &mut no, &mut silent] {
        pod.start(&mut fixture.runtime);
    }
    let run = fixture.run(&["--pods", "all"]);
    fixture.accelerates(&[&yes]);
    assert!(probe(&yes).is_redirected());
    assert!(!probe(&no).is_redirected() && !probe(&silent).is_redirected());

    // Two that come while it runs, at places of which one only the runtime knows; with a connection each that is there first.
    let mut late = TestPod::new(&mut fixture.runtime, "late", Driver::Systemd, Some("true"));
    let mut elsewhere = TestPod::new(&mut fixture.runtime, "elsewhere", Driver::Elsewhere, Some("true"));
    let mut wrong = TestPod::new(&mut fixture.runtime, "wrong", Driver::Cgroupfs, Some("yes"));
    let early = [&late, &elsewhere].map(probe);
    late.enter();
    let streams = Streams::start(4);
    for pod in [&mut late, &mut elsewhere, &mut wrong] {
        pod.start(&mut fixture.runtime);
    }
    fixture.accelerates(&[&yes, &late, &elsewhere]);
    assert!(probe(&late).is_redirected() && probe(&elsewhere).is_redirected());
    assert!(!probe(&wrong).is_redirected());
    names::are_shown(&fixture.runtime.socket(), fixture.bpffs(), &late, &elsewhere);
    streams.carry(1 << 20);
    if Feature::Adoption.required("adoption of the connections of pods") {
        wait_until("connections that were there before are adopted", || early.iter().all(Probe::is_redirected));
    }

    // One that changes its mind, one that ends.
    let stays = probe(&late);
    yes.recreate(&mut fixture.runtime, Some("false"));
    fixture.accelerates(&[&late, &elsewhere]);
    assert!(!probe(&yes).is_redirected(), "it has opted out");
    no.recreate(&mut fixture.runtime, Some("true"));
    fixture.accelerates(&[&no, &late, &elsewhere]);
    assert!(probe(&no).is_redirected(), "it has opted in");
    drop(early);
    elsewhere.stop(&mut fixture.runtime);
    fixture.accelerates(&[&no, &late]);
    assert!(stays.is_redirected(), "a pod that stays is disturbed by others");

    // Killed, and taken over, with a pod that has ended and one that has come meanwhile.
    run.kill();
    no.stop(&mut fixture.runtime);
    wrong.recreate(&mut fixture.runtime, Some("true"));
    let run = fixture.run(&["--pods", "all"]);
    assert!(run.said.contains("taking over"), "{}", run.said);
    fixture.accelerates(&[&late, &wrong]);
    assert!(stays.is_redirected() && probe(&wrong).is_redirected());
    streams.carry(1 << 20);
    fixture.leave();
    let said = run.stop();
    assert!(said.out.contains("detached; nothing is left"), "{}", said.out);
    fixture.is_gone();
    assert!(!stays.is_redirected());
    streams.finish();
}

#[test]
fn a_pod_that_opts_out_is_not_accelerated_in_its_first_moments_either() {
    let mut fixture = Fixture::new();
    let run = fixture.run(&["--pods", "all", "--pods-default", "on"]);
    let mut no = TestPod::new(&mut fixture.runtime, "no", Driver::Cgroupfs, Some("false"));
    let mut silent = TestPod::new(&mut fixture.runtime, "silent", Driver::Cgroupfs, None);
    // Connections are made in its cgroup all the time, from before its sandbox is there.
    let (done, cgroup) = (AtomicBool::new(false), no.cgroup());
    no.enter();
    std::thread::scope(|scope| {
        let early = scope.spawn(|| {
            let mut probes = Vec::new();
            while !done.load(Ordering::Relaxed) || probes.is_empty() {
                let probe = Probe::new();
                assert!(!probe.is_redirected(), "{} is accelerated", cgroup.display());
                // Some stay, so that they would be adopted.
                if probes.len() < 20 {
                    probes.push(probe);
                }
            }
            probes
        });
        let finish = Finish(&done);
        no.start(&mut fixture.runtime);
        silent.start(&mut fixture.runtime);
        // By then both have been read.
        fixture.accelerates(&[&silent]);
        drop(finish);
        for probe in early.join().unwrap() {
            assert!(!probe.is_redirected());
        }
    });
    assert!(probe(&silent).is_redirected());
    assert!(!probe(&no).is_redirected());
    fixture.leave();
    run.stop_by(Signal::SIGINT);
    fixture.is_gone();
}

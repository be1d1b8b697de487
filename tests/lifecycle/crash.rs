//! A crash after every step of every change: the next change finds its way.

use std::process::Command;

use sidestep::agent::lifecycle::{Leftovers, Pins};
use sidestep::syscall::cgroup::Cgroup;

use crate::fixture::{Fixture, Version, drain, ensure};
use crate::objects::objects;
use crate::streams::Streams;
use crate::support::machine::scale;

/// The variable with the order for the child; nothing but this test reads it.
const ORDER: &str = "SIDESTEP_LIFECYCLE_CRASH";

/// A change that is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    To(Version),
    Detach,
}

/// All changes by number.
const CHANGES: [Change; 4] =
    [Change::To(Version::First), Change::To(Version::SameLayout), Change::To(Version::OtherLayout), Change::Detach];

/// The child: makes a change and aborts after a step. Run by hand it has no order and does nothing.
#[test]
#[ignore = "the other test starts it"]
fn child() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let words: Vec<&str> = order.split(' ').collect();
    let [change, step, bpffs, cgroup] = words[..] else { panic!("{order}") };
    let (change, mut left): (usize, u32) = (change.parse().unwrap(), step.parse().unwrap());
    let cgroup = Cgroup::open(cgroup.as_ref()).unwrap();
    let instance = Pins::find(Some(bpffs.as_ref()), false).unwrap().instance(cgroup.id().unwrap());
    let mut steps = |name: &'static str| {
        left -= 1;
        if left == 0 {
            println!("STEP {name}");
            // Not abort: a core file takes time, and the kernel sees no difference.
            // SAFETY: ends the process without running anything of it.
            unsafe { libc::_exit(42) };
        }
    };
    match CHANGES[change] {
        Change::To(version) => {
            ensure(&instance, &cgroup, version, &mut steps);
        }
        Change::Detach => {
            instance.detach(drain(), Leftovers::Keep, None, &mut steps).unwrap();
        }
    }
}

/// Makes the change in a child that ends after step `step`; returns the step's name, or none when there is no such step.
fn crash(fixture: &Fixture, change: usize, step: u32) -> Option<String> {
    let order = format!("{change} {step} {} {}", fixture.bpffs().display(), fixture.cgroup_path().display());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--ignored", "--nocapture"])
        .env(ORDER, order)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(42) => Some(text.lines().find_map(|line| line.split("STEP ").nth(1)).unwrap().to_owned()),
        Some(0) => None,
        _ => panic!("{:?} step {step}: {output:?}", CHANGES[change]),
    }
}

#[test]
fn a_crash_after_any_step_is_recovered_from_without_loss() {
    let fixture = Fixture::new();
    let mut all_steps = 0;
    for (number, change) in CHANGES.into_iter().enumerate() {
        // On a slow machine every seventh step, beginning elsewhere for each change: no multiple of 2 or 3, so that each kind of
        // recovery is met.
        let (first, stride) = if scale() < 1.0 { (1 + number as u32, 7) } else { (1, 1) };
        for step in (first..).step_by(stride) {
            if change != Change::To(Version::First) {
                ensure(&fixture.instance(), &fixture.cgroup(), Version::First, &mut |_| {});
            }
            let streams = Streams::start(4);
            streams.carry(64 << 10);
            let mut seen = fixture.status().map(|status| objects(&status)).unwrap_or_default();
            let Some(name) = crash(&fixture, number, step) else {
                assert!(step > 4, "{change:?} has hardly any steps");
                fixture.instance().detach(drain(), Leftovers::Keep, None, &mut |_| {}).unwrap();
                streams.finish();
                fixture.is_gone(&seen);
                break;
            };
            let at = format!("{change:?} after step {step}, {name}");
            println!("{at}");
            all_steps += 1;
            seen.extend(fixture.status().map(|status| objects(&status)).unwrap_or_default());
            streams.carry(64 << 10);
            if step % 2 == 0 {
                // And once more, in the midst of ending what the first has cut short.
                let again = crash(&fixture, number, 1 + step % 5);
                println!("  and again after {again:?}");
                seen.extend(fixture.status().map(|status| objects(&status)).unwrap_or_default());
            }
            // Each kind of recovery in turn: what was wanted, what was there before, and away with it.
            match (step % 3, change) {
                (0, _) => {}
                (1, Change::To(version)) => {
                    ensure(&fixture.instance(), &fixture.cgroup(), version, &mut |_| {});
                    seen.extend(fixture.is_healthy());
                }
                _ => {
                    ensure(&fixture.instance(), &fixture.cgroup(), Version::First, &mut |_| {});
                    seen.extend(fixture.is_healthy());
                }
            }
            streams.carry(64 << 10);
            let detached = fixture.instance().detach(drain(), Leftovers::Keep, None, &mut |_| {}).unwrap();
            assert!(detached.gone, "{at}: {detached:?}");
            streams.carry(64 << 10);
            fixture.is_gone(&seen);
            streams.finish();
        }
    }
    println!("{all_steps} crashes");
}

//! All schedules of the programs on several processors, under models of x86_64 and arm64 (docs/explanation/memory-order.md).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod event;
mod kernel;
mod memory;
mod mutants;
mod pair;
mod process;
mod programs;
mod scenario;
mod search;

use std::time::Instant;

use memory::Architecture::{self, Arm, X86};
use scenario::{ALL, Scenario};
use search::Found;

fn report(architecture: Architecture, how: &str, scenario: &Scenario, search: impl FnOnce() -> Found) -> Found {
    let since = Instant::now();
    let found = search();
    println!("{architecture:?}{how}, {}: {} states in {:.1?}", scenario.name, found.states, since.elapsed());
    if let Some(failure) = &found.failure {
        println!("    {}, by this schedule:\n      {}", failure.what, failure.schedule.join("\n      "));
    }
    found
}

#[test]
fn no_schedule_on_x86_loses_or_reorders_anything() {
    for scenario in ALL {
        let found = report(X86, "", scenario, || scenario.search(X86, |_| ()));
        assert!(found.failure.is_none(), "{}", scenario.name);
    }
}

#[test]
fn on_arm_only_what_the_kernel_lacks_fails() {
    for scenario in ALL {
        let found = report(Arm, "", scenario, || scenario.search(Arm, |_| ()));
        assert_eq!(found.failure.is_some(), scenario.mended.is_some(), "{}", scenario.name);
        if scenario.mended.is_some() {
            let found = report(Arm, " with that order", scenario, || scenario.search_mended(Arm, |_| ()));
            assert!(found.failure.is_none(), "{}", scenario.name);
        }
    }
}

#[test]
fn a_barrier_that_is_dropped_is_missed() {
    let mut wrong = Vec::new();
    for architecture in [X86, Arm] {
        for barrier in mutants::barriers(architecture) {
            let (caught, reason) = (barrier.caught_by(architecture), barrier.reason(architecture));
            println!("{architecture:?}, without {}: {caught:?}, {reason:?}", barrier.name);
            if caught.is_some() == reason.is_some() {
                wrong.push(format!("{architecture:?}, {}: caught by {caught:?}, excused by {reason:?}", barrier.name));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

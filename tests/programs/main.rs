//! Programs that people run, under the defaults: each case first with plain TCP, then in a cgroup that `sidestep run`
//! accelerates with no other flag. Every byte is checked, and a case must come out as with plain TCP.
//!
//! `short` runs what CI installs. `all` runs every case (`tests/programs/run --all` installs what it needs) and writes the
//! page with the share of bytes that each program's connections exchanged past the stack. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod agent;
mod case;
mod cases;
mod content;
mod existing;
mod fixture;
mod octets;
mod page;
mod probation;
mod tools;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use case::{Case, Row, Set};

/// One test at a time: the cgroup bears the name of this process.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that has failed has cleaned up all the same.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs these cases one after the other; panics at the end if one failed.
fn run(cases: impl Iterator<Item = Case>) -> Vec<Row> {
    assert!(
        nix::unistd::geteuid().is_root(),
        "run as root: the cases need namespaces and cgroups, and load BPF programs"
    );
    let _alone = alone();
    let only = std::env::var("PROGRAMS_ONLY").ok();
    let mut rows = Vec::new();
    for case in cases.filter(|case| only.as_ref().is_none_or(|only| only.split(',').any(|name| name == case.name))) {
        let started = Instant::now();
        let row = case.run();
        println!("{row} ({:.1} s)", started.elapsed().as_secs_f64());
        rows.push(row);
    }
    let bad: Vec<_> = rows.iter().filter(|row| row.is_failure()).map(|row| row.name).collect();
    assert!(bad.is_empty(), "failed: {}", bad.join(", "));
    rows
}

#[test]
fn short() {
    run(cases::all().filter(|case| case.set == Set::Short));
}

#[test]
#[ignore = "takes minutes and many packages: `tests/programs/run --all`"]
fn all() {
    let rows = run(cases::all());
    if std::env::var_os("UPDATE").is_some() {
        page::write(&rows);
    }
}

/// What a client and a server send is known here: 200 round trips of 1 KiB, and 4 MiB that come back.
#[test]
fn the_payload_of_a_namespace_is_what_programs_send() {
    let _alone = alone();
    let case = cases::all().find(|case| case.name == "python-socketserver").unwrap();
    let (outcome, measured) = fixture::Fixture::plain("octets").unwrap().work(case.work).unwrap();
    outcome.unwrap();
    let sent = 2 * (200 * 1024 + content::CONTENT as u64);
    let (least, most) = (sent, sent + sent / 10 + measured.repeated);
    assert!((least..=most).contains(&measured.by_stack), "{sent} were sent, and {} received", measured.by_stack);
}

/// The share that `run` prints is of all bytes of local connections. Those of a server that blocks never enter the sockhash,
/// or leave it before they carry much.
#[test]
fn run_says_the_share_of_all_bytes() {
    let _alone = alone();
    let case = cases::all().find(|case| case.name == "python-http.server").unwrap();
    let (outcome, measured) = fixture::Fixture::accelerated("share").unwrap().work(case.work).unwrap();
    outcome.unwrap();
    assert!(measured.share() < 0.01, "a server that blocks uses the stack: {measured}");
    let line = measured.line.unwrap();
    let share = line.split("past the stack ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(share.is_some_and(|share| share < 1.0), "{line}");
}

#[test]
fn the_page_lists_every_case() {
    page::require_all(cases::all().map(|case| case.name));
}

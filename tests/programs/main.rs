//! Programs that people run, under the defaults: each case first with plain TCP, then in a cgroup that `sidestep run`
//! accelerates with no other flag. Every byte is checked, and a case must come out as with plain TCP.
//!
//! `short` runs what CI installs. `all` runs every case (`tests/programs/run --all` installs what it needs) and writes the
//! page with the share of bytes that each program's connections exchanged past the stack. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod case;
mod cases;
mod octets;
mod page;
mod scope;
mod tools;

use case::{Case, Row, Set};

/// Runs these cases one after the other; panics at the end if one failed.
fn run(cases: impl Iterator<Item = Case>) -> Vec<Row> {
    assert!(
        nix::unistd::geteuid().is_root(),
        "run as root: the cases need namespaces and cgroups, and load BPF programs"
    );
    let only = std::env::var("PROGRAMS_ONLY").ok();
    let mut rows = Vec::new();
    for case in cases.filter(|case| only.as_ref().is_none_or(|only| only.split(',').any(|name| name == case.name))) {
        let row = case.run();
        println!("{row}");
        rows.push(row);
    }
    let bad: Vec<_> = rows.iter().filter(|row| row.is_failure()).map(|row| row.name).collect();
    assert!(bad.is_empty(), "failed: {}", bad.join(", "));
    rows
}

#[test]
fn short() {
    for case in cases::all().filter(|case| case.set == Set::Splicing) {
        println!(
            "{}: NOT TESTED here: it reads by splice(2); run `tests/programs/run --only {}`",
            case.name, case.name
        );
    }
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

#[test]
fn the_page_lists_every_case() {
    page::require_all(cases::all().map(|case| case.name));
}

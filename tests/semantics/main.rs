//! The semantics suite: the same operations on plain and on accelerated connections, compared value by value.
//!
//! `cargo test --test semantics` compares with `docs/reference/safety-matrix.md`; with `UPDATE=1` it writes the file. A word on
//! the command line selects the cases whose names contain it, and prints their values. Needs root and Linux 5.10.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a case that cannot do what it is for should stop there")]

mod cases;
mod column;
mod log;
mod matrix;
mod notes;
mod repeat;
mod runner;
mod socket;
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
#[path = "../support/mod.rs"]
mod support;
mod sys;
mod uring;

use support::feature;

use std::process::ExitCode;

/// Cases at once: most of their time they sleep, and longer in an emulated machine.
fn slots() -> usize {
    if emulated() { 12 } else { 8 }
}

/// Is this machine an emulated one, where everything takes longer?
fn emulated() -> bool {
    crate::support::machine::is_emulated()
}

/// A socket whose packets are stamped. The kernel turns stamping on and off by patching code that every packet runs
/// through (`netstamp_needed_key`), and QEMU's TCG may still execute the breakpoint of a change that is over: a guest of
/// 6.18 panicked in `netif_rx_internal` for it. With one such socket all the while nothing is patched.
fn always_stamped() -> std::io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    sys::set(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SOL_SOCKET, libc::SO_TIMESTAMP, 1)?;
    Ok(socket)
}

/// The values of the cases: as they were measured first, or, where they are to be judged, after those that look wrong were
/// measured again.
fn measure(cases: &[&cases::Case], are_judged: bool) -> Result<Vec<Vec<runner::Value>>, Box<dyn std::error::Error>> {
    let slots = runner::Slots::new(slots())?;
    let values = if are_judged { repeat::measure(&slots, cases) } else { slots.run(cases) };
    slots.remove()?;
    values
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("semantics: test");
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("semantics: NOT RUN: attaching BPF programs needs root; run it with sudo");
        return if std::env::var_os("CI").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut chosen = cases::all();
    chosen.retain(|case| filter.is_none_or(|word| case.name.contains(word)) && case.is_to_be_had());
    let _stamped = emulated().then(|| always_stamped().unwrap());
    if emulated() {
        println!("semantics: an emulated machine: \"100,000 writes of 1 byte\" makes 10,000, and pauses are longer");
    }
    let values = match measure(&chosen, filter.is_none()) {
        Ok(values) => values,
        Err(error) => {
            eprintln!("semantics: {error}");
            return ExitCode::FAILURE;
        }
    };
    if filter.is_some() {
        matrix::print(&chosen, &values);
        return ExitCode::SUCCESS;
    }
    let faults = matrix::check(&chosen, &values);
    for fault in &faults {
        eprintln!("semantics: {fault}");
    }
    println!("semantics: {} cases in {} columns, {} faults", chosen.len(), column::Column::ALL.len(), faults.len());
    // The words of libtest, since the scripts that add up the results of all test binaries look for them.
    let verdict = if faults.is_empty() { "ok" } else { "FAILED" };
    let passed = chosen.len().saturating_sub(faults.len());
    println!("test result: {verdict}. {passed} passed; {} failed; 0 ignored; 0 measured; 0 filtered out", faults.len());
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

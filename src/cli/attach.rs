//! `sidestep attach`: accelerates a cgroup and returns; what it attached lives on by its pins.

use std::process::ExitCode;

use super::target::{Target, configuration, instance};
use super::{Error, Invocation};
use crate::agent::lifecycle::Outcome;

/// The line of `sidestep help`.
pub(super) const SUMMARY: &str = "accelerate the connections inside a cgroup from now on, and return";

const HELP: &str = "\
usage: sidestep attach --cgroup PATH [FLAGS]

Accelerates the TCP connections that processes in the cgroup (and below it) make to each other from now on, until
`sidestep detach`. No process stays: programs and maps live by their pins on a bpf file system.
Attaching twice is fine; with other flags or programs, use `sidestep upgrade`.

";

/// Runs the command.
pub(super) fn run(invocation: Invocation<'_>) -> Result<ExitCode, Error> {
    let Invocation { args, out, .. } = invocation;
    let Some(target) = Target::read(args, HELP, out)? else { return Ok(ExitCode::SUCCESS) };
    let cgroup = target.open()?;
    let instance = instance(&target.pins.find()?, &cgroup)?;
    let wanted = target.build(cgroup, configuration(&instance)?)?;
    let done = match instance.attach(&wanted.request(), &mut |_| {})? {
        Outcome::Already => "just this was attached already",
        _ => "attached",
    };
    wanted.note()?;
    writeln!(out, "{done}: {}, pinned in {}", wanted.cgroup.path().display(), instance.dir().display())?;
    Ok(ExitCode::SUCCESS)
}

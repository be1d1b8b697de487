//! `sidestep upgrade`: replaces what is attached by what this binary and these flags make, under traffic.

use std::process::ExitCode;

use super::target::{Target, configuration, instance};
use super::{Error, Invocation};
use crate::agent::lifecycle::Outcome;

/// The line of `sidestep help`.
pub(super) const SUMMARY: &str = "replace what is attached to a cgroup, under traffic";

const HELP: &str = "\
usage: sidestep upgrade --cgroup PATH [FLAGS]

Replaces the attached programs by those of this binary, without losing a byte. Where the maps stay as they are, every
connection goes on with the new programs from its next message. Where they change, new connections use the new ones, and
those made before go back to the TCP/IP stack. Upgrading twice is fine.
Without flags of the data plane, those that were given at last are kept.

";

/// Runs the command.
pub(super) fn run(invocation: Invocation<'_>) -> Result<ExitCode, Error> {
    let Invocation { args, out, .. } = invocation;
    let Some(mut target) = Target::read(args, HELP, out)? else { return Ok(ExitCode::SUCCESS) };
    let cgroup = target.open()?;
    let instance = instance(&target.pins.find()?, &cgroup)?;
    if target.given.is_empty()
        && let Some(record) = instance.record()?
    {
        target.recall(record.flags)?;
    }
    let wanted = target.build(cgroup, configuration(&instance)?)?;
    let outcome = instance.upgrade(&wanted.request(), &mut |_| {})?;
    wanted.note()?;
    writeln!(out, "{}", report(outcome))?;
    Ok(ExitCode::SUCCESS)
}

/// What an upgrade has done.
pub(super) fn report(outcome: Outcome) -> String {
    match outcome {
        Outcome::Attached => "attached".into(),
        Outcome::Already => "just this was attached already".into(),
        Outcome::Replaced => "programs replaced; every connection goes on with the new ones".into(),
        Outcome::Succeeded { left: 0 } => {
            "maps and programs replaced; connections made before are back on the stack".into()
        }
        Outcome::Succeeded { left } => format!(
            "maps and programs replaced; connections made before are on the stack, and {left} sockets that hold unread \
             bytes keep the old maps: upgrade again, or detach, to try once more"
        ),
    }
}

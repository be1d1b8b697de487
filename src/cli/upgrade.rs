//! `sidestep upgrade`: replaces what is attached by what this binary and these flags make, under traffic.

use std::process::ExitCode;

use super::error::Error;
use super::plane::PlaneArgs;
use super::streams::{Streams, note};
use super::target::{TargetArgs, configuration};
use crate::agent::lifecycle::Outcome;

/// Replace what is attached to a cgroup, under traffic
///
/// Replaces the attached programs by those of this binary, without losing a byte. Where the maps stay as they are, every
/// connection goes on with the new programs from its next message. Where they change, new connections use the new ones,
/// and those made before go back to the TCP/IP stack. Upgrading twice is fine. Without flags of the data plane, those
/// that were given last are kept.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
}

/// Runs the command.
pub(super) fn run(args: Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let mut target = args.target;
    let cgroup = target.open()?;
    let instance = target.instance(&target.find()?, &cgroup)?;
    if target.plane.given().is_empty()
        && let Some(record) = instance.record()?
    {
        target.plane = PlaneArgs::recall(&record.flags)?;
    }
    let wanted = target.build(cgroup, configuration(&instance)?)?;
    let outcome = instance.upgrade(&wanted.request(), &mut |_| {})?;
    wanted.note();
    writeln!(streams.out, "{}", report(outcome))?;
    if let Some(adopted) = target.existing.adopt(&wanted.plane, |looks| instance.adopt(&wanted.plane, looks)) {
        writeln!(streams.out, "{adopted}")?;
    }
    if instance.has_owner()? {
        note(format_args!(
            "sidestep: a `sidestep run` owns this data plane. When it is started again, its own flags apply and not \
             these ({}): give it the same",
            listed(&target.plane.given())
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Flags in a sentence.
pub(super) fn listed(flags: &[String]) -> String {
    if flags.is_empty() { "none".into() } else { flags.join(" ") }
}

/// What an upgrade has done.
pub(super) fn report(outcome: Outcome) -> String {
    match outcome {
        Outcome::Attached => "attached".into(),
        Outcome::Already => "just this was attached already".into(),
        Outcome::Replaced => "programs replaced; every connection goes on with the new ones".into(),
        Outcome::Superseded { left: 0 } => {
            "maps and programs replaced; connections made before are back on the stack".into()
        }
        Outcome::Superseded { left } => format!(
            "maps and programs replaced; connections made before are on the stack, and {left} sockets that hold unread \
             bytes keep the old maps: upgrade again, or detach, to try once more"
        ),
    }
}

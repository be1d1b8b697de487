//! `sidestep attach`: accelerates a cgroup and returns; what it attached lives on by its pins.

use std::process::ExitCode;

use super::error::Error;
use super::existing::ExistingArgs;
use super::streams::{Streams, note};
use super::target::{TargetArgs, configuration};
use crate::agent::lifecycle::Outcome;

/// Accelerate the connections inside cgroups from now on, and return
///
/// Accelerates the TCP connections that processes in the cgroups (and below them) make to each other from now on, and those
/// that exist already (--existing), until `sidestep detach`. No process stays: programs and maps live by their pins on a bpf
/// file system. Attaching twice is fine; with other flags or programs, use `sidestep upgrade`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let target = &args.target;
    let cgroup = target.open()?;
    let instance = target.instance(&target.find()?, &cgroup)?;
    // The programs are the same whatever becomes of connections that exist, since no agent is there that leaves others alone.
    let mut any = target.clone();
    any.existing = ExistingArgs::default();
    let wanted = any.build(cgroup, configuration(&instance)?)?;
    let done = match instance.attach(&wanted.request(), &mut |_| {})? {
        Outcome::Already => "just this was attached already",
        _ => "attached",
    };
    wanted.note();
    let trust = &wanted.plane.options.policy.trust;
    if trust.watch().is_some() && trust.ports.is_empty() && !trust.cgroups {
        note(format_args!(
            "sidestep: without an agent no program passes its probation, so nothing is accelerated yet; start `sidestep \
             run` on the cgroup, or attach with --trust"
        ));
    }
    let paths = std::iter::once(&wanted.cgroup).chain(&wanted.more).map(|cgroup| cgroup.path().display().to_string());
    let paths = paths.collect::<Vec<_>>().join(", ");
    writeln!(streams.out, "{done}: {paths}, pinned in {}", instance.dir().display())?;
    if let Some(adopted) = target.existing.adopt(&wanted.plane, |looks| instance.adopt(&wanted.plane, looks)) {
        writeln!(streams.out, "{adopted}")?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `sidestep cgroup add`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::agent::lifecycle::{Added, Instance, Pins, outermost};
use crate::cli::cgroups::{matching, open};
use crate::cli::error::Error;
use crate::cli::existing::ExistingArgs;
use crate::cli::streams::Streams;
use crate::cli::target::{PinArgs, instance};

/// Accelerate the connections inside more cgroups
///
/// Connections made from now on, and those that exist already, are accelerated inside these cgroups, and between them and those
/// that the instance has. Adding twice is fine. Where more than one instance is attached, --cgroup says which one is meant.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A cgroup2 directory, or a pattern with `*`, `?` or `[...]` for several
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The instance that has this cgroup
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    #[command(flatten)]
    existing: ExistingArgs,
    #[command(flatten)]
    pins: PinArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let pins = args.pins.find(false)?;
    let instance = chosen(args, &pins)?;
    let mut cgroups = Vec::new();
    for path in &args.paths {
        for path in matching("sidestep cgroup add", path)? {
            cgroups.push(open(&path)?);
        }
    }
    for cgroup in outermost(cgroups)? {
        let path = cgroup.path().display();
        match instance.add_cgroup(&cgroup, &mut |_| {})? {
            Added::Added => writeln!(streams.out, "added: {path}")?,
            Added::Covered(by) => {
                writeln!(streams.out, "nothing to do: {path} is inside {}, which is attached", by.display())?;
            }
            _ => writeln!(streams.out, "nothing to do: {path} is attached")?,
        }
    }
    if let Some(adopted) = args.existing.adopt_recorded(&instance)? {
        writeln!(streams.out, "{adopted}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(args: &Args, pins: &Pins) -> Result<Instance, Error> {
    if let Some(path) = &args.cgroup {
        return instance(pins, &open(path)?);
    }
    let mut all = pins.instances()?.into_iter();
    match (all.next(), all.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Error::Failed("nothing is attached: use `sidestep attach` or `sidestep run`".into())),
        _ => Err(Error::Usage("more than one instance is attached; say with --cgroup PATH which one is meant".into())),
    }
}

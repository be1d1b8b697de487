//! `sidestep cgroup list`.

use std::process::ExitCode;

use serde::Serialize;

use crate::agent::lifecycle::{AttachedCgroup, State};
use crate::cli::error::Error;
use crate::cli::streams::Streams;
use crate::cli::target::PinArgs;

/// List the cgroups of what is attached
///
/// One line for each cgroup: its ID, its path, and the directory of its instance.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pins: PinArgs,
}

/// One cgroup of an instance.
#[derive(Debug, Serialize)]
struct Row {
    /// The directory of the instance.
    instance: String,
    /// The cgroup.
    #[serde(flatten)]
    cgroup: AttachedCgroup,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    for instance in args.pins.find(false)?.instances()? {
        for cgroup in instance.cgroups()? {
            let row = Row { instance: instance.dir().display().to_string(), cgroup };
            if args.json {
                serde_json::to_writer(&mut *streams.out, &row).map_err(std::io::Error::from)?;
                writeln!(streams.out)?;
                continue;
            }
            let path = row.cgroup.path.as_ref().map_or_else(|| "?".into(), |path| path.display().to_string());
            let state = if row.cgroup.state == State::Attached { "" } else { ", which is gone" };
            writeln!(streams.out, "{}  {path}{state}  in {}", row.cgroup.id, row.instance)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `sidestep cgroup`: the cgroups of what is attached, added and removed while connections run.

mod add;
mod list;
mod remove;

use std::process::ExitCode;

use super::error::Error;
use super::streams::Streams;

/// Add cgroups to what is attached, or remove them, while connections run
///
/// Everything that `attach` or `run` has attached at once is one instance: one set of maps and programs, on one or more cgroups.
/// Connections between two cgroups of one instance are accelerated, too. A running agent goes on, with the new cgroups.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(add::Args),
    Remove(remove::Args),
    List(list::Args),
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    match &args.command {
        Command::Add(args) => add::run(args, streams),
        Command::Remove(args) => remove::run(args, streams),
        Command::List(args) => list::run(args, streams),
    }
}

//! The command line of this process, together with the other settings of `sidestep run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches};

use super::arguments::{Command, CommandLine};
use super::error::Error;
use super::settings::Settings;
use super::settings::keys::{CONFIG, Keys};
use super::{run, usage};

/// The command that has settings besides its flags.
const RUN: &str = "run";

/// The flags of `run`, as the command line defines them.
pub(super) fn keys() -> Keys {
    let top = CommandLine::command();
    Keys::new(top.find_subcommand(RUN).cloned().unwrap_or_else(|| clap::Command::new(RUN)))
}

/// Parses a command line, with the program's name; that of `run` together with its other settings. The inner error is the
/// parser's.
pub(super) fn parse(args: &[OsString]) -> Result<Result<CommandLine, clap::Error>, Error> {
    // What is missing on the command line may be set elsewhere.
    let definition = CommandLine::command().mut_subcommand(RUN, |run| run.mut_args(|arg| arg.required(false)));
    let matches = match definition.try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return Ok(Err(error)),
    };
    let Some(given) = matches.subcommand_matches(RUN) else { return Ok(CommandLine::from_arg_matches(&matches)) };
    let keys = keys();
    let settings = Settings::read(&keys, given.get_one::<PathBuf>(CONFIG).cloned())?;
    let mut all = args.to_vec();
    let place = args.iter().position(|arg| arg == RUN).map_or(args.len(), |at| at + 1);
    all.splice(place..place, settings.arguments(&keys, given));
    Ok(CommandLine::command().try_get_matches_from(all).and_then(|all| CommandLine::from_arg_matches(&all)))
}

/// The arguments of `run` once more, from a command line and everything else as it is now.
pub(super) fn again(args: &[OsString]) -> Result<run::Args, Error> {
    match parse(args)? {
        Ok(CommandLine { command: Command::Run(args) }) => Ok(args),
        Ok(_) => Err(Error::Usage("only `sidestep run` has settings that can be read again".into())),
        Err(error) => Err(Error::Usage(usage::sentence(&error))),
    }
}

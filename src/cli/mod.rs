//! The command line: `sidestep COMMAND [FLAGS]`.
//!
//! One file a command: its arguments as a structure, from which the help, the manual pages, the shell completions and
//! the reference are made, and a `run` that takes them. Only [`main`] touches the process's own streams.

mod admission;
mod arguments;
mod attach;
mod attached;
#[cfg(feature = "bench")]
mod bench;
mod bounded;
mod cgroup;
mod cgroups;
mod check;
mod completions;
mod config;
mod cri;
#[cfg(feature = "demo")]
mod demo;
mod detach;
mod dump;
mod error;
mod exec;
mod existing;
mod explain;
mod hex;
#[cfg(any(feature = "demo", feature = "bench"))]
mod interrupt;
mod line;
mod list;
mod log;
mod man;
mod metrics;
mod plane;
mod pods;
mod policy;
mod preset;
mod reload;
mod run;
mod settings;
mod signals;
mod states;
mod status;
mod streams;
mod supposed;
mod survey;
mod target;
mod timestamp;
mod top;
mod trust;
mod upgrade;
mod usage;
mod values;
mod verify;
mod watch;

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;

pub use error::Error;

use arguments::Command;
use streams::{Streams, note};

/// Runs the command named by the arguments of this process.
pub fn main() -> ExitCode {
    let stdout = io::stdout();
    #[cfg(feature = "demo")]
    if std::env::args_os().nth(1).is_some_and(|name| name == crate::testbed::COMMAND) {
        return child(crate::testbed::run_child(&instructions(), &mut stdout.lock()));
    }
    #[cfg(feature = "bench")]
    if std::env::args_os().nth(1).is_some_and(|name| name == crate::bench::COMMAND) {
        return child(crate::bench::run_worker(&instructions(), &mut io::stdin().lock(), &mut stdout.lock()));
    }
    match dispatch(std::env::args_os().skip(1).collect(), &mut io::stdin().lock(), &mut stdout.lock()) {
        Ok(code) => code,
        // A closed pipe (`sidestep dump | head`) is the reader's choice, not a failure.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("sidestep: {error}"));
            error.exit_code()
        }
    }
}

/// The one argument of a child process, whose parent is another command of this binary.
#[cfg(feature = "demo")]
fn instructions() -> String {
    std::env::args_os().nth(2).and_then(|text| text.into_string().ok()).unwrap_or_default()
}

/// The exit status of a child process. Its parent knows the reason, or has ended.
#[cfg(feature = "demo")]
fn child(outcome: io::Result<bool>) -> ExitCode {
    if outcome.unwrap_or(false) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the command that `args` (without the program's name) ask for, reading from `input` and printing to `out`.
pub fn dispatch(args: Vec<OsString>, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let args: Vec<_> = std::iter::once(OsString::from("sidestep")).chain(args).collect();
    let command = match line::parse(&args)? {
        Ok(line) => line.command,
        Err(error) => return refuse(&error, out),
    };
    let streams = Streams { input, out };
    match command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(args, streams),
        Command::Check(args) => check::run(&args, streams),
        Command::Survey(args) => survey::run(&args, streams),
        Command::List(args) => list::run(&args, streams),
        Command::Top(args) => top::run(&args, streams),
        Command::Watch(args) => watch::run(&args, streams),
        Command::Explain(args) => explain::run(&args, streams),
        Command::Metrics(args) => metrics::run(&args, streams),
        Command::Run(args_of_run) => run::run(args_of_run, &|| line::again(&args), streams),
        Command::Config(args) => config::run(args, streams),
        Command::Reload(args) => reload::run(&args, streams),
        Command::Attach(args) => attach::run(&args, streams),
        Command::Detach(args) => detach::run(&args, streams),
        Command::Cgroup(args) => cgroup::run(&args, streams),
        Command::Upgrade(args) => upgrade::run(args, streams),
        Command::Status(args) => status::run(&args, streams),
        #[cfg(feature = "bench")]
        Command::Bench(args) => bench::run(&args, streams),
        Command::Dump(args) => dump::run(&args, streams),
        Command::Exec(args) => exec::run(args, streams),
        Command::Verify(args) => verify::run(args, streams),
        Command::Completions(args) => completions::run(&args, streams),
        Command::Man(args) => man::run(&args, streams),
        Command::Version => {
            writeln!(streams.out, "sidestep {}", env!("CARGO_PKG_VERSION"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Answers arguments that name no command to run: the help and the version, or what is wrong with them.
fn refuse(error: &clap::Error, out: &mut dyn Write) -> Result<ExitCode, Error> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            write!(out, "{}", error.render())?;
            Ok(ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            write!(out, "{}", error.render())?;
            Ok(ExitCode::from(Error::USAGE))
        }
        _ => Err(Error::Usage(usage::sentence(error))),
    }
}

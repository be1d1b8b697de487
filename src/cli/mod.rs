//! The command line: `sidestep COMMAND [FLAGS]`.
//!
//! One file a command; each exports its one-line summary and a `run` that takes the rest of the arguments and a
//! writer. Only [`main`] touches the process's own streams.

mod attach;
mod bench;
mod check;
mod demo;
mod detach;
mod dump;
mod error;
mod exec;
mod hex;
mod interrupt;
mod plane;
mod policy;
mod run;
mod status;
mod target;
mod upgrade;
mod verify;

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

pub use error::Error;

use crate::testbed;

/// What a command is given: the arguments after its name, and where its output goes.
pub struct Invocation<'a> {
    /// The arguments after the command's name.
    pub args: lexopt::Parser,
    /// Standard input, or a buffer in tests.
    pub input: &'a mut dyn BufRead,
    /// Standard output, or a buffer in tests.
    pub out: &'a mut dyn Write,
}

/// One entry of the command table.
struct Command {
    name: &'static str,
    summary: &'static str,
    run: fn(Invocation<'_>) -> Result<ExitCode, Error>,
}

/// All commands, in the order `sidestep help` shows them.
const COMMANDS: &[Command] = &[
    Command { name: "demo", summary: demo::SUMMARY, run: demo::run },
    Command { name: "check", summary: check::SUMMARY, run: check::run },
    Command { name: "run", summary: run::SUMMARY, run: run::run },
    Command { name: "attach", summary: attach::SUMMARY, run: attach::run },
    Command { name: "detach", summary: detach::SUMMARY, run: detach::run },
    Command { name: "upgrade", summary: upgrade::SUMMARY, run: upgrade::run },
    Command { name: "status", summary: status::SUMMARY, run: status::run },
    Command { name: "bench", summary: bench::SUMMARY, run: bench::run },
    Command { name: "dump", summary: dump::SUMMARY, run: dump::run },
    Command { name: "exec", summary: exec::SUMMARY, run: exec::run },
    Command { name: "verify", summary: verify::SUMMARY, run: verify::run },
];

/// Runs the command named by the arguments of this process.
pub fn main() -> ExitCode {
    let stdout = io::stdout();
    if std::env::args_os().nth(1).is_some_and(|name| name == testbed::COMMAND) {
        return testbed_child(&mut stdout.lock());
    }
    if std::env::args_os().nth(1).is_some_and(|name| name == crate::bench::COMMAND) {
        return bench_worker(&mut stdout.lock());
    }
    match dispatch(std::env::args_os().skip(1).collect(), &mut io::stdin().lock(), &mut stdout.lock()) {
        Ok(code) => code,
        // A closed pipe (`sidestep dump | head`) is the reader's choice, not a failure.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sidestep: {error}");
            error.exit_code()
        }
    }
}

/// Runs a process of the testbed, whose parent is another command of this binary.
fn testbed_child(out: &mut dyn Write) -> ExitCode {
    let instructions = std::env::args_os().nth(2).and_then(|text| text.into_string().ok()).unwrap_or_default();
    match testbed::run_child(&instructions, out) {
        Ok(true) => ExitCode::SUCCESS,
        // Its parent has been told, or is gone.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// Runs one end of a measured pair, whose parent is `sidestep bench`.
fn bench_worker(out: &mut dyn Write) -> ExitCode {
    let spec = std::env::args_os().nth(2).and_then(|text| text.into_string().ok()).unwrap_or_default();
    match crate::bench::run_worker(&spec, &mut io::stdin().lock(), out) {
        Ok(true) => ExitCode::SUCCESS,
        // Its parent has been told, or is gone.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// Runs the command that `args` (without the program's name) ask for, reading from `input` and printing to `out`.
pub fn dispatch(args: Vec<OsString>, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let Some((name, rest)) = args.split_first() else {
        help(out)?;
        return Ok(ExitCode::from(Error::USAGE));
    };
    match name.to_str() {
        Some("help" | "--help" | "-h") => {
            help(out)?;
            Ok(ExitCode::SUCCESS)
        }
        Some("version" | "--version" | "-V") => {
            writeln!(out, "sidestep {}", env!("CARGO_PKG_VERSION"))?;
            Ok(ExitCode::SUCCESS)
        }
        name => {
            let command = COMMANDS.iter().find(|command| Some(command.name) == name).ok_or_else(|| {
                Error::Usage(format!(
                    "there is no command {:?}; `sidestep help` lists them",
                    name.unwrap_or("(not UTF-8)")
                ))
            })?;
            (command.run)(Invocation { args: lexopt::Parser::from_args(rest.iter().cloned()), input, out })
        }
    }
}

fn help(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "sidestep {}: TCP between local processes past the TCP/IP stack\n", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "usage: sidestep COMMAND [FLAGS]\n")?;
    for command in COMMANDS {
        writeln!(out, "  {:<10} {}", command.name, command.summary)?;
    }
    writeln!(out, "\n`sidestep COMMAND --help` explains one command.")
}

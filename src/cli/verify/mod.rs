//! `sidestep verify`: would the kernel load this program?

mod json_lines;

use std::process::ExitCode;

use lexopt::{Arg, ValueExt};

use super::{Error, Invocation};
use crate::verifier_sim::spec::{Kernel, Options};

/// One line for the command table.
pub(super) const SUMMARY: &str = "say whether the kernel would load a program, and why not";

const HELP: &str = "\
usage: sidestep verify [FLAGS] --json-lines < RECORDS

  --kernel VERSION   the kernel whose rules apply: 5.10, 6.1, 6.12 or 6.18 (the default)
  --json-lines       judge one JSON record a line from standard input; see the documentation for its fields
";

/// Runs the command.
pub(super) fn run(mut invocation: Invocation<'_>) -> Result<ExitCode, Error> {
    let mut options = Options::default();
    let mut json_lines = false;
    while let Some(argument) = invocation.args.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => {
                invocation.out.write_all(HELP.as_bytes())?;
                return Ok(ExitCode::SUCCESS);
            }
            Arg::Long("kernel") => options.kernel = invocation.args.value()?.parse_with(str::parse::<Kernel>)?,
            Arg::Long("json-lines") => json_lines = true,
            other => return Err(other.unexpected().into()),
        }
    }
    if !json_lines {
        return Err(Error::Usage("say what to verify: --json-lines".into()));
    }
    json_lines::run(invocation.input, invocation.out, &options)?;
    Ok(ExitCode::SUCCESS)
}

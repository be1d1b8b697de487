//! `sidestep check`: what this machine lets sidestep do.

use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::Arg;

use super::{Error, Invocation};
use crate::agent::check;

/// The line of `sidestep help`.
pub(super) const SUMMARY: &str = "say what this machine lets sidestep do, and what to do about the rest";

const HELP: &str = "\
usage: sidestep check [--cgroup PATH] [--json]

Tries everything that acceleration needs: mounts, capabilities, map types, helpers, the programs themselves, and how
the kernel behaves on a loopback connection. Nothing is left behind. Exit status 0 when everything required is there,
1 when something is missing or could not be found out.

  --cgroup PATH  also say who is attached to this cgroup2 directory
  --json         print JSON: {\"ok\": bool, \"findings\": [{family, name, answer, detail, need, why, remedy?}]}
";

/// Runs the command.
pub(super) fn run(invocation: Invocation<'_>) -> Result<ExitCode, Error> {
    let Invocation { mut args, out, .. } = invocation;
    let (mut cgroup, mut json) = (None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => {
                write!(out, "{HELP}")?;
                return Ok(ExitCode::SUCCESS);
            }
            Arg::Long("cgroup") => cgroup = Some(PathBuf::from(args.value()?)),
            Arg::Long("json") => json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let report = check::check(cgroup.as_deref());
    if json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        report.write(out)?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

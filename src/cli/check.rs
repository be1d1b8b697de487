//! `sidestep check`: what this machine lets sidestep do.

use std::path::PathBuf;
use std::process::ExitCode;

use super::error::Error;
use super::streams::Streams;
use crate::agent::check;

/// Say what this machine lets sidestep do, and what to do about the rest
///
/// Tries everything that acceleration needs: mounts, capabilities, map types, helpers, the programs themselves, and how
/// the kernel behaves on a loopback connection; and names the known faults that this kernel has or may have. Nothing is left
/// behind. Exit status: 0 when everything required is there,
/// 1 when something is missing or could not be found out.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also say which programs are attached to this cgroup2 directory
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Print JSON: {"ok": bool, "findings": [{family, name, answer, detail, need, why, remedy?, fault?}]}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let report = check::check(args.cgroup.as_deref());
    if args.json {
        serde_json::to_writer_pretty(&mut *streams.out, &report).map_err(std::io::Error::from)?;
        writeln!(streams.out)?;
    } else {
        report.write(streams.out)?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

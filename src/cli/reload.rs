//! `sidestep reload`: a running agent reads its settings again.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::error::Error;
use super::streams::Streams;
use super::target::{PinArgs, instance};
use super::values::{MAX_PID, number, seconds};
use crate::agent::lifecycle::{Instance, Pins};
use crate::syscall::cgroup::Cgroup;

/// Let a running `sidestep run --config FILE` read its settings again
///
/// Sends it SIGHUP, waits until the new settings are in effect, and prints what has changed. When something is wrong with
/// them, says what it is: nothing has changed then. Connections that are no longer allowed go back to plain TCP without
/// losing a byte, and new rules hold for new connections. Without --cgroup or --pid, there must be one running agent.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The agent of this cgroup
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// The agent with this process ID
    #[arg(long, value_name = "PID", value_parser = number::<u32, 1, MAX_PID>)]
    pid: Option<u32>,
    /// Seconds to wait at most
    #[arg(long, value_name = "S", default_value = "60", value_parser = seconds)]
    timeout: u64,
    #[command(flatten)]
    pins: PinArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let answer = choose(args)?.reload(Duration::from_secs(args.timeout))?;
    if !answer.succeeded {
        return Err(Error::Failed(answer.text));
    }
    writeln!(streams.out, "{}", answer.text)?;
    Ok(ExitCode::SUCCESS)
}

fn choose(args: &Args) -> Result<Instance, Error> {
    let pins = args.pins.find(false)?;
    if let Some(path) = &args.cgroup {
        return instance(&pins, &Cgroup::open(path)?);
    }
    let mut owned = owned(&pins, args.pid)?;
    match (owned.pop(), owned.len()) {
        (Some(instance), 0) => Ok(instance),
        (Some(_), more) => Err(Error::Usage(format!(
            "{} agents run; say which one with --cgroup or --pid (`sidestep status` lists them)",
            more + 1
        ))),
        (None, _) => Err(Error::Failed(match args.pid {
            Some(pid) => {
                format!("process {pid} is not an agent that has pinned something below {}", pins.root().display())
            }
            None => "no agent runs; start one with `sidestep run --config FILE`".into(),
        })),
    }
}

/// The instances that an agent owns: any, or the one with this process ID.
fn owned(pins: &Pins, pid: Option<u32>) -> Result<Vec<Instance>, Error> {
    let mut owned = Vec::new();
    for instance in pins.instances()? {
        let counts = match pid {
            Some(pid) => instance.owner_pid()? == Some(pid),
            None => instance.has_owner()?,
        };
        if counts {
            owned.push(instance);
        }
    }
    Ok(owned)
}

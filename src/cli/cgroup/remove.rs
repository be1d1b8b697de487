//! `sidestep cgroup remove`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::agent::lifecycle::{Pins, Removed};
use crate::cli::cgroups::{matching, open};
use crate::cli::error::Error;
use crate::cli::streams::Streams;
use crate::cli::target::PinArgs;
use crate::cli::values::seconds;

/// Send the connections of cgroups back to plain TCP, while the others go on
///
/// Connections that have an end in one of these cgroups, or below it, go back to the TCP/IP stack without losing a byte, and no new
/// ones are accelerated there. All others stay accelerated. The last cgroup is not removed: `sidestep detach` does that. Exit
/// status: 1 when sockets with unread bytes are left; they use the stack, and removing again tries once more.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A cgroup2 directory, a pattern with `*`, `?` or `[...]` for several, or the ID that `sidestep cgroup list` shows
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Seconds to wait at most for readers that are behind
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    timeout: u64,
    #[command(flatten)]
    pins: PinArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let pins = args.pins.find(false)?;
    let mut all_left = 0;
    for path in &args.paths {
        for path in matching("sidestep cgroup remove", path)? {
            let Removed { left, .. } = remove(&pins, &path, Duration::from_secs(args.timeout))?;
            let path = path.display();
            if left == 0 {
                writeln!(streams.out, "removed: {path}; its connections are back to plain TCP")?;
            } else {
                writeln!(
                    streams.out,
                    "removed: {path}; {left} of its sockets are still in the map, on the stack, until their bytes are \
                     read and this command is given again, or they are closed"
                )?;
            }
            all_left += left;
        }
    }
    Ok(if all_left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn remove(pins: &Pins, path: &Path, timeout: Duration) -> Result<Removed, Error> {
    let number = path.to_str().and_then(|text| text.parse().ok()).filter(|_| !path.exists());
    let id = match number {
        Some(id) => id,
        None => open(path)?.id().map_err(crate::agent::Error::from)?,
    };
    if let Some(instance) = pins.instance_of(id)? {
        return Ok(instance.remove_cgroup(id, timeout, &mut |_| {})?);
    }
    // It was removed before, and sockets may be left.
    let mut left = None;
    for instance in pins.instances()? {
        if instance.cgroups()?.is_empty() {
            continue;
        }
        let leaves = instance.leave_cgroup(id, timeout)?;
        left = left.max(leaves);
    }
    match left {
        Some(left) => Ok(Removed { found: false, left }),
        None => Err(Error::Failed(format!("{} is not attached; `sidestep cgroup list` shows what is", path.display()))),
    }
}

//! `sidestep detach`: everything back to plain TCP, without losing a byte, and nothing left in the kernel.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::error::Error;
use super::pods::{hold_anchor, is_anchor, remove_anchor};
use super::streams::Streams;
use super::target::PinArgs;
use super::values::seconds;
use crate::agent::lifecycle::{Detached, Instance, Leftovers, Orphan, Orphans, Pins};
use crate::syscall::cgroup::Cgroup;

/// Send the connections of cgroups back to plain TCP, and remove everything
///
/// Ends what `sidestep attach`, or a `sidestep run` that was killed, has left: no new connections are enrolled, all
/// messages take the stack, sockets leave the map when their redirected bytes are read, and then everything is removed.
/// No byte is lost. Detaching twice is fine. Without --cgroup, there must be one instance at most. Exit status: 1 when
/// sockets with unread bytes are left; they are on the stack, and another detach tries again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The instance that has this cgroup, with all its cgroups. The cgroup that `attach` was given first can be
    /// named even after it was removed
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Every instance
    #[arg(long)]
    all: bool,
    /// Seconds to wait at most for readers that are behind
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    timeout: u64,
    /// Remove the pins when the time is over, even if bytes are unread: sockets with unread bytes stay in the map, on the
    /// stack, until they close, and the kernel then frees it
    #[arg(long)]
    abandon: bool,
    /// Only sockets in maps without an owner, of any agent that was killed on this machine: back to plain TCP (needs
    /// CAP_SYS_ADMIN)
    #[arg(long)]
    orphans: bool,
    #[command(flatten)]
    pins: PinArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let timeout = Duration::from_secs(args.timeout);
    let left = if args.orphans { orphans(timeout, streams.out)? } else { instances(args, timeout, streams.out)? };
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn instances(args: &Args, timeout: Duration, out: &mut dyn Write) -> Result<usize, Error> {
    let chosen = choose(args, &args.pins.find(false)?)?;
    if chosen.is_empty() {
        writeln!(out, "nothing is attached")?;
    }
    let mut left = 0;
    for instance in chosen {
        let leftovers = if args.abandon { Leftovers::Abandon } else { Leftovers::Keep };
        let anchor = instance.recorded_cgroup().ok().flatten().filter(|path| is_anchor(path) && path.is_dir());
        let detached = instance.detach(timeout, leftovers, None, &mut |_| {})?;
        writeln!(out, "{}", report(&detached))?;
        if let Some(anchor) = anchor.filter(|_| detached.gone) {
            remove_anchor(&hold_anchor(&anchor)?, || std::fs::remove_dir(&anchor).is_ok());
        }
        left += detached.left;
    }
    Ok(left)
}

/// What a detach has done.
pub(super) fn report(detached: &Detached) -> String {
    match *detached {
        Detached { found: false, .. } => "nothing is attached".into(),
        Detached { left: 0, .. } => "detached; nothing is left in the kernel".into(),
        Detached { left, gone: true, .. } => format!(
            "detached; {left} sockets are still in the map, on the stack, until they are closed: then the kernel frees it"
        ),
        Detached { left, gone: false, .. } => format!(
            "detached; {left} sockets hold redirected bytes that are unread, and are on the stack; detach again \
             to take them out of the map, or with --abandon to leave them there until they are closed"
        ),
    }
}

/// The instances the flags mean.
fn choose(args: &Args, pins: &Pins) -> Result<Vec<Instance>, Error> {
    let all = pins.instances()?;
    if let Some(path) = &args.cgroup {
        // By its number while the cgroup is there, by its recorded path afterwards.
        let id = Cgroup::open(path).and_then(|cgroup| cgroup.id()).ok();
        let mut chosen = Vec::new();
        for instance in all {
            let has = |id| instance.cgroups().map(|all| all.iter().any(|cgroup| cgroup.id == id));
            let named = match id {
                Some(id) => id == instance.cgroup_id() || has(id)?,
                None => false,
            };
            if named || (id.is_none() && instance.recorded_cgroup()? == std::path::absolute(path).ok()) {
                chosen.push(instance);
            }
        }
        return Ok(chosen);
    }
    if all.len() > 1 && !args.all {
        return Err(Error::Usage("more than one cgroup is attached; name one with --cgroup, or give --all".into()));
    }
    Ok(all)
}

fn orphans(timeout: Duration, out: &mut dyn Write) -> Result<usize, Error> {
    let Orphans::Found(orphans) = Orphan::find()? else {
        return Err(Error::Failed("cannot look for orphans: grant CAP_SYS_ADMIN, which listing programs takes".into()));
    };
    if orphans.is_empty() {
        writeln!(out, "no map is without an owner")?;
    }
    let mut all_left = 0;
    for orphan in orphans {
        let left = orphan.recover(timeout)?;
        match left {
            0 => writeln!(out, "sockhash {}: its sockets are back to plain TCP", orphan.sockhash)?,
            left => writeln!(out, "sockhash {}: {left} sockets hold unread bytes; try again", orphan.sockhash)?,
        }
        all_left += left;
    }
    Ok(all_left)
}

//! `sidestep detach`: everything back to plain TCP, without losing a byte, and nothing left in the kernel.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::{Arg, ValueExt};

use super::target::PinFlags;
use super::{Error, Invocation};
use crate::agent::lifecycle::{Detached, Instance, Leftovers, Orphan, Orphans, Pins};
use crate::syscall::cgroup::Cgroup;

/// The line of `sidestep help`.
pub(super) const SUMMARY: &str = "send the connections of a cgroup back to plain TCP, and remove everything";

const HELP: &str = "\
usage: sidestep detach [--cgroup PATH | --all] [FLAGS]

Ends what `sidestep attach`, or a `sidestep run` that was killed, has left: no new connections are enrolled, all messages
take the stack, sockets leave the map when their redirected bytes are read, and then everything is removed. No byte is
lost. Detaching twice is fine. Without --cgroup, there must be one instance at most.
Exit status: 1 when sockets with unread bytes are left; they are on the stack, and another detach tries again.

  --cgroup PATH  the cgroup as it was given to attach; it may have been removed meanwhile
  --all          every instance
  --timeout S    most seconds to wait for readers that are behind (default 10)
  --abandon      when the time is over, remove the pins all the same: sockets with unread bytes stay in the map, on the
                 stack, until they close, and the kernel then frees it
  --orphans      only sockets in maps without an owner, of whatever agent was killed on this machine: back to plain TCP
                 (takes CAP_SYS_ADMIN)
";

#[derive(Default)]
struct Settings {
    cgroup: Option<PathBuf>,
    all: bool,
    orphans: bool,
    leftovers: Option<Leftovers>,
    timeout: Option<u64>,
    pins: PinFlags,
}

/// Runs the command.
pub(super) fn run(invocation: Invocation<'_>) -> Result<ExitCode, Error> {
    let Invocation { mut args, out, .. } = invocation;
    let mut settings = Settings::default();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => {
                write!(out, "{HELP}{}", PinFlags::HELP)?;
                return Ok(ExitCode::SUCCESS);
            }
            Arg::Long("cgroup") => settings.cgroup = Some(args.value()?.into()),
            Arg::Long("all") => settings.all = true,
            Arg::Long("orphans") => settings.orphans = true,
            Arg::Long("abandon") => settings.leftovers = Some(Leftovers::Abandon),
            Arg::Long("timeout") => settings.timeout = Some(args.value()?.parse()?),
            Arg::Long("bpffs") => settings.pins.take(&mut args)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let timeout = Duration::from_secs(settings.timeout.unwrap_or(10));
    let left = if settings.orphans { orphans(timeout, out)? } else { instances(&settings, timeout, out)? };
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn instances(settings: &Settings, timeout: Duration, out: &mut dyn Write) -> Result<usize, Error> {
    let chosen = choose(settings, &settings.pins.find()?)?;
    if chosen.is_empty() {
        writeln!(out, "nothing is attached")?;
    }
    let mut left = 0;
    for instance in chosen {
        let leftovers = settings.leftovers.unwrap_or(Leftovers::Keep);
        let detached = instance.detach(timeout, leftovers, None, &mut |_| {})?;
        writeln!(out, "{}", report(&detached))?;
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
            "detached; {left} sockets hold redirected bytes that nobody has read yet, and are on the stack; detach again \
             to take them out of the map, or with --abandon to leave them there until they are closed"
        ),
    }
}

/// The instances the flags mean.
fn choose(settings: &Settings, pins: &Pins) -> Result<Vec<Instance>, Error> {
    let all = pins.instances()?;
    if let Some(path) = &settings.cgroup {
        // By its number while the cgroup is there, by its recorded path afterwards.
        let id = Cgroup::open(path).and_then(|cgroup| cgroup.id()).ok();
        let mut chosen = Vec::new();
        for instance in all {
            if id == Some(instance.cgroup_id()) || (id.is_none() && instance.recorded_cgroup()? == Some(path.clone())) {
                chosen.push(instance);
            }
        }
        return Ok(chosen);
    }
    if all.len() > 1 && !settings.all {
        return Err(Error::Usage("more than one cgroup is attached; name one with --cgroup, or give --all".into()));
    }
    Ok(all)
}

fn orphans(timeout: Duration, out: &mut dyn Write) -> Result<usize, Error> {
    let Orphans::Found(orphans) = Orphan::find()? else {
        return Err(Error::Failed("cannot look for orphans: grant CAP_SYS_ADMIN, which walking programs takes".into()));
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

//! `sidestep run`: accelerates a cgroup in the foreground, and undoes it without loss when told to stop.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::{Arg, ValueExt};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd;

use super::plane::PlaneFlags;
use super::{Error, Invocation};
use crate::agent::{Acceleration, Snapshot, check};
use crate::dataplane::Counter;
use crate::syscall::cgroup::{self, Cgroup};

/// The line of `sidestep help`.
pub(super) const SUMMARY: &str = "accelerate the connections inside a cgroup until interrupted";

const HELP: &str = "\
usage: sidestep run --cgroup PATH [FLAGS]

Accelerates the TCP connections that processes in the cgroup (and below it) make to each other from now on. On SIGINT
or SIGTERM everything goes back to plain TCP without losing a byte, and nothing stays in the kernel.

  --cgroup PATH  a cgroup2 directory
  --interval S   seconds between two lines of counters; 0 for none (default 5)
  --drain S      most seconds to wait, at the end, for slow readers (default 10)
";

/// Runs the command.
pub(super) fn run(invocation: Invocation<'_>) -> Result<ExitCode, Error> {
    let Invocation { mut args, out, .. } = invocation;
    let mut flags = PlaneFlags::default();
    let (mut path, mut interval, mut drain) = (None, 5, 10);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => {
                write!(out, "{HELP}")?;
                PlaneFlags::help(out)?;
                return Ok(ExitCode::SUCCESS);
            }
            Arg::Long("cgroup") => path = Some(PathBuf::from(args.value()?)),
            Arg::Long("interval") => interval = args.value()?.parse()?,
            Arg::Long("drain") => drain = args.value()?.parse()?,
            other => match PlaneFlags::name(&other) {
                Some(name) => flags.take(name, &mut args)?,
                None => return Err(other.unexpected().into()),
            },
        }
    }
    let path = path.ok_or_else(|| Error::Usage(format!("--cgroup is missing; {}", cgroup_hint())))?;
    let cgroup = Cgroup::open(&path).map_err(|error| Error::Failed(format!("{error}; {}", cgroup_hint())))?;

    // Signals are held back before anything is loaded, so that none can skip the detach.
    let signals = stop_signals()?;
    let mut notes = Vec::new();
    let options = flags.options(&mut notes)?;
    let pairing = options.pairing.name();
    let acceleration = Acceleration::start_without(&cgroup, &flags.opted_out()?, options, check::configuration())?;
    // What is not the best is worth a word only where there is something at all.
    std::io::stderr().write_all(&notes)?;
    writeln!(out, "accelerating {} by {pairing} pairing; interrupt to stop", path.display())?;
    out.flush()?;
    let ended = watch(&acceleration, &signals, interval, out);

    writeln!(out, "detaching: all connections go back to the TCP/IP stack")?;
    let last = acceleration.snapshot()?;
    let detached = acceleration.stop(Duration::from_secs(drain))?;
    print(&last, None, out)?;
    if detached.remaining == 0 {
        writeln!(out, "detached; nothing is left in the kernel")?;
    } else {
        writeln!(
            out,
            "detached; {} sockets hold unread bytes and stay in the sockhash, on the stack, until they are closed",
            detached.remaining
        )?;
    }
    ended.map(|()| ExitCode::SUCCESS)
}

fn cgroup_hint() -> String {
    match cgroup::find() {
        Ok(Some(root)) => format!("cgroup2 is mounted at {}: name a directory there", root.display()),
        _ => "no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup".into(),
    }
}

fn stop_signals() -> Result<SignalFd, Error> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC))
        .map_err(|errno| Error::Failed(format!("cannot wait for signals: {errno}")))
}

/// Prints the counters as they change, until a signal comes.
fn watch(acceleration: &Acceleration, signals: &SignalFd, interval: u16, out: &mut dyn Write) -> Result<(), Error> {
    let timeout = match interval {
        0 => PollTimeout::NONE,
        // A PollTimeout holds at most i32::MAX milliseconds, and 65,535 seconds are fewer.
        seconds => PollTimeout::try_from(u32::from(seconds) * 1000).unwrap_or(PollTimeout::MAX),
    };
    let mut before: Option<Snapshot> = None;
    let mut reported = Vec::new();
    loop {
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) => {
                for fault in
                    acceleration.faults()?.into_iter().filter(|fault| !reported.contains(fault)).collect::<Vec<_>>()
                {
                    writeln!(std::io::stderr(), "sidestep: {fault}")?;
                    reported.push(fault);
                }
                let now = acceleration.snapshot()?;
                if before.as_ref() != Some(&now) {
                    print(&now, before.as_ref(), out)?;
                    writeln!(out, "members {}", acceleration.members()?)?;
                    out.flush()?;
                    before = Some(now);
                }
            }
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Failed(format!("cannot wait for signals: {errno}"))),
        }
    }
}

/// One line: every counter that is not zero, and what was added since `before`.
fn print(now: &Snapshot, before: Option<&Snapshot>, out: &mut dyn Write) -> Result<(), Error> {
    for (counter, value) in now.iter().filter(|(_, value)| *value > 0) {
        write!(out, "{} {value}", counter.name())?;
        match before.map(|before| value - before.get(counter)) {
            Some(added) if added > 0 => write!(out, " (+{added})  ")?,
            _ => write!(out, "  ")?,
        }
    }
    if let Some(share) = now.redirected_share() {
        write!(out, "past the stack {:.1} %  ", share * 100.0)?;
    }
    if now.get(Counter::MapRefused) > 0 {
        write!(out, "(refused sockets stay plain TCP)  ")?;
    }
    Ok(writeln!(out)?)
}

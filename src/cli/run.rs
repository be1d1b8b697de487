//! `sidestep run`: accelerates a cgroup in the foreground, and undoes it without loss when told to stop.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::{Arg, ValueExt};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd;

use super::target::{Target, configuration, instance};
use super::{Error, Invocation, detach, upgrade};
use crate::agent::lifecycle::{Attendance, Instance, Leftovers, Outcome, Pins};
use crate::agent::{Acceleration, Snapshot, check};
use crate::dataplane::Counter;
use crate::syscall::cgroup::Cgroup;

/// The line of `sidestep help`.
pub(super) const SUMMARY: &str = "accelerate the connections inside a cgroup until interrupted";

const HELP: &str = "\
usage: sidestep run --cgroup PATH [FLAGS]

Accelerates the TCP connections that processes in the cgroup (and below it) make to each other from now on. On SIGINT
or SIGTERM everything goes back to plain TCP without losing a byte, and nothing stays in the kernel.
It pins what it attaches, so that nothing happens to a connection when it is killed: the next run, attach or upgrade
takes over, or detach clears away. It takes over, too, what `sidestep attach` has left.

  --interval S   seconds between two lines of counters; 0 for none (default 5)
  --keep         leave everything attached at the end
  --unpinned     pin nothing: when it is killed, the kernel detaches, and messages of connections made before take the
                 stack. So it is also where no bpf file system is on /sys/fs/bpf
";

#[derive(Default)]
struct Settings {
    target: Target,
    interval: u16,
    keep: bool,
    unpinned: bool,
}

/// Runs the command.
pub(super) fn run(invocation: Invocation<'_>) -> Result<ExitCode, Error> {
    let Invocation { mut args, out, .. } = invocation;
    let mut settings = Settings { interval: 5, ..Settings::default() };
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => {
                Target::help(HELP, out)?;
                return Ok(ExitCode::SUCCESS);
            }
            Arg::Long("interval") => settings.interval = args.value()?.parse()?,
            Arg::Long("keep") => settings.keep = true,
            Arg::Long("unpinned") => settings.unpinned = true,
            other => match Target::name(&other) {
                Some(name) => settings.target.take(name, &mut args)?,
                None => return Err(other.unexpected().into()),
            },
        }
    }
    // Signals are held back before anything is loaded, so that none can skip the detach.
    let signals = stop_signals()?;
    let cgroup = settings.target.open()?;
    let path = cgroup.path().to_owned();
    let (mut held, pairing) = start(&settings, cgroup, out)?;
    writeln!(out, "accelerating {} by {pairing} pairing; interrupt to stop", path.display())?;
    out.flush()?;
    let ended = watch(&mut held, &signals, settings.interval, out);
    let last = held.look();
    match held {
        Held::Pinned(..) if settings.keep => writeln!(out, "everything stays attached")?,
        held => {
            writeln!(out, "detaching: all connections go back to the TCP/IP stack")?;
            let report = held.stop(Duration::from_secs(settings.target.drain))?;
            if let Ok((last, _)) = last {
                print(&last, None, out)?;
            }
            writeln!(out, "{report}")?;
        }
    }
    ended.map(|()| ExitCode::SUCCESS)
}

/// What keeps the data plane attached.
enum Held {
    Pinned(Instance, Attendance),
    Unpinned(Box<Acceleration>),
}

/// Attaches; returns also the name of the pairing.
fn start(settings: &Settings, cgroup: Cgroup, out: &mut dyn Write) -> Result<(Held, &'static str), Error> {
    let target = &settings.target;
    let asked = settings.keep || target.pins.mount || target.pins.bpffs.is_some();
    let impossible = !settings.unpinned && !asked && !Pins::are_possible()?;
    if settings.unpinned || impossible {
        let wanted = target.build(cgroup, check::configuration())?;
        let pairing = wanted.plane.options.pairing.name();
        let acceleration = Acceleration::start_plane(&wanted.cgroup, &wanted.opted_out, &wanted.plane, wanted.config)?;
        wanted.note()?;
        if impossible {
            writeln!(
                out,
                "nothing is pinned, since no bpf file system is on /sys/fs/bpf (`mount -t bpf bpf /sys/fs/bpf`, or --mount)"
            )?;
        }
        return Ok((Held::Unpinned(Box::new(acceleration)), pairing));
    }
    let instance = instance(&target.pins.find()?, &cgroup)?;
    let attendance = instance.attend()?;
    let wanted = target.build(cgroup, configuration(&instance)?)?;
    let outcome = instance.ensure(&wanted.request(), &mut |_| {})?;
    wanted.note()?;
    if outcome != Outcome::Attached {
        writeln!(out, "taking over from {}: {}", instance.dir().display(), upgrade::report(outcome))?;
    }
    Ok((Held::Pinned(instance, attendance), wanted.plane.options.pairing.name()))
}

impl Held {
    /// The counters, and how many sockets are in the map.
    fn look(&mut self) -> Result<(Snapshot, usize), Error> {
        match self {
            Self::Unpinned(acceleration) => Ok((acceleration.snapshot()?, acceleration.members()?)),
            Self::Pinned(instance, _) => {
                // What an upgrade could not wait for; nothing to do as a rule, and next time is soon enough.
                let _ = instance.tidy(Duration::ZERO);
                instance.look()?.ok_or_else(|| {
                    let cgroup = if instance.dir().exists() { "the cgroup, or the pins" } else { "the pins" };
                    Error::Failed(format!(
                        "{cgroup} in {} have been removed by somebody else",
                        instance.dir().display()
                    ))
                })
            }
        }
    }

    /// What others have detached, replaced or removed.
    fn faults(&self) -> Result<Vec<String>, Error> {
        Ok(match self {
            Self::Unpinned(acceleration) => acceleration.faults()?.iter().map(ToString::to_string).collect(),
            // Nothing that cannot be looked at just now ends the acceleration.
            Self::Pinned(instance, _) => instance.problems().unwrap_or_else(|error| vec![error.to_string()]),
        })
    }

    /// Detaches, and says what has come of it.
    fn stop(self, timeout: Duration) -> Result<String, Error> {
        let detached = match self {
            Self::Pinned(instance, attendance) => {
                // Nobody would come back for what is left.
                instance.detach(timeout, Leftovers::Abandon, Some(attendance), &mut |_| {})?
            }
            Self::Unpinned(acceleration) => acceleration.stop(timeout)?.into(),
        };
        Ok(detach::report(&detached))
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
fn watch(held: &mut Held, signals: &SignalFd, interval: u16, out: &mut dyn Write) -> Result<(), Error> {
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
                for fault in held.faults()?.into_iter().filter(|fault| !reported.contains(fault)).collect::<Vec<_>>() {
                    writeln!(std::io::stderr(), "sidestep: {fault}")?;
                    reported.push(fault);
                }
                let (now, members) = held.look()?;
                if before.as_ref() != Some(&now) {
                    print(&now, before.as_ref(), out)?;
                    writeln!(out, "members {members}")?;
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
fn print(now: &Snapshot, before: Option<&Snapshot>, out: &mut dyn Write) -> std::io::Result<()> {
    for (counter, value) in now.iter().filter(|(_, value)| *value > 0) {
        write!(out, "{} {value}", counter.name())?;
        // After an upgrade to other maps the counters begin anew.
        match before.and_then(|before| value.checked_sub(before.get(counter))) {
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
    writeln!(out)
}

//! `sidestep run`: accelerates a cgroup in the foreground, and undoes it without loss when it is asked to stop.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

use serde_json::{Map, json};

use super::detach;
use super::error::Error;
use super::log::{FORMATS, Log, LogFormat};
use super::metrics::Exporter;
use super::signals::stop_signals;
use super::streams::{Streams, note};
use super::target::{TargetArgs, Wanted, configuration, instance};
use super::upgrade::{self, listed};
use super::values::{address, number, one_of};
use crate::agent::lifecycle::{Instance, Leftovers, Outcome, OwnerLock, Pins, ReaderAttendance};
use crate::agent::{Acceleration, Problem, Reading, Snapshot, check};
use crate::dataplane::Counter;
use crate::syscall::cgroup::Cgroup;

/// Accelerate the connections inside a cgroup until interrupted
///
/// Accelerates the TCP connections that processes in the cgroup (and below it) make to each other from now on. On SIGINT,
/// SIGTERM, SIGQUIT or SIGHUP (unless it is ignored, as under nohup), and when its output is closed, everything goes back
/// to plain TCP without losing a byte, and nothing stays in the kernel. It pins what it attaches, so that nothing happens
/// to a connection when it is killed: the next run, attach or upgrade takes over, or detach clears away. It also takes
/// over what `sidestep attach` has left.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// Seconds between two lines of counters; 0 for none
    #[arg(long, value_name = "S", default_value = "5", value_parser = number::<u16, 0, 65_535>)]
    interval: u16,
    /// Leave everything attached at the end
    #[arg(long)]
    keep: bool,
    /// Pin nothing: when it is killed, the kernel detaches, and messages of connections made before take the stack. This
    /// is the default where no bpf file system is on /sys/fs/bpf
    #[arg(long)]
    unpinned: bool,
    /// Answer HTTP there: /metrics for Prometheus, /healthz and /readyz for probes. Every host that can reach the address
    /// can read them
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
    metrics: Option<SocketAddr>,
    /// How the lines are written: text, or one JSON object a line, with the time and the event
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = one_of(FORMATS))]
    log_format: LogFormat,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let log = &mut Log::new(args.log_format, streams.out);
    // Signals are held back before anything is loaded, so that none can skip the detach.
    let signals = stop_signals()?;
    let cgroup = args.target.open()?;
    let path = cgroup.path().to_owned();
    // Before anything is attached, so that an address that is taken changes nothing.
    let mut exporter = args.metrics.map(Exporter::start).transpose()?;
    let started = start(args, cgroup)?;
    let mut held = started.held;
    // From here on an error, also one of the output, ends the acceleration and not only this process.
    let ended = (|| {
        for line in &started.lines {
            log.say("note", line)?;
        }
        if let Some(exporter) = &exporter {
            log.say("metrics", &format!("metrics on http://{}/metrics", exporter.address()))?;
        }
        log.say(
            "started",
            &format!("accelerating {} by {} pairing; interrupt to stop", path.display(), started.pairing),
        )?;
        log.out.flush()?;
        watch(&mut held, &signals, exporter.as_mut(), args.interval, log)
    })();
    let last = held.look();
    match held {
        Held::Pinned(..) if args.keep => log.say("kept", "everything stays attached")?,
        held => {
            held.note_lost_flags(&args.target.plane.given());
            let notified = log
                .say("detaching", "detaching: all connections go back to the TCP/IP stack")
                .and_then(|()| log.out.flush());
            let report = held.stop(args.target.drain())?;
            notified?;
            if let Ok((last, _)) = last {
                print(&last, None, None, log)?;
            }
            log.say("detached", &report)?;
        }
    }
    ended.map(|()| ExitCode::SUCCESS)
}

/// What keeps the data plane attached.
enum Held {
    Pinned(Instance, OwnerLock, ReaderAttendance),
    Unpinned(Box<Acceleration>),
}

/// What has been attached, and what to say of it.
struct Started {
    held: Held,
    pairing: &'static str,
    lines: Vec<String>,
}

/// Attaches.
fn start(args: &Args, cgroup: Cgroup) -> Result<Started, Error> {
    let target = &args.target;
    let asked = args.keep || target.mount || target.pins.bpffs.is_some();
    let impossible = !args.unpinned && !asked && !Pins::are_possible()?;
    if args.unpinned || impossible {
        let wanted = target.build(cgroup, check::configuration())?;
        let acceleration = Acceleration::start_plane(&wanted.cgroup, wanted.marked(), &wanted.plane, wanted.config)?;
        let why = "nothing is pinned, since no bpf file system is on /sys/fs/bpf (`mount -t bpf bpf /sys/fs/bpf`, or \
                   --mount)";
        let lines = if impossible { vec![why.into()] } else { Vec::new() };
        return Ok(started(Held::Unpinned(Box::new(acceleration)), &wanted, lines));
    }
    let instance = instance(&target.find()?, &cgroup)?;
    let attendance = instance.take_ownership()?;
    let wanted = target.build(cgroup, configuration(&instance)?)?;
    let before = instance.record()?.map(|record| record.flags);
    let outcome = instance.ensure(&wanted.request(), &mut |_| {})?;
    let mut lines = Vec::new();
    if outcome != Outcome::Attached {
        lines.push(format!("taking over from {}: {}", instance.dir().display(), upgrade::report(outcome)));
    }
    if let Some(before) = before
        && before != target.plane.given()
    {
        let now = listed(&target.plane.given());
        note(format_args!("sidestep: the flags of what was attached, {}, are replaced by {now}", listed(&before)));
    }
    let readers = ReaderAttendance::new(&instance, wanted.plane.options.policy.trust.programs.clone())?;
    Ok(started(Held::Pinned(instance, attendance, readers), &wanted, lines))
}

fn started(held: Held, wanted: &Wanted, lines: Vec<String>) -> Started {
    wanted.note();
    Started { held, pairing: wanted.plane.options.pairing.name(), lines }
}

impl Held {
    /// The counters, and how many sockets are in the map.
    fn look(&mut self) -> Result<(Snapshot, usize), Error> {
        match self {
            Self::Unpinned(acceleration) => Ok((acceleration.snapshot()?, acceleration.members()?)),
            Self::Pinned(instance, _, readers) => {
                // An upgrade may have brought other maps.
                readers.follow(instance)?;
                // What an upgrade could not wait for; nothing to do as a rule, and next time is soon enough.
                let _ = instance.tidy(Duration::ZERO);
                instance.look()?.ok_or_else(|| {
                    let cgroup = if instance.dir().exists() { "the cgroup, or the pins" } else { "the pins" };
                    Error::Failed(format!(
                        "{cgroup} in {} have been removed by another program",
                        instance.dir().display()
                    ))
                })
            }
        }
    }

    /// All that metrics show.
    fn reading(&self) -> Result<Option<Reading>, Error> {
        Ok(match self {
            Self::Unpinned(acceleration) => Some(acceleration.reading()?),
            Self::Pinned(instance, ..) => instance.reading()?,
        })
    }

    /// Says which flags end here: those that `sidestep upgrade` gave to what this command had attached with `own`.
    fn note_lost_flags(&self, own: &[String]) {
        let Self::Pinned(instance, ..) = self else { return };
        if let Ok(Some(record)) = instance.record()
            && record.flags != own
        {
            note(format_args!(
                "sidestep: the flags of the last `sidestep upgrade`, {}, end with this command; the next run has {} \
                 unless it is given others",
                listed(&record.flags),
                listed(own)
            ));
        }
    }

    /// What others have detached, replaced or removed.
    fn problems(&self) -> Result<Vec<Problem>, Error> {
        Ok(match self {
            Self::Unpinned(acceleration) => acceleration.problems()?,
            // Nothing that cannot be looked at just now ends the acceleration.
            Self::Pinned(instance, ..) => {
                instance.problems().unwrap_or_else(|error| vec![Problem::NotKnown(error.to_string())])
            }
        })
    }

    /// Detaches, and says what has come of it.
    fn stop(self, timeout: Duration) -> Result<String, Error> {
        let detached = match self {
            Self::Pinned(instance, attendance, _) => {
                // No later command would come back for what is left.
                instance.detach(timeout, Leftovers::Abandon, Some(attendance), &mut |_| {})?
            }
            Self::Unpinned(acceleration) => acceleration.stop(timeout)?.into(),
        };
        Ok(detach::report(&detached))
    }
}

/// Prints the counters as they change and answers scrapers, until a signal comes or the output is closed.
fn watch(
    held: &mut Held,
    signals: &SignalFd,
    mut exporter: Option<&mut Exporter>,
    interval: u16,
    log: &mut Log<'_>,
) -> Result<(), Error> {
    let interval = (interval > 0).then(|| Duration::from_secs(interval.into()));
    let mut next = interval.map(|interval| Instant::now() + interval);
    let mut printer = Printer::default();
    let stdout = std::io::stdout();
    loop {
        // Up to the next millisecond, so that the time has come when poll(2) returns; 65,535 seconds are fewer than the
        // i32::MAX milliseconds that a PollTimeout holds.
        let left = next.map(|next| next.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000));
        let timeout = left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        // poll(2) reports a pipe that has lost its reader without being asked to.
        let mut fds =
            vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let asked = exporter.as_ref().map(|exporter| PollFd::new(exporter.as_fd(), PollFlags::POLLIN));
        fds.extend(asked);
        let ready = poll(&mut fds, timeout);
        let came = |at: usize| fds.get(at).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        if came(1).contains(PollFlags::POLLERR) {
            return Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into());
        }
        match ready {
            // A signal, or the terminal of the output is gone.
            Ok(_) if !came(0).is_empty() || !came(1).is_empty() => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Failed(format!("cannot wait for signals: {errno}"))),
        }
        if let Some(exporter) = exporter.as_deref_mut() {
            exporter.answer(|| held.reading());
        }
        if let (Some(interval), Some(due)) = (interval, next)
            && Instant::now() >= due
        {
            printer.print(held, log)?;
            next = Some(Instant::now() + interval);
        }
    }
}

/// Prints what has changed.
#[derive(Default)]
struct Printer {
    before: Option<Snapshot>,
    reported: Vec<Problem>,
}

impl Printer {
    fn print(&mut self, held: &mut Held, log: &mut Log<'_>) -> Result<(), Error> {
        for problem in held.problems()? {
            if !self.reported.contains(&problem) {
                note(format_args!("sidestep: {problem}"));
                self.reported.push(problem);
            }
        }
        let (now, members) = held.look()?;
        if self.before.as_ref() != Some(&now) {
            print(&now, self.before.as_ref(), Some(members), log)?;
            log.out.flush()?;
            self.before = Some(now);
        }
        Ok(())
    }
}

/// The counters: as text one line with each that is not zero, and what was added since `before`, and one with the members.
fn print(now: &Snapshot, before: Option<&Snapshot>, members: Option<usize>, log: &mut Log<'_>) -> std::io::Result<()> {
    if log.is_json() {
        let counters: Map<_, _> = now.iter().map(|(counter, value)| (counter.name().into(), value.into())).collect();
        let fields = json!({ "counters": counters, "members": members, "redirected_share": now.redirected_share() });
        return log.fields("counters", &fields);
    }
    let out = &mut *log.out;
    for (counter, value) in now.iter().filter(|(_, value)| *value > 0) {
        write!(out, "{} {value}", counter.name())?;
        // After an upgrade to other maps the counters start at zero.
        match before.and_then(|before| value.checked_sub(before.get(counter))) {
            Some(added) if added > 0 => write!(out, " (+{added})  ")?,
            _ => write!(out, "  ")?,
        }
    }
    if let Some(share) = now.redirected_share() {
        write!(out, "past the stack {:.1} % of all bytes of connections inside the cgroup  ", share * 100.0)?;
    }
    if now.get(Counter::MapRefused) > 0 {
        write!(out, "(refused sockets stay plain TCP)  ")?;
    }
    writeln!(out)?;
    members.map_or(Ok(()), |members| writeln!(out, "members {members}"))
}

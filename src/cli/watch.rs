//! `sidestep watch`: what happens to connections, as it happens.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use super::error::Error;
use super::log::write_line;
use super::signals::stop_signals;
use super::streams::{Streams, note};
use super::target::PinArgs;
use super::timestamp::of_monotonic;
use super::values::seconds;
use crate::agent::lifecycle::{Instance, InstanceWatch, Pins, Status};
use crate::agent::{ChangeWatch, Problem, StateReader, monotonic};
use crate::dataplane::{Change, ChangeKind, Counter, SocketTraffic};

/// Print what happens to connections, one JSON object a line
///
/// Each line has the time and the event: paired, adopted (a connection that existed before, or has come back), left (with the
/// reason), closed, unclaimed, refused and no_storage, as the programs in the kernel report them; lost, when more happened than
/// the buffer holds (136 events of a data plane that were not read yet; it is read within milliseconds); problem, when
/// something is not as it was attached; attached and detached; and unseen, for a data plane that runs with --unpinned, or is
/// pinned elsewhere, which has no pins here by which its events could be read. Runs beside the agent. The programs report only
/// while this command runs: without it they only look at one number for each connection. Several can run at once. Ends when
/// it is interrupted, or its output is closed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only what is attached to this cgroup2 directory
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// End after this many seconds; 0 for never
    #[arg(long, value_name = "S", default_value = "0", value_parser = seconds)]
    seconds: u64,
    #[command(flatten)]
    pins: PinArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let signals = stop_signals()?;
    let end = (args.seconds > 0).then(|| Instant::now() + Duration::from_secs(args.seconds));
    let pins = args.pins.find(false)?;
    let mut watched = Watched {
        pins,
        only: only(args)?,
        instances: BTreeMap::new(),
        problems: Vec::new(),
        unseen: Unseen::default(),
    };
    let out = streams.out;
    let stdout = std::io::stdout();
    let mut looked: Option<Instant> = None;
    loop {
        if looked.is_none_or(|then| then.elapsed() >= ChangeWatch::RENEWAL) {
            watched.follow(out)?;
            if looked.is_none() && watched.instances.is_empty() {
                note(format_args!("sidestep: nothing is pinned yet; what is attached and pinned from now on is shown"));
            }
            looked = Some(Instant::now());
        }
        watched.hear(out)?;
        out.flush()?;
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) {
            return Ok(ExitCode::SUCCESS);
        }
        let follows = watched.instances.values().any(|(_, watch)| watch.readable().is_none());
        let wait = if follows { ChangeWatch::INTERVAL } else { ChangeWatch::RENEWAL };
        let wait = end.map_or(wait, |end| end.duration_since(now).min(wait));
        // Up to the next millisecond, so that the time has come when poll(2) returns.
        let timeout = PollTimeout::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
        let mut fds =
            vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let readable = watched.instances.values().filter_map(|(_, watch)| watch.readable());
        fds.extend(readable.map(|changes| PollFd::new(changes, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Failed(format!("cannot wait for changes: {errno}"))),
        }
        let came = |at: usize| fds.get(at).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        if !came(0).is_empty() || !came(1).is_empty() {
            drop(fds);
            // What had come before the signal.
            watched.hear(out)?;
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// The ID of the cgroup that is asked for.
fn only(args: &Args) -> Result<Option<u64>, Error> {
    let Some(path) = &args.cgroup else { return Ok(None) };
    let cgroup = crate::syscall::cgroup::Cgroup::open(path)
        .map_err(|error| Error::Failed(format!("{error}; {}", super::cgroups::hint())))?;
    Ok(Some(cgroup.id().map_err(crate::agent::Error::from)?))
}

/// All that is watched.
struct Watched {
    pins: Pins,
    only: Option<u64>,
    /// By the ID of the cgroup.
    instances: BTreeMap<u64, (Instance, InstanceWatch)>,
    /// What has been reported and still is so.
    problems: Vec<(u64, Problem)>,
    unseen: Unseen,
}

/// Data planes that have no pins here, by the kernel's numbers of their sockhashes.
#[derive(Debug, Default)]
struct Unseen {
    /// Those of the last look. One that is just being pinned is not among them at the next look.
    seen: Vec<u32>,
    reported: Vec<u32>,
    next: Option<Instant>,
}

/// Between two looks at all programs of the kernel.
const UNSEEN_INTERVAL: Duration = Duration::from_secs(5);

impl Unseen {
    /// Those that were there at the last look, too, and have not been reported yet.
    fn look(&mut self, pins: &Pins) -> Vec<u32> {
        if self.next.is_some_and(|next| Instant::now() < next) {
            return Vec::new();
        }
        // Where this process may not list them, the list is empty.
        let others = Status::read(Some(pins)).map_or_else(|_| Vec::new(), |status| status.others);
        self.reported.retain(|id| others.contains(id));
        let (known, new): (Vec<_>, Vec<_>) = others.iter().partition(|id| self.seen.contains(id));
        let report: Vec<u32> = known.into_iter().filter(|id| !self.reported.contains(id)).collect();
        self.reported.extend(&report);
        self.next = Some(Instant::now() + if new.is_empty() { UNSEEN_INTERVAL } else { ChangeWatch::RENEWAL });
        self.seen = others;
        report
    }
}

impl Watched {
    /// Begins with what has been attached since the last look, ends with what is gone, and goes on with the rest.
    fn follow(&mut self, out: &mut dyn Write) -> Result<(), Error> {
        let mut gone = Vec::new();
        for (id, (instance, watch)) in &mut self.instances {
            // An upgrade to other maps is an end and a beginning.
            if watch.is_current(instance)? {
                watch.renew()?;
            } else {
                gone.push(*id);
            }
        }
        for id in gone {
            self.instances.remove(&id);
            event(out, SystemTime::now(), "detached", &json!({ "cgroup_id": id }))?;
        }
        let found = self.pins.instances()?.into_iter();
        for instance in found.filter(|one| self.only.is_none_or(|only| only == one.cgroup_id())) {
            let id = instance.cgroup_id();
            if self.instances.contains_key(&id) {
                continue;
            }
            if let Some(watch) = instance.watch_changes()? {
                let cgroup = instance.record()?.map(|record| record.cgroup.display().to_string());
                event(out, SystemTime::now(), "attached", &json!({ "cgroup_id": id, "cgroup": cgroup }))?;
                self.instances.insert(id, (instance, watch));
            }
        }
        for sockhash in self.unseen.look(&self.pins) {
            let message = "a data plane runs with --unpinned, or is pinned elsewhere: its events cannot be read here; run it without \
                           --unpinned, or name its pins with --bpffs";
            event(out, SystemTime::now(), "unseen", &json!({ "sockhash": sockhash, "message": message }))?;
        }
        self.report_problems(out)
    }

    fn report_problems(&mut self, out: &mut dyn Write) -> Result<(), Error> {
        let mut now = Vec::new();
        for (id, (instance, _)) in &self.instances {
            let found = instance.problems().unwrap_or_else(|error| vec![Problem::NotKnown(error.to_string())]);
            now.extend(found.into_iter().map(|problem| (*id, problem)));
        }
        for (id, problem) in now.iter().filter(|one| !self.problems.contains(one)) {
            event(out, SystemTime::now(), "problem", &json!({ "cgroup_id": id, "message": problem.to_string() }))?;
        }
        self.problems = now;
        Ok(())
    }

    /// Prints what has come.
    fn hear(&mut self, out: &mut dyn Write) -> Result<(), Error> {
        for (id, (instance, watch)) in &mut self.instances {
            for change in watch.drain() {
                let reason = reason(&change).or_else(|| peers_reason(instance, &change));
                let time = of_monotonic(Duration::from_nanos(change.time), monotonic());
                event(out, time, change.kind.name(), &fields(*id, &change, reason))?;
            }
            let lost = watch.lost()?;
            if lost > 0 {
                event(out, SystemTime::now(), "lost", &json!({ "cgroup_id": id, "events": lost }))?;
            }
        }
        Ok(())
    }
}

fn event(out: &mut dyn Write, time: SystemTime, name: &str, fields: &Value) -> Result<(), Error> {
    Ok(write_line(out, time, name, fields)?)
}

/// Why the pair has left.
fn reason(change: &Change) -> Option<Counter> {
    (change.kind == ChangeKind::Left).then_some(change.traffic.leaving).flatten()
}

/// The other end may be the one that wanted to leave: its state says why.
fn peers_reason(instance: &Instance, change: &Change) -> Option<Counter> {
    if change.kind != ChangeKind::Left || change.peer_cookie == 0 {
        return None;
    }
    let states =
        instance.storages().ok()?.iter().map(|map| StateReader::new(map)?.read()).collect::<Result<Vec<_>, _>>();
    let peer = states.ok()?.into_iter().flatten().find(|state| state.cookie == change.peer_cookie)?;
    peer.traffic.leaving.or(peer.traffic.last_reason).or(change.traffic.last_reason)
}

fn fields(cgroup_id: u64, change: &Change, reason: Option<Counter>) -> Value {
    let SocketTraffic { redirected_bytes, redirected_messages, passed_bytes, passed_messages, .. } = change.traffic;
    let mut fields = json!({
        "cgroup_id": cgroup_id,
        "local": change.local.to_string(),
        "remote": change.remote.to_string(),
        "cookie": change.cookie,
        "peer_cookie": change.peer_cookie,
    });
    if let (Value::Object(all), ChangeKind::Left | ChangeKind::Closed) = (&mut fields, change.kind) {
        all.insert("redirected_bytes".into(), redirected_bytes.into());
        all.insert("redirected_messages".into(), redirected_messages.into());
        all.insert("passed_bytes".into(), passed_bytes.into());
        all.insert("passed_messages".into(), passed_messages.into());
        if change.kind == ChangeKind::Left {
            all.insert("reason".into(), reason.map(Counter::name).into());
            all.insert("why".into(), reason.map(Counter::description).into());
        }
    }
    fields
}

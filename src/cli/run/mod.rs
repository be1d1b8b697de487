//! `sidestep run`: accelerates a cgroup in the foreground, and undoes it without loss when it is asked to stop.

mod anchor;
mod held;
mod leaving;
mod live;
mod pods;
mod printer;
mod remover;
mod returning;
mod service;
mod user;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ArgAction;

use super::error::Error;
use super::log::{FORMATS, Log, LogFormat};
use super::metrics::{Exporter, bind};
use super::pods::{PodArgs, anchor};
use super::signals::signals;
use super::streams::{Streams, note};
use super::target::{TargetArgs, Wanted, configuration};
use super::upgrade::{self, listed};
use super::values::{address, number, one_of};
use crate::agent::lifecycle::{Outcome, Pins, ReaderAttendance};
use crate::agent::{Acceleration, Looks, check, restrict_calls};
use crate::syscall::btf::shared_vmlinux;
use crate::syscall::cgroup::Cgroup;
use crate::syscall::{User, memory};

use anchor::Anchor;
use held::Held;
use live::{Again, Live};
use pods::Pods;
use printer::print;
use returning::Returning;
use service::Service;
use user::{Last, settle};
use watch::Agent;

/// Accelerate the connections inside a cgroup until interrupted
///
/// Accelerates the TCP connections that processes in the cgroup (and below it) make to each other from now on, and those that
/// exist already (--existing). On SIGINT, SIGTERM or SIGQUIT, and when its output is closed, everything goes back to plain
/// TCP without losing a byte, and nothing stays in the kernel. SIGHUP does the same, unless it is ignored (as under nohup); with
/// --config it makes the agent read the file again instead. It pins what it attaches, so that nothing happens to a connection when it is
/// killed: the next run, attach or upgrade takes over, or detach clears away. It also takes over what `sidestep attach` has
/// left.
#[derive(Debug, clap::Args)]
// Pods may be named instead.
#[command(mut_arg("cgroup", |cgroup| cgroup.required(false)))]
pub(super) struct Args {
    /// Read settings from this TOML file, whose keys are the names of these flags: `port = [80, "8000-8100"]`. A flag wins
    /// over the environment (SIDESTEP_PORT), and the environment over the file. SIGHUP and `sidestep reload` read it again
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    pods: PodArgs,
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
    /// Whether the agent gives up all system calls that it does not need once it has attached. `off` is for finding out
    /// whether an error comes from that
    #[arg(long, value_name = "WHETHER", value_parser = one_of([("on", true), ("off", false)]), default_value = "on", action = ArgAction::Set)]
    seccomp: bool,
    /// Run as this user, with this group alone (the one with the same number, if none is given) and without root's rights to
    /// files. The agent becomes it before it attaches anything; what this user cannot do is an error at the start
    #[arg(long, value_name = "UID[:GID]", allow_negative_numbers = true)]
    user: Option<User>,
}

impl Args {
    /// The same, checked, with a cgroup also where pods are named.
    fn settled(mut self) -> Result<Self, Error> {
        self.pods.check(self.target.is_given())?;
        if self.pods.are_given() {
            self.target.name(anchor()?);
        }
        Ok(self)
    }

    /// What is accelerated, in words.
    fn what(&self, cgroup: &Path) -> String {
        if self.pods.are_given() { "the selected pods".into() } else { cgroup.display().to_string() }
    }
}

/// Runs the command. `again` reads all settings as they are then.
pub(super) fn run(args: Args, again: Again<'_>, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let log = &mut Log::new(args.log_format, streams.out);
    // Signals are held back before anything is loaded, so that none can skip the detach.
    let signals = signals(args.config.is_some())?;
    let service = Service::of_this_process();
    let args = args.settled()?;
    let mut anchor = if args.pods.are_given() { Some(Anchor::hold(&anchor()?, args.seccomp)?) } else { None };
    // Before anything is attached, so that a runtime that does not answer changes nothing.
    let mut pods = args.pods.are_given().then(|| Pods::read(&args.pods)).transpose()?;
    let cgroup = args.target.open()?;
    let path = cgroup.path().to_owned();
    // Before anything is attached, so that an address that is taken changes nothing.
    let scrapers = args.metrics.map(bind).transpose()?;
    // Dropped after everything that is pinned.
    let mut last = None;
    let started = start(&args, cgroup, pods.as_ref(), &mut last)?;
    let mut exporter = scrapers.as_ref().map(Exporter::start).transpose()?;
    if let Some(pods) = &mut pods {
        pods.watch(&args.pods)?;
    }
    let what = args.what(&path);
    memory::give_back();
    let Started { held, pairing, lines, wanted, looks } = started;
    let returning = Returning::new(wanted, looks, args.target.existing.are_wanted(), &held);
    let mut agent = Agent { live: Live::new(args, again, held, pods), service, returning };
    // From here on an error, also one of the output, ends the acceleration and not only this process.
    let ended = (|| {
        if agent.live.args.seccomp {
            restrict_calls()?;
            log.say("confined", "system calls that the agent does not need are refused from now on")?;
        }
        agent.live.offer_reload()?;
        for line in &lines {
            log.say("note", line)?;
        }
        if let Some(exporter) = &exporter {
            log.say("metrics", &format!("metrics on http://{}/metrics", exporter.address()))?;
        }
        log.say("started", &format!("accelerating {what} by {pairing} pairing; interrupt to stop"))?;
        agent.live.add_pods(log)?;
        log.out.flush()?;
        agent.service.ready(&format!("accelerating {what}"));
        agent.watch(&signals, exporter.as_mut(), log)
    })();
    agent.service.stopping();
    let Live { args, held, .. } = agent.live;
    let counted = held.look();
    match held {
        Held::Pinned(..) if args.keep => log.say("kept", "everything stays attached")?,
        held => {
            held.note_lost_flags(&args.target.plane.given());
            let notified = log
                .say("detaching", "detaching: all connections go back to the TCP/IP stack")
                .and_then(|()| log.out.flush());
            let report = held.stop(args.target.drain())?;
            notified?;
            if let Ok((counted, _)) = counted {
                print(&counted, None, None, log)?;
            }
            log.say("detached", &report)?;
            if anchor.as_mut().is_some_and(Anchor::remove) {
                let stays = format!("{} stays for the next run, empty; remove it with rmdir", path.display());
                log.say("note", &stays)?;
            }
        }
    }
    ended.map(|()| ExitCode::SUCCESS)
}

/// What has been attached, and what to say of it.
struct Started {
    held: Held,
    pairing: &'static str,
    lines: Vec<String>,
    wanted: Wanted,
    looks: Looks,
}

/// Attaches.
fn start(args: &Args, cgroup: Cgroup, pods: Option<&Pods>, last: &mut Option<Last>) -> Result<Started, Error> {
    // The kernel's types are read once for all that looks into them here.
    let _types = shared_vmlinux();
    let (target, mut looks) = (&args.target, Looks::default());
    let asked = args.keep || target.mount || target.pins.bpffs.is_some();
    let impossible = !args.unpinned && !asked && !Pins::are_possible()?;
    if args.unpinned || impossible {
        settle(args, None, last)?;
        let wanted = target.build(cgroup, check::configuration()?)?;
        pods.map_or(Ok(()), |_| refuse_sticky(&wanted))?;
        let mut acceleration =
            Acceleration::start_plane(&wanted.cgroup, wanted.marked(), &wanted.plane, wanted.config)?;
        for cgroup in &wanted.more {
            acceleration.add_cgroup(cgroup)?;
        }
        let (plane, marked) = (&wanted.plane, wanted.marked());
        let adopted =
            target.existing.adopt_by(&mut looks, plane, |looks| acceleration.adopt(&plane.options, marked, looks));
        let why = "nothing is pinned, since no bpf file system is on /sys/fs/bpf (`mount -t bpf bpf /sys/fs/bpf`, or \
                   --mount)";
        let lines = impossible.then(|| why.into()).into_iter().chain(adopted).collect();
        return Ok(started(Held::Unpinned(Box::new(acceleration)), wanted, looks, lines));
    }
    let instance = target.instance(&target.find()?, &cgroup)?;
    let attendance = instance.take_ownership()?;
    // What is to be mounted is mounted, and the address for scrapers is bound.
    settle(args, Some(&attendance), last)?;
    let mut wanted = target.build(cgroup, configuration(&instance)?)?;
    if let Some(pods) = pods {
        refuse_sticky(&wanted)?;
        // Those of a run before this one; the others come one by one, so that none can harm another.
        let attached: Vec<u64> = instance.cgroups()?.iter().map(|cgroup| cgroup.id).collect();
        wanted.more = pods.among(&|id| attached.contains(&id));
    }
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
    lines.extend(target.existing.adopt_by(&mut looks, &wanted.plane, |looks| instance.adopt(&wanted.plane, looks)));
    Ok(started(Held::Pinned(instance, attendance, readers), wanted, looks, lines))
}

/// A pod that opts out must be able to leave.
fn refuse_sticky(wanted: &Wanted) -> Result<(), Error> {
    if wanted.plane.drain.is_some() {
        return Ok(());
    }
    Err(Error::Failed(
        "--pods takes the gated tier, since in the sticky one a pod that has been added cannot be taken out; `sidestep check` says what \
         the gated tier needs"
            .into(),
    ))
}

fn started(held: Held, wanted: Wanted, looks: Looks, lines: Vec<String>) -> Started {
    wanted.note();
    Started { held, pairing: wanted.plane.options.pairing.name(), lines, wanted, looks }
}

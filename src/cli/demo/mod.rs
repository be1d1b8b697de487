//! `sidestep demo`: the three hops of a mesh on this machine, plain and accelerated, side by side.
//!
//! Both ways run in the same two pods, in two cgroups: the data plane is attached to one of them. They take turns, so
//! that whatever else the machine does meanwhile hits both.

mod settings;
mod summary;
mod table;

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::error::Error;
use super::interrupt;
use super::streams::{Streams, note};
use crate::agent::{Acceleration, Marked, check};
use crate::dataplane::{Options, Trust};
use crate::syscall::cgroup::{self, Cgroup};
use crate::testbed::{self, Addresses, Hop, Launcher, Load, Pods, TemporaryCgroup};
use settings::Settings;

pub(super) use settings::Args;
use summary::{Rounds, Summary};

/// Names of the demo's cgroups start with it.
const CGROUP_PREFIX: &str = "sidestep-demo-";
/// Requests before measuring starts: enough for both ends' caches and the scheduler to settle.
const WARM_UP: u64 = 100;
/// How long redirected bytes may stay unread when the demo ends; its processes have all ended by then.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs the command.
pub(super) fn run(args: Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let settings = Settings::new(args);
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::Failed(
            "the demo makes network namespaces, cgroups and BPF programs, which only root may; try `sudo sidestep demo`"
                .into(),
        ));
    }
    // Before the first BPF program, those by which the kernel is probed included.
    let interrupted = interrupt::catch()?;
    let mut options = settings.plane.noted_options()?;
    // The demo's own processes read by recv(2) alone.
    options.policy.trust = Trust::default();
    let (opted_out, trusted) = (settings.plane.opted_out()?, settings.plane.trusted()?);
    let marked = Marked { opted_out: &opted_out, trusted: &trusted };
    let summary = measure(&settings, options, marked, interrupted).map_err(|error| Error::Failed(error.to_string()))?;
    if settings.json {
        serde_json::to_writer_pretty(&mut *streams.out, &summary).map_err(std::io::Error::from)?;
        writeln!(streams.out)?;
    } else {
        table::print(&summary, streams.out)?;
    }
    match summary.hops.iter().find(|hop| hop.accelerated.share_past_stack == 0.0) {
        Some(hop) => Err(Error::Failed(format!(
            "no byte of the hop {} went past the stack; `sidestep check` says what this kernel lacks",
            hop.name
        ))),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Anything that can go wrong on the way; each has its own sentence.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Testbed(#[from] testbed::Error),
    #[error(transparent)]
    Agent(#[from] crate::agent::Error),
    #[error(transparent)]
    Syscall(#[from] crate::syscall::Error),
    #[error("no cgroup2 hierarchy is mounted; mount one with `mount -t cgroup2 none /sys/fs/cgroup`")]
    NoCgroup2,
    #[error("{0} sockets are still in the sockhash after the demo; their processes should have ended")]
    Remaining(usize),
}

/// Sets everything up, runs all rounds, and takes everything down again, also when it fails.
fn measure(
    settings: &Settings,
    options: Options,
    marked: Marked<'_>,
    interrupted: &'static AtomicBool,
) -> Result<Summary, DemoError> {
    let mount = cgroup::find()?.ok_or(DemoError::NoCgroup2)?;
    let group = TemporaryCgroup::new(&mount, CGROUP_PREFIX)?;
    let launcher = |name| -> Result<Launcher, testbed::Error> {
        Ok(Launcher { cgroup: Some(group.child(name)?), cpu: settings.cpu, ..Launcher::new(interrupted) })
    };
    let (plain, accelerated) = (launcher("plain")?, launcher("accelerated")?);
    let pods = Pods::new(settings.ipv6)?;
    let addresses = if settings.ipv6 { &Addresses::V6 } else { &Addresses::V4 };

    let target = Cgroup::open(&group.path().join("accelerated"))?;
    let pairing = options.pairing;
    let config = settings.plane.configure(check::configuration()?);
    let plane = settings.plane.build(options)?;
    let acceleration = Acceleration::start_plane(&target, marked, &plane, config)?;

    let mut rounds = Rounds::default();
    for round in 0..settings.rounds {
        note(format_args!("round {} of {}", round + 1, settings.rounds));
        for hop in Hop::ALL {
            let load = Load {
                connections: 1,
                warm_up: WARM_UP,
                requests: settings.requests,
                size: settings.size,
                seed: u64::from(std::process::id()) << 32 | round,
            };
            let before = testbed::run(hop, &pods, addresses, &plain, load)?;
            let after = testbed::run(hop, &pods, addresses, &accelerated, load)?;
            rounds.add(hop, before, after);
        }
    }
    match acceleration.stop(DRAIN)?.remaining {
        0 => Ok(rounds.summary(settings, pairing)),
        remaining => Err(DemoError::Remaining(remaining)),
    }
}

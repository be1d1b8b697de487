//! The flags that say what to attach and where to pin it, shared by the commands that do.

use std::path::PathBuf;
use std::time::Duration;

use super::cgroups;
use super::error::Error;
use super::plane::PlaneArgs;
use super::streams::note;
use super::values::seconds;
use crate::agent::lifecycle::{Instance, Pins, Request};
use crate::agent::{self, Marked, check};
use crate::dataplane::{self, Config, DataPlane};
use crate::syscall::cgroup::Cgroup;

/// Where pins are.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct PinArgs {
    /// Pin below this directory of a bpf file system, in sidestep/v1 [default: /sys/fs/bpf]
    #[arg(long, value_name = "PATH")]
    pub(super) bpffs: Option<PathBuf>,
}

impl PinArgs {
    /// The pins. With `mount`, a bpf file system is mounted where there is none.
    pub(super) fn find(&self, mount: bool) -> Result<Pins, Error> {
        Ok(Pins::find(self.bpffs.as_deref(), mount)?)
    }
}

/// What is to be attached to which cgroup, and pinned where.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TargetArgs {
    /// A cgroup2 directory
    #[arg(long, value_name = "PATH")]
    cgroup: PathBuf,
    /// Seconds to wait at most for readers that are behind, where connections leave
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    drain: u64,
    #[command(flatten)]
    pub(super) pins: PinArgs,
    /// Mount a bpf file system on /sys/fs/bpf if there is none
    #[arg(long)]
    pub(super) mount: bool,
    #[command(flatten)]
    pub(super) plane: PlaneArgs,
}

impl TargetArgs {
    /// Seconds to wait for readers that are behind.
    pub(super) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain)
    }

    /// The cgroup, opened.
    pub(super) fn open(&self) -> Result<Cgroup, Error> {
        Cgroup::open(&self.cgroup).map_err(|error| Error::Failed(format!("{error}; {}", cgroups::hint())))
    }

    /// The pins.
    pub(super) fn find(&self) -> Result<Pins, Error> {
        self.pins.find(self.mount)
    }

    /// Builds what the flags ask for.
    pub(super) fn build(&self, cgroup: Cgroup, config: Config) -> Result<Wanted, Error> {
        let (options, why) = self.plane.options(config)?;
        let plane = dataplane::build(options).map_err(crate::agent::Error::from)?;
        Ok(Wanted {
            cgroup,
            opted_out: self.plane.opted_out()?,
            trusted: self.plane.trusted()?,
            plane,
            config: self.plane.configure(config),
            flags: self.plane.given(),
            drain: self.drain(),
            why,
        })
    }
}

/// What the flags ask for, opened and built.
pub(super) struct Wanted {
    pub(super) cgroup: Cgroup,
    opted_out: Vec<Cgroup>,
    trusted: Vec<Cgroup>,
    pub(super) plane: DataPlane,
    pub(super) config: Config,
    flags: Vec<String>,
    drain: Duration,
    why: Option<String>,
}

impl Wanted {
    /// Says on standard error what is not the best; worth a word only once something is attached.
    pub(super) fn note(&self) {
        if let Some(why) = &self.why {
            note(format_args!("sidestep: {why}"));
        }
    }

    /// The cgroups inside that are not like the others.
    pub(super) fn marked(&self) -> Marked<'_> {
        Marked { opted_out: &self.opted_out, trusted: &self.trusted }
    }

    pub(super) fn request(&self) -> Request<'_> {
        Request {
            plane: &self.plane,
            config: self.config,
            cgroup: &self.cgroup,
            marked: self.marked(),
            flags: &self.flags,
            drain: self.drain,
        }
    }
}

/// The configuration for this kernel. What is attached knows what the probes have said, and a probe whose own
/// connections may be accelerated cannot tell.
pub(super) fn configuration(instance: &Instance) -> Result<Config, Error> {
    let attached = instance.config()?;
    Ok(attached.map_or_else(check::configuration, |config| Config { keepalive: agent::keepalive(), ..config }))
}

/// The instance of a cgroup.
pub(super) fn instance(pins: &Pins, cgroup: &Cgroup) -> Result<Instance, Error> {
    Ok(pins.instance(cgroup.id().map_err(crate::agent::Error::from)?))
}

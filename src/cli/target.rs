//! The flags that say what to attach and where to pin it, shared by the commands that do.

use std::path::PathBuf;
use std::time::Duration;

use super::cgroups;
use super::error::Error;
use super::existing::ExistingArgs;
use super::plane::PlaneArgs;
use super::streams::note;
use super::values::seconds;
use crate::agent::check::{self, faults};
use crate::agent::lifecycle::{Instance, Pins, Request, outermost};
use crate::agent::{self, Marked};
use crate::dataplane::{Config, DataPlane};
use crate::syscall::btf::shared_vmlinux;
use crate::syscall::cgroup::Cgroup;

/// Where pins are.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct PinArgs {
    /// Pin below this directory of a bpf file system, in sidestep/v2 [default: /sys/fs/bpf]
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
    /// A cgroup2 directory, or a pattern with `*`, `?` or `[...]` for several. Can be repeated: connections between these
    /// cgroups are accelerated, too. One that is inside another of them adds nothing
    #[arg(long, value_name = "PATH", required = true)]
    cgroup: Vec<PathBuf>,
    /// Seconds to wait at most for readers that are behind, where connections leave
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    drain: u64,
    #[command(flatten)]
    pub(super) pins: PinArgs,
    /// Mount a bpf file system on /sys/fs/bpf if there is none
    #[arg(long)]
    pub(super) mount: bool,
    /// Accelerate although this kernel surely has a fault that loses data or crashes it, which is refused otherwise
    /// (`sidestep check` names the faults)
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) existing: ExistingArgs,
    #[command(flatten)]
    pub(super) plane: PlaneArgs,
}

impl TargetArgs {
    /// Seconds to wait for readers that are behind.
    pub(super) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain)
    }

    /// Whether a cgroup is named.
    pub(super) fn is_given(&self) -> bool {
        !self.cgroup.is_empty()
    }

    /// Names a cgroup, where none is named.
    pub(super) fn name(&mut self, cgroup: PathBuf) {
        self.cgroup = vec![cgroup];
    }

    /// The cgroup, opened; the first, where there are more.
    pub(super) fn open(&self) -> Result<Cgroup, Error> {
        let first = self.cgroups()?.into_iter().next();
        first.ok_or_else(|| Error::Usage("name a cgroup with --cgroup".into()))
    }

    /// All cgroups, opened: those that are not inside another one of them.
    pub(super) fn cgroups(&self) -> Result<Vec<Cgroup>, Error> {
        let mut all = Vec::new();
        for pattern in &self.cgroup {
            for path in cgroups::matching("--cgroup", pattern)? {
                all.push(cgroups::open(&path)?);
            }
        }
        Ok(outermost(all)?)
    }

    /// The instance that has one of the cgroups, or the one that the first of them gives its name.
    pub(super) fn instance(&self, pins: &Pins, first: &Cgroup) -> Result<Instance, Error> {
        for cgroup in std::iter::once(first).chain(&self.cgroups()?) {
            if let Some(instance) = pins.instance_of(id(cgroup)?)? {
                return Ok(instance);
            }
        }
        Ok(pins.instance(id(first)?))
    }

    /// The pins.
    pub(super) fn find(&self) -> Result<Pins, Error> {
        self.pins.find(self.mount)
    }

    /// Builds what the flags ask for. A kernel that must not be used is refused before anything is touched.
    pub(super) fn build(&self, cgroup: Cgroup, config: Config) -> Result<Wanted, Error> {
        // The kernel's types are read once for all that looks into them here.
        let _types = shared_vmlinux();
        if self.force {
            for fault in faults::forbidding() {
                note(format_args!("sidestep: --force overrides that this kernel must not be used: {fault}"));
            }
        } else {
            faults::refuse()?;
        }
        let (mut options, why) = self.plane.options(config)?;
        options.policy.spares_short &= self.existing.are_wanted();
        let plane = self.plane.build(options)?;
        let mut more = Vec::new();
        for other in self.cgroups()? {
            if id(&other)? != id(&cgroup)? {
                more.push(other);
            }
        }
        Ok(Wanted {
            cgroup,
            more,
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
    pub(super) more: Vec<Cgroup>,
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
            more: &self.more,
            marked: self.marked(),
            flags: &self.flags,
            drain: self.drain,
        }
    }
}

/// The configuration for this kernel. What is attached knows what the probes have said, and a probe whose own
/// connections are accelerated cannot tell: then another instance knows.
pub(super) fn configuration(instance: &Instance) -> Result<Config, Error> {
    if let Some(config) = instance.config()? {
        return Ok(Config { keepalive: agent::keepalive(), ..config });
    }
    check::configuration().or_else(|why| {
        let known = instance.with_others()?.iter().find_map(|other| other.config().ok()?);
        let Config { redirect_unaccepted, spare_askers, .. } = known.ok_or(why)?;
        Ok(Config { redirect_unaccepted, spare_askers, keepalive: agent::keepalive(), ..Config::default() })
    })
}

/// The instance of a cgroup.
pub(super) fn instance(pins: &Pins, cgroup: &Cgroup) -> Result<Instance, Error> {
    let id = id(cgroup)?;
    Ok(pins.instance_of(id)?.unwrap_or_else(|| pins.instance(id)))
}

fn id(cgroup: &Cgroup) -> Result<u64, Error> {
    Ok(cgroup.id().map_err(agent::Error::from)?)
}

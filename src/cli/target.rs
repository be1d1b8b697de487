//! The flags that say what to attach and where to pin it, shared by the commands that do.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

use super::Error;
use super::plane::PlaneFlags;
use crate::agent::lifecycle::{Instance, Pins, Request};
use crate::agent::{self, check};
use crate::dataplane::{self, Config, DataPlane};
use crate::syscall::cgroup::{self, Cgroup};

/// Where pins are.
#[derive(Clone, Debug, Default)]
pub(super) struct PinFlags {
    /// A folder on a bpf file system, if one was named.
    pub(super) bpffs: Option<PathBuf>,
    /// Mount one where there is none.
    pub(super) mount: bool,
}

impl PinFlags {
    pub(super) const HELP: &'static str =
        "  --bpffs PATH   pin below this folder of a bpf file system, in sidestep/v1 (default /sys/fs/bpf)
";
    pub(super) const MOUNT_HELP: &'static str =
        "  --mount        mount a bpf file system on /sys/fs/bpf if there is none
";

    /// Takes the value of `--bpffs`.
    pub(super) fn take(&mut self, args: &mut Parser) -> Result<(), Error> {
        self.bpffs = Some(args.value()?.into());
        Ok(())
    }

    pub(super) fn find(&self) -> Result<Pins, Error> {
        Ok(Pins::find(self.bpffs.as_deref(), self.mount)?)
    }
}

/// What is to be attached to which cgroup, and pinned where.
#[derive(Clone, Debug)]
pub(super) struct Target {
    cgroup: Option<PathBuf>,
    /// Where pins are.
    pub(super) pins: PinFlags,
    /// Most seconds to wait for slow readers.
    pub(super) drain: u64,
    /// What to build.
    pub(super) plane: PlaneFlags,
    /// The flags in [`Target::plane`] as they were given, each `--name=value`.
    pub(super) given: Vec<String>,
}

impl Default for Target {
    fn default() -> Self {
        Self { cgroup: None, pins: PinFlags::default(), drain: 10, plane: PlaneFlags::default(), given: Vec::new() }
    }
}

impl Target {
    const HELP: &'static str = "  --cgroup PATH  a cgroup2 directory
  --drain S      most seconds to wait for readers that are behind, where connections leave (default 10)
";

    /// Reads the flags of a command that has only these. `None` when help was asked for, which begins with `usage`.
    pub(super) fn read(mut args: Parser, usage: &str, out: &mut dyn Write) -> Result<Option<Self>, Error> {
        let mut target = Self::default();
        while let Some(arg) = args.next()? {
            if arg == Arg::Long("help") || arg == Arg::Short('h') {
                Self::help(usage, out)?;
                return Ok(None);
            }
            match Self::name(&arg) {
                Some(name) => target.take(name, &mut args)?,
                None => return Err(arg.unexpected().into()),
            }
        }
        Ok(Some(target))
    }

    /// Writes `usage` and the help text of these flags.
    pub(super) fn help(usage: &str, out: &mut dyn Write) -> std::io::Result<()> {
        write!(out, "{usage}{}{}{}", Self::HELP, PinFlags::HELP, PinFlags::MOUNT_HELP)?;
        PlaneFlags::help(out)
    }

    /// The name of the flag, if it is one of these.
    pub(super) fn name(arg: &Arg<'_>) -> Option<&'static str> {
        let own = ["cgroup", "drain", "bpffs", "mount"].into_iter().find(|name| *arg == Arg::Long(name));
        own.or_else(|| PlaneFlags::name(arg))
    }

    /// Takes the value of the flag that [`Target::name`] has named.
    pub(super) fn take(&mut self, name: &'static str, args: &mut Parser) -> Result<(), Error> {
        match name {
            "cgroup" => self.cgroup = Some(args.value()?.into()),
            "drain" => self.drain = args.value()?.parse()?,
            "bpffs" => self.pins.take(args)?,
            "mount" => self.pins.mount = true,
            name => {
                // Each of them takes a value.
                let value = args.clone().value()?;
                self.given.push(format!("--{name}={}", value.string()?));
                self.plane.take(name, args)?;
            }
        }
        Ok(())
    }

    /// Builds what the flags ask for.
    pub(super) fn build(&self, cgroup: Cgroup, config: Config) -> Result<Wanted, Error> {
        let mut notes = Vec::new();
        let options = self.plane.options(&mut notes)?;
        let plane = dataplane::build(options).map_err(crate::agent::Error::from)?;
        let (opted_out, flags) = (self.plane.opted_out()?, self.given.clone());
        let config = self.plane.configure(config);
        Ok(Wanted { cgroup, opted_out, plane, config, flags, drain: Duration::from_secs(self.drain), notes })
    }

    /// Replaces the flags of the data plane by recorded ones.
    pub(super) fn recall(&mut self, recorded: Vec<String>) -> Result<(), Error> {
        let mut args = Parser::from_args(&recorded);
        let mut plane = PlaneFlags::default();
        while let Some(arg) = args.next()? {
            match PlaneFlags::name(&arg) {
                Some(name) => plane.take(name, &mut args)?,
                None => return Err(arg.unexpected().into()),
            }
        }
        (self.plane, self.given) = (plane, recorded);
        Ok(())
    }

    /// The cgroup, opened.
    pub(super) fn open(&self) -> Result<Cgroup, Error> {
        let path = self.cgroup.as_ref();
        let path = path.ok_or_else(|| Error::Usage(format!("--cgroup is missing; {}", hint())))?;
        Cgroup::open(path).map_err(|error| Error::Failed(format!("{error}; {}", hint())))
    }
}

/// What the flags ask for, opened and built.
pub(super) struct Wanted {
    pub(super) cgroup: Cgroup,
    pub(super) opted_out: Vec<Cgroup>,
    pub(super) plane: DataPlane,
    pub(super) config: Config,
    flags: Vec<String>,
    drain: Duration,
    notes: Vec<u8>,
}

impl Wanted {
    /// Says on standard error what is not the best; worth a word only once there is something at all.
    pub(super) fn note(&self) -> std::io::Result<()> {
        std::io::stderr().write_all(&self.notes)
    }

    pub(super) fn request(&self) -> Request<'_> {
        Request {
            plane: &self.plane,
            config: self.config,
            cgroup: &self.cgroup,
            opted_out: &self.opted_out,
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

fn hint() -> String {
    match cgroup::find() {
        Ok(Some(root)) => format!("cgroup2 is mounted at {}: name a directory there", root.display()),
        _ => "no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup".into(),
    }
}

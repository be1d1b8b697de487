//! The flags that choose the data plane, shared by the commands that build one.

use std::io::Write;

use lexopt::{Arg, Parser, ValueExt};

use super::Error;
use super::policy::PolicyFlags;
use crate::agent::{TierChoice, choose_tier};
use crate::dataplane::{Config, Options, Pairing, Readers};
use crate::syscall::cgroup::Cgroup;

/// What the flags said.
#[derive(Clone, Debug)]
pub(super) struct PlaneFlags {
    pairing: Pairing,
    readers: Readers,
    tier: TierChoice,
    policy: PolicyFlags,
    keepalive: Option<u32>,
}

impl Default for PlaneFlags {
    fn default() -> Self {
        Self {
            pairing: Pairing::Sequence,
            readers: Readers::NonBlocking,
            tier: TierChoice::Auto,
            policy: PolicyFlags::default(),
            keepalive: None,
        }
    }
}

impl PlaneFlags {
    /// Writes the help text of these flags.
    pub(super) fn help(out: &mut dyn Write) -> std::io::Result<()> {
        write!(out, "{}{}", Self::HELP, PolicyFlags::HELP)
    }

    const HELP: &'static str = "  --pairing sequence|four-tuple
                 how the two ends of a connection find each other: by the handshake's sequence numbers (default) or
                 by their addresses (Linux 5.15)
  --readers nonblocking|any
                 accelerate only pairs whose sockets are both O_NONBLOCK (default), or all: a blocking recv on an
                 accelerated socket returns EAGAIN after a signal, and MSG_WAITALL may come back short
  --tier auto|gated|sticky
                 what the programs may see of the peer: gated needs CAP_PERFMON and the kernel's BTF
  --keepalive S  seconds of idleness after which an accelerated connection renews its connection-tracking entry by a TCP
                 keepalive probe, unless the application has asked for its own; 0 for never (default: a third of the
                 entry's lifetime, at most 7200; 0 where connections are not tracked)
";

    /// The name of the flag, if it is one of these.
    pub(super) fn name(arg: &Arg<'_>) -> Option<&'static str> {
        ["pairing", "readers", "tier", "keepalive"]
            .into_iter()
            .chain(PolicyFlags::NAMES)
            .find(|name| *arg == Arg::Long(name))
    }

    /// Takes the value of the flag that [`PlaneFlags::name`] has named.
    pub(super) fn take(&mut self, name: &'static str, args: &mut Parser) -> Result<(), Error> {
        match name {
            "pairing" => {
                let all = [Pairing::Sequence, Pairing::FourTuple].map(|pairing| (pairing.name(), pairing));
                self.pairing = choice(args, "--pairing", &all)?;
            }
            "readers" => {
                let all = [Readers::NonBlocking, Readers::Any].map(|readers| (readers.name(), readers));
                self.readers = choice(args, "--readers", &all)?;
            }
            "tier" => {
                self.tier = choice(
                    args,
                    "--tier",
                    &[("auto", TierChoice::Auto), ("gated", TierChoice::Gated), ("sticky", TierChoice::Sticky)],
                )?;
            }
            "keepalive" => self.keepalive = Some(seconds(args)?),
            name => self.policy.take(name, args)?,
        }
        Ok(())
    }

    /// The options for this kernel; `notes` is told when the tier is not the best one.
    pub(super) fn options(&self, notes: &mut dyn Write) -> Result<Options, Error> {
        let (tier, why) = choose_tier(self.tier)?;
        if let Some(why) = why {
            // A note that cannot be written stops nothing.
            let _ = writeln!(notes, "sidestep: the sticky tier is used: {why}");
        }
        Ok(Options { pairing: self.pairing, tier, readers: self.readers, policy: self.policy.policy() })
    }

    /// The configuration with what the flags say of it.
    pub(super) fn configure(&self, config: Config) -> Config {
        Config { keepalive: self.keepalive.unwrap_or(config.keepalive), ..config }
    }

    /// The cgroups that have opted out.
    pub(super) fn opted_out(&self) -> Result<Vec<Cgroup>, Error> {
        self.policy.opted_out()
    }
}

/// The value of `--keepalive`.
fn seconds(args: &mut Parser) -> Result<u32, Error> {
    // MAX_TCP_KEEPIDLE, include/net/tcp.h.
    const MOST: u32 = 32_767;
    match args.value()?.parse()? {
        seconds if seconds <= MOST => Ok(seconds),
        more => Err(Error::Usage(format!("--keepalive takes at most {MOST} seconds, not {more}"))),
    }
}

/// The value of a flag that takes one of a few words.
pub(super) fn choice<T: Copy>(args: &mut Parser, flag: &str, choices: &[(&str, T)]) -> Result<T, Error> {
    let value = args.value()?.string()?;
    choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        Error::Usage(format!("{flag} takes {}, not {value:?}", names.join(" or ")))
    })
}

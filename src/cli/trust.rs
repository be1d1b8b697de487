//! The flag that names whose readers are trusted.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::Error;
use crate::agent;
use crate::dataplane::{MAX_RULES, PortRange, Probation, Readers, Tier, Trust, TrustBy};
use crate::syscall::cgroup::Cgroup;

/// What the flag said.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which programs (a flag can be repeated)")]
pub(super) struct TrustArgs {
    /// Redirect bytes to these programs without watching first how they read; splice(2) would lose such bytes: `port:80` or
    /// `port:8000-8100` (connections to these server ports), `cgroup:PATH`, `program:PATH` or `program:NAME` (an
    /// executable), or `all`. Without this, each process gets redirected bytes when it has been seen to read by recvmsg
    /// alone; where the kernel shows no such thing, nothing is accelerated
    #[arg(long, value_name = "WHOM")]
    trust: Vec<Trusted>,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trusted {
    All,
    Port(PortRange),
    Cgroup(PathBuf),
    Program(PathBuf),
}

impl FromStr for Trusted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            Some(("port", ports)) => ports.parse().map(Self::Port),
            Some(("cgroup", path)) if !path.is_empty() => Ok(Self::Cgroup(path.into())),
            Some(("program", path)) if !path.is_empty() => Ok(Self::Program(path.into())),
            _ => Err("it takes all, port:PORT, cgroup:PATH or program:PATH".into()),
        }
    }
}

impl fmt::Display for Trusted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => out.write_str("all"),
            Self::Port(PortRange { first, last }) if first == last => write!(out, "port:{first}"),
            Self::Port(PortRange { first, last }) => write!(out, "port:{first}-{last}"),
            Self::Cgroup(path) => write!(out, "cgroup:{}", path.display()),
            Self::Program(path) => write!(out, "program:{}", path.display()),
        }
    }
}

impl TrustArgs {
    /// Whose readers are trusted, and how others earn it on this kernel; and what is to be said of that.
    pub(super) fn trust(
        &self,
        tier: &Tier,
        readers: Readers,
        probation: Probation,
    ) -> Result<(Trust, Option<String>), Error> {
        let mut trust = Trust::default();
        for trusted in &self.trust {
            match trusted {
                Trusted::All => return Ok((Trust::default(), None)),
                Trusted::Port(range) => trust.ports.push(*range),
                Trusted::Cgroup(_) => trust.cgroups = true,
                Trusted::Program(path) => trust.programs.push(path.clone()),
            }
        }
        self.check()?;
        let why = match (tier, readers) {
            // The user has chosen what blocking readers may meet; there is no receive without a first message.
            (Tier::Gated(_), Readers::Any) => return Ok((Trust::default(), None)),
            (Tier::Gated(_), Readers::NonBlocking) => match agent::watch(probation) {
                Ok(watch) => {
                    trust.by = TrustBy::Watching(watch);
                    return Ok((trust, None));
                }
                Err(error) => error.to_string(),
            },
            (Tier::Sticky, _) => "the sticky tier does not see how programs read".into(),
        };
        trust.by = TrustBy::Name;
        let served = match (trust.ports.is_empty(), trust.cgroups) {
            (true, false) => "so nothing is accelerated unless --trust names a port or a cgroup, or all",
            _ => "so only the ports and cgroups that --trust names are accelerated",
        };
        Ok((trust, Some(format!("{why}; {served}"))))
    }

    /// Fails where there are more ports than the programs take.
    pub(super) fn check(&self) -> Result<(), Error> {
        let ports = self.trust.iter().filter(|trusted| matches!(trusted, Trusted::Port(_)));
        if ports.count() > MAX_RULES {
            return Err(Error::Usage(format!("--trust takes at most {MAX_RULES} ports; merge neighbours into one")));
        }
        Ok(())
    }

    /// The cgroups whose readers are trusted, opened.
    pub(super) fn cgroups(&self) -> Result<Vec<Cgroup>, Error> {
        let paths = self.trust.iter().filter_map(|trusted| match trusted {
            Trusted::Cgroup(path) => Some(path),
            Trusted::All | Trusted::Port(_) | Trusted::Program(_) => None,
        });
        let open = |path: &PathBuf| {
            Cgroup::open(path).map_err(|error| Error::Failed(format!("--trust cgroup:{}: {error}", path.display())))
        };
        paths.map(open).collect()
    }

    /// The flags that were given, each `--name=value`.
    pub(super) fn given(&self) -> impl Iterator<Item = String> {
        self.trust.iter().map(|trusted| format!("--trust={trusted}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_written() {
        for text in ["all", "port:80", "port:8000-8100", "cgroup:/a b", "program:nginx"] {
            assert_eq!(text.parse::<Trusted>().unwrap().to_string(), text);
        }
        for text in ["", "none", "port:http", "cgroup:", "program", "pod:x"] {
            text.parse::<Trusted>().unwrap_err();
        }
    }

    #[test]
    fn who_cannot_be_watched_must_be_named() {
        let of = |values: &[&str], readers| {
            let trust = values.iter().map(|text| text.parse().unwrap()).collect();
            TrustArgs { trust }.trust(&Tier::Sticky, readers, Probation::Inside).unwrap()
        };
        let (trust, why) = of(&["port:80", "cgroup:/a"], Readers::Any);
        assert_eq!((trust.by, trust.ports.len(), trust.cgroups), (TrustBy::Name, 1, true));
        assert!(why.unwrap().contains("only the ports"));
        assert!(of(&[], Readers::Any).1.unwrap().contains("nothing is accelerated"));
        assert_eq!(of(&["all"], Readers::Any), (Trust::default(), None));
    }
}

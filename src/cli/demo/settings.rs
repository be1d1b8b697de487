//! The demo's flags.

use lexopt::{Arg, ValueExt};
use serde::Serialize;

use crate::cli::plane::PlaneFlags;
use crate::cli::{Error, Invocation};

const HELP: &str = "\
usage: sidestep demo [FLAGS]

Makes two pods as network namespaces, each with a sidecar proxy behind Istio's redirection rules, an app and a client.
Runs each hop and the whole chain, plain and accelerated in turn, checks every byte, prints both, and removes it all.
Needs root, cgroup2 and a kernel with nf_tables or an installed iptables; nothing else.

  --requests N   requests of a hop in a round (default 3000)
  --size BYTES   of a request, and of its answer (default 1024)
  --rounds N     times that everything is measured; the table shows medians (default 5)
  --ipv6         use IPv6
  --cpu N        keep all processes on this CPU: steadier ratios
  --json         print JSON
";

/// Most bytes of a request: more would take the demo's memory, not show more.
const MAX_SIZE: u64 = 1 << 30;

/// What the demo shall do.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Settings {
    pub(super) requests: u64,
    pub(super) size: u64,
    pub(super) rounds: u64,
    pub(super) ipv6: bool,
    #[serde(skip)]
    pub(super) plane: PlaneFlags,
    pub(super) cpu: Option<usize>,
    #[serde(skip)]
    pub(super) json: bool,
}

impl Settings {
    /// Reads the flags; `None` when help was asked for and given.
    pub(super) fn parse(invocation: &mut Invocation<'_>) -> Result<Option<Self>, Error> {
        let mut settings = Self {
            requests: 3000,
            size: 1024,
            rounds: 5,
            ipv6: false,
            plane: PlaneFlags::default(),
            cpu: None,
            json: false,
        };
        while let Some(argument) = invocation.args.next()? {
            if let Some(name) = PlaneFlags::name(&argument) {
                settings.plane.take(name, &mut invocation.args)?;
                continue;
            }
            match argument {
                Arg::Short('h') | Arg::Long("help") => {
                    write!(invocation.out, "{HELP}{}", PlaneFlags::HELP)?;
                    return Ok(None);
                }
                Arg::Long("requests") => settings.requests = number(invocation, "--requests", 1, 10_000_000)?,
                Arg::Long("size") => settings.size = number(invocation, "--size", 1, MAX_SIZE)?,
                Arg::Long("rounds") => settings.rounds = number(invocation, "--rounds", 1, 1000)?,
                Arg::Long("ipv6") => settings.ipv6 = true,
                Arg::Long("cpu") => settings.cpu = Some(number(invocation, "--cpu", 0, 1023)? as usize),
                Arg::Long("json") => settings.json = true,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(settings))
    }
}

fn number(invocation: &mut Invocation<'_>, flag: &str, min: u64, max: u64) -> Result<u64, Error> {
    let value: u64 = invocation.args.value()?.parse()?;
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(Error::Usage(format!("{flag} takes a number from {min} to {max}, not {value}")))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn parse(args: &[&str]) -> Result<Option<Settings>, String> {
        let args = lexopt::Parser::from_args(args.iter().map(OsString::from));
        let mut invocation = Invocation { args, input: &mut std::io::empty(), out: &mut Vec::new() };
        Settings::parse(&mut invocation).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_flags() {
        let settings = parse(&["--requests", "7", "--size=9", "--ipv6", "--pairing", "four-tuple"]).unwrap().unwrap();
        assert_eq!((settings.requests, settings.size, settings.rounds, settings.ipv6), (7, 9, 5, true));
        assert!(parse(&["--help", "--nonsense"]).unwrap().is_none());
    }

    #[test]
    fn refuses_in_one_sentence() {
        for (args, part) in [
            (&["--requests", "0"][..], "from 1 to"),
            (&["--requests", "many"], "many"),
            (&["--requests"], "--requests"),
            (&["--pairing", "luck"], "four-tuple"),
            (&["--fast"], "--fast"),
            (&["extra"], "extra"),
        ] {
            let error = parse(args).unwrap_err();
            assert!(error.contains(part) && !error.contains('\n'), "{args:?}: {error}");
        }
    }
}

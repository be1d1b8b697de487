//! The demo's flags.

use std::ffi::OsStr;

use lexopt::{Arg, ValueExt};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
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
  --cpu N|any    keep all processes on this CPU (default: the last one). With `any` the scheduler decides, and the
                 cost of waking another CPU outweighs and hides the rest
  --json         print JSON
";

/// Most bytes of a request: more would take the demo's memory, not show more.
const MAX_SIZE: u64 = 1 << 30;

/// What the demo shall do.
#[derive(Clone, Debug, Serialize)]
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
            cpu: last_cpu(),
            json: false,
        };
        while let Some(argument) = invocation.args.next()? {
            if let Some(name) = PlaneFlags::name(&argument) {
                settings.plane.take(name, &mut invocation.args)?;
                continue;
            }
            match argument {
                Arg::Short('h') | Arg::Long("help") => {
                    write!(invocation.out, "{HELP}")?;
                    PlaneFlags::help(invocation.out)?;
                    return Ok(None);
                }
                Arg::Long("requests") => settings.requests = number(invocation, "--requests", 1, 10_000_000)?,
                Arg::Long("size") => settings.size = number(invocation, "--size", 1, MAX_SIZE)?,
                Arg::Long("rounds") => settings.rounds = number(invocation, "--rounds", 1, 1000)?,
                Arg::Long("ipv6") => settings.ipv6 = true,
                Arg::Long("cpu") => settings.cpu = cpu(&invocation.args.value()?)?,
                Arg::Long("json") => settings.json = true,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(settings))
    }
}

/// The highest CPU this process may use: the lowest ones serve most interrupts. `None` when nobody can tell.
fn last_cpu() -> Option<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
    (0..CpuSet::count()).rev().find(|&cpu| allowed.is_set(cpu).unwrap_or(false))
}

/// The value of `--cpu`.
fn cpu(value: &OsStr) -> Result<Option<usize>, Error> {
    if value == "any" {
        return Ok(None);
    }
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(cpu) if allowed.is_set(cpu).unwrap_or(false) => Ok(Some(cpu)),
        _ => Err(Error::Usage(format!(
            "--cpu takes `any` or the number of a CPU that this process may use, not {value:?}"
        ))),
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
        assert!(settings.cpu.is_some());
        assert_eq!(parse(&["--cpu", "any"]).unwrap().unwrap().cpu, None);
        assert!(parse(&["--help", "--nonsense"]).unwrap().is_none());
    }

    #[test]
    fn refuses_in_one_sentence() {
        for (args, part) in [
            (&["--requests", "0"][..], "from 1 to"),
            (&["--requests", "many"], "many"),
            (&["--requests"], "--requests"),
            (&["--pairing", "luck"], "four-tuple"),
            (&["--cpu", "4096"], "CPU"),
            (&["--cpu", "some"], "CPU"),
            (&["--fast"], "--fast"),
            (&["extra"], "extra"),
        ] {
            let error = parse(args).unwrap_err();
            assert!(error.contains(part) && !error.contains('\n'), "{args:?}: {error}");
        }
    }
}

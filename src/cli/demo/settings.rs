//! The demo's flags.

use std::str::FromStr;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use serde::Serialize;

use crate::cli::plane::PlaneArgs;
use crate::cli::values::number;

/// Most bytes of a request: more would take the demo's memory, not show more.
const MAX_SIZE: u64 = 1 << 30;

/// What the demo shall do.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Settings {
    /// Requests of a hop in a round.
    pub(super) requests: u64,
    /// Bytes of a request, and of its answer.
    pub(super) size: u64,
    /// Times that everything was measured.
    pub(super) rounds: u64,
    /// Over IPv6.
    pub(super) ipv6: bool,
    #[serde(skip)]
    pub(super) plane: PlaneArgs,
    /// The CPU of all processes; null when the scheduler decided.
    pub(super) cpu: Option<usize>,
    #[serde(skip)]
    pub(super) json: bool,
}

/// Show all three hops of a service mesh on this machine, before and after
///
/// Makes two pods as network namespaces, each with a sidecar proxy behind Istio's redirection rules, an app and a client.
/// Runs each hop and the whole chain, plain and accelerated in turn, checks every byte, prints both, and removes it all.
/// Needs root, cgroup2 and a kernel with nf_tables or an installed iptables; nothing else.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Requests of a hop in a round
    #[arg(long, value_name = "N", default_value = "3000", value_parser = number::<u64, 1, 10_000_000>)]
    requests: u64,
    /// Bytes of a request, and of its answer
    #[arg(long, value_name = "BYTES", default_value = "1024", value_parser = number::<u64, 1, MAX_SIZE>)]
    size: u64,
    /// Times that everything is measured; the table shows medians
    #[arg(long, value_name = "N", default_value = "5", value_parser = number::<u64, 1, 1000>)]
    rounds: u64,
    /// Use IPv6
    #[arg(long)]
    ipv6: bool,
    /// Keep all processes on this CPU [default: the last one]. With `any` the scheduler decides, and the cost of waking
    /// another CPU outweighs and hides the rest
    #[arg(long, value_name = "N|any")]
    cpu: Option<Cpu>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plane: PlaneArgs,
}

/// Where the processes run.
#[derive(Clone, Copy, Debug)]
enum Cpu {
    Any,
    One(usize),
}

impl FromStr for Cpu {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self::Any);
        }
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        match text.parse() {
            Ok(cpu) if allowed.is_set(cpu).unwrap_or(false) => Ok(Self::One(cpu)),
            _ => Err(format!("{text:?} is neither `any` nor the number of a CPU that this process may use")),
        }
    }
}

impl Settings {
    /// What the flags ask for.
    pub(super) fn new(args: Args) -> Self {
        let Args { requests, size, rounds, ipv6, cpu, json, plane } = args;
        let cpu = match cpu {
            None => last_cpu(),
            Some(Cpu::Any) => None,
            Some(Cpu::One(cpu)) => Some(cpu),
        };
        Self { requests, size, rounds, ipv6, plane, cpu, json }
    }
}

/// The highest CPU this process may use: the lowest ones serve most interrupts. `None` when the kernel does not say.
fn last_cpu() -> Option<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
    (0..CpuSet::count()).rev().find(|&cpu| allowed.is_set(cpu).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(args: &[&str]) -> Result<Settings, String> {
        let parsed = Line::try_parse_from(args).map(|line| Settings::new(line.args));
        parsed.map_err(|error| crate::cli::usage::sentence(&error))
    }

    #[test]
    fn reads_flags() {
        let settings = parse(&["--requests", "7", "--size=9", "--ipv6", "--pairing", "four-tuple"]).unwrap();
        assert_eq!((settings.requests, settings.size, settings.rounds, settings.ipv6), (7, 9, 5, true));
        assert!(settings.cpu.is_some());
        assert_eq!(parse(&["--cpu", "any"]).unwrap().cpu, None);
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

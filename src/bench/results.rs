//! What a run has found: data, which the reports print.

use std::time::Duration;

use nix::sys::utsname::uname;
use serde::Serialize;

use super::cell::{Cell, Variant};
use super::error::{Result, system};
use super::facts::{AgentFacts, PlaneFacts, ProbationFacts};
use super::stats::Estimate;
use crate::dataplane::Tier;

/// All results of a run.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Where and how.
    pub conditions: Conditions,
    /// Both data planes, apart from traffic.
    pub planes: Vec<PlaneFacts>,
    /// A process that holds a data plane.
    pub agent: AgentFacts,
    /// How long readers are on probation, where they are watched and that was measured.
    pub probation: Option<ProbationFacts>,
    /// All cells.
    pub rows: Vec<Row>,
}

/// The conditions of a run.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Conditions {
    /// Kernel release.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// CPUs of the server and the client where there are two; both use the first where there is one.
    pub cpus: Vec<usize>,
    /// What the programs may see of the peer.
    pub tier: &'static str,
    /// Load average of the machine at the start, over one minute.
    pub load: f64,
    /// Rounds of each variant.
    pub rounds: usize,
    /// Milliseconds of CPU time of a round of plain TCP.
    pub round_ms: f64,
}

impl Conditions {
    /// The conditions of a run that begins now.
    pub fn now(cpus: &[usize], tier: Tier, rounds: usize, round: Duration) -> Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned()))
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        Ok(Self {
            kernel: uname().map_err(system("ask for the kernel's release"))?.release().to_string_lossy().into_owned(),
            processor,
            cpus: cpus.to_vec(),
            tier: tier.name(),
            load: load_average(&read("/proc/loadavg")).unwrap_or(0.0),
            rounds,
            round_ms: round.as_secs_f64() * 1e3,
        })
    }
}

/// The first number of /proc/loadavg, "0.52 0.58 0.59 1/467 12345".
fn load_average(text: &str) -> Option<f64> {
    text.split(' ').next()?.parse().ok()
}

/// One round of one variant.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Sample {
    /// How the bytes travelled.
    pub variant: Variant,
    /// Its number.
    pub round: usize,
    /// Operations: messages or connections.
    pub operations: u64,
    /// Wall time, ns.
    pub wall_ns: u64,
    /// CPU time of the client, ns.
    pub client_cpu_ns: u64,
    /// CPU time of the server, ns.
    pub server_cpu_ns: u64,
    /// How often another thread has got the CPU of either end; 0 for ends in other languages.
    pub switches: u64,
}

/// One variant of a cell.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct VariantResult {
    /// How the bytes travelled.
    pub variant: Variant,
    /// Wall time of an operation, ns.
    pub wall_ns: Estimate,
    /// CPU time of both ends for an operation, ns. With the server outside: the client's alone.
    pub cpu_ns: Estimate,
    /// Wall time in relation to plain TCP's in the same round.
    pub wall_ratio: Estimate,
    /// CPU time likewise.
    pub cpu_ratio: Estimate,
    /// How often another thread gets the CPU of either end in an operation; 0 for ends in other languages.
    pub switches: Estimate,
    /// The share of written bytes that went past the stack, 0 to 1; of connections, that of the last of each round. Not known of
    /// ends in other languages without a data plane of ours.
    pub past_stack: Option<f64>,
    /// What the data plane's counters have gained.
    pub counters: Vec<(&'static str, u64)>,
    /// Of streams: what a sender leaves in the kernel while its receiver does not read.
    pub pinned: Option<Pinned>,
}

/// What a sender leaves in the kernel while its receiver does not read.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Pinned {
    /// Bytes of memory: what the kernel charges to both sockets, and what it does not charge.
    pub bytes: u64,
    /// Bytes that write(2) took.
    pub accepted: u64,
    /// Nothing has stopped the sender before the benchmark did.
    pub unbounded: bool,
}

/// A cell's results.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// What was measured.
    pub cell: Cell,
    /// Its name.
    pub name: String,
    /// Each variant; plain TCP first.
    pub variants: Vec<VariantResult>,
    /// The variants that could not be measured, and why.
    pub failed: Vec<(Variant, String)>,
    /// All rounds.
    pub samples: Vec<Sample>,
}

impl Row {
    /// A variant's result.
    pub fn variant(&self, variant: Variant) -> Option<&VariantResult> {
        self.variants.iter().find(|result| result.variant == variant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_the_first_number() {
        assert_eq!(load_average("12.07 0.58 0.59 1/467 12345\n"), Some(12.07));
        assert_eq!(load_average(""), None);
    }
}

//! The goals, and whether a run meets them.

use serde::Serialize;

use super::cell::{Link, Placement, Variant, Workload};
use super::results::{Report, Row, VariantResult};

/// A limit that a figure must not exceed.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Goal {
    /// What is limited.
    pub what: String,
    /// The limit.
    pub limit: f64,
    /// What was measured: the median.
    pub measured: f64,
    /// Whether it holds.
    pub verdict: Verdict,
}

/// How a goal and its figure relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// The median is within the limit.
    Met,
    /// It is not.
    Missed,
}

impl Goal {
    /// Compares a figure with its limit.
    pub fn new(what: impl Into<String>, limit: f64, measured: f64) -> Self {
        let verdict = if measured <= limit { Verdict::Met } else { Verdict::Missed };
        Self { what: what.into(), limit, measured, verdict }
    }
}

/// Streaming must not fall below this share of plain TCP's throughput.
const STREAM_THROUGHPUT: f64 = 0.97;

/// What a connection with one request may take of plain TCP's CPU time, when both switch equally often between the two ends.
const SHORT_CONNECTION: f64 = 1.02;

/// What the gate may add to the redirection of a message.
const GATE_NS: f64 = 80.0;

/// Milliseconds from an agent's exec until it has attached: 50 of our own, and the 75 that Linux 6.18 takes on two virtual cores of
/// an AMD EPYC to verify the program that sees splice(2) (docs/how-to/measure.md).
const START: f64 = 50.0 + 75.0;

/// All goals that the report has figures for; of the default pairing.
pub(super) fn all(report: &Report) -> Vec<Goal> {
    let mut goals = Vec::new();
    for row in &report.rows {
        let Some(result) = row.variant(Variant::Sequence) else { continue };
        goals.extend(of_row(row, result));
    }
    for plane in report.planes.iter().take(1) {
        let bytes: u64 = plane.map_bytes.iter().map(|(_, bytes)| bytes).sum();
        goals.push(Goal::new("idle map memory, MiB", 2.0, bytes as f64 / f64::from(1 << 20)));
        if let Some(gate) = plane.gate_ns {
            goals.push(Goal::new("the gate in a verdict, ns", GATE_NS, gate.median));
        }
        if let Some(attach) = plane.attach_ms {
            goals.push(Goal::new("attach, ms", 50.0, attach.median));
        }
    }
    goals.push(Goal::new("start of an agent, ms", START, report.agent.start_ms));
    goals.push(Goal::new("resident memory, MiB", 4.0, report.agent.resident_bytes as f64 / f64::from(1 << 20)));
    goals
}

/// On one core, CPU time and time are the same unless others use the core too, and then CPU time is what counts.
fn of_row(row: &Row, result: &VariantResult) -> Option<Goal> {
    let cell = &row.cell;
    if cell.protection {
        // The same cell has a goal among the others, but for what a default run pays.
        let by_default = row.variant(Variant::Watched)?;
        let what = format!("{}: CPU ratio, watched", row.name);
        return (cell.placement == Placement::ServerFirst)
            .then(|| Goal::new(what, SHORT_CONNECTION, by_default.cpu_ratio.median));
    }
    let (wall, cpu) = (result.wall_ratio.median, result.cpu_ratio.median);
    let name = |metric: &str| format!("{}: {metric} ratio", row.name);
    let same_core = cell.placement == Placement::SameCore;
    match (cell.workload, cell.link, cell.server_outside) {
        (Workload::PingPong, Link::Loopback, false) if cell.size == 64 && same_core => {
            Some(Goal::new(name("CPU"), 0.60, cpu))
        }
        (Workload::PingPong, Link::VethConntrack, false) if cell.size == 64 && same_core => {
            Some(Goal::new(name("CPU"), 0.45, cpu))
        }
        (Workload::Stream, _, false) if same_core => Some(Goal::new(name("CPU"), 1.0 / STREAM_THROUGHPUT, cpu)),
        (Workload::Stream, _, false) => Some(Goal::new(name("time"), 1.0 / STREAM_THROUGHPUT, wall)),
        (Workload::Connection, _, false) if cell.placement == Placement::ServerFirst => {
            Some(Goal::new(name("CPU"), SHORT_CONNECTION, cpu))
        }
        (Workload::Connection, _, true) => Some(Goal::new(name("CPU"), 1.05, cpu)),
        (Workload::Connection, _, false) => Some(Goal::new(name("CPU"), 1.08, cpu)),
        _ => None,
    }
}

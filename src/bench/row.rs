//! One row of the table: the variants of a cell take turns.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cell::{Cell, Placement, Variant, Workload};
use super::cgroups::Cgroups;
use super::error::{Error, Result};
use super::lane::Lane;
use super::languages::Programs;
use super::pair::{Pair, Setup};
use super::plan::Plan;
use super::results::{Pinned, Row, Sample, VariantResult};
use super::stats::Estimate;
use super::topology::Topology;
use crate::agent::Snapshot;
use crate::dataplane::{Counter, Streams};

/// A stream has so many connections, one after the other, each with its part of the rounds. The kernel sizes the buffers of a
/// connection by what it sees in the beginning, so that one connection may be a fifth faster or slower than the next.
const STREAM_CONNECTIONS: usize = 3;
/// Rounds before those that count.
const WARM_ROUNDS: usize = 2;
/// The same where streams are measured by the programs themselves, which takes up to 150 ms ([`Streams::Auto`]).
const WARM_ROUNDS_AUTO: usize = 10;

/// Where and how the benchmark runs.
#[derive(Clone, Debug)]
pub struct Host {
    /// The `sidestep` binary.
    pub program: PathBuf,
    /// Set from outside to stop.
    pub interrupted: &'static AtomicBool,
}

/// What all rows share.
pub(super) struct Bench<'a> {
    pub(super) plan: &'a Plan,
    pub(super) host: &'a Host,
    pub(super) cpus: &'a [usize],
    pub(super) topology: &'a Topology,
    pub(super) cgroups: Cgroups,
    pub(super) programs: Programs,
    /// The command of the ends in the language of the present cell.
    pub(super) foreign: Option<Vec<String>>,
}

/// Ports that Istio's rules leave alone, one for each variant of TCP: see [`Topology::site`].
const UNREDIRECTED_PORTS: [u16; 4] = [15008, 15020, 15021, 15090];

impl Bench<'_> {
    /// A pair for a variant of a cell.
    pub(super) fn pair(&self, cell: &Cell, variant: Variant) -> Result<Pair> {
        let port = UNREDIRECTED_PORTS[variant as usize % UNREDIRECTED_PORTS.len()];
        let inside = self.cgroups.path(variant)?;
        let server = if cell.server_outside { self.cgroups.outside()? } else { inside.clone() };
        let first = self.cpus[0];
        let second = match cell.placement {
            Placement::SameCore | Placement::ServerFirst => first,
            Placement::AcrossCores => self.cpus.get(1).copied().unwrap_or(first),
        };
        let setup = Setup {
            program: &self.host.program,
            cgroups: (inside, server),
            cpus: (first, second),
            foreign: self.foreign.as_deref(),
            interrupted: self.host.interrupted,
        };
        Pair::new(&setup, cell, variant, &self.topology.site(cell.link, port))
    }

    /// One cell: pairs for all variants, then rounds in turns. A language that is not here makes a row that says so.
    pub(super) fn measure(&mut self, cell: &Cell) -> Result<Row> {
        self.foreign = match cell.language.map(|language| self.programs.prepare(language)).transpose() {
            Ok(command) => command,
            Err(why) => {
                let failed = vec![(Variant::Plain, why)];
                return Ok(Row { cell: *cell, name: cell.name(), variants: Vec::new(), failed, samples: Vec::new() });
            }
        };
        let row = self.measure_here(cell);
        self.foreign = None;
        row
    }

    fn measure_here(&mut self, cell: &Cell) -> Result<Row> {
        let variants: Vec<_> = cell.variants().iter().copied().filter(|variant| self.cgroups.has(*variant)).collect();
        let before = variants.iter().map(|&variant| self.cgroups.snapshot(variant)).collect::<Result<Vec<_>>>()?;
        let mut lanes: Vec<_> = variants.into_iter().map(Lane::new).collect();
        let is_stream = cell.workload == Workload::Stream;
        let connections = if is_stream { STREAM_CONNECTIONS.min(self.plan.rounds) } else { 1 };
        let (mut operations, mut samples) = (0, Vec::new());
        for connection in 0..connections {
            for lane in &mut lanes {
                let variant = lane.variant;
                lane.begin(|| self.pair(cell, variant))?;
            }
            if connection == 0 {
                operations = self.calibrate(&mut lanes)?;
            }
            if is_stream {
                self.warm(&mut lanes, operations)?;
            }
            let first = |connection| connection * self.plan.rounds / connections;
            for round in first(connection)..first(connection + 1) {
                self.round(&mut lanes, round, operations, &mut samples)?;
            }
            self.cgroups.watch_for(Variant::Plain)?;
            for lane in &mut lanes {
                let stalls = is_stream && !cell.server_outside && lane.variant.is_tcp();
                lane.end(stalls.then_some(cell.size))?;
            }
        }
        let (mut results, mut failed) = (Vec::new(), Vec::new());
        for (lane, before) in lanes.into_iter().zip(before) {
            let variant = lane.variant;
            if let Some(why) = lane.failed {
                failed.push((variant, why));
                continue;
            }
            let after = self.cgroups.snapshot(variant)?;
            let counters = before.zip(after).map(|(before, after)| gained(&before, &after)).unwrap_or_default();
            // Ends in other languages do not ask what TCP has carried.
            let past_stack = match (lane.written, cell.language) {
                (0, Some(_)) => past(&counters),
                (0, None) => Some(0.0),
                (written, _) => Some(1.0 - lane.by_stack as f64 / written as f64),
            };
            let one = result(cell, variant, &samples, past_stack, counters);
            let pinned = middle(lane.pinned);
            results.extend(one.map(|one| VariantResult { pinned, ..one }));
        }
        Ok(Row { cell: *cell, name: cell.name(), variants: results, failed, samples })
    }

    /// One round of each variant. Every variant comes first equally often.
    fn round(&mut self, lanes: &mut [Lane], round: usize, operations: u64, samples: &mut Vec<Sample>) -> Result<()> {
        for step in 0..lanes.len() {
            if self.host.interrupted.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let at = (round + step) % lanes.len();
            let variant = lanes[at].variant;
            self.cgroups.watch_for(variant)?;
            let Some(took) = lanes[at].run(|pair| pair.round(operations))? else { continue };
            samples.push(Sample {
                variant,
                round,
                operations,
                wall_ns: took.wall_ns,
                client_cpu_ns: took.client_cpu_ns,
                server_cpu_ns: took.server_cpu_ns,
                switches: took.switches,
            });
        }
        Ok(())
    }

    /// Rounds that count for nothing.
    fn warm(&mut self, lanes: &mut [Lane], operations: u64) -> Result<()> {
        let rounds = if self.plan.streams == Streams::Auto { WARM_ROUNDS_AUTO } else { WARM_ROUNDS };
        for lane in lanes.iter_mut() {
            self.cgroups.watch_for(lane.variant)?;
            for _ in 0..rounds {
                lane.run(|pair| pair.round(operations))?;
            }
        }
        Ok(())
    }

    /// How many operations of plain TCP, the first lane, fill a round. All pairs are warm afterwards.
    fn calibrate(&mut self, lanes: &mut [Lane]) -> Result<u64> {
        let goal = self.plan.round.as_nanos() as u64;
        let mut operations = 4;
        loop {
            for lane in lanes.iter_mut().skip(1) {
                self.cgroups.watch_for(lane.variant)?;
                lane.run(|pair| pair.round(operations))?;
            }
            self.cgroups.watch_for(Variant::Plain)?;
            // CPU time, because the wait for a busy machine would pass for work and leave rounds of a few messages.
            let took = lanes.first_mut().map(|lane| lane.run(|pair| pair.round(operations))).transpose()?.flatten();
            let used = took.map_or(goal, |took| took.client_cpu_ns + took.server_cpu_ns).max(1);
            // A round that took half the time is long enough to say how many fill the whole.
            if used >= goal / 2 || operations >= 1 << 24 {
                return Ok((u128::from(operations) * u128::from(goal) / u128::from(used)).max(1) as u64);
            }
            operations *= 2;
        }
    }
}

/// The one in the middle by its bytes.
fn middle(mut pinned: Vec<Pinned>) -> Option<Pinned> {
    pinned.sort_by_key(|pinned| pinned.bytes);
    pinned.get(pinned.len() / 2).copied()
}

/// The share of bytes that went past the stack, by what the data plane's counters have gained; none without a data plane.
fn past(counters: &[(&'static str, u64)]) -> Option<f64> {
    let of =
        |counter: Counter| counters.iter().find(|(name, _)| *name == counter.name()).map_or(0, |(_, value)| *value);
    let [redirected, passed] = [Counter::RedirectedBytes, Counter::PassedBytes].map(of);
    (redirected + passed > 0).then(|| redirected as f64 / (redirected + passed) as f64)
}

fn gained(before: &Snapshot, after: &Snapshot) -> Vec<(&'static str, u64)> {
    after
        .iter()
        .map(|(counter, value)| (counter.name(), value - before.get(counter)))
        .filter(|(_, gained)| *gained > 0)
        .collect()
}

fn result(
    cell: &Cell,
    variant: Variant,
    samples: &[Sample],
    past_stack: Option<f64>,
    counters: Vec<(&'static str, u64)>,
) -> Option<VariantResult> {
    let of = |variant| samples.iter().filter(move |sample| sample.variant == variant);
    let wall = |sample: &Sample| sample.wall_ns as f64 / sample.operations as f64;
    // The server outside stands for another node: its CPU time is that node's.
    let used = |sample: &Sample| {
        let server = if cell.server_outside { 0 } else { sample.server_cpu_ns };
        (sample.client_cpu_ns + server) as f64 / sample.operations as f64
    };
    let ratio = |value: &dyn Fn(&Sample) -> f64| {
        Estimate::of(of(variant).zip(of(Variant::Plain)).map(|(own, plain)| value(own) / value(plain)))
    };
    Some(VariantResult {
        variant,
        wall_ns: Estimate::of(of(variant).map(wall))?,
        cpu_ns: Estimate::of(of(variant).map(used))?,
        wall_ratio: ratio(&wall)?,
        cpu_ratio: ratio(&used)?,
        switches: Estimate::of(of(variant).map(|sample| sample.switches as f64 / sample.operations as f64))?,
        past_stack: if variant.is_tcp() { past_stack } else { Some(0.0) },
        counters,
        pinned: None,
    })
}

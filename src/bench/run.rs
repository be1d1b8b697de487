//! Runs a plan: all cells, each with all its variants in turns.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::sched::sched_getaffinity;
use nix::unistd::Pid;

use super::cell::{Cell, Link, Placement, Variant, Workload};
use super::cgroups::Cgroups;
use super::error::{Error, Result, system};
use super::facts::{self, PlaneFacts, ProbationFacts, ProgramFacts};
use super::languages::Programs;
use super::pair::{Pair, Setup};
use super::plan::Plan;
use super::results::{Conditions, Report, Row, Sample, VariantResult};
use super::stats::Estimate;
use super::topology::Topology;
use super::worker::SERVER_FIRST;
use crate::agent::{Snapshot, TierChoice, check, choose_tier, watch};
use crate::dataplane::{Counter, Pairing, Streams, Tier, Watch};
use crate::syscall::{RunTimeStats, cgroup, run_first};

/// Where and how the benchmark runs.
#[derive(Clone, Debug)]
pub struct Host {
    /// The `sidestep` binary.
    pub program: PathBuf,
    /// Set from outside to stop.
    pub interrupted: &'static AtomicBool,
}

/// Runs the plan. `progress` gets what happens, a line at a time.
pub fn run(plan: &Plan, host: &Host, progress: &mut dyn FnMut(&str)) -> Result<Report> {
    let mut plan = plan.clone();
    let cpus = cpus()?;
    if cpus.len() < 2 {
        let left_out = plan.without_two_cores();
        progress(&format!("only one CPU: {left_out} measurements across cores are LEFT OUT"));
    }
    if let Some(why) = server_first_fails() {
        let left_out = plan.without_server_first();
        progress(&format!("{left_out} measurements with the server first are LEFT OUT: {why}"));
    }
    let (tier, why) = choose_tier(TierChoice::Auto)?;
    if let Some(why) = why {
        progress(&format!("the sticky tier is measured: {why}"));
    }
    let conditions = Conditions::now(&cpus, tier, plan.rounds, plan.round)?;
    let mount = cgroup::find()?.ok_or(Error::NoCgroup)?;
    let mut config = check::configuration()?;
    if plan.streams != Streams::Leave && config.redirect_unaccepted {
        progress("streams may stay here, though this kernel's FIONREAD does not see all bytes: no end asks for them");
        config.redirect_unaccepted = false;
    }
    let mut planes = Vec::new();
    for pairing in [Pairing::Sequence, Pairing::FourTuple] {
        progress(&format!("start-up and memory, {} pairing", pairing.name()));
        planes.push(facts::of_plane(&mount, pairing, tier, config, plan.starts)?);
    }
    let agent = facts::of_agent(&host.program, &mount, plan.starts)?;
    let topology = Topology::new()?;
    let protection = plan.cells.iter().any(|cell| cell.protection);
    let watch = match (protection, tier) {
        (true, Tier::Gated(_)) => match watch(config.probation()) {
            Ok(watch) => Some(watch),
            Err(why) => {
                progress(&format!("what it costs to watch readers is LEFT OUT: {why}"));
                None
            }
        },
        _ => None,
    };
    let cgroups = Cgroups::new(tier, plan.streams, config, protection, watch)?;
    let mut bench = Bench {
        plan: &plan,
        host,
        cpus: &cpus,
        topology: &topology,
        cgroups,
        programs: Programs::new(),
        foreign: None,
    };
    let probation = watch.map(|watch| bench.probation(watch)).transpose()?;
    let mut rows = Vec::new();
    for (at, cell) in plan.cells.iter().enumerate() {
        let row = bench.measure(cell)?;
        progress(&format!("[{}/{}] {}", at + 1, plan.cells.len(), summary(&row)));
        rows.push(row);
    }
    progress("run time of the programs");
    bench.run_times(&mut planes)?;
    bench.cgroups.stop()?;
    Ok(Report { conditions, planes, agent, probation, rows })
}

/// Why a server cannot run first here, asked on a thread that ends with the question.
fn server_first_fails() -> Option<Errno> {
    thread::spawn(|| run_first(SERVER_FIRST)).join().map_or(Some(Errno::EAGAIN), |answer| answer.err())
}

/// The smallest of the usual cells.
const PING_PONG: Cell = Cell {
    workload: Workload::PingPong,
    size: 64,
    link: Link::Loopback,
    placement: Placement::SameCore,
    nagle: false,
    server_outside: false,
    protection: false,
    language: None,
};
/// Messages there and back between two looks whether one has been redirected.
const TRIPS: u64 = 4;
/// So many without any are a fault: 16 and 64 receives are the probation.
const MOST_TRIPS: u64 = 20_000;

/// The data planes of which there are facts.
const GATED: [Variant; 2] = [Variant::Sequence, Variant::FourTuple];
/// How often verdicts are measured, and over how many messages there and back: some 10 ms each.
const VERDICT_ROUNDS: usize = 21;
/// See [`VERDICT_ROUNDS`].
const VERDICT_TRIPS: u64 = 1_000;

struct Bench<'a> {
    plan: &'a Plan,
    host: &'a Host,
    cpus: &'a [usize],
    topology: &'a Topology,
    cgroups: Cgroups,
    programs: Programs,
    /// The command of the ends in the language of the present cell.
    foreign: Option<Vec<String>>,
}

/// Ports that Istio's rules leave alone, one for each variant of TCP: see [`Topology::site`].
const UNREDIRECTED_PORTS: [u16; 4] = [15008, 15020, 15021, 15090];

impl Bench<'_> {
    fn pair(&self, cell: &Cell, variant: Variant) -> Result<Pair> {
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
    fn measure(&mut self, cell: &Cell) -> Result<Row> {
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
        let mut lanes = variants.iter().map(|&variant| Lane::new(self, cell, variant)).collect::<Result<Vec<_>>>()?;
        let operations = self.calibrate(&mut lanes)?;
        let mut samples = Vec::new();
        for round in 0..self.plan.rounds {
            for step in 0..lanes.len() {
                if self.host.interrupted.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                // Every variant comes first equally often.
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
        }
        self.cgroups.watch_for(Variant::Plain)?;
        let (mut results, mut failed) = (Vec::new(), Vec::new());
        for (mut lane, before) in lanes.into_iter().zip(before) {
            let variant = lane.variant;
            if let Some((written, by_stack)) = lane.run(Pair::finish)? {
                let after = self.cgroups.snapshot(variant)?;
                let counters = before.zip(after).map(|(before, after)| gained(&before, &after)).unwrap_or_default();
                // Ends in other languages do not ask what TCP has carried.
                let past_stack = match (written, cell.language) {
                    (0, Some(_)) => past(&counters),
                    (0, None) => Some(0.0),
                    _ => Some(1.0 - by_stack as f64 / written as f64),
                };
                let stalls = cell.workload == Workload::Stream && !cell.server_outside && variant.is_tcp();
                let pinned = if stalls { lane.run(|pair| pair.pinned(cell.size))? } else { None };
                results.extend(
                    result(cell, variant, &samples, past_stack, counters).map(|one| VariantResult { pinned, ..one }),
                );
            }
            failed.extend(lane.failed.map(|why| (variant, why)));
        }
        Ok(Row { cell: *cell, name: cell.name(), variants: results, failed, samples })
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

    /// How long a new connection takes the stack until its first message is redirected, and how many messages that are.
    fn probation(&mut self, watch: Watch) -> Result<ProbationFacts> {
        let variant = Variant::Watched;
        self.cgroups.watch_for(variant)?;
        let [mut messages, mut times] = [Vec::new(), Vec::new()];
        for _ in 0..self.plan.starts {
            let mut pair = self.pair(&Cell { protection: true, ..PING_PONG }, variant)?;
            let redirected = |bench: &Self| -> Result<u64> {
                let snapshot = bench.cgroups.snapshot(variant)?;
                Ok(snapshot.map_or(0, |snapshot| snapshot.get(Counter::RedirectedMessages)))
            };
            let (before, mut trips, mut time) = (redirected(self)?, 0, 0);
            while redirected(self)? == before {
                if trips >= MOST_TRIPS {
                    return Err(Error::Probation(trips));
                }
                time += pair.round(TRIPS)?.wall_ns;
                trips += TRIPS;
            }
            messages.push(2.0 * trips as f64);
            times.push(time as f64 / 1e6);
            pair.finish()?;
        }
        self.cgroups.watch_for(Variant::Plain)?;
        Ok(ProbationFacts { by: watch.name(), messages: Estimate::of(messages), milliseconds: Estimate::of(times) })
    }

    /// Has the kernel measure the programs, apart from everything else, since that costs time itself.
    fn run_times(&self, planes: &mut [PlaneFacts]) -> Result<()> {
        let _on = RunTimeStats::enable()?;
        self.verdicts(planes)?;
        for (variant, facts) in GATED.into_iter().zip(planes) {
            let mut pair = self.pair(&Cell { workload: Workload::Connection, ..PING_PONG }, variant)?;
            pair.round(1_000)?;
            pair.finish()?;
            if let Some(plane) = self.cgroups.plane(variant) {
                for program in [&plane.loaded().sock_ops, &plane.loaded().dispatcher, &plane.loaded().sk_msg] {
                    facts.programs.push(ProgramFacts::of(&program.info()?));
                }
            }
        }
        Ok(())
    }

    /// What deciding on a message takes, with the gate and without it, in rounds that take turns.
    fn verdicts(&self, planes: &mut [PlaneFacts]) -> Result<()> {
        let variants = [Variant::Ungated, GATED[0], GATED[1]];
        let booked = |variant| -> Result<(u64, u64)> {
            let Some(program) = self.cgroups.runs_for_messages(variant) else { return Ok((0, 0)) };
            let info = program.info()?;
            Ok((info.run_time_ns, info.run_count))
        };
        let mut lanes = Vec::new();
        for variant in variants {
            lanes.push(Lane::new(self, &PING_PONG, variant)?);
        }
        let mut gates = [Vec::new(), Vec::new()];
        for _ in 0..VERDICT_ROUNDS {
            let mut took = [0.0; 3];
            for (took, lane) in took.iter_mut().zip(&mut lanes) {
                let before = booked(lane.variant)?;
                lane.run(|pair| pair.round(VERDICT_TRIPS))?;
                let after = booked(lane.variant)?;
                *took = (after.0 - before.0) as f64 / (after.1 - before.1) as f64;
            }
            gates[0].push(took[1] - took[0]);
            gates[1].push(took[2] - took[0]);
        }
        for mut lane in lanes {
            lane.run(Pair::finish)?;
        }
        for (facts, gate) in planes.iter_mut().zip(gates) {
            facts.gate_ns = Estimate::of(gate);
        }
        Ok(())
    }
}

/// A variant of a cell, and its pair as long as it works.
struct Lane {
    variant: Variant,
    pair: Option<Pair>,
    failed: Option<String>,
}

impl Lane {
    fn new(bench: &Bench<'_>, cell: &Cell, variant: Variant) -> Result<Self> {
        let mut lane = Self { variant, pair: None, failed: None };
        let pair = bench.pair(cell, variant);
        lane.pair = lane.keep(pair)?;
        Ok(lane)
    }

    /// Does something with the pair; nothing where it has failed.
    fn run<T>(&mut self, what: impl FnOnce(&mut Pair) -> Result<T>) -> Result<Option<T>> {
        let Some(pair) = &mut self.pair else { return Ok(None) };
        let done = what(pair);
        self.keep(done)
    }

    /// Ungated redirection may fail, and then its row says why: nothing bounds the memory that it takes. Any other failure is
    /// the benchmark's.
    fn keep<T>(&mut self, done: Result<T>) -> Result<Option<T>> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(Error::Worker { end, why, .. }) if self.variant == Variant::Ungated => {
                self.pair = None;
                self.failed = Some(format!("its {end} failed: {why}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
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

fn summary(row: &Row) -> String {
    let mut text = row.name.clone();
    for (variant, why) in &row.failed {
        text += &format!("; {} could not be measured: {why}", variant.name());
    }
    for result in row.variants.iter().skip(1) {
        text += &format!("; {} {:.2}", result.variant.name(), result.wall_ratio.median);
        if result.variant.is_tcp() {
            text += &format!(" (CPU {:.2})", result.cpu_ratio.median);
        }
    }
    text
}

/// The CPUs to use, at most two, the last ones first: the first ones serve most interrupts.
pub fn cpus() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(system("ask for the CPUs"))?;
    let mut cpus: Vec<usize> =
        (0..nix::sched::CpuSet::count()).rev().filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect();
    cpus.truncate(2);
    if cpus.is_empty() { Ok(vec![0]) } else { Ok(cpus) }
}

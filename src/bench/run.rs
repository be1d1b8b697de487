//! Runs a plan: all cells, each with all its variants in turns.

use std::thread;

use nix::errno::Errno;
use nix::sched::sched_getaffinity;
use nix::unistd::Pid;

use super::cell::{Cell, Link, Placement, Variant, Workload};
use super::cgroups::Cgroups;
use super::error::{Error, Result, system};
use super::facts::{self, PlaneFacts, ProbationFacts, ProgramFacts};
use super::lane::Lane;
use super::languages::Programs;
use super::plan::Plan;
use super::results::{Conditions, Report, Row};
use super::row::{Bench, Host};
use super::stats::Estimate;
use super::topology::Topology;
use super::worker::SERVER_FIRST;
use crate::agent::{TierChoice, check, choose_tier, watch};
use crate::dataplane::{Counter, Pairing, Streams, Tier, Watch};
use crate::syscall::{RunTimeStats, cgroup, run_first};

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

impl Bench<'_> {
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
            let mut lane = Lane::new(variant);
            lane.begin(|| self.pair(&PING_PONG, variant))?;
            lanes.push(lane);
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
            lane.end(None)?;
        }
        for (facts, gate) in planes.iter_mut().zip(gates) {
            facts.gate_ns = Estimate::of(gate);
        }
        Ok(())
    }
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

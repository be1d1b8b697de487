//! Rounds that take turns, and what they cost.

use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;
use sidestep::agent::{Acceleration, TierChoice, choose_tier};
use sidestep::bench::{Conditions, Estimate, Goal, Variant, cpus};
use sidestep::dataplane::Pairing;

use crate::load::{Client, Load};
use crate::mesh::{Kind, Mesh};

/// How much to measure.
pub(crate) struct Plan {
    /// Rounds of each variant.
    pub(crate) rounds: usize,
    /// CPU time of a round of plain TCP; the other variants do as many requests.
    pub(crate) round: Duration,
    /// Everything on one CPU: no wake-up crosses CPUs, so ratios are steady.
    pub(crate) pinned: bool,
    /// Worker threads of a sidecar.
    pub(crate) workers: usize,
    /// Connections at a time, and whether each serves for one request only.
    pub(crate) cells: Vec<(usize, bool)>,
}

/// All results of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) conditions: Conditions,
    /// Worker threads of a sidecar.
    pub(crate) workers: usize,
    pub(crate) rows: Vec<Row>,
    /// Kinds for which a program was missing, and which.
    pub(crate) left_out: Vec<String>,
}

/// One kind of mesh under one load.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) kind: &'static str,
    pub(crate) connections: usize,
    /// A connection for each request.
    pub(crate) short: bool,
    /// Requests of a round.
    pub(crate) requests: u64,
    /// Plain TCP first.
    pub(crate) variants: Vec<VariantResult>,
    /// All rounds.
    pub(crate) samples: Vec<Sample>,
}

/// One variant of a row: an estimate for each of [`FIGURES`], and its ratio to plain TCP's in the same round.
#[derive(Debug, Serialize)]
pub(crate) struct VariantResult {
    pub(crate) variant: Variant,
    pub(crate) figures: [Estimate; 4],
    pub(crate) ratios: [Estimate; 4],
    /// The share of the bytes sent by enrolled sockets that went past the stack, 0 to 1; none for plain TCP.
    pub(crate) past_stack: Option<f64>,
}

/// What is measured of each round.
pub(crate) const FIGURES: [&str; 4] = ["p50, us", "p99, us", "requests/s", "CPU/request, us"];
/// The places of two of them.
pub(crate) const P50: usize = 0;
pub(crate) const CPU: usize = 3;

/// One round of one variant.
#[derive(Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) variant: Variant,
    pub(crate) round: usize,
    /// In the order of [`FIGURES`].
    pub(crate) figures: [f64; 4],
}

/// Measures kinds one after the other.
pub(crate) fn run(plan: &Plan, kinds: &[Kind], progress: &mut dyn FnMut(&str)) -> Result<Report, Box<dyn Error>> {
    let mut cpus = cpus()?;
    let mut flags = vec!["--workers".to_owned(), plan.workers.to_string()];
    if plan.pinned {
        cpus.truncate(1);
        let mut only = CpuSet::new();
        only.set(cpus[0])?;
        sched_setaffinity(Pid::from_raw(0), &only)?;
        flags.extend(["--cpu".into(), cpus[0].to_string()]);
    }
    let conditions = Conditions::now(&cpus, choose_tier(TierChoice::Auto)?.0, plan.rounds, plan.round)?;
    let mut report = Report { conditions, workers: plan.workers, rows: Vec::new(), left_out: Vec::new() };
    for &kind in kinds {
        let sides = match bring_up(kind, &flags) {
            Ok(sides) => sides,
            Err(error) => {
                progress(&format!("{} is LEFT OUT: {error}", kind.name()));
                report.left_out.push(format!("{}: {error}", kind.name()));
                continue;
            }
        };
        for &(connections, short) in &plan.cells {
            let row = measure(plan, kind, &sides, connections, short)?;
            progress(&summary(&row));
            report.rows.push(row);
        }
        for side in sides {
            if let Some(acceleration) = side.acceleration {
                acceleration.stop(Duration::from_secs(5))?;
            }
        }
    }
    if report.rows.is_empty() {
        return Err("nothing could be measured; the reasons are above".into());
    }
    Ok(report)
}

/// A mesh of one variant.
struct Side {
    variant: Variant,
    acceleration: Option<Acceleration>,
    mesh: Mesh,
}

fn bring_up(kind: Kind, flags: &[String]) -> Result<Vec<Side>, crate::mesh::Error> {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let variants = [
        (Variant::Plain, None),
        (Variant::Sequence, Some(Pairing::Sequence)),
        (Variant::FourTuple, Some(Pairing::FourTuple)),
    ];
    let up = |(variant, pairing): (Variant, Option<Pairing>)| {
        let mesh = Mesh::up(&format!("bench-{}", variant.name()), kind, &flags)?;
        let acceleration = pairing.map(|pairing| mesh.accelerate(pairing));
        Ok(Side { variant, acceleration, mesh })
    };
    variants.into_iter().map(up).collect()
}

fn measure(plan: &Plan, kind: Kind, sides: &[Side], connections: usize, short: bool) -> Result<Row, Box<dyn Error>> {
    let mut clients = Vec::new();
    let mut before = Vec::new();
    for side in sides {
        let load = Load { target: side.mesh.service, protocol: kind.protocol(), connections, short };
        clients.push(Client::new(load)?);
        before.push(side.acceleration.as_ref().map(Acceleration::snapshot).transpose()?);
    }
    let mut each = 20;
    // The first client is plain TCP's. A round that took half the time is long enough to say how many fill the whole.
    loop {
        for (client, side) in clients.iter_mut().zip(sides).skip(1) {
            round(client, &side.mesh, each)?;
        }
        let figures = round(&mut clients[0], &sides[0].mesh, each)?;
        let used = figures[CPU] * 1e-6 * (each * connections as u64) as f64;
        let goal = plan.round.as_secs_f64();
        if used >= goal / 2.0 {
            // At least two, so that Redis's GET comes with its SET.
            each = ((each as f64 * goal / used) as u64).max(2);
            break;
        }
        each *= 2;
    }
    let mut samples = Vec::new();
    for number in 0..plan.rounds {
        for step in 0..sides.len() {
            // Every variant comes first equally often.
            let at = (number + step) % sides.len();
            let figures = round(&mut clients[at], &sides[at].mesh, each)?;
            samples.push(Sample { variant: sides[at].variant, round: number, figures });
        }
    }
    let mut variants = Vec::new();
    for (side, before) in sides.iter().zip(before) {
        let of = |variant| samples.iter().filter(move |sample| sample.variant == variant);
        let estimate = |figure: usize| Estimate::of(of(side.variant).map(|sample| sample.figures[figure])).unwrap();
        let ratio = |figure: usize| {
            let both = of(side.variant).zip(of(Variant::Plain));
            Estimate::of(both.map(|(own, plain)| own.figures[figure] / plain.figures[figure])).unwrap()
        };
        let after = side.acceleration.as_ref().map(Acceleration::snapshot).transpose()?;
        variants.push(VariantResult {
            variant: side.variant,
            figures: [0, 1, 2, 3].map(estimate),
            ratios: [0, 1, 2, 3].map(ratio),
            past_stack: before.zip(after).and_then(|(before, after)| after.redirected_share_since(&before)),
        });
    }
    Ok(Row { kind: kind.name(), connections, short, requests: each * connections as u64, variants, samples })
}

/// Lets a client do `each` requests on each of its connections; the figures in the order of [`FIGURES`].
fn round(client: &mut Client, mesh: &Mesh, each: u64) -> std::io::Result<[f64; 4]> {
    mesh.in_client_pod(|| {
        // The kernel accounts a thread's time when it leaves the CPU, or at the next tick.
        let used = || {
            sleep(Duration::from_millis(1));
            mesh.cpu_usec()
        };
        let before = used();
        let began = Instant::now();
        let mut latencies = client.run(|answers| answers >= each)?;
        let elapsed = began.elapsed();
        let cpu = used() - before;
        latencies.sort_unstable();
        let count = latencies.len();
        // Nearest rank: the smallest value that at least this share of all values does not exceed.
        let rank = |percent: usize| latencies[(count * percent).div_ceil(100) - 1] as f64 / 1e3;
        Ok([rank(50), rank(99), count as f64 / elapsed.as_secs_f64(), cpu as f64 / count as f64])
    })
}

/// What identifies a row's load.
pub(crate) fn load_name(row: &Row) -> String {
    format!("{}{}", row.connections, if row.short { ", short" } else { "" })
}

fn summary(row: &Row) -> String {
    let mut text = format!("{} {}", row.kind, load_name(row));
    for result in &row.variants[1..] {
        let (p50, cpu) = (result.ratios[P50].median, result.ratios[CPU].median);
        text += &format!("; {}: p50 {p50:.2}, CPU {cpu:.2}", result.variant.name());
    }
    text
}

/// The goals that the report has figures for; of the default pairing, on kept connections.
pub(crate) fn goals(report: &Report) -> Vec<Goal> {
    let mut goals = Vec::new();
    for row in report.rows.iter().filter(|row| !row.short) {
        let ratios = &row.variants[1].ratios;
        let mut add = |figure: usize, limit| {
            goals.push(Goal::new(
                format!("{} {}: {} ratio", row.kind, row.connections, FIGURES[figure]),
                limit,
                ratios[figure].median,
            ));
        };
        match row.kind {
            "tcp" => {
                add(P50, 0.70);
                add(CPU, 0.65);
            }
            "http" => add(P50, 0.83),
            _ => {}
        }
    }
    goals
}

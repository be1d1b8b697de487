//! Requests through two sidecars, plain and accelerated side by side: `cargo bench --bench mesh -- --help`.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails should stop at the line that failed")]

#[path = "../../tests/mesh/load.rs"]
mod load;
mod measure;
#[allow(dead_code, reason = "tests/mesh has these modules, too, and uses what is unused here")]
#[path = "../../tests/mesh/mesh.rs"]
mod mesh;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use measure::Plan;
use mesh::Kind;

/// Requests through two sidecars, plain and accelerated side by side
///
/// Brings three meshes up (plain TCP, sequence pairing, four-tuple pairing) of each kind that tests/mesh/up knows, and
/// lets the same client ask through them in rounds that take turns. Needs root and the programs that tests/mesh/up
/// names. Nothing stays behind. See docs/results/README.md.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench mesh --", max_term_width = 100)]
struct Line {
    /// Kinds of mesh: tcp, http, mtls, haproxy, nginx or redis; all without one
    #[arg(value_name = "KIND", value_parser = kind)]
    kinds: Vec<Kind>,
    /// Connections at a time; can be repeated [default: 1, 16 and 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    connections: Vec<u64>,
    /// The same with a connection for each request [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    short: Vec<u64>,
    /// Rounds of each variant; fewer than 6 give no 95 % interval
    #[arg(long, value_name = "N", default_value = "21", value_parser = clap::value_parser!(u64).range(6..=10_000))]
    rounds: u64,
    /// Milliseconds of CPU time of a round of plain TCP
    #[arg(long, value_name = "MS", default_value = "100", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    round: u64,
    /// Use every CPU; by default everything runs on one
    #[arg(long)]
    all_cpus: bool,
    /// Worker threads of a sidecar, as Istio's
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// An Envoy, instead of the one that tests/mesh/fetch-envoy fetches
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Also write text, JSON with every round, and plots into DIR
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn kind(name: &str) -> Result<Kind, String> {
    let kind = KINDS.into_iter().find(|kind| kind.name() == name);
    kind.ok_or_else(|| format!("there is no kind {name:?}; --help lists them"))
}

/// All kinds, in the order of the report.
const KINDS: [Kind; 6] = [Kind::Tcp, Kind::Http, Kind::Mtls, Kind::Haproxy, Kind::Nginx, Kind::Redis];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesh: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let line = Line::parse();
    if !line.bench {
        // `cargo test --benches` only wants to know that it starts.
        return Ok(());
    }
    if let Some(envoy) = &line.envoy {
        // SAFETY: there are no other threads yet.
        unsafe { std::env::set_var("ENVOY", envoy) };
    }
    let many =
        |connections: &[u64], short| connections.iter().map(|&count| (count as usize, short)).collect::<Vec<_>>();
    let mut cells = many(&line.connections, false);
    cells.extend(many(&line.short, true));
    if cells.is_empty() {
        cells = vec![(1, false), (16, false), (64, false), (16, true)];
    }
    let plan = Plan {
        rounds: line.rounds as usize,
        round: Duration::from_millis(line.round),
        pinned: !line.all_cpus,
        workers: line.workers.into(),
        cells,
    };
    let kinds = if line.kinds.is_empty() { KINDS.to_vec() } else { line.kinds };
    let report = measure::run(&plan, &kinds, &mut |line| eprintln!("{line}"))?;
    if let Some(directory) = line.out {
        report::write_directory(&report, &directory)?;
    }
    if line.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report::write_text(&report, &mut std::io::stdout().lock())?;
    }
    Ok(())
}

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

use lexopt::{Arg, ValueExt};

use measure::Plan;
use mesh::Kind;

const HELP: &str = "\
usage: cargo bench --bench mesh -- [FLAGS] [KIND]...

Brings three meshes up (plain TCP, sequence pairing, four-tuple pairing) of each kind that tests/mesh/up knows (tcp, http,
mtls, haproxy, nginx, redis; default all), and lets the same client ask through them in rounds that take turns. Needs root
and the programs that tests/mesh/up names. Nothing stays behind. See docs/results/README.md.

  --connections N   connections at a time; may be repeated (default 1, 16 and 64)
  --short N         the same with a connection for each request (default 16)
  --rounds N        rounds of each variant, 6 at least (default 21)
  --round MS        milliseconds of CPU time of a round of plain TCP (default 100)
  --all-cpus        not everything on one CPU
  --workers N       worker threads of a sidecar (default 2, as Istio's)
  --envoy PATH      an Envoy, instead of the one that tests/mesh/fetch-envoy fetches
  --json            print JSON instead of text
  --out DIR         also write text, JSON with every round, and plots into DIR
";

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
    let mut plan = Plan { rounds: 21, round: Duration::from_millis(100), pinned: true, workers: 2, cells: Vec::new() };
    let (mut kinds, mut json, mut folder, mut bench) = (Vec::new(), false, None, false);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            // What cargo adds.
            Arg::Long("bench") => bench = true,
            Arg::Long("connections") => plan.cells.push((args.value()?.parse()?, false)),
            Arg::Long("short") => plan.cells.push((args.value()?.parse()?, true)),
            Arg::Long("rounds") => plan.rounds = args.value()?.parse()?,
            Arg::Long("round") => plan.round = Duration::from_millis(args.value()?.parse::<u64>()?.max(1)),
            Arg::Long("all-cpus") => plan.pinned = false,
            Arg::Long("workers") => plan.workers = args.value()?.parse()?,
            // SAFETY: there are no other threads yet.
            Arg::Long("envoy") => unsafe { std::env::set_var("ENVOY", args.value()?) },
            Arg::Long("json") => json = true,
            Arg::Long("out") => folder = Some(PathBuf::from(args.value()?)),
            Arg::Value(name) => {
                let name = name.string()?;
                let kind = KINDS.into_iter().find(|kind| kind.name() == name);
                kinds.push(kind.ok_or_else(|| format!("there is no kind {name:?}; --help lists them"))?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if !bench {
        // `cargo test --benches` only wants to know that it starts.
        return Ok(());
    }
    if plan.rounds < 6 {
        return Err("fewer than 6 rounds give no 95 % interval; use --rounds 6 or more".into());
    }
    if plan.cells.is_empty() {
        plan.cells = vec![(1, false), (16, false), (64, false), (16, true)];
    }
    if kinds.is_empty() {
        kinds = KINDS.to_vec();
    }
    let report = measure::run(&plan, &kinds, &mut |line| eprintln!("{line}"))?;
    if let Some(folder) = folder {
        report::write_folder(&report, &folder)?;
    }
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report::write_text(&report, &mut std::io::stdout().lock())?;
    }
    Ok(())
}

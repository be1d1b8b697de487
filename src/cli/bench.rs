//! `sidestep bench`: measures plain and accelerated TCP side by side.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::error::Error;
use super::interrupt;
use super::streams::{Streams, note};
use super::values::{number, one_of};
use crate::bench::{self, Host, Plan};
use crate::dataplane;

/// Measure plain and accelerated TCP side by side
///
/// Measures ping-pong, streams, short connections and traffic that leaves the cgroup, in network namespaces of its own, by
/// plain TCP, by both pairings, and by redirection without the gate, in rounds that take turns; AF_UNIX and pipes show what is
/// possible. Needs root. Nothing stays behind. (Requests through real sidecars are measured by `cargo bench --bench mesh`, in the source tree.)
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A few seconds: shows that everything works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Rounds of each variant, 6 at least [default: 21]
    #[arg(long, value_name = "N", value_parser = rounds)]
    rounds: Option<u16>,
    /// Milliseconds of CPU time of a round of plain TCP [default: 20]
    #[arg(long, value_name = "MS", value_parser = number::<u16, 1, 65_535>)]
    round: Option<u16>,
    /// What becomes of streams in accelerated connections: they leave and are plain TCP, they stay, or they stay while that is
    /// measured to be faster [default: leave]
    #[arg(long, value_name = "WHAT", value_parser = one_of(dataplane::Streams::ALL.map(|streams| (streams.name(), streams))))]
    streams: Option<dataplane::Streams>,
    /// Only measurements whose name contains WORD; can be repeated, and all must match
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
    /// Print the names of the measurements
    #[arg(long)]
    list: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Compare the results in two directories that --out has written, and measure nothing
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], conflicts_with_all = ["quick", "rounds", "round", "streams", "only", "list", "json", "out"])]
    compare: Vec<PathBuf>,
    /// Also write text, JSON with every round, and pictures into DIR
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The value of `--rounds`.
fn rounds(text: &str) -> Result<u16, String> {
    let rounds = number::<u16, 0, 65_535>(text)?;
    if rounds < 6 {
        return Err("fewer than 6 rounds give no 95 % interval; use --rounds 6 or more".into());
    }
    Ok(rounds)
}

/// What the flags ask for.
fn plan(args: &Args) -> Result<Plan, Error> {
    let mut plan = if args.quick { Plan::quick() } else { Plan::full() };
    plan.filter(&args.only);
    if plan.cells.is_empty() {
        let words = args.only.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" and ");
        return Err(Error::Usage(format!("--only: no measurement has {words} in its name; --list prints the names")));
    }
    plan.streams = args.streams.unwrap_or_default();
    if let Some(rounds) = args.rounds {
        plan.rounds = rounds.into();
    }
    if let Some(millis) = args.round {
        plan.round = Duration::from_millis(millis.into());
    }
    Ok(plan)
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    if let [before, after] = &args.compare[..] {
        bench::compare(before, after, streams.out).map_err(|error| Error::Failed(error.to_string()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (plan, out) = (plan(args)?, streams.out);
    if args.list {
        for cell in &plan.cells {
            writeln!(out, "{}", cell.name())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    // An interruption ends the current wait, and everything is undone on the way out.
    let interrupted = interrupt::catch()?;
    let host = Host { program: "/proc/self/exe".into(), interrupted };
    let report = bench::run(&plan, &host, &mut |line| note(format_args!("{line}")))
        .map_err(|error| Error::Failed(error.to_string()))?;
    if let Some(directory) = &args.out {
        bench::write_directory(&report, directory).map_err(|error| Error::Failed(error.to_string()))?;
    }
    if args.json {
        serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        bench::write_text(&report, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `sidestep survey`: what of this node's TCP could be accelerated.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::error::Error;
use super::streams::Streams;
use super::values::number;
use crate::observe::{Group, Observer, Processes, Survey};

/// Say which programs of this node talk to each other, how much, and what of it could be accelerated
///
/// Looks at all TCP sockets of all processes twice, and compares. Changes nothing and attaches nothing. Needs CAP_BPF and
/// CAP_PERFMON, and Linux 5.11.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Seconds between the two looks
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = number::<u32, 1, 3600>)]
    seconds: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let observer = Observer::new()?;
    let (before, start) = (observer.look()?, Instant::now());
    std::thread::sleep(Duration::from_secs(args.seconds.into()));
    let after = observer.look()?;
    let survey = Survey::between(&before, &after, start.elapsed(), &mut Processes::default());
    if args.json {
        serde_json::to_writer(&mut *streams.out, &survey).map_err(io::Error::from)?;
        writeln!(streams.out)?;
    } else {
        print(&survey, streams.out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(survey: &Survey, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<33} {:>11} {:>11} {:>12} {:>8}",
        "client -> server", "connections", "KB/s", "segments/s", "eligible"
    )?;
    for group in &survey.groups {
        let Group { connections, bytes_per_second, segments_per_second, .. } = group;
        writeln!(
            out,
            "{:<33} {connections:>11} {:>11.1} {segments_per_second:>12.1} {:>6.0} %",
            format!("{} -> {}", group.client, group.server),
            bytes_per_second / 1000.0,
            group.eligible_share * 100.0
        )?;
        for why in &group.why_not {
            writeln!(out, "    {} of {connections}: {}", why.connections, why.condition.finding)?;
            if let Some(remedy) = why.condition.remedy {
                writeln!(out, "      -> {remedy}")?;
            }
        }
    }
    if survey.groups.is_empty() {
        writeln!(out, "(no connection has both ends on this node)")?;
    }
    writeln!(
        out,
        "{} more ends, {:.1} KB/s: their peers are on other nodes, or were not recognised",
        survey.single_ends,
        survey.single_bytes_per_second / 1000.0
    )
}

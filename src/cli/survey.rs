//! `sidestep survey`: what of this node's TCP could be accelerated.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::attached::Attached;
use super::cri::CriArgs;
use super::error::Error;
use super::streams::{Streams, note};
use super::supposed::SupposedArgs;
use super::target::PinArgs;
use super::values::number;
use crate::observe::{Group, Observer, Processes, Survey};
use crate::syscall::btf::shared_vmlinux;

/// Say which programs of this node talk to each other, how much, and what of it could be accelerated
///
/// Looks at all TCP sockets of all processes twice, and compares. Judges a connection by the policy of the data plane that is
/// attached where its ends run; or by another one, where --readers, --config or flags of a policy are given: so one sees what that
/// would bring. Changes nothing and attaches nothing, unless it is asked to calibrate. Needs CAP_BPF and CAP_PERFMON, and Linux
/// 5.10; the calibration, and the policy of what is attached, need root.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Seconds between the two looks
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = number::<u32, 1, 3600>)]
    seconds: u32,
    /// Say also how much CPU time acceleration would save. For that, a second of ping-pong is measured, plain and
    /// accelerated, over loopback and between network namespaces, with connection tracking and without, in namespaces and a
    /// cgroup that are made for it: nothing else is accelerated, and nothing stays
    #[cfg(feature = "bench")]
    #[arg(long)]
    calibrate: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cri: CriArgs,
    #[command(flatten)]
    pins: PinArgs,
    #[command(flatten)]
    supposed: SupposedArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    // Both that look for sockets and those that read what is known of readers read the kernel's types; held, they are read once.
    let _types = shared_vmlinux();
    let names = args.cri.names()?;
    let supposed = args.supposed.admission()?;
    let attached = Attached::read(&args.pins);
    if let Some(why) = &attached.unseen {
        note(format_args!("sidestep: what is attached, and its policy, cannot be seen: {why}"));
    }
    let observer = Observer::new()?;
    let (before, start) = (observer.look()?, Instant::now());
    std::thread::sleep(Duration::from_secs(args.seconds.into()));
    let after = observer.look()?;
    #[cfg_attr(not(feature = "bench"), allow(unused_mut, reason = "only an estimate changes it"))]
    let mut survey =
        Survey::between(&before, &after, start.elapsed(), &mut Processes::with(names), |ends, connection| {
            attached.ruling(supposed.as_ref(), ends, connection)
        });
    #[cfg(feature = "bench")]
    if args.calibrate {
        let costs = crate::bench::calibrate().map_err(|error| Error::Failed(error.to_string()))?;
        survey.estimate(costs);
    }
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
        let is_same = |other: &&Group| [&other.client, &other.server] == [&group.client, &group.server];
        if group.is_of_pods() || survey.groups.iter().filter(is_same).count() > 1 {
            let [client, server] = group.places();
            writeln!(out, "    in {client} -> {server}")?;
        }
        if let Some(cpus) = group.saved_cpus {
            writeln!(out, "    acceleration would save {:.1} % of a CPU", cpus * 100.0)?;
        }
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
    if let Some(cpus) = survey.saved_cpus {
        writeln!(
            out,
            "acceleration would save {:.1} % of a CPU in all, if every message of these is redirected",
            cpus * 100.0
        )?;
    }
    writeln!(
        out,
        "{} more ends, {:.1} KB/s: their peers are on other nodes, or were not recognised",
        survey.single_ends,
        survey.single_bytes_per_second / 1000.0
    )
}

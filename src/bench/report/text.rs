//! The results as a table.

use std::io::{self, Write};

use crate::bench::cell::{Variant, Workload};
use crate::bench::facts::ProbationFacts;
use crate::bench::goals::{self, Verdict};
use crate::bench::report::summary;
use crate::bench::results::{Pinned, Report, Row};
use crate::bench::stats::Estimate;

/// The program that the dispatcher calls.
const MESSAGES: &str = "sidestep_msg";

/// Prints the report.
pub fn write_text(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let conditions = &report.conditions;
    writeln!(
        out,
        "Linux {}, {}, CPUs {:?}, {} tier, load {:.2} at the start",
        conditions.kernel, conditions.processor, conditions.cpus, conditions.tier, conditions.load
    )?;
    writeln!(
        out,
        "{} interleaved rounds of {} ms of plain TCP's CPU time; medians, and ratios to plain TCP of the same round with their 95 % intervals",
        conditions.rounds, conditions.round_ms
    )?;
    writeln!(out, "A ratio below 1 is less time, or less CPU time, than plain TCP takes.\n")?;
    for line in summary::lines(report) {
        writeln!(out, "{line}")?;
    }
    writeln!(out)?;
    for workload in [Workload::PingPong, Workload::Stream, Workload::Connection] {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.cell.workload == workload).collect();
        if rows.is_empty() {
            continue;
        }
        writeln!(
            out,
            "{:<50} {:>10} {:>10}  {:<21} {:<21} past  {:<16} others",
            workload.name(),
            "plain ns",
            "CPU ns",
            "time ratio",
            "CPU ratio",
            match workload {
                Workload::PingPong => "",
                Workload::Stream => "pinned",
                Workload::Connection => "switches (plain)",
            }
        )?;
        for row in rows {
            write_row(row, out)?;
            for (variant, why) in &row.failed {
                let whole = if row.variants.is_empty() { row.name.as_str() } else { "   " };
                writeln!(out, "{whole} {} could not be measured: {why}", variant.name())?;
            }
        }
        writeln!(out)?;
    }
    for plane in &report.planes {
        let total: u64 = plane.map_bytes.iter().map(|(_, bytes)| bytes).sum();
        writeln!(out, "{} pairing", plane.pairing)?;
        for program in &plane.programs {
            let run = match program.run_ns {
                Some(ns) => format!("{ns:.0} ns a run ({} runs)", program.runs),
                None if program.name == MESSAGES => "booked on sidestep_disp, which calls it".into(),
                None => "did not run".into(),
            };
            writeln!(
                out,
                "  {:<14} {} instructions, {} bytes of machine code, {} verified, {run}",
                program.name, program.instructions, program.machine_code, program.verified
            )?;
        }
        if let Some(gate) = plane.gate_ns {
            let Estimate { median, low, high } = gate;
            writeln!(
                out,
                "  the gate       {median:.0} ns [{low:.0}, {high:.0}] of a run of sidestep_disp, more than redirecting without it"
            )?;
        }
        writeln!(out, "  idle maps      {total} bytes: {}", list(&plane.map_bytes))?;
        for (what, time) in [("attach", plane.attach_ms), ("detach", plane.detach_ms)] {
            if let Some(time) = time {
                writeln!(out, "  {what:<14} {:.2} ms [{:.2}, {:.2}]", time.median, time.low, time.high)?;
            }
        }
    }
    if let Some(ProbationFacts { by, messages: Some(messages), milliseconds: Some(time), .. }) = &report.probation {
        writeln!(out, "probation ({by})")?;
        writeln!(out, "  messages       {:.0} [{:.0}, {:.0}]", messages.median, messages.low, messages.high)?;
        writeln!(out, "  time           {:.2} ms [{:.2}, {:.2}]", time.median, time.low, time.high)?;
    }
    let agent = &report.agent;
    writeln!(
        out,
        "agent  attached {:.1} ms after its start, {} KiB resident\n",
        agent.start_ms,
        agent.resident_bytes >> 10
    )?;
    writeln!(out, "goals (sequence pairing)")?;
    for goal in goals::all(report) {
        let verdict = match goal.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
        };
        writeln!(out, "  {verdict:<7} {:<75} {:>8.3} (limit {:.3})", goal.what, goal.measured, goal.limit)?;
    }
    Ok(())
}

fn write_row(row: &Row, out: &mut dyn Write) -> io::Result<()> {
    let Some(plain) = row.variant(Variant::Plain) else { return Ok(()) };
    let mut start = format!("{:<50} {:>10.0} {:>10.0}", row.name, plain.wall_ns.median, plain.cpu_ns.median);
    let mut others = String::new();
    if let Some(memory) = plain.pinned {
        others += &format!(" plain {}", pinned(memory));
    }
    for other in [Variant::Unix, Variant::Pipe] {
        if let Some(result) = row.variant(other) {
            others += &format!(" {} {:.2}", other.name(), result.wall_ratio.median);
        }
    }
    for result in row.variants.iter().filter(|result| result.variant.is_tcp() && result.variant != Variant::Plain) {
        let line = format!(
            "{start}  {:<21} {:<21} {:>4}  {:<16}{others}",
            ratio(&result.wall_ratio),
            ratio(&result.cpu_ratio),
            result.past_stack.map_or("-".to_owned(), |past| format!("{:.0}%", past * 100.0)),
            if row.cell.workload == Workload::Connection {
                format!("{:.1} ({:.1})", result.switches.median, plain.switches.median)
            } else {
                result.pinned.map(pinned).unwrap_or_default()
            },
        );
        writeln!(out, "{}", line.trim_end())?;
        let next = row.variants.iter().skip_while(|one| one.variant != result.variant).nth(1);
        start = format!("{:<72}", format!("    {}", next.map_or("", |next| next.variant.name())));
        others.clear();
    }
    // Where time is lost, the counters say which condition sends the messages to the stack.
    if let Some(result) = row.variant(Variant::Sequence)
        && result.wall_ratio.low > 1.0
    {
        writeln!(out, "    slower; counters: {}", list(&result.counters))?;
    }
    Ok(())
}

/// Memory, with a mark where nothing but the benchmark has ended it.
pub(super) fn pinned(pinned: Pinned) -> String {
    let most = if pinned.unbounded { ">" } else { "" };
    format!("{most}{:.1} MiB", pinned.bytes as f64 / f64::from(1 << 20))
}

fn ratio(estimate: &Estimate) -> String {
    format!("{:.2} [{:.2}, {:.2}]", estimate.median, estimate.low, estimate.high)
}

fn list(pairs: &[(&'static str, u64)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

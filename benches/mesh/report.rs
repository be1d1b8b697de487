//! The results: as text, as JSON, as plots, and every single round.

use std::io::{self, Write};
use std::path::Path;

use sidestep::bench::{Estimate, Variant, Verdict, chart};

use crate::measure::{CPU, FIGURES, P50, Report, Row, goals, load_name};

/// Prints the report.
pub(crate) fn write_text(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let conditions = &report.conditions;
    writeln!(
        out,
        "Linux {}, {}, CPUs {:?}, {} tier, load {:.2} at the start; {} worker threads a sidecar",
        conditions.kernel, conditions.processor, conditions.cpus, conditions.tier, conditions.load, report.workers
    )?;
    writeln!(
        out,
        "{} interleaved rounds of {} ms of plain TCP's CPU time; medians, and ratios to plain TCP of the same round with their 95 % intervals",
        conditions.rounds, conditions.round_ms
    )?;
    let mut kind = "";
    for row in &report.rows {
        if kind != row.kind {
            kind = row.kind;
            writeln!(
                out,
                "\n{kind:<8} {:<12} {:<16} {:>9}  {:<19}  four-tuple",
                "connections", "", "plain", "sequence"
            )?;
        }
        for (figure, name) in FIGURES.into_iter().enumerate() {
            let load = if figure == 0 { load_name(row) } else { String::new() };
            write!(out, "{:<8} {load:<12} {name:<16} {:>9.1}", "", row.variants[0].figures[figure].median)?;
            for result in &row.variants[1..] {
                write!(out, "  {:<19}", ratio(&result.ratios[figure]))?;
            }
            writeln!(out)?;
        }
        write!(out, "{:<8} {:<12} {:<16} {:>9}", "", "", "past the stack", "")?;
        for result in &row.variants[1..] {
            let share = result.past_stack.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0));
            write!(out, "  {share:<19}")?;
        }
        writeln!(out)?;
    }
    for why in &report.left_out {
        writeln!(out, "\nLEFT OUT: {why}")?;
    }
    writeln!(out, "\ngoals (sequence pairing, kept connections)")?;
    for goal in goals(report) {
        let verdict = if goal.verdict == Verdict::Met { "met" } else { "MISSED" };
        writeln!(out, "  {verdict:<7} {:<35} {:>8.3} (limit {:.3})", goal.what, goal.measured, goal.limit)?;
    }
    Ok(())
}

fn ratio(estimate: &Estimate) -> String {
    format!("{:.2} [{:.2}, {:.2}]", estimate.median, estimate.low, estimate.high)
}

/// Writes `mesh.txt`, `mesh.json` (with every round), `mesh-goals.json` and a plot for each kind.
pub(crate) fn write_directory(report: &Report, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut text = Vec::new();
    write_text(report, &mut text)?;
    std::fs::write(directory.join("mesh.txt"), text)?;
    std::fs::write(directory.join("mesh.json"), serde_json::to_vec(report)?)?;
    std::fs::write(directory.join("mesh-goals.json"), serde_json::to_vec(&goals(report))?)?;
    for rows in report.rows.chunk_by(|one, other| one.kind == other.kind) {
        std::fs::write(directory.join(format!("mesh-{}.svg", rows[0].kind)), plot(rows))?;
    }
    Ok(())
}

fn plot(rows: &[Row]) -> String {
    let labels: Vec<_> = rows.iter().map(load_name).collect();
    let line = |variant: Variant, figure: usize| {
        let ratio =
            |row: &Row| row.variants.iter().find(|result| result.variant == variant).map(|it| it.ratios[figure]);
        rows.iter().map(ratio).collect()
    };
    let series = [
        ("plain", line(Variant::Plain, P50)),
        ("sequence, p50", line(Variant::Sequence, P50)),
        ("sequence, CPU", line(Variant::Sequence, CPU)),
        ("four-tuple, p50", line(Variant::FourTuple, P50)),
        ("four-tuple, CPU", line(Variant::FourTuple, CPU)),
    ];
    chart(&format!("{}: in relation to plain TCP, by connections at a time", rows[0].kind), &labels, &series)
}

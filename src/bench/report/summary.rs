//! What a run says, in about ten lines: what loses, what gains, and what the gate costs and saves.

use crate::bench::cell::{Placement, Variant, Workload, bytes};
use crate::bench::results::{Pinned, Report, Row, VariantResult};

/// A row loses when its whole interval is above 1, and it takes so much more than plain TCP.
const LOSS: f64 = 1.03;
/// How many losing rows are named.
const NAMED: usize = 3;
/// Messages of this size and more are large: the stack cannot gather them into fewer packets.
const LARGE: usize = 16 << 10;

/// Rows that are alike.
struct Group {
    name: &'static str,
    holds: fn(&Row) -> bool,
}

fn inside(row: &Row, workload: Workload, placement: Placement) -> bool {
    let cell = &row.cell;
    cell.workload == workload
        && cell.placement == placement
        && !cell.server_outside
        && !cell.protection
        && cell.language.is_none()
}

fn stream(row: &Row, placement: Placement, large: bool) -> bool {
    inside(row, Workload::Stream, placement) && (row.cell.size >= LARGE) == large
}

const GROUPS: [Group; 9] = [
    Group { name: "ping-pong, same core", holds: |row| inside(row, Workload::PingPong, Placement::SameCore) },
    Group { name: "ping-pong, two cores", holds: |row| inside(row, Workload::PingPong, Placement::AcrossCores) },
    Group { name: "streams below 16 KiB, same core", holds: |row| stream(row, Placement::SameCore, false) },
    Group { name: "streams below 16 KiB, two cores", holds: |row| stream(row, Placement::AcrossCores, false) },
    Group { name: "streams from 16 KiB, same core", holds: |row| stream(row, Placement::SameCore, true) },
    Group { name: "streams from 16 KiB, two cores", holds: |row| stream(row, Placement::AcrossCores, true) },
    Group {
        name: "short connections",
        holds: |row| row.cell.workload == Workload::Connection && !row.cell.server_outside && !row.cell.protection,
    },
    Group { name: "Go, Java, Node and Python, ping-pong", holds: |row| row.cell.language.is_some() },
    Group { name: "server outside", holds: |row| row.cell.server_outside },
];

/// The lines, the worst news first.
pub(super) fn lines(report: &Report) -> Vec<String> {
    let mut lines =
        vec!["In short (sequence pairing; time in relation to plain TCP, on one core CPU time):".to_owned()];
    lines.extend(losses(&report.rows));
    lines.extend(GROUPS.iter().filter_map(|group| of_group(group, &report.rows)));
    lines.extend(memory(&report.rows));
    lines
}

/// What counts for a row: on one core time and CPU time are the same, unless other programs use the core.
fn ratio(row: &Row, result: &VariantResult) -> crate::bench::Estimate {
    if row.cell.placement.is_one_core() { result.cpu_ratio } else { result.wall_ratio }
}

fn losses(rows: &[Row]) -> Vec<String> {
    let mut losing: Vec<_> = rows
        .iter()
        // The same cells are there without protection.
        .filter(|row| !row.cell.protection)
        .filter_map(|row| Some((row, ratio(row, row.variant(Variant::Sequence)?))))
        .filter(|(_, ratio)| ratio.median > LOSS && ratio.low > 1.0)
        .collect();
    losing.sort_by(|(_, one), (_, other)| other.median.total_cmp(&one.median));
    let count = losing.len();
    if count == 0 {
        return vec![format!(
            "  loses   nothing: of {} rows none is above {LOSS:.2} with its whole interval above 1",
            rows.len()
        )];
    }
    let named = losing.iter().take(NAMED);
    let mut lines: Vec<_> = named.map(|(row, ratio)| format!("  loses   {:.2}  {}", ratio.median, row.name)).collect();
    if count > NAMED {
        lines.push(format!("  loses   and {} more of {} rows", count - NAMED, rows.len()));
    }
    lines
}

/// The range of a group, gated and ungated.
fn of_group(group: &Group, rows: &[Row]) -> Option<String> {
    let range = |variant| {
        let rows = rows.iter().filter(|row| (group.holds)(row));
        let values = rows.filter_map(|row| Some(ratio(row, row.variant(variant)?).median));
        values.fold(None, |range: Option<(f64, f64)>, value| {
            Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        })
    };
    let (low, high) = range(Variant::Sequence)?;
    let word = match (low, high) {
        (_, high) if high <= 1.0 => "gains",
        (low, _) if low > 1.0 => "loses",
        _ => "both",
    };
    let ungated = range(Variant::Ungated)
        .map_or(String::new(), |(low, high)| format!("; without the gate {low:.2} to {high:.2}"));
    Some(format!("  {word:<7} {:<34} {low:.2} to {high:.2}{ungated}", group.name))
}

/// The row in which a receiver that does not read pins the most, compared with plain TCP.
fn memory(rows: &[Row]) -> Option<String> {
    let pinned = |row: &Row, variant| row.variant(variant)?.pinned;
    let share = |row: &Row| {
        let (plain, gated) = (pinned(row, Variant::Plain)?, pinned(row, Variant::Sequence)?);
        Some(gated.bytes as f64 / plain.bytes.max(1) as f64)
    };
    let worst = rows
        .iter()
        .filter(|row| share(row).is_some())
        .max_by(|one, other| share(one).unwrap_or(0.0).total_cmp(&share(other).unwrap_or(0.0)))?;
    let text = |pinned: Pinned| super::text::pinned(pinned);
    let ungated =
        pinned(worst, Variant::Ungated).map_or(String::new(), |pinned| format!("; without the gate {}", text(pinned)));
    Some(format!(
        "  memory  a stopped reader, writes of {}: {:.2} of plain TCP's {}{ungated}",
        bytes(worst.cell.size),
        share(worst)?,
        text(pinned(worst, Variant::Plain)?),
    ))
}

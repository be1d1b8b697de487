//! One picture of a whole run: each row on a line of its own, the losing ones first.

use std::fmt::Write;

use crate::bench::cell::Variant;
use crate::bench::results::{Report, Row};
use crate::bench::stats::Estimate;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 64.0;
const LINE: f64 = 16.0;
/// Ratios beyond this are drawn at the edge.
const MOST: f64 = 2.0;

/// What is drawn, each with its colour and its place on the line.
const SHOWN: [(Variant, &str, f64); 2] = [(Variant::Sequence, "#0072b2", -3.0), (Variant::Ungated, "#d55e00", 3.0)];

fn ratio(row: &Row, variant: Variant) -> Option<Estimate> {
    let result = row.variant(variant)?;
    Some(if row.cell.placement.is_one_core() { result.cpu_ratio } else { result.wall_ratio })
}

/// The picture, as SVG; none without a row that is accelerated.
pub(super) fn overview(report: &Report) -> Option<String> {
    let mut rows: Vec<_> =
        report.rows.iter().filter_map(|row| Some((row, ratio(row, Variant::Sequence)?.median))).collect();
    rows.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    if rows.is_empty() {
        return None;
    }
    let height = TOP + LINE * rows.len() as f64 + 24.0;
    let x = |ratio: f64| LEFT + (WIDTH - LEFT - RIGHT) * ratio.clamp(0.0, MOST) / MOST;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">Time in relation to plain TCP (on one core CPU time), the slowest row first</text>\n"
    );
    // Writing to a String cannot fail.
    let mut add = |element: String| _ = writeln!(svg, "{element}");
    for (at, (variant, color, _)) in SHOWN.iter().enumerate() {
        let x = LEFT + 120.0 * at as f64;
        add(format!(
            "<circle cx=\"{x}\" cy=\"36\" r=\"4\" fill=\"{color}\"/><text x=\"{}\" y=\"40\">{}</text>",
            x + 8.0,
            variant.name()
        ));
    }
    for step in 0..=4 {
        let value = MOST * f64::from(step) / 4.0;
        let color = if step == 2 { "#000" } else { "#ddd" };
        add(format!(
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{1:.1}\" stroke=\"{color}\"/><text x=\"{0:.1}\" y=\"{2:.1}\" \
             text-anchor=\"middle\">{value:.1}</text>",
            x(value),
            height - 20.0,
            TOP - 4.0
        ));
    }
    for (at, (row, _)) in rows.iter().enumerate() {
        let y = TOP + LINE * (at as f64 + 0.7);
        add(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 8.0, y + 4.0, row.name));
        for (variant, color, shift) in SHOWN {
            let Some(ratio) = ratio(row, variant) else { continue };
            let y = y + shift;
            add(format!(
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{color}\"/><circle cx=\"{:.1}\" cy=\"{y:.1}\" \
                 r=\"3\" fill=\"{color}\"/>",
                x(ratio.low),
                x(ratio.high),
                x(ratio.median)
            ));
        }
    }
    Some(svg + "</svg>\n")
}

//! Plots: for each group of cells the ratios to plain TCP over the size of a message.

use std::fmt::Write;

use super::Report;
use crate::bench::cell::{Link, Placement, Variant, Workload, bytes};
use crate::bench::run::Row;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// File names and contents.
pub(super) fn plots(report: &Report) -> Vec<(String, String)> {
    let mut plots = Vec::new();
    for workload in [Workload::PingPong, Workload::Stream] {
        for link in [Link::Loopback, Link::VethConntrack] {
            for placement in [Placement::SameCore, Placement::AcrossCores] {
                let rows: Vec<&Row> = report
                    .rows
                    .iter()
                    .filter(|row| {
                        let cell = &row.cell;
                        cell.workload == workload
                            && cell.link == link
                            && cell.placement == placement
                            && !cell.server_outside
                    })
                    .collect();
                if rows.len() > 1 {
                    let title = format!("{}, {}, {}", workload.name(), link.name(), placement.name());
                    plots.push((
                        format!("{}.svg", title.replace(", ", "-").replace([' ', '+'], "-")),
                        plot(&title, &rows),
                    ));
                }
            }
        }
    }
    plots
}

/// One plot: a line with error bars for each variant.
fn plot(title: &str, rows: &[&Row]) -> String {
    let highest =
        rows.iter().flat_map(|row| &row.variants).map(|result| result.wall_ratio.high).fold(1.0_f64, f64::max).min(4.0);
    let top = (highest * 5.0).ceil() / 5.0;
    let x = |at: usize| LEFT + (WIDTH - LEFT - RIGHT) * (at as f64 + 0.5) / rows.len() as f64;
    let y = |ratio: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ratio.clamp(0.0, top) / top;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}: time in relation to plain TCP</text>\n"
    );
    // Writing to a String cannot fail.
    let mut add = |element: String| _ = writeln!(svg, "{element}");
    for step in 0..=5 {
        let value = top * f64::from(step) / 5.0;
        add(format!(
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#ddd\"/><text x=\"{2}\" y=\"{3:.1}\" \
             text-anchor=\"end\">{value:.2}</text>",
            WIDTH - RIGHT,
            y(value),
            LEFT - 6.0,
            y(value) + 4.0
        ));
    }
    for (at, row) in rows.iter().enumerate() {
        let (x, y) = (x(at), HEIGHT - BOTTOM + 18.0);
        add(format!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", bytes(row.cell.size)));
    }
    for (number, variant) in Variant::ALL.into_iter().enumerate() {
        let color = ["#666", "#0072b2", "#d55e00", "#009e73", "#cc79a7"][number];
        let points: Vec<_> =
            rows.iter().enumerate().filter_map(|(at, row)| Some((x(at), row.variant(variant)?.wall_ratio))).collect();
        if points.is_empty() {
            continue;
        }
        let line: Vec<String> = points.iter().map(|(x, ratio)| format!("{x:.1},{:.1}", y(ratio.median))).collect();
        add(format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>", line.join(" ")));
        for (x, ratio) in &points {
            add(format!(
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{color}\"/>",
                y(ratio.low),
                y(ratio.high)
            ));
        }
        add(format!(
            "<text x=\"{}\" y=\"{}\" fill=\"{color}\">{}</text>",
            WIDTH - RIGHT + 8.0,
            TOP + 16.0 * number as f64,
            variant.name()
        ));
    }
    svg + "</svg>\n"
}

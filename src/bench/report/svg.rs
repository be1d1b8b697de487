//! Plots: for each group of cells the ratios to plain TCP over the size of a message.

use std::fmt::Write;

use crate::bench::cell::{Link, Placement, Variant, Workload, bytes};
use crate::bench::results::{Report, Row};
use crate::bench::stats::Estimate;

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
                            && !cell.nagle
                            && !cell.protection
                            && cell.language.is_none()
                    })
                    .collect();
                if rows.len() > 1 {
                    let title = format!("{}, {}, {}", workload.name(), link.name(), placement.name());
                    let labels: Vec<_> = rows.iter().map(|row| bytes(row.cell.size)).collect();
                    let series = Variant::ALL.map(|variant| {
                        let ratio = |row: &&Row| row.variant(variant).map(|result| result.wall_ratio);
                        (variant.name(), rows.iter().map(ratio).collect())
                    });
                    plots.push((
                        format!("{}.svg", title.replace(", ", "-").replace([' ', '+'], "-")),
                        chart(&format!("{title}: time in relation to plain TCP"), &labels, &series),
                    ));
                }
            }
        }
    }
    plots
}

/// One plot, as SVG: ratios with their intervals over the labels, a line for each series. Series beyond the fifth have
/// the colours of the first ones again.
pub fn chart(title: &str, labels: &[String], series: &[(&str, Vec<Option<Estimate>>)]) -> String {
    let all = series.iter().flat_map(|(_, values)| values.iter().flatten());
    let highest = all.map(|ratio| ratio.high).fold(1.0_f64, f64::max).min(4.0);
    let top = (highest * 5.0).ceil() / 5.0;
    let x = |at: usize| LEFT + (WIDTH - LEFT - RIGHT) * (at as f64 + 0.5) / labels.len() as f64;
    let y = |ratio: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ratio.clamp(0.0, top) / top;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}</text>\n"
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
    for (at, label) in labels.iter().enumerate() {
        let (x, y) = (x(at), HEIGHT - BOTTOM + 18.0);
        add(format!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>"));
    }
    for (number, (name, values)) in series.iter().enumerate() {
        let color = ["#666", "#0072b2", "#d55e00", "#009e73", "#cc79a7"][number % 5];
        let points: Vec<_> =
            values.iter().enumerate().filter_map(|(at, ratio)| Some((x(at), ratio.as_ref()?))).collect();
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
            name
        ));
    }
    svg + "</svg>\n"
}

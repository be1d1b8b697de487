//! The demo's result for people.

use std::io::{self, Write};

use super::summary::{Cost, Summary};

/// Prints the table.
pub(super) fn print(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let settings = &summary.settings;
    writeln!(
        out,
        "{} x {} requests of {} bytes a hop over {}, {} pairing, {}; medians of the rounds\n",
        settings.rounds,
        settings.requests,
        settings.size,
        if settings.ipv6 { "IPv6" } else { "IPv4" },
        summary.pairing,
        settings.cpu.map_or("any CPU".to_owned(), |cpu| format!("CPU {cpu}"))
    )?;
    writeln!(out, "{:<20}{:^29}{:^29}{:>11}", "", "latency p50, us", "CPU a request, us", "past the")?;
    writeln!(
        out,
        "{:<20}{:>8}{:>11}{:>8}  {:>8}{:>11}{:>8}  {:>11}",
        "hop", "plain", "sidestep", "ratio", "plain", "sidestep", "ratio", "stack"
    )?;
    for hop in &summary.hops {
        let row = |value: fn(&Cost) -> Option<f64>| columns(value(&hop.plain), value(&hop.accelerated));
        writeln!(
            out,
            "{:<20}{}  {}  {:>9.1} %",
            hop.name,
            row(|cost| Some(cost.latency_p50_us)),
            row(|cost| cost.cpu_us_per_request),
            hop.accelerated.share_past_stack * 100.0
        )?;
    }
    writeln!(out, "\n{} bytes sent, echoed and checked: all equal", summary.bytes_checked)
}

/// Before, after, and after divided by before.
fn columns(plain: Option<f64>, accelerated: Option<f64>) -> String {
    match (plain, accelerated) {
        (Some(plain), Some(accelerated)) => {
            format!("{plain:>8.1}{accelerated:>11.1}{:>8}", format!("x{:.2}", accelerated / plain))
        }
        _ => format!("{:>8}{:>11}{:>8}", "-", "-", "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_in_line() {
        assert_eq!(columns(Some(20.0), Some(11.96)), "    20.0       12.0   x0.60");
        assert_eq!(columns(None, Some(1.0)).len(), columns(Some(20.0), Some(12.0)).len());
    }
}

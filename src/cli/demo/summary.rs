//! All rounds in one: medians, so that a disturbed round counts little.

use serde::Serialize;

use super::settings::Settings;
use crate::dataplane::Pairing;
use crate::testbed::{Hop, Measurement, Traffic};

/// The measurements of all rounds.
#[derive(Debug, Default)]
pub(super) struct Rounds(Vec<(Hop, Measurement, Measurement)>);

/// What the demo found.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// What was asked for.
    pub(super) settings: Settings,
    /// The pairing's name.
    pub(super) pairing: &'static str,
    /// One entry for each hop, and one for the whole chain.
    pub(super) hops: Vec<HopSummary>,
    /// Bytes that clients sent, and got back unchanged.
    pub(super) bytes_checked: u64,
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(super) struct HopSummary {
    /// Which hop.
    pub(super) hop: Hop,
    /// Its name in the table.
    pub(super) name: &'static str,
    /// By plain TCP.
    pub(super) plain: Cost,
    /// With sidestep.
    pub(super) accelerated: Cost,
}

/// One way of doing it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Cost {
    /// Half of the requests took at most this, in microseconds; the median of the rounds.
    pub(super) latency_p50_us: f64,
    /// 99 % of the requests took at most this.
    pub(super) latency_p99_us: f64,
    /// Microseconds of CPU time of all processes of the hop for one request and its answer; null when the kernel does not
    /// say.
    pub(super) cpu_us_per_request: Option<f64>,
    /// Share of the bytes that did not take the TCP/IP stack, 0 to 1.
    pub(super) share_past_stack: f64,
}

impl Rounds {
    pub(super) fn add(&mut self, hop: Hop, plain: Measurement, accelerated: Measurement) {
        self.0.push((hop, plain, accelerated));
    }

    pub(super) fn summary(&self, settings: &Settings, pairing: Pairing) -> Summary {
        let of = |hop, which: fn(&(Hop, Measurement, Measurement)) -> Measurement| {
            cost(&self.0.iter().filter(|round| round.0 == hop).map(which).collect::<Vec<_>>())
        };
        let hops = Hop::ALL.into_iter().map(|hop| HopSummary {
            hop,
            name: hop.name(),
            plain: of(hop, |round| round.1),
            accelerated: of(hop, |round| round.2),
        });
        Summary {
            settings: settings.clone(),
            pairing: pairing.name(),
            hops: hops.collect(),
            bytes_checked: self.0.iter().map(|(_, plain, accelerated)| plain.checked + accelerated.checked).sum(),
        }
    }
}

fn cost(rounds: &[Measurement]) -> Cost {
    let mut traffic = Traffic::default();
    for round in rounds {
        traffic += round.traffic;
    }
    Cost {
        latency_p50_us: median(rounds.iter().map(|round| round.latency.p50_ns as f64 / 1e3).collect()),
        latency_p99_us: median(rounds.iter().map(|round| round.latency.p99_ns as f64 / 1e3).collect()),
        cpu_us_per_request: rounds.iter().map(Measurement::cpu_usec_per_request).collect::<Option<_>>().map(median),
        share_past_stack: traffic.share_past_stack(),
    }
}

/// The middle value; of two the mean. NaN of nothing, which no round count allows.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { at(half) } else { (at(half.wrapping_sub(1)) + at(half)) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}

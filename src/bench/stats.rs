//! Medians and their 95 % intervals, without assumptions on how the values are distributed.

use serde::Serialize;

/// A median with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// Lower end of the interval; the smallest value when there are fewer than 6.
    pub low: f64,
    /// Upper end; the largest value when there are fewer than 6.
    pub high: f64,
}

impl Estimate {
    /// The median of `values` and its interval by order statistics: the k-th smallest and the k-th largest value, with
    /// the greatest k for which a binomial(n, 1/2) variable is below k with probability 2.5 % at most (H. A. David,
    /// Order Statistics, section 7.1). `None` without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let rank = rank(count).max(1);
        let median = match count {
            0 => return None,
            odd if odd % 2 == 1 => values[odd / 2],
            even => (values[even / 2 - 1] + values[even / 2]) / 2.0,
        };
        Some(Self { median, low: values[rank - 1], high: values[count - rank] })
    }
}

/// The k of [`Estimate::of`]; 0 when even the extremes do not make 95 %.
fn rank(count: usize) -> usize {
    let mut probability = 0.5_f64.powi(count.min(1000) as i32);
    let mut below = 0.0;
    let mut rank = 0;
    for successes in 0..count.min(1000) {
        below += probability;
        if below > 0.025 {
            break;
        }
        rank = successes + 1;
        probability *= (count - successes) as f64 / (successes + 1) as f64;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_tables() {
        // Table of the sign test, two-sided 5 %.
        for (count, expected) in [(5, 0), (6, 1), (8, 1), (9, 2), (15, 4), (20, 6), (21, 6), (25, 8), (50, 18)] {
            assert_eq!(rank(count), expected, "{count} values");
        }
    }

    #[test]
    fn a_median_lies_in_its_interval() {
        let estimate = Estimate::of((1..=21).rev().map(f64::from)).unwrap();
        assert_eq!(estimate, Estimate { median: 11.0, low: 6.0, high: 16.0 });
        assert_eq!(Estimate::of([4.0, 2.0]), Some(Estimate { median: 3.0, low: 2.0, high: 4.0 }));
        assert_eq!(Estimate::of([]), None);
        assert_eq!(Estimate::of([f64::NAN]), None);
    }
}

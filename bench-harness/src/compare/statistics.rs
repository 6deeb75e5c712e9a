//! What pairs of measurements say about a ratio.

use serde::Serialize;

use crate::random::Random;
use crate::result::median_of_sorted;

/// Resamples for the interval.
const RESAMPLES: usize = 2_000;
/// Pairs below which there is no interval.
const PAIRS_MIN: usize = 5;

/// One metric of B against A.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Ratio {
    pub(super) metric: String,
    #[serde(skip)]
    pub(super) label: String,
    pub(super) median_a: f64,
    pub(super) median_b: f64,
    /// Median of B over median of A.
    pub(super) ratio: f64,
    /// Least and greatest ratio within one pair.
    pub(super) least: f64,
    pub(super) most: f64,
    /// The middle 95 % of the ratio of medians when the pairs are drawn again with replacement. An interval that contains
    /// 1 shows no difference. Absent below five pairs, which are too few to draw from.
    pub(super) interval: Option<[f64; 2]>,
    /// Pairs in which B was lower.
    pub(super) b_lower: usize,
    pub(super) pairs: usize,
}

impl Ratio {
    /// From (A, B) pairs, of which there is at least one.
    pub(super) fn of(metric: &str, label: &str, pairs: &[(f64, f64)]) -> Self {
        let mut each: Vec<f64> = pairs.iter().map(|(a, b)| b / a).collect();
        each.sort_by(f64::total_cmp);
        let (median_a, median_b) = medians(pairs);
        Self {
            metric: metric.to_owned(),
            label: label.to_owned(),
            median_a,
            median_b,
            ratio: median_b / median_a,
            least: each[0],
            most: each[each.len() - 1],
            interval: (pairs.len() >= PAIRS_MIN).then(|| interval(pairs)),
            b_lower: pairs.iter().filter(|(a, b)| b < a).count(),
            pairs: pairs.len(),
        }
    }
}

fn medians(pairs: &[(f64, f64)]) -> (f64, f64) {
    let (mut a, mut b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    (median_of_sorted(&a), median_of_sorted(&b))
}

fn interval(pairs: &[(f64, f64)]) -> [f64; 2] {
    // A fixed seed: the same measurements always give the same interval.
    let mut random = Random::new(0);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<_> = pairs.iter().map(|_| pairs[random.below(pairs.len() as u64) as usize]).collect();
            let (a, b) = medians(&drawn);
            b / a
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    [ratios[RESAMPLES / 40], ratios[RESAMPLES - 1 - RESAMPLES / 40]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_difference_has_a_narrow_interval() {
        let pairs: Vec<(f64, f64)> = (1..=9).map(|n| (f64::from(n), f64::from(n) * 1.1)).collect();
        let ratio = Ratio::of("m", "m", &pairs);
        assert!((ratio.ratio - 1.1).abs() < 1e-9 && ratio.interval.is_some_and(|[low, high]| high - low < 1e-9));
        assert_eq!((ratio.b_lower, ratio.pairs), (0, 9));
    }

    #[test]
    fn noise_around_one_has_an_interval_around_one() {
        let pairs = [(1.0, 1.3), (1.2, 1.0), (0.9, 1.1), (1.1, 0.9), (1.0, 0.95), (1.05, 1.0), (1.0, 1.1)];
        let ratio = Ratio::of("m", "m", &pairs);
        assert!(ratio.interval.is_some_and(|[low, high]| low < 1.0 && high > 1.0), "{:?}", ratio.interval);
        assert_eq!(Ratio::of("m", "m", &pairs[..4]).interval, None);
        assert_eq!(ratio.b_lower, 4);
    }
}

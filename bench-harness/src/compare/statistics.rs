//! What pairs of measurements say about a ratio or a difference.

use serde::Serialize;

use crate::random::Random;
use crate::result::median_of_sorted;
use crate::results::Estimate;

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
        let (median_a, median_b) = medians(pairs);
        let Estimate { of_medians, spread: [least, most], interval } = ratio_of(pairs);
        Self {
            metric: metric.to_owned(),
            label: label.to_owned(),
            median_a,
            median_b,
            ratio: of_medians,
            least,
            most,
            interval,
            b_lower: pairs.iter().filter(|(a, b)| b < a).count(),
            pairs: pairs.len(),
        }
    }
}

/// B over A.
pub(super) fn ratio_of(pairs: &[(f64, f64)]) -> Estimate {
    estimate(pairs, |a, b| b / a)
}

/// B less A.
pub(super) fn difference_of(pairs: &[(f64, f64)]) -> Estimate {
    estimate(pairs, |a, b| b - a)
}

fn estimate(pairs: &[(f64, f64)], of: fn(f64, f64) -> f64) -> Estimate {
    let of_medians = |pairs: &[(f64, f64)]| {
        let (a, b) = medians(pairs);
        of(a, b)
    };
    let mut each: Vec<f64> = pairs.iter().map(|(a, b)| of(*a, *b)).collect();
    each.sort_by(f64::total_cmp);
    Estimate {
        of_medians: of_medians(pairs),
        spread: [each[0], each[each.len() - 1]],
        interval: (pairs.len() >= PAIRS_MIN).then(|| interval(pairs, of_medians)),
    }
}

fn medians(pairs: &[(f64, f64)]) -> (f64, f64) {
    let (mut a, mut b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    (median_of_sorted(&a), median_of_sorted(&b))
}

fn interval(pairs: &[(f64, f64)], figure: impl Fn(&[(f64, f64)]) -> f64) -> [f64; 2] {
    // A fixed seed: the same measurements always give the same interval.
    let mut random = Random::new(0);
    let mut figures: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<_> = pairs.iter().map(|_| pairs[random.below(pairs.len() as u64) as usize]).collect();
            figure(&drawn)
        })
        .collect();
    figures.sort_by(f64::total_cmp);
    [figures[RESAMPLES / 40], figures[RESAMPLES - 1 - RESAMPLES / 40]]
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
    fn a_difference_is_that_of_the_medians_and_its_spread_that_of_pairs() {
        let pairs = [(1.0, 1.25), (2.0, 2.5), (4.0, 4.25)];
        assert_eq!(difference_of(&pairs), Estimate { of_medians: 0.5, spread: [0.25, 0.5], interval: None });
        let same: Vec<(f64, f64)> = (1..=9).map(|n| (f64::from(n), f64::from(n) + 0.5)).collect();
        assert_eq!(difference_of(&same).interval, Some([0.5, 0.5]));
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

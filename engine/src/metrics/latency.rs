//! A latency distribution in microseconds, two significant digits, 1 µs to 10 minutes.

use hdrhistogram::Histogram;

const HIGHEST_US: u64 = 600_000_000;

/// A latency distribution; recording allocates nothing.
#[derive(Debug, Clone)]
pub struct Latency {
    histogram: Histogram<u64>,
    sum_us: u64,
}

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, HIGHEST_US, 2).expect("constant bounds are valid");
        Self { histogram, sum_us: 0 }
    }
}

impl Latency {
    /// Counts `count` events that took `ns` nanoseconds each.
    #[inline]
    pub fn record(&mut self, ns: u64, count: u64) {
        let us = (ns / 1_000).clamp(1, HIGHEST_US);
        self.histogram.saturating_record_n(us, count);
        self.sum_us = self.sum_us.saturating_add(us.saturating_mul(count));
    }

    /// Adds another shard's distribution.
    pub fn merge(&mut self, other: &Latency) {
        self.histogram.add(&other.histogram).expect("equal bounds");
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// How many events took at most `us` microseconds.
    pub fn count_up_to(&self, us: u64) -> u64 {
        self.histogram.count_between(0, us)
    }

    /// All events.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Sum of all durations, microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The value below which the share `q` (0..=1) of events lies, microseconds.
    pub fn quantile_us(&self, q: f64) -> u64 {
        self.histogram.value_at_quantile(q)
    }
}

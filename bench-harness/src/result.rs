//! What a run says: one line of JSON for programs, a table for people.

use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::{Serialize, Serializer};
use serde_json::Number;

use crate::machine::Machine;
use crate::system::{Connector, System};
use crate::workload::Workload;

/// The numbers of one repeat. Units are in the names; a metric that does not apply is absent.
pub type Metrics = BTreeMap<&'static str, f64>;

/// Rows of the table: metric, how it is called for people, decimals, divisor.
const ROWS: [(&str, &str, usize, f64); 28] = [
    ("delivered", "delivered", 0, 1.0),
    ("lost", "lost", 0, 1.0),
    ("duplicated", "duplicated", 0, 1.0),
    ("reordered", "reordered", 0, 1.0),
    ("corrupt", "corrupt", 0, 1.0),
    ("disconnected", "connections lost", 0, 1.0),
    ("cpu_s_per_million", "CPU-s per million: measured system", 3, 1.0),
    ("kafka_cpu_s_per_million", "CPU-s per million: Kafka", 3, 1.0),
    ("generator_cpu_s_per_million", "CPU-s per million: generator", 3, 1.0),
    ("messages_per_second", "messages per second", 0, 1.0),
    ("rss_peak_bytes", "peak RSS, MiB", 1, 1_048_576.0),
    ("ack_p50_us", "ack p50, ms", 2, 1_000.0),
    ("ack_p99_us", "ack p99, ms", 2, 1_000.0),
    ("ack_p999_us", "ack p99.9, ms", 2, 1_000.0),
    ("ack_max_us", "ack max, ms", 2, 1_000.0),
    ("send_late_p99_us", "sent after due p99, ms", 2, 1_000.0),
    ("acks_out_of_order", "acks out of order", 0, 1.0),
    ("stray_acks", "acks of nothing open", 0, 1.0),
    ("rss_bytes_per_connection", "RSS bytes per connection", 0, 1.0),
    ("idle_cpu_percent", "idle CPU, % of a core", 3, 1.0),
    ("recv_calls_per_message", "calls per message: receiving", 3, 1.0),
    ("send_calls_per_message", "calls per message: sending", 3, 1.0),
    ("wait_calls_per_message", "calls per message: waiting", 3, 1.0),
    ("other_calls_per_message", "calls per message: others", 3, 1.0),
    ("own_batch_bytes_mean", "bytes of a batch, mean", 0, 1.0),
    ("own_busy_share_most", "busy share of the busiest shard", 3, 1.0),
    ("own_busy_share_least", "busy share of the idlest shard", 3, 1.0),
    ("verify_records_per_second", "read back, records/s", 0, 1.0),
];

/// Metrics that must be 0 for a run to be good.
const FAULTS: [&str; 6] = ["lost", "duplicated", "reordered", "corrupt", "disconnected", "stalled"];

/// A finished measurement: the median of its repeats, with the spread.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Name of the workload.
    pub workload: String,
    /// What was measured.
    pub system: System,
    /// Where the messages went.
    pub connector: Connector,
    /// The product's profile, if one was named.
    pub profile: Option<String>,
    /// Shards of the product.
    pub shards: u32,
    /// Further settings it was given.
    pub set: Vec<String>,
    /// How delivery was checked: by reading Kafka back, or by acknowledgements alone.
    pub verified_by: &'static str,
    /// Messages of the measured phase.
    pub messages: u64,
    /// How often it was repeated.
    pub repeats: usize,
    /// Median of every metric.
    #[serde(flatten, serialize_with = "whole_where_whole")]
    pub median: Metrics,
    /// Least and greatest of every metric.
    pub spread: BTreeMap<&'static str, [f64; 2]>,
    /// Where.
    pub machine: Machine,
    /// Commit of the tree the measured binary lies in.
    pub commit: String,
    /// Seconds since 1970 at the end.
    pub finished_at: u64,
    /// The workload as it was run.
    pub parameters: Workload,
}

impl Outcome {
    /// Fills median and spread from the repeats.
    pub fn condense(&mut self, samples: &[Metrics]) {
        let names: Vec<&'static str> = samples.iter().flat_map(|sample| sample.keys().copied()).collect();
        self.repeats = samples.len();
        for name in names {
            let mut values: Vec<f64> = samples.iter().filter_map(|sample| sample.get(name).copied()).collect();
            values.sort_by(f64::total_cmp);
            self.median.insert(name, median_of_sorted(&values));
            self.spread.insert(name, [values[0], values[values.len() - 1]]);
        }
    }

    /// True if no repeat lost, doubled, reordered or broke anything.
    pub fn is_clean(&self) -> bool {
        FAULTS.iter().all(|fault| self.spread.get(fault).is_none_or(|[_, most]| *most == 0.0))
    }

    /// The line for programs.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The table for people.
    pub fn to_table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        let head = format!("{:?} {}, {} messages", self.system, self.workload, self.messages);
        table.set_header(if self.repeats > 1 {
            vec![head.as_str(), "median", "least", "most"]
        } else {
            vec![&head, ""]
        });
        for (metric, label, decimals, divisor) in ROWS {
            let Some(median) = self.median.get(metric) else { continue };
            let show =
                |value: f64| Cell::new(format!("{:.decimals$}", value / divisor)).set_alignment(CellAlignment::Right);
            let mut row = vec![Cell::new(label), show(*median)];
            if self.repeats > 1 {
                row.extend(self.spread.get(metric).into_iter().flatten().map(|value| show(*value)));
            }
            table.add_row(row);
        }
        let Machine { cpu, cores, kernel, load_before, .. } = &self.machine;
        format!("{table}\n{cores} cores of {cpu}, kernel {kernel}, load {load_before} before, commit {}", self.commit)
    }
}

/// Counts are written without a decimal point.
fn whole_where_whole<S: Serializer>(metrics: &Metrics, serializer: S) -> Result<S::Ok, S::Error> {
    let number = |value: f64| match value {
        whole if whole.fract() == 0.0 && whole.abs() < 2_f64.powi(53) => Number::from(whole as i64),
        other => Number::from_f64((other * 1e6).round() / 1e6).unwrap_or_else(|| Number::from(0)),
    };
    serializer.collect_map(metrics.iter().map(|(name, value)| (name, number(*value))))
}

/// The middle value, or the mean of the two middle ones.
pub fn median_of_sorted(values: &[f64]) -> f64 {
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_nothing_is_not_a_number() {
        assert!(median_of_sorted(&[]).is_nan());
        assert_eq!(median_of_sorted(&[1.0, 5.0, 9.0]), 5.0);
        assert_eq!(median_of_sorted(&[1.0, 5.0, 9.0, 11.0]), 7.0);
    }
}

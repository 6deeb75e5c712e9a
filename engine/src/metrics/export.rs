//! The counters of all shards as Prometheus reads them (OpenMetrics text).
//!
//! What a shard counts for itself carries the label `shard`; what it counts for a sink is summed over the shards and carries the
//! label `sink`; what is counted for the whole node carries none. Each shard's sample was taken at the end of one of its rounds, so
//! the identity of [`SinkCounters`] holds in every sum.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::table::{Kind, Row};
use super::{ConfigCounters, Latency, LogCounters, ShardCounters, ShardSample, SinkCounters};

/// Content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Name and help of the one distribution.
pub(super) const ACK_LATENCY: (&str, &str) = (
    "aqueduct_sink_ack_latency_seconds",
    "From the first record of a batch until the batch's outcome came home, one sample a record.",
);

/// Name and help of what is known of certificates.
pub(super) const CERTIFICATE_DAYS: (&str, &str) = (
    "aqueduct_tls_certificate_days_left",
    "Whole days until a certificate in use expires, negative once it has: the first of the authorities in cacertfile, our \
     own, or the one a broker showed last.",
);

/// How long a certificate is still valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateDays {
    /// Name of the connector that uses it.
    pub connector: String,
    /// `authority`, `client` or `broker`.
    pub of: &'static str,
    /// Whole days left, negative once it has expired.
    pub days: i64,
}

/// Upper bounds of its buckets in microseconds. Dense around `linger` and a broker's answer, then by about 2.5 up to a minute.
pub(super) const BUCKETS_US: [u64; 19] = [
    500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// What is known of the whole node, beside its shards.
#[derive(Debug, Clone, Default)]
pub struct NodeSample {
    /// Of its configuration.
    pub config: ConfigCounters,
    /// Of its embedded log; zeros if it has none.
    pub log: LogCounters,
    /// How long certificates in use are still valid.
    pub certificates: Vec<CertificateDays>,
}

/// The samples of all shards as text. `sink_names[i]` names the sink whose counters stand at index `i` of every sample; an
/// empty name hides them. A sink may stand in several places, which are summed.
pub fn render(samples: &[ShardSample], sink_names: &[String], node: NodeSample) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot::of(samples, sink_names, node)));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes any text");
    text
}

/// What is exported, gathered: the collector interface wants to own it.
#[derive(Debug)]
struct Snapshot {
    shards: Vec<(String, ShardCounters)>,
    sinks: Vec<Sink>,
    node: NodeSample,
}

#[derive(Debug)]
struct Sink {
    name: String,
    counters: SinkCounters,
    ack_latency: Latency,
}

impl Snapshot {
    fn of(samples: &[ShardSample], sink_names: &[String], node: NodeSample) -> Self {
        let shards = samples.iter().map(|sample| (sample.shard.to_string(), sample.own)).collect();
        let mut sinks: Vec<Sink> = Vec::with_capacity(sink_names.len());
        for (i, name) in sink_names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let sink = Sink::sum(name, i, samples);
            match sinks.iter_mut().find(|known| known.name == *name) {
                Some(known) => known.add(&sink),
                None => sinks.push(sink),
            }
        }
        Self { shards, sinks, node }
    }
}

impl Sink {
    fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        self.ack_latency.merge(&other.ack_latency);
    }

    fn sum(name: &str, index: usize, samples: &[ShardSample]) -> Self {
        let mut sum =
            Self { name: name.to_owned(), counters: SinkCounters::default(), ack_latency: Latency::default() };
        for sample in samples {
            if let Some(counters) = sample.sinks.get(index) {
                sum.counters.add(counters);
            }
            if let Some(latency) = sample.ack_latency.get(index) {
                sum.ack_latency.merge(latency);
            }
        }
        sum
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shards: Vec<_> = self.shards.iter().map(|(shard, own)| (Some(("shard", &**shard)), own.values())).collect();
        families(&mut encoder, ShardCounters::ROWS, &shards)?;
        let sinks: Vec<_> =
            self.sinks.iter().map(|sink| (Some(("sink", &*sink.name)), sink.counters.values())).collect();
        families(&mut encoder, SinkCounters::ROWS, &sinks)?;
        families(&mut encoder, ConfigCounters::ROWS, &[(None, self.node.config.values())])?;
        families(&mut encoder, LogCounters::ROWS, &[(None, self.node.log.values())])?;
        self.certificates(&mut encoder)?;
        let (name, help) = ACK_LATENCY;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for sink in &self.sinks {
            histogram(family.encode_family(&[("sink", sink.name.as_str())])?, &sink.ack_latency)?;
        }
        Ok(())
    }
}

impl Snapshot {
    fn certificates(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if self.node.certificates.is_empty() {
            return Ok(());
        }
        let (name, help) = CERTIFICATE_DAYS;
        let mut family = encoder.encode_descriptor(name, help.trim_end_matches('.'), None, MetricType::Gauge)?;
        for CertificateDays { connector, of, days } in &self.node.certificates {
            let labels = [("connector", connector.as_str()), ("certificate", of)];
            family.encode_family(&labels)?.encode_gauge(days)?;
        }
        Ok(())
    }
}

/// Whose values they are, by label name and value, and the values.
type Owner<'a, const N: usize> = (Option<(&'a str, &'a str)>, [u64; N]);

/// Writes rows that share a name as one family, with a series for each owner of values, by its label.
fn families<const N: usize>(encoder: &mut DescriptorEncoder<'_>, rows: &[Row], owners: &[Owner<'_, N>]) -> fmt::Result {
    let mut first = 0;
    for family in rows.chunk_by(|row, next| row.name == next.name) {
        let Row { name, kind, help, .. } = family[0];
        // The encoder appends the suffix of counters itself.
        let base = name.strip_suffix("_total").unwrap_or(name);
        let mut encoder = encoder.encode_descriptor(base, help.trim_end_matches('.'), None, kind.metric_type())?;
        for (owner, values) in owners {
            for (row, value) in family.iter().zip(&values[first..]) {
                let labels: Vec<_> = owner.iter().copied().chain(row.label).collect();
                // A family of no labels would be written with empty braces.
                match labels.is_empty() {
                    true => number(&mut encoder, kind, *value)?,
                    false => number(&mut encoder.encode_family(&labels)?, kind, *value)?,
                }
            }
        }
        first += family.len();
    }
    Ok(())
}

fn number(encoder: &mut MetricEncoder<'_>, kind: Kind, value: u64) -> fmt::Result {
    match kind {
        Kind::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        Kind::Gauge => encoder.encode_gauge(&value),
    }
}

fn histogram(mut encoder: MetricEncoder<'_>, latency: &Latency) -> fmt::Result {
    let mut below = 0;
    let mut buckets: Vec<(f64, u64)> = BUCKETS_US
        .iter()
        .map(|&upper_us| {
            let up_to = latency.count_up_to(upper_us);
            let inside = up_to - below;
            below = up_to;
            (seconds(upper_us), inside)
        })
        .collect();
    buckets.push((f64::INFINITY, latency.count() - below));
    encoder.encode_histogram::<NoLabelSet>(seconds(latency.sum_us()), latency.count(), &buckets, None)
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

impl Kind {
    fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Health;

    fn sample(shard: u16, connections: u64, success: u64) -> ShardSample {
        let mut latency = Latency::default();
        latency.record(4_000_000, success);
        ShardSample {
            shard,
            own: ShardCounters { connections, received_publishes_qos1: success, ..Default::default() },
            sinks: vec![SinkCounters { matched: success + 1, success, queuing: 1, ..Default::default() }; 2],
            health: vec![Health::Connected; 2],
            connectors: Vec::new(),
            ack_latency: vec![latency, Latency::default()],
        }
    }

    fn rendered() -> String {
        let log = LogCounters { damaged: 2, damaged_bytes: 300 };
        let certificates = vec![CertificateDays { connector: "k".to_owned(), of: "broker", days: -2 }];
        let config = ConfigCounters { reloads_refused: 4, ..ConfigCounters::default() };
        let node = NodeSample { config, log, certificates };
        render(&[sample(0, 3, 10), sample(1, 4, 20)], &["main".to_owned(), "other".to_owned()], node)
    }

    #[track_caller]
    fn check(line: &str) {
        let text = rendered();
        assert!(text.lines().any(|got| got == line), "no line `{line}` in\n{text}");
    }

    #[test]
    fn own_counters_are_exported_per_shard() {
        check(r#"aqueduct_connections{shard="0"} 3"#);
        check(r#"aqueduct_connections{shard="1"} 4"#);
        check("# TYPE aqueduct_connections gauge");
        check(r#"aqueduct_publishes_received_total{shard="1",qos="1"} 20"#);
        check(r#"aqueduct_publishes_received_total{shard="1",qos="2"} 0"#);
        check("# TYPE aqueduct_publishes_received counter");
    }

    #[test]
    fn sink_counters_are_summed_over_shards() {
        check(r#"aqueduct_sink_matched_total{sink="main"} 32"#);
        check(r#"aqueduct_sink_success_total{sink="other"} 30"#);
        check(r#"aqueduct_sink_dropped_total{sink="main",reason="expired"} 0"#);
    }

    #[test]
    fn counters_of_the_node_carry_no_label_of_an_owner() {
        check(r#"aqueduct_config_reloads_total{outcome="refused"} 4"#);
        check("aqueduct_config_last_reload_successful 0");
        check("aqueduct_log_damaged_total 2");
        check("aqueduct_log_damaged_bytes_total 300");
    }

    #[test]
    fn certificates_may_have_expired() {
        check(r#"aqueduct_tls_certificate_days_left{connector="k",certificate="broker"} -2"#);
    }

    #[test]
    fn latency_is_a_cumulative_histogram() {
        check(r#"aqueduct_sink_ack_latency_seconds_bucket{le="0.003",sink="main"} 0"#);
        check(r#"aqueduct_sink_ack_latency_seconds_bucket{le="0.005",sink="main"} 30"#);
        check(r#"aqueduct_sink_ack_latency_seconds_bucket{le="+Inf",sink="main"} 30"#);
        check(r#"aqueduct_sink_ack_latency_seconds_count{sink="main"} 30"#);
        check(r#"aqueduct_sink_ack_latency_seconds_count{sink="other"} 0"#);
        check(r#"aqueduct_sink_ack_latency_seconds_sum{sink="main"} 0.12"#);
    }

    /// Families may be described once only, and every series belongs to the family described last.
    #[test]
    fn the_text_is_well_formed() {
        let text = rendered();
        let mut described = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap().to_owned();
                assert!(!described.contains(&name), "{name} is described twice");
                described.push(name);
            } else if !line.starts_with('#') {
                let family = described.last().expect("a series before any description");
                assert!(line.starts_with(family.as_str()), "`{line}` stands under {family}");
            }
        }
        assert!(text.ends_with("# EOF\n"));
    }
}

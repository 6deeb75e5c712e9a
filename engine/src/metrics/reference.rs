//! The reference page of the metrics, made from their tables.

use std::fmt::Write;

use super::export::{ACK_LATENCY, BUCKETS_US, CERTIFICATE_DAYS};
use super::table::{Kind, Row};
use super::{ConfigCounters, LogCounters, ShardCounters, SinkCounters};

/// `docs/reference/metrics.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Made from engine/src/metrics/table.rs; `AQUEDUCT_BLESS=1 cargo tidy` writes it anew. -->\n\n\
         Prometheus reads them at `/metrics` of the `[http]` listener. Counters only grow; gauges go up and down. All begin at 0\n\
         when the process starts. No client id and no topic is ever a label.\n\n\
         ## Per shard\n\n\
         Label `shard`: the number of the shard. The busy share of a shard is the rate of `aqueduct_busy_nanoseconds_total` divided by 10⁹.\n\n",
    );
    table(&mut page, ShardCounters::ROWS);
    page.push_str(
        "\n## Per sink\n\n\
         Label `sink`: its name in the configuration. Summed over the shards. At every scrape, and exactly at rest,\n\n\
         ```text\nmatched = success + failed + dropped (all reasons) + queuing + inflight\n```\n\n",
    );
    table(&mut page, SinkCounters::ROWS);
    page.push_str("\n## Configuration\n\nOf the whole node.\n\n");
    table(&mut page, ConfigCounters::ROWS);
    page.push_str("\n## Embedded log\n\nOf the whole node, without a label.\n\n");
    table(&mut page, LogCounters::ROWS);
    let (name, help) = CERTIFICATE_DAYS;
    write!(
        page,
        "\n## Certificates\n\nLabels `connector`: its name, and `certificate`: `authority`, `client` or `broker`.\n\n\
         | name | kind | what |\n|---|---|---|\n| `{name}` | gauge | {help} |\n"
    )
    .expect("a String takes any text");
    let (name, help) = ACK_LATENCY;
    let bounds: Vec<String> = BUCKETS_US.iter().map(|&us| (us as f64 / 1e6).to_string()).collect();
    write!(
        page,
        "\n## Latency\n\n`{name}` is a histogram with the label `sink`. {help}\nBuckets, in seconds: {}.\n",
        bounds.join(", ")
    )
    .expect("a String takes any text");
    page
}

fn table(page: &mut String, rows: &[Row]) {
    page.push_str("| name | kind | what |\n|---|---|---|\n");
    for family in rows.chunk_by(|row, next| row.name == next.name) {
        let Row { name, kind, help, .. } = family[0];
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let labels: Vec<String> =
            family.iter().filter_map(|row| row.label).map(|(key, value)| format!("`{key}=\"{value}\"`")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!(" {}", labels.join(", ")) };
        writeln!(page, "| `{name}` | {kind} | {help}{labels} |").expect("a String takes any text");
    }
}

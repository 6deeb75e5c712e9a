//! What the product says of itself: its `/metrics`, read before and after the load.
//!
//! These numbers explain a result (how full batches were, how evenly shards worked); they never judge it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use miette::{IntoDiagnostic, Result, WrapErr, bail};

use crate::result::Metrics;

const TIMEOUT: Duration = Duration::from_secs(5);

/// One reading: value by series, the labels as they stand in the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scrape {
    series: BTreeMap<String, f64>,
}

impl Scrape {
    /// Reads `/metrics` there.
    pub fn of(http: SocketAddr) -> Result<Self> {
        let (status, body) = get(http, "/metrics")?;
        if status != 200 {
            bail!("/metrics answered with status {status}");
        }
        Ok(Self::parse(&body))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self { series: text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect() }
    }

    /// The sum of a family's series.
    pub fn sum(&self, name: &str) -> u64 {
        let of_name = |series: &str| series.split('{').next() == Some(name);
        self.series.iter().filter(|(series, _)| of_name(series)).map(|(_, value)| *value as u64).sum()
    }

    /// The sum of those series of a family that bear a label, written `name="value"`.
    pub fn sum_where(&self, name: &str, label: &str) -> u64 {
        let is_it =
            |series: &str| series.split_once('{').is_some_and(|(own, labels)| own == name && labels.contains(label));
        self.series.iter().filter(|(series, _)| is_it(series)).map(|(_, value)| *value as u64).sum()
    }

    /// By how much each series of a counter grew since `earlier`.
    fn growth(&self, earlier: &Self, name: &str) -> Vec<f64> {
        let of_name = |series: &str| series.split('{').next() == Some(name);
        let old = |series: &str| earlier.series.get(series).copied().unwrap_or(0.0);
        self.series.iter().filter(|(series, _)| of_name(series)).map(|(series, now)| now - old(series)).collect()
    }

    /// Puts what the load between two readings tells: per message, per batch, per shard.
    pub fn put(&self, earlier: &Self, metrics: &mut Metrics, messages: u64, seconds: f64) {
        let sum = |name: &str| self.growth(earlier, name).iter().sum::<f64>();
        let mut put = |metric, value: f64| {
            if value.is_finite() {
                metrics.insert(metric, value);
            }
        };
        put("own_success", sum("aqueduct_sink_success_total"));
        put("own_retried", sum("aqueduct_sink_retried_total"));
        put("own_reads_per_message", sum("aqueduct_reads_total") / messages as f64);
        put("own_sends_per_message", sum("aqueduct_sends_total") / messages as f64);
        put("own_rounds_per_message", sum("aqueduct_rounds_total") / messages as f64);
        put("own_backpressure_pauses", sum("aqueduct_backpressure_pauses_total"));
        put("own_batch_bytes_mean", sum("aqueduct_sink_batch_bytes_total") / sum("aqueduct_sink_batches_total"));
        put("own_batches_per_request", sum("aqueduct_sink_batches_total") / sum("aqueduct_sink_requests_total"));
        let (sent, batched) = (sum("aqueduct_sink_sent_bytes_total"), sum("aqueduct_sink_batch_bytes_total"));
        put("own_sent_percent", 100.0 * sent / batched);
        let syncs = sum("aqueduct_sink_buffer_syncs_total");
        if syncs > 0.0 {
            put("syncs_per_second", syncs / seconds);
        }
        let busy = self.growth(earlier, "aqueduct_busy_nanoseconds_total");
        let most = busy.iter().copied().fold(0.0, f64::max);
        let least = busy.iter().copied().fold(f64::INFINITY, f64::min);
        put("own_busy_share_most", most / 1e9 / seconds);
        put("own_busy_share_least", least / 1e9 / seconds);
    }
}

/// True once `/readyz` says that the product is ready, or there is no such page.
pub fn is_ready(http: SocketAddr) -> bool {
    matches!(get(http, "/readyz"), Ok((200 | 404, _)))
}

/// A GET in the simplest form HTTP has; the answer's status and body.
fn get(http: SocketAddr, path: &str) -> Result<(u16, String)> {
    let context = || format!("asking http://{http}{path}");
    let mut stream = TcpStream::connect_timeout(&http, TIMEOUT).into_diagnostic().wrap_err_with(context)?;
    stream.set_read_timeout(Some(TIMEOUT)).into_diagnostic()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {http}\r\n\r\n").into_diagnostic()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).into_diagnostic().wrap_err_with(context)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split_ascii_whitespace().nth(1).and_then(|status| status.parse().ok());
    match (status, answer.split_once("\r\n\r\n")) {
        (Some(status), Some((_, body))) => Ok((status, body.to_owned())),
        _ => bail!("{} is no HTTP answer", answer.lines().next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_by_shard_and_by_batch() {
        let before = Scrape::parse("aqueduct_busy_nanoseconds_total{shard=\"0\"} 5\n");
        let after = Scrape::parse(
            "# HELP aqueduct_reads_total x\n\
             aqueduct_busy_nanoseconds_total{shard=\"0\"} 1000000005\n\
             aqueduct_busy_nanoseconds_total{shard=\"1\"} 500000000\n\
             aqueduct_sink_batches_total{sink=\"s\"} 4\n\
             aqueduct_sink_batch_bytes_total{sink=\"s\"} 400\n\
             aqueduct_sink_sent_bytes_total{sink=\"s\"} 100\n\
             aqueduct_reads_total{shard=\"0\"} 50\n",
        );
        let mut metrics = Metrics::new();
        after.put(&before, &mut metrics, 100, 2.0);
        assert_eq!(metrics["own_busy_share_most"], 0.5);
        assert_eq!(metrics["own_busy_share_least"], 0.25);
        assert_eq!(metrics["own_batch_bytes_mean"], 100.0);
        assert_eq!(metrics["own_sent_percent"], 25.0);
        assert_eq!(metrics["own_reads_per_message"], 0.5);
    }
}

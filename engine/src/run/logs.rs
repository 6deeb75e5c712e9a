//! The local log's topics as they lie on disk at start, and the writers over them.

use std::path::Path;

use crate::config::{Config, ConnectorKind};
use crate::driver::StartError;
use crate::log::{LogLimits, Opened, TopicSpec, open};
use crate::shard::ShardId;
use crate::sink::Writer;
use crate::sink::embedded::Embedded;

/// Opens the logs of all embedded connectors; `None` if there is no such connector.
pub(super) fn open_logs(config: &Config, data_dir: &Path) -> Result<Option<Opened>, StartError> {
    let has_log = config.connectors.iter().any(|connector| matches!(connector.kind, ConnectorKind::Embedded(_)));
    if !has_log {
        return Ok(None);
    }
    let specs: Vec<TopicSpec> = config.sinks.iter().filter_map(|sink| topic_of(config, sink)).collect();
    open(data_dir, &specs)
        .map(Some)
        .map_err(|e| StartError::new(format!("{e}. The embedded log lies in `node.data_dir`.")))
}

/// The topic an embedded sink writes.
fn topic_of(config: &Config, sink: &crate::config::Sink) -> Option<TopicSpec> {
    let ConnectorKind::Embedded(log) = &config.connectors[sink.connector].kind else { return None };
    let limits = LogLimits {
        segment_bytes: log.segment_bytes,
        retention_bytes: log.retention_bytes,
        retention_ms: log.retention_ms,
    };
    Some(TopicSpec { name: sink.topic.clone(), partitions: log.partitions, limits })
}

/// One shard's writers, in the order of the connectors. `nonce_key` is secret.
pub(super) fn writers(
    config: &Config,
    shard: ShardId,
    shards: u16,
    logs: Option<&Opened>,
    nonce_key: [u8; 32],
) -> Vec<Writer> {
    let embedded = |connector: usize| {
        let logs = logs?;
        let topics = config.sinks.iter().map(|sink| {
            let topic = topic_of(config, sink).filter(|_| sink.connector == connector)?;
            logs.catalogue.topic(&topic.name).cloned()
        });
        Some(Writer::Embedded(Embedded::new(shard, shards, topics.collect(), &logs.logs)))
    };
    let writer =
        |connector: usize| Writer::new(shard, shards, connector, config, nonce_key).or_else(|| embedded(connector));
    let writers = (0..config.connectors.len()).map(writer);
    writers.map(|writer| writer.expect("each kind has its writer")).collect()
}

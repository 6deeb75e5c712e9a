//! What lies on disk at start: the local log's topics and the writers over it, and sinks' buffers.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::lock::Lock;
use super::random;
use crate::config::{BufferMode, Config, ConnectorKind};
use crate::driver::StartError;
use crate::log::journal::{JournalSpec, JournalStart, OpenedJournals, open_journals};
use crate::log::{LogLimits, Opened, TopicSpec, open};
use crate::shard::ShardId;
use crate::sink::Writer;
use crate::sink::discard::Discard;
use crate::sink::embedded::Embedded;
use crate::sink::kafka::Produce;

/// Partitions that a discarding connector pretends to have: what the canonical workloads have.
const DISCARD_PARTITIONS: u32 = 4;

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

/// Opens the buffers of all sinks that have one on disk, or had one and left something there. Each is this process's alone
/// while its lock is held.
pub(super) fn open_buffers(
    config: &Config,
    data_dir: &Path,
    shards: u16,
) -> Result<(OpenedJournals, Vec<Lock>), StartError> {
    let spec = |(index, sink): (usize, &crate::config::Sink)| {
        let root = sink.buffer_dir.clone().unwrap_or_else(|| data_dir.join("buffer"));
        let dir = root.join(&sink.name);
        let on_disk = sink.buffer_mode != BufferMode::Memory || dir.is_dir();
        on_disk.then_some(JournalSpec { sink: index as u16, dir })
    };
    let specs: Vec<JournalSpec> = config.sinks.iter().enumerate().filter_map(spec).collect();
    let locks = specs.iter().map(|spec| lock_buffer(config, spec)).collect::<Result<Vec<Lock>, StartError>>()?;
    let mut marks = Vec::new();
    for _ in 0..specs.len() * usize::from(shards) {
        marks.push(u32::from_ne_bytes(random::bytes()?));
    }
    let opened = open_journals(&specs, shards, || marks.pop().unwrap_or_default())
        .map_err(|e| StartError::new(format!("{e}. Buffers on disk lie in `buffer.dir` of their sinks.")))?;
    opened.starts.iter().flatten().try_for_each(|start| refuse_unnamed(config, &specs, start))?;
    Ok((opened, locks))
}

/// What was buffered for the one topic of a sink does not name it: if the topic is a template now, nobody knows where it belongs.
fn refuse_unnamed(config: &Config, specs: &[JournalSpec], start: &JournalStart) -> Result<(), StartError> {
    let sink = &config.sinks[usize::from(start.sink)];
    if !sink.is_topic_live() || !start.has_unnamed() {
        return Ok(());
    }
    let dir = specs.iter().find(|spec| spec.sink == start.sink).map(|spec| spec.dir.display().to_string());
    Err(StartError::new(format!(
        "the buffer of sinks.{name} in {dir} holds records of the one topic that the sink had before, and `sinks.{name}.topic` is a \
         template now. Start with that topic until aqueduct_sink_buffer_disk_records is 0, or give the sink another name: what lies \
         there stays until a sink is called {name} again.",
        name = sink.name,
        dir = dir.unwrap_or_default(),
    )))
}

/// A directory of its own may lie where other nodes look too, on a disk they share say.
fn lock_buffer(config: &Config, spec: &JournalSpec) -> Result<Lock, StartError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    let option = format!("sinks.{}.buffer.dir", config.sinks[usize::from(spec.sink)].name);
    let refuse = |e| StartError::new(format!("cannot create {} ({option}): {e}.", spec.dir.display()));
    builder.create(&spec.dir).map_err(refuse)?;
    Lock::take(&spec.dir, "buffer directory", &option)
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
    let writer = |(index, connector): (usize, &crate::config::Connector)| match (&connector.kind, logs) {
        (ConnectorKind::Discard, _) => Some(Writer::Discard(Discard::new(DISCARD_PARTITIONS))),
        (ConnectorKind::Embedded(_), Some(logs)) => {
            let topics = config.sinks.iter().map(|sink| {
                let topic = topic_of(config, sink).filter(|_| sink.connector == index)?;
                logs.catalogue.topic(&topic.name).cloned()
            });
            Some(Writer::Embedded(Embedded::new(shard, shards, topics.collect(), &logs.logs)))
        }
        (ConnectorKind::Embedded(_), None) => None,
        (ConnectorKind::Kafka(_), _) => {
            Produce::new(shard, shards, index, config, nonce_key).map(|kafka| Writer::Kafka(Box::new(kafka)))
        }
    };
    let writers =
        config.connectors.iter().enumerate().map(writer).map(|writer| writer.expect("each kind has its writer"));
    writers.collect()
}

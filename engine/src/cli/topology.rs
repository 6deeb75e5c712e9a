//! `aqueduct run --dry-run`: what a run would be made of, asked of the clusters it would write to.
//!
//! Listeners, sinks, and for each partition who leads it and which shard would own it. Opens no port and no file.

use std::fmt::Write as _;
use std::process::ExitCode;

use kafka::message::metadata::{Metadata, Partition, Topic};

use super::doctor::kafka::{Probed, probe};
use super::{Outcome, print};
use crate::config::{Config, ConnectorKind, Sink};
use crate::plan::Plan;
use crate::shard::placement::owner_of;

/// Resolves, connects, prints; fails if a cluster cannot be used.
pub(super) fn dry_run(config: &Config, plan: &Plan) -> Outcome {
    let clusters = probe(config);
    let mut failed = Vec::new();
    for cluster in &clusters {
        for finding in &cluster.findings {
            print(&finding.text())?;
        }
        if cluster.findings.iter().any(super::doctor::Finding::is_failure) {
            failed.extend(config.connectors.get(cluster.connector).map(|connector| connector.name.as_str()));
        }
    }
    print(&topology(config, plan, &clusters))?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "aqueduct: a run would listen, and could not write through the connector {}: see FAIL above.",
        failed.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

fn topology(config: &Config, plan: &Plan, clusters: &[Probed]) -> String {
    let shards = if plan.shards == 1 { "1 shard" } else { &format!("{} shards", plan.shards) };
    let mut text = format!("{shards}, {} clients at most\n", plan.connections_max);
    for listener in &config.listeners {
        let _ = writeln!(text, "listener {} on {}", listener.name, listener.bind);
    }
    for sink in &config.sinks {
        let Some(connector) = config.connectors.get(sink.connector) else { continue };
        let from = sink.source_topics.join(", ");
        let kind = connector.type_word();
        let _ = writeln!(text, "sink {}: {from} → {} of {} ({kind})", sink.name, sink.topic, connector.name);
        match &connector.kind {
            ConnectorKind::Embedded(log) => {
                for partition in 0..log.partitions {
                    let _ = writeln!(text, "  partition {partition} → shard {}", owner_of(partition, plan.shards).0);
                }
            }
            ConnectorKind::Kafka(_) => {
                let cluster = clusters.iter().find(|cluster| cluster.connector == sink.connector);
                text += &of_kafka(sink, cluster.and_then(|cluster| cluster.metadata.as_ref()), plan);
            }
            ConnectorKind::Discard => {}
        }
    }
    text
}

/// The partitions of a sink's topic, as the cluster says.
fn of_kafka(sink: &Sink, metadata: Option<&Metadata>, plan: &Plan) -> String {
    let Some(metadata) = metadata else {
        return "  partitions are not known: the cluster was not reached\n".to_string();
    };
    if sink.is_topic_live() {
        return "  messages name the topic; its partitions are spread over the shards by its name\n".to_string();
    }
    match metadata.topics.iter().find(|topic| topic.name == sink.topic) {
        Some(topic) if topic.error.is_ok() => of_topic(topic, metadata, plan),
        Some(topic) => format!("  partitions are not known: {}\n", topic.error.why()),
        None => "  partitions are not known: the cluster says nothing of the topic\n".to_string(),
    }
}

fn of_topic(topic: &Topic, metadata: &Metadata, plan: &Plan) -> String {
    let mut partitions: Vec<&Partition> = topic.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.index);
    let mut text = String::new();
    for partition in partitions {
        let shard = owner_of(u32::try_from(partition.index).unwrap_or(0), plan.shards).0;
        let leader = match metadata.brokers.iter().find(|broker| broker.id == partition.leader) {
            Some(broker) => format!("leader {} at {}:{}", broker.id, broker.host, broker.port),
            None => "no leader".to_string(),
        };
        let _ = writeln!(text, "  partition {} → shard {shard}, {leader}", partition.index);
    }
    text
}

//! Metadata, versions 0 to 9: one node, the topics of the log, their partitions.
//!
//! 1: null asks for all topics, an empty list for none (before: empty for all) · 4: may ask for a topic to be made (never
//! done here) · 5: offline replicas · 7: leader epoch · 8: authorized operations · 9: flexible · 10, not here: topic ids.

use std::collections::BTreeSet;

use kafka::primitive::ReadKafka;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::api::{Call, Refusal};
use super::read::nullable_list;
use super::{NODE_ID, code};
use crate::log::{TopicLogs, segment};

/// The cluster's id, for people: clients only compare it.
pub(super) const CLUSTER_ID: &str = "aqueduct-embedded-log";

pub(super) fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let flexible = call.flexible;
    let asked = nullable_list(&mut call.body, flexible, |r| {
        let name = r.string(flexible)?;
        r.skip_tagged(flexible)?;
        Ok(name)
    })?;
    let catalogue = &call.state.catalogue;
    // Each once: a name of a few bytes is answered with all of its partitions.
    let asked = asked.map(BTreeSet::from_iter);
    let topics = match asked {
        Some(names) if call.version > 0 || !names.is_empty() => {
            names.into_iter().map(|name| catalogue.topic(name).map_or_else(|| unknown(name), known)).collect()
        }
        _ => catalogue.topics().iter().map(known).collect(),
    };
    let node = MetadataResponseBroker::default()
        .with_node_id(BrokerId(NODE_ID))
        .with_host(StrBytes::from_string(call.local.ip().to_string()))
        .with_port(i32::from(call.local.port()));
    let response = MetadataResponse::default()
        .with_brokers(vec![node])
        .with_cluster_id(Some(StrBytes::from_static_str(CLUSTER_ID)))
        .with_controller_id(BrokerId(NODE_ID))
        .with_topics(topics);
    call.reply(&response)
}

fn known(topic: &TopicLogs) -> MetadataResponseTopic {
    let node = vec![BrokerId(NODE_ID)];
    let partitions = (0..topic.partitions as i32).map(|index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(NODE_ID))
            .with_leader_epoch(0)
            .with_replica_nodes(node.clone())
            .with_isr_nodes(node.clone())
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
        .with_partitions(partitions.collect())
}

/// A topic there is not; none is made by asking for it.
fn unknown(name: &str) -> MetadataResponseTopic {
    let error = if segment::is_topic_name(name) { code::UNKNOWN_TOPIC_OR_PARTITION } else { code::INVALID_TOPIC };
    MetadataResponseTopic::default()
        .with_error_code(error)
        .with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))))
}

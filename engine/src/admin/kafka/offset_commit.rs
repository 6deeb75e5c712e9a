//! OffsetCommit, versions 2 to 8: how far a group has read. Answered when it is on disk.
//!
//! Before 5: a retention time, not looked at · 6: leader epoch · 7: instance id · 8: flexible · 9, not here: KIP-848.

use kafka::primitive::ReadKafka;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::api::{Call, Refusal};
use super::code;
use super::offsets::{Committed, Positions};
use super::read::list;

/// Kafka's `offset.metadata.max.bytes`.
const METADATA_BYTES_MAX: usize = 4_096;

struct Topic {
    name: String,
    /// Partition and what is wrong with its commit before anyone is asked.
    partitions: Vec<(i32, i16)>,
}

pub(super) async fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let (state, version, flexible, r) = (call.state, call.version, call.flexible, &mut call.body);
    let group = r.string(flexible)?.to_owned();
    let generation = r.i32()?;
    let member_id = r.string(flexible)?.to_owned();
    if version >= 7 {
        r.nullable_string(flexible)?; // instance id
    }
    if version < 5 {
        r.i64()?; // retention time
    }
    let mut positions = Positions::new();
    let topics = list(r, flexible, |r| {
        let name = r.string(flexible)?.to_owned();
        let partitions = list(r, flexible, |r| {
            let index = r.i32()?;
            let offset = r.i64()?;
            if version >= 6 {
                r.i32()?; // leader epoch
            }
            let metadata = r.nullable_string(flexible)?.unwrap_or_default();
            r.skip_tagged(flexible)?;
            if state.log(&name, index).is_none() {
                return Ok((index, code::UNKNOWN_TOPIC_OR_PARTITION));
            }
            if metadata.len() > METADATA_BYTES_MAX {
                return Ok((index, code::OFFSET_METADATA_TOO_LARGE));
            }
            let committed = Committed { offset, metadata: metadata.to_owned() };
            positions.entry(name.clone()).or_default().insert(index, committed);
            Ok((index, code::NONE))
        })?;
        r.skip_tagged(flexible)?;
        Ok(Topic { name, partitions })
    })?;
    let error = state.coordinator.commit(&group, generation, &member_id, positions).await;
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|(index, wrong)| {
            let error = if wrong == code::NONE { error } else { wrong };
            OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(error)
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default()
            .with_name(TopicName(StrBytes::from_string(topic.name)))
            .with_partitions(partitions)
    });
    let topics = topics.collect();
    call.reply(&OffsetCommitResponse::default().with_topics(topics))
}

//! ListOffsets, versions 1 to 6: the ends of a log, or the first record not older than a time.
//!
//! 1: one offset instead of a list · 2: isolation level (there are no transactions here) · 4: leader epochs · 6: flexible ·
//! 7 and later, not here: the record with the latest timestamp, tiered storage.

use std::collections::HashSet;
use std::sync::Arc;

use kafka::primitive::ReadKafka;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::api::{Call, Refusal};
use super::read::list;
use super::{State, code};
use crate::log::{LogId, ReadError};

/// Asks for the end of the log.
const LATEST: i64 = -1;
/// Asks for its start.
const EARLIEST: i64 = -2;

struct Topic {
    name: String,
    partitions: Vec<Partition>,
}

struct Partition {
    index: i32,
    leader_epoch: i32,
    timestamp_ms: i64,
}

pub(super) async fn answer(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let topics = read(call)?;
    let (state, has_epochs) = (Arc::clone(call.state), call.version >= 4);
    // Finding a time may walk a segment: not on the thread of all other clients.
    let work = move || {
        let mut seen = HashSet::new();
        topics.into_iter().map(|topic| look_up(&state, topic, has_epochs, &mut seen)).collect()
    };
    let topics = tokio::task::spawn_blocking(work).await.unwrap_or_default();
    call.reply(&ListOffsetsResponse::default().with_topics(topics))
}

fn read(call: &mut Call<'_>) -> Result<Vec<Topic>, Refusal> {
    let (version, flexible, r) = (call.version, call.flexible, &mut call.body);
    r.i32()?; // replica id: a consumer
    if version >= 2 {
        r.i8()?; // isolation level
    }
    Ok(list(r, flexible, |r| {
        let name = r.string(flexible)?.to_owned();
        let partitions = list(r, flexible, |r| {
            let index = r.i32()?;
            let leader_epoch = if version >= 4 { r.i32()? } else { -1 };
            let timestamp_ms = r.i64()?;
            r.skip_tagged(flexible)?;
            Ok(Partition { index, leader_epoch, timestamp_ms })
        })?;
        r.skip_tagged(flexible)?;
        Ok(Topic { name, partitions })
    })?)
}

/// Answers for one topic. A partition that was `seen` before is an error, as it is in Kafka: a look costs more than a few bytes.
fn look_up(state: &State, topic: Topic, has_epochs: bool, seen: &mut HashSet<LogId>) -> ListOffsetsTopicResponse {
    let partitions = topic.partitions.iter().map(|asked| {
        let answer = ListOffsetsPartitionResponse::default().with_partition_index(asked.index);
        match find(state, &topic.name, asked, seen) {
            Ok((timestamp_ms, offset)) => {
                let answer = answer.with_timestamp(timestamp_ms).with_offset(offset);
                // Without a record there is no epoch either.
                if has_epochs && offset >= 0 { answer.with_leader_epoch(0) } else { answer }
            }
            Err(error) => answer.with_error_code(error).with_timestamp(-1).with_offset(-1),
        }
    });
    let partitions = partitions.collect();
    ListOffsetsTopicResponse::default()
        .with_name(TopicName(StrBytes::from_string(topic.name)))
        .with_partitions(partitions)
}

/// Timestamp and offset, each -1 where there is none.
fn find(state: &State, topic: &str, asked: &Partition, seen: &mut HashSet<LogId>) -> Result<(i64, i64), i16> {
    let log = state.log(topic, asked.index).ok_or(code::UNKNOWN_TOPIC_OR_PARTITION)?;
    if !seen.insert(log) {
        return Err(code::INVALID_REQUEST);
    }
    if asked.leader_epoch > 0 {
        return Err(code::UNKNOWN_LEADER_EPOCH);
    }
    let ends = &state.catalogue.place(log).ends;
    match asked.timestamp_ms {
        LATEST => Ok((-1, ends.end())),
        EARLIEST => Ok((-1, ends.log_start())),
        timestamp_ms if timestamp_ms < 0 => Err(code::INVALID_REQUEST),
        timestamp_ms => match state.reader(log).find_time(timestamp_ms) {
            Ok(found) => Ok(found.map_or((-1, -1), |(offset, at_ms)| (at_ms, offset))),
            Err(ReadError::OutOfRange) => Ok((-1, -1)),
            Err(ReadError::Io(error)) => {
                tracing::warn!("cannot read the log of {topic}-{}: {error}", asked.index);
                Err(code::KAFKA_STORAGE_ERROR)
            }
        },
    }
}

//! Fetch, versions 4 to 12: batches from an offset on; where there are too few yet, the answer waits for more.
//!
//! 5: log start · 7: fetch sessions, which are declined (session id 0 means that every request names all its partitions) ·
//! 9: leader epoch of the client · 11: rack · 12: flexible, last fetched epoch · 13, not here: topic ids.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka::primitive::ReadKafka;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::api::{Answer, Call, Refusal};
use super::read::{each, list};
use super::{State, code};
use crate::log::{LogId, ReadError};

/// An answer is no longer than this, whatever the client allows, unless its first batch is.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The longest a client may wait for records.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A client that waits for more than one byte is not looked after at every append: appends may come a thousand times a
/// second, and each look reads what is there.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

struct Request {
    wait: Duration,
    bytes_min: usize,
    bytes_max: usize,
    read_committed: bool,
    session_id: i32,
    session_epoch: i32,
    topics: Vec<Topic>,
}

struct Topic {
    name: String,
    partitions: Vec<Partition>,
}

struct Partition {
    index: i32,
    /// `None` where there is no such partition.
    log: Option<LogId>,
    leader_epoch: i32,
    offset: i64,
    bytes_max: usize,
}

pub(super) async fn answer(call: &mut Call<'_>) -> Result<Answer, Refusal> {
    let request = Arc::new(read(call)?);
    let refused = match (request.session_id, request.session_epoch) {
        // A session is declined by giving it the id 0; one the client believes in cannot be ours.
        (0, -1 | 0) => None,
        (0, _) => Some(code::INVALID_FETCH_SESSION_EPOCH),
        _ => Some(code::FETCH_SESSION_ID_NOT_FOUND),
    };
    if let Some(error) = refused {
        return Ok(call.reply(&FetchResponse::default().with_error_code(error))?.into());
    }
    let (topics, room) = poll(call.state, &request).await;
    Ok(Answer { frame: call.reply(&FetchResponse::default().with_responses(topics))?, room })
}

/// Reads until there is enough, something is wrong, or time is up.
async fn poll(
    state: &Arc<State>,
    request: &Arc<Request>,
) -> (Vec<FetchableTopicResponse>, Option<OwnedSemaphorePermit>) {
    let room_kib = (request.bytes_wanted() >> 10) as u32 + 1;
    let until = Instant::now() + request.wait;
    loop {
        let grown = state.catalogue.grown().notified();
        tokio::pin!(grown);
        // From here on no append goes unnoticed.
        grown.as_mut().enable();
        let last_look = request.bytes_min == 0 || Instant::now() >= until;
        if last_look || request.has_something(state) {
            // Waiting for records occupies nothing, reading them does.
            let room = Arc::clone(&state.answers).acquire_many_owned(room_kib).await.ok();
            let (state, request) = (Arc::clone(state), Arc::clone(request));
            let bytes_min = request.bytes_min;
            let look = tokio::task::spawn_blocking(move || request.look(&state)).await.unwrap_or_default();
            if last_look || look.bytes >= bytes_min || look.wrong {
                return (look.topics, room);
            }
        }
        if tokio::time::timeout_at(until, grown).await.is_ok() && request.bytes_min > 1 {
            tokio::time::sleep_until(until.min(Instant::now() + LOOK_AGAIN)).await;
        }
    }
}

/// What one look at the logs found.
#[derive(Default)]
struct Look {
    topics: Vec<FetchableTopicResponse>,
    bytes: usize,
    /// A partition has an error, which the client wants to know at once.
    wrong: bool,
}

impl Request {
    /// An upper bound of the answer's records.
    fn bytes_wanted(&self) -> usize {
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.fold(0usize, |sum, partition| sum.saturating_add(partition.bytes_max)).min(self.bytes_max)
    }

    /// Whether a look is worth its while: a partition has records, or an error.
    fn has_something(&self, state: &State) -> bool {
        self.topics.iter().flat_map(|topic| &topic.partitions).any(|partition| {
            partition.log.is_none_or(|log| {
                let ends = &state.catalogue.place(log).ends;
                ends.end() > partition.offset || !ends.contains(partition.offset)
            })
        })
    }

    fn look(&self, state: &State) -> Look {
        let mut look = Look::default();
        for topic in &self.topics {
            let partitions = topic.partitions.iter().map(|partition| self.partition(state, partition, &mut look));
            let partitions = partitions.collect();
            let name = TopicName(StrBytes::from_string(topic.name.clone()));
            look.topics.push(FetchableTopicResponse::default().with_topic(name).with_partitions(partitions));
        }
        look
    }

    fn partition(&self, state: &State, asked: &Partition, look: &mut Look) -> PartitionData {
        let data = PartitionData::default().with_partition_index(asked.index).with_records(Some(Bytes::new()));
        let failed =
            |data: PartitionData, error| data.with_error_code(error).with_high_watermark(-1).with_log_start_offset(-1);
        let Some(log) = asked.log else {
            look.wrong = true;
            return failed(data, code::UNKNOWN_TOPIC_OR_PARTITION);
        };
        if asked.leader_epoch > 0 {
            look.wrong = true;
            return failed(data, code::UNKNOWN_LEADER_EPOCH);
        }
        let mut records = Vec::new();
        let room = asked.bytes_max.min(self.bytes_max.saturating_sub(look.bytes));
        let result = state.reader(log).read(asked.offset, room, look.bytes == 0, &mut records);
        look.bytes += records.len();
        let ends = &state.catalogue.place(log).ends;
        // One who has read what is damaged now stands above the end, and is told to have come to it: clients neither expect
        // to be ahead of it nor take that for the end.
        let end = ends.end().max(asked.offset);
        let data = data
            .with_high_watermark(end)
            .with_last_stable_offset(end)
            .with_log_start_offset(ends.log_start())
            .with_aborted_transactions(self.read_committed.then(Vec::new));
        look.wrong |= result.is_err();
        match result {
            Ok(()) => data.with_records(Some(records.into())),
            Err(ReadError::OutOfRange) => failed(data, code::OFFSET_OUT_OF_RANGE),
            Err(ReadError::Io(error)) => {
                tracing::warn!("cannot read the log {}: {error}", state.catalogue.place(log).dir.display());
                failed(data, code::KAFKA_STORAGE_ERROR)
            }
        }
    }
}

fn read(call: &mut Call<'_>) -> Result<Request, Refusal> {
    let (state, version, flexible, r) = (call.state, call.version, call.flexible, &mut call.body);
    r.i32()?; // replica id: a consumer
    let wait = Duration::from_millis(u64::try_from(r.i32()?).unwrap_or(0)).min(WAIT_MAX);
    let bytes_min = usize::try_from(r.i32()?).unwrap_or(0).min(ANSWER_BYTES_MAX);
    let bytes_max = usize::try_from(r.i32()?).unwrap_or(0).min(ANSWER_BYTES_MAX);
    let read_committed = r.i8()? == 1;
    let (session_id, session_epoch) = if version >= 7 { (r.i32()?, r.i32()?) } else { (0, -1) };
    let mut seen = HashSet::new();
    let topics = list(r, flexible, |r| {
        let name = r.string(flexible)?.to_owned();
        let mut partitions = list(r, flexible, |r| {
            let index = r.i32()?;
            let leader_epoch = if version >= 9 { r.i32()? } else { -1 };
            let offset = r.i64()?;
            if version >= 12 {
                r.i32()?; // last fetched epoch: there is only one
            }
            if version >= 5 {
                r.i64()?; // log start offset of a follower
            }
            let bytes_max = usize::try_from(r.i32()?).unwrap_or(0);
            r.skip_tagged(flexible)?;
            Ok(Partition { index, log: state.log(&name, index), leader_epoch, offset, bytes_max })
        })?;
        r.skip_tagged(flexible)?;
        // Each once, as Kafka does: every mention would be read anew.
        partitions.retain(|partition: &Partition| partition.log.is_none_or(|log| seen.insert(log)));
        Ok(Topic { name, partitions })
    })?;
    if version >= 7 {
        each(r, flexible, |r| {
            r.string(flexible)?; // a topic to forget, of a session there is not
            each(r, flexible, |r| r.i32().map(drop).map_err(Into::into))?;
            r.skip_tagged(flexible)
        })?;
    }
    Ok(Request { wait, bytes_min, bytes_max, read_committed, session_id, session_epoch, topics })
}

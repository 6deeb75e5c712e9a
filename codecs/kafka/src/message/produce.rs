//! Produce (API 0): sealed batches to the partitions that this broker leads. Written by hand: it is the data path.
//!
//! ```text
//! request   transactional id (null), i16 acks, i32 timeout, topics:
//!             name, partitions: i32 index, batch with its length (plain: i32; flexible: uvarint length + 1)
//! response  topics:
//!             name, partitions: i32 index, i16 error, i64 base offset, i64 log append time,
//!               v5 i64 log start offset, v8 errors of records: i32 index in the batch, message; message
//!           i32 throttle
//! ```
//!
//! | version | Kafka | change |
//! |---|---|---|
//! | 3 | 0.11 | record batch v2 (transactional id) |
//! | 4 | 1.0 | KAFKA_STORAGE_ERROR possible |
//! | 5 | 1.0 | log start offset |
//! | 6 | 2.0 | throttled responses are sent at once |
//! | 7 | 2.1 | zstd |
//! | 8 | 2.4 | which records were at fault (KIP-467) |
//! | 9 | 2.8 | flexible |
//! | 10 | 3.7 | the new leader as a tagged field (KIP-951) |
//! | 11, 12 | 3.8, 4.0 | only for transactions |
//! | 13 | 4.1 | topic ids instead of names: not spoken here |
//!
//! Batches stay where they are: [`encode_head`] writes everything around them and says where they belong, and the driver
//! gives head and batches to the kernel as one list.

use super::{ApiKey, begin_request, end_frame};
use crate::primitive::{ReadKafka, WriteKafka};
use crate::{Error, ErrorCode};
use wire::{Reader, Writer};

/// One partition of a request: its index and how long its sealed batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionData {
    /// Index within the topic.
    pub partition: i32,
    /// Bytes of the batch.
    pub batch_len: u32,
}

/// The field `acks`: what must have happened before the broker answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Acks {
    /// Every in-sync replica has the batch.
    AllIsr = -1,
    /// Nothing: the broker never answers this request.
    None = 0,
    /// The leader has the batch.
    LeaderOnly = 1,
}

/// Writes the request around its batches. `head` and `cuts` are cleared first. On the wire follow
/// `head[..cuts[0]]`, the first batch, `head[cuts[0]..cuts[1]]`, the second batch, …, `head[cuts[last]..]` (which may be
/// empty), with batches in the order of `topics` and their partitions; the length in front covers them all.
/// Returns the bytes of the whole frame, its length field and the batches included.
///
/// # Panics
/// If names or batches are longer than the wire can say (32 KiB, 2 GiB): limits of the caller.
#[allow(clippy::too_many_arguments, reason = "one for each field of the request")]
pub fn encode_head<'t>(
    version: i16,
    correlation_id: i32,
    client_id: &str,
    acks: Acks,
    timeout_ms: i32,
    topics: impl Iterator<Item = (&'t str, &'t [PartitionData])> + Clone,
    head: &mut Vec<u8>,
    cuts: &mut Vec<u32>,
) -> usize {
    debug_assert!((ApiKey::Produce.api().version_min..=ApiKey::Produce.api().version_max).contains(&version));
    let flexible = ApiKey::Produce.is_flexible(version);
    cuts.clear();
    begin_request(head, ApiKey::Produce, version, correlation_id, client_id);
    head.put_nullable_string(None, flexible);
    head.put_i16(acks as i16);
    head.put_i32(timeout_ms);
    head.put_count(topics.clone().count(), flexible);
    let mut batch_bytes = 0;
    for (topic, partitions) in topics {
        head.put_string(topic, flexible);
        head.put_count(partitions.len(), flexible);
        for data in partitions {
            head.put_i32(data.partition);
            // Bytes count as an array does.
            head.put_count(data.batch_len as usize, flexible);
            cuts.push(head.len() as u32);
            batch_bytes += data.batch_len as usize;
            head.put_no_tags(flexible);
        }
        head.put_no_tags(flexible);
    }
    head.put_no_tags(flexible);
    end_frame(head, batch_bytes);
    head.len() + batch_bytes
}

/// The answer for one partition.
#[derive(Debug, Clone, Copy)]
pub struct PartitionResult<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Index within the topic.
    pub partition: i32,
    /// What became of the batch.
    pub error_code: ErrorCode,
    /// Offset of the first record, -1 with most errors.
    pub base_offset: i64,
    /// When the broker stored it, in ms since 1970; -1 where the topic keeps the producer's timestamps.
    pub log_append_time_ms: i64,
    /// First offset the partition still has; -1 where the version (before 5) does not say.
    pub log_start_offset: i64,
    /// Which records made the broker refuse the batch; from version 8, and often empty even then.
    pub record_errors: RecordErrors<'a>,
    /// The broker's own words; from version 8.
    pub error_message: Option<&'a str>,
    /// Who leads the partition now, where the error is about that; from version 10.
    pub current_leader: Option<CurrentLeader>,
}

/// The leader a broker names instead of itself (KIP-951).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentLeader {
    /// Broker id, -1 if unknown.
    pub id: i32,
    /// Its epoch, -1 if unknown.
    pub epoch: i32,
}

/// A whole response, already walked once: iterating it cannot fail.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    /// How long the broker asks us to stay quiet, in ms.
    pub throttle_time_ms: i32,
    walk: Walk<'a>,
}

impl<'a> Response<'a> {
    /// The answers, in the broker's order.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionResult<'a>> + use<'a> {
        self.walk.map_while(Result::ok)
    }
}

/// Reads the body of a response. All of it is checked before anything is returned, so that no outcome is acted upon from
/// a response whose end turns out to be damaged. Allocates nothing.
pub fn decode_response(version: i16, body: &[u8]) -> Result<Response<'_>, Error> {
    let flexible = ApiKey::Produce.is_flexible(version);
    let mut end = Reader::new(body);
    let topics = end.count(flexible, 3)?;
    let walk = Walk { version, flexible, rest: end, topics, topic: "", partitions: 0, in_topic: false };
    let mut ahead = walk;
    for result in ahead.by_ref() {
        result?;
    }
    end = ahead.rest;
    let throttle_time_ms = end.i32()?;
    end.skip_tagged(flexible)?;
    if end.is_empty() {
        Ok(Response { throttle_time_ms, walk })
    } else {
        Err(Error::Malformed("produce response: bytes after its end"))
    }
}

/// The two nested arrays as one iterator.
#[derive(Debug, Clone, Copy)]
struct Walk<'a> {
    version: i16,
    flexible: bool,
    rest: Reader<'a>,
    /// Topics not begun.
    topics: usize,
    topic: &'a str,
    /// Partitions of `topic` not read.
    partitions: usize,
    /// Whether the end of `topic` (its tags) is still to be read.
    in_topic: bool,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<PartitionResult<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step().transpose();
        if matches!(item, Some(Err(_))) {
            (self.topics, self.partitions, self.in_topic) = (0, 0, false);
        }
        item
    }
}

impl<'a> Walk<'a> {
    fn step(&mut self) -> Result<Option<PartitionResult<'a>>, Error> {
        while self.partitions == 0 {
            if std::mem::take(&mut self.in_topic) {
                self.rest.skip_tagged(self.flexible)?;
            }
            let Some(topics) = self.topics.checked_sub(1) else { return Ok(None) };
            self.topics = topics;
            self.topic = self.rest.string(self.flexible)?;
            self.partitions = self.rest.count(self.flexible, 22)?;
            self.in_topic = true;
        }
        self.partitions -= 1;
        self.partition().map(Some)
    }

    fn partition(&mut self) -> Result<PartitionResult<'a>, Error> {
        let (version, flexible) = (self.version, self.flexible);
        let r = &mut self.rest;
        let mut result = PartitionResult {
            topic: self.topic,
            partition: r.i32()?,
            error_code: ErrorCode::from(r.i16()?),
            base_offset: r.i64()?,
            log_append_time_ms: r.i64()?,
            log_start_offset: if version >= 5 { r.i64()? } else { -1 },
            record_errors: if version >= 8 { RecordErrors::check(r, flexible)? } else { RecordErrors::none() },
            error_message: if version >= 8 { r.nullable_string(flexible)? } else { None },
            current_leader: None,
        };
        r.tagged(flexible, &mut |tag, field| {
            if tag == 0 && version >= 10 {
                let leader = &mut Reader::new(field);
                result.current_leader = Some(CurrentLeader { id: leader.i32()?, epoch: leader.i32()? });
            }
            Ok(())
        })?;
        Ok(result)
    }
}

/// One record that made the broker refuse its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordError<'a> {
    /// Its place in the batch, from 0.
    pub batch_index: i32,
    /// Why.
    pub message: Option<&'a str>,
}

/// The records at fault; checked when the response was decoded.
#[derive(Debug, Clone, Copy)]
pub struct RecordErrors<'a> {
    left: usize,
    flexible: bool,
    rest: Reader<'a>,
}

impl<'a> RecordErrors<'a> {
    fn none() -> Self {
        Self { left: 0, flexible: false, rest: Reader::new(&[]) }
    }

    fn check(r: &mut Reader<'a>, flexible: bool) -> Result<Self, Error> {
        let left = r.count(flexible, 5)?;
        let errors = Self { left, flexible, rest: *r };
        for _ in 0..left {
            read_record_error(r, flexible)?;
        }
        Ok(errors)
    }
}

impl<'a> Iterator for RecordErrors<'a> {
    type Item = RecordError<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        read_record_error(&mut self.rest, self.flexible).ok()
    }
}

fn read_record_error<'a>(r: &mut Reader<'a>, flexible: bool) -> Result<RecordError<'a>, Error> {
    let error = RecordError { batch_index: r.i32()?, message: r.nullable_string(flexible)? };
    r.skip_tagged(flexible)?;
    Ok(error)
}

#[cfg(test)]
mod tests;

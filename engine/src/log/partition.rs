//! One partition's log as a pure machine: which offsets a batch gets, which segment and byte it goes to, what retention
//! deletes. Bytes move by [`DiskOp`]s that the writer thread carries out.
//!
//! At most one append of a log is with the writer. What arrives meanwhile waits and goes out together, so the group that
//! shares an `fdatasync` grows by itself as the disk gets slower.
//!
//! ```text
//! durable <= next_offset, and while an append is out: end of that append = next_offset + its records
//! segments ascend; only the last one grows; a segment ends where the next one begins
//! ```
//!
//! After a failed append the segment is dead: what was written to it is in doubt, and a later sync that succeeds proves
//! nothing. Its batches fail, and the next append begins a fresh segment at the same offset. So the doubtful bytes lie at
//! or above the base offset of a later segment, where neither readers nor recovery look.

use std::collections::VecDeque;

use kafka::record_batch::{self, Span, Stamp};

use super::scan::Mark;
use super::{DiskError, DiskOp, LogId};
use crate::buffer::Batch;
use crate::clock::{self, Mono, Now};

/// How long appends stay away from a disk that has just failed one. Short enough that a disk with space again is used
/// within a second, long enough that a full one is not hammered once a round.
const RETRY_MS: u64 = 500;

/// How often age is looked at. A tenth of the retention time where that is shorter, so that small values behave.
const AGE_CHECK_MS: u64 = 60_000;

/// Kafka's index counts offsets in a segment with 31 bits, and its tools refuse a segment that spans more.
const SEGMENT_OFFSETS_MAX: i64 = i32::MAX as i64;

/// The limits of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// A segment grows no longer than this, unless a single batch is longer.
    pub segment_bytes: u64,
    /// The oldest segments go while the others still hold as much as this.
    pub retention_bytes: u64,
    /// A segment goes when its last append is older than this, milliseconds.
    pub retention_ms: u64,
}

/// A segment as the log knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Offset of its first record, and its name.
    pub base_offset: i64,
    /// Bytes of it that are durable.
    pub bytes: u64,
    /// Wall clock at its first append, as far as it is known, milliseconds since 1970.
    pub opened_ms: i64,
    /// Wall clock at its last append, milliseconds since 1970. Not the records' own time: a device whose clock stands
    /// in 1970 would have its records deleted at once.
    pub touched_ms: i64,
}

/// A log as recovery found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Which log.
    pub log: LogId,
    /// What its batches bear.
    pub mark: Mark,
    /// Its limits.
    pub limits: LogLimits,
    /// Its segments, ascending.
    pub segments: Vec<Segment>,
    /// Offset of the next record.
    pub next_offset: i64,
}

/// The append that is with the writer.
#[derive(Debug)]
struct Append {
    segment: i64,
    at: u64,
    end_offset: i64,
    bytes: u64,
}

/// One partition's log.
#[derive(Debug)]
pub struct PartitionLog {
    log: LogId,
    mark: Mark,
    limits: LogLimits,
    segments: VecDeque<Segment>,
    next_offset: i64,
    /// The newest segment is dead.
    fresh_segment: bool,
    waiting: VecDeque<Box<Batch>>,
    append: Option<Append>,
    /// No append before this, after a failed one.
    retry_at: Mono,
    /// The segment whose deletion is with the writer.
    deleting: Option<i64>,
    /// When retention is looked at again.
    check_at: Mono,
}

impl PartitionLog {
    /// The log as recovery found it.
    pub fn new(found: Recovered) -> Self {
        assert!(found.segments.is_sorted_by(|a, b| a.base_offset < b.base_offset), "segments ascend");
        assert!(found.segments.last().is_none_or(|last| last.base_offset <= found.next_offset), "the end is the end");
        Self {
            log: found.log,
            mark: found.mark,
            limits: found.limits,
            segments: found.segments.into(),
            next_offset: found.next_offset,
            fresh_segment: false,
            waiting: VecDeque::new(),
            append: None,
            retry_at: Mono::default(),
            deleting: None,
            check_at: Mono::default(),
        }
    }

    /// Offset of the next record after those that are durable.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Whether batches wait or an append is with the writer.
    pub fn is_busy(&self) -> bool {
        self.append.is_some() || !self.waiting.is_empty()
    }

    /// The batches that wait.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Batch> {
        self.waiting.iter().map(|batch| &**batch)
    }

    /// Queues a filled batch.
    pub fn push(&mut self, batch: Box<Batch>) {
        assert!(batch.records > 0, "an empty batch is never handed over");
        self.waiting.push_back(batch);
    }

    /// The next append, if one may go out: stamped batches from the queue, as many as the segment takes.
    pub fn poll_append(&mut self, now: Now) -> Option<DiskOp> {
        if self.append.is_some() || now.mono < self.retry_at {
            return None;
        }
        let first_bytes = self.waiting.front()?.bytes.len() as u64;
        let (segment, at) = self.place(now, first_bytes);
        let mut batches = Vec::with_capacity(self.waiting.len());
        let (mut bytes, mut end_offset) = (0, self.next_offset);
        while let Some(batch) = self.waiting.front() {
            let more = batch.bytes.len() as u64;
            if bytes > 0 && at + bytes + more > self.limits.segment_bytes {
                break;
            }
            let Some(mut batch) = self.waiting.pop_front() else { break };
            stamp(&mut batch, end_offset, self.mark);
            bytes += more;
            end_offset += i64::from(batch.records);
            batches.push(batch);
        }
        self.append = Some(Append { segment, at, end_offset, bytes });
        Some(DiskOp::Append { log: self.log, segment, at, end_offset, batches })
    }

    /// Where an append goes whose first batch has `bytes` bytes: the newest segment, or a new one.
    fn place(&mut self, now: Now, bytes: u64) -> (i64, u64) {
        if let Some(newest) = self.segments.back() {
            let full = newest.bytes > 0 && newest.bytes + bytes > self.limits.segment_bytes;
            let spans = self.next_offset - newest.base_offset >= SEGMENT_OFFSETS_MAX;
            // A trickle never fills a segment; without this it would hold records long after their time.
            let aged = newest.bytes > 0 && age_ms(newest.opened_ms, now) > self.limits.retention_ms;
            if !(full || spans || aged || self.fresh_segment) {
                return (newest.base_offset, newest.bytes);
            }
        }
        // A segment that never held anything has the name of the one to come, and is replaced by it.
        self.segments.pop_back_if(|newest| newest.base_offset == self.next_offset);
        self.fresh_segment = false;
        let (base_offset, wall_ms) = (self.next_offset, now.wall_ms);
        self.segments.push_back(Segment { base_offset, bytes: 0, opened_ms: wall_ms, touched_ms: wall_ms });
        (base_offset, 0)
    }

    /// The word of the disk on the append. `Ok` gives the offset of its first record.
    pub fn on_appended(&mut self, now: Now, segment: i64, result: &Result<(), DiskError>) -> Option<i64> {
        let append = self.append.take().expect("an answer follows its append");
        assert!(append.segment == segment, "an answer names the segment of its append");
        let newest = self.segments.back_mut().expect("an append has a segment");
        if result.is_err() {
            self.fresh_segment = true;
            self.retry_at = now.mono.plus_ms(RETRY_MS);
            return None;
        }
        if append.at == 0 {
            newest.opened_ms = now.wall_ms;
            // A segment was finished: there may be one too many.
            self.check_at = now.mono;
        }
        newest.bytes = append.at + append.bytes;
        newest.touched_ms = now.wall_ms;
        Some(std::mem::replace(&mut self.next_offset, append.end_offset))
    }

    /// The next deletion, if retention asks for one. The newest segment is never deleted.
    pub fn poll_delete(&mut self, now: Now) -> Option<DiskOp> {
        if self.deleting.is_some() || now.mono < self.check_at {
            return None;
        }
        let oldest = *self.segments.front()?;
        let others_bytes: u64 = self.segments.iter().skip(1).map(|segment| segment.bytes).sum();
        let too_many = others_bytes >= self.limits.retention_bytes;
        let too_old = age_ms(oldest.touched_ms, now) > self.limits.retention_ms;
        if self.segments.len() < 2 || !(too_many || too_old) {
            self.check_at = now.mono.plus_ms(self.check_interval_ms());
            return None;
        }
        self.deleting = Some(oldest.base_offset);
        Some(DiskOp::Delete { log: self.log, segment: oldest.base_offset })
    }

    /// The word of the disk on a deletion. One that failed is tried again at the next check.
    pub fn on_deleted(&mut self, now: Now, segment: i64, result: &Result<(), DiskError>) {
        assert!(self.deleting.take() == Some(segment), "an answer follows its deletion");
        match result {
            Ok(()) => {
                self.segments.pop_front_if(|oldest| oldest.base_offset == segment);
                self.check_at = now.mono;
            }
            Err(_) => self.check_at = now.mono.plus_ms(self.check_interval_ms()),
        }
    }

    /// When to ask again, if nothing else happens.
    pub fn deadline(&self) -> Option<Mono> {
        let retry = (self.append.is_none() && !self.waiting.is_empty()).then_some(self.retry_at);
        // A log of one segment has nothing to delete, however old.
        let check = (self.deleting.is_none() && self.segments.len() > 1).then_some(self.check_at);
        clock::earliest([retry, check])
    }

    fn check_interval_ms(&self) -> u64 {
        (self.limits.retention_ms / 10).clamp(1_000, AGE_CHECK_MS)
    }
}

fn age_ms(since_ms: i64, now: Now) -> u64 {
    u64::try_from(now.wall_ms.saturating_sub(since_ms)).unwrap_or(0)
}

/// Fills the header gap: offsets of this log, no producer, our mark.
fn stamp(batch: &mut Batch, base_offset: i64, mark: Mark) {
    let span = Span {
        base_timestamp_ms: batch.base_timestamp_ms,
        max_timestamp_ms: batch.max_timestamp_ms,
        records: batch.records,
    };
    let compression = batch.packed.unwrap_or_default();
    record_batch::seal(&mut batch.bytes, &Stamp { base_sequence: mark.0, compression, ..Stamp::plain(&span) });
    record_batch::set_base_offset(&mut batch.bytes, base_offset, 0);
}

#[cfg(test)]
mod tests;

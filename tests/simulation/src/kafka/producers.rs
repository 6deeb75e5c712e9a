//! What one copy of a partition remembers of its producers: the rules of `ProducerAppendInfo` and `ProducerStateEntry` of
//! Kafka 4.1, without transactions.
//!
//! ```text
//! not known                       any epoch, any first sequence   (before 2.4: only sequence 0, if so planned)
//! older epoch                     INVALID_PRODUCER_EPOCH
//! newer epoch                     begins at sequence 0, else OUT_OF_ORDER_SEQUENCE_NUMBER; what was remembered goes
//! same epoch, one of the last 5   stored already: first and last sequence must both be the same      (before 1.0: only the last)
//! same epoch                      follows the last one, else OUT_OF_ORDER_SEQUENCE_NUMBER
//! ```
//!
//! After 2^31-1 comes sequence 0. What is known follows the log: a follower learns it from what it copies.

use super::batch::Batch;
use super::faults::code;

/// Batches remembered of a producer at most (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub(super) const REMEMBERED: usize = 5;

/// How brokers judge, by their age.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Who is not known begins at 0, as before Kafka 2.4.
    pub(super) strict: bool,
    /// Batches of a producer that are recognised when they come again: one before Kafka 1.0 (KAFKA-5494).
    pub(super) remembered: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    first: i32,
    last: i32,
    offset: i64,
}

#[derive(Debug, Clone)]
struct Producer {
    id: i64,
    epoch: i16,
    /// Oldest first.
    seen: [Seen; REMEMBERED],
    seen_count: usize,
    last_timestamp_ms: i64,
}

/// Whether a batch may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may.
    Append,
    /// It lies in the log, from this offset on.
    Stored(i64),
    /// It may not.
    Refused(i16),
}

/// The producers that one copy of a partition knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Producers(Vec<Producer>);

impl Producers {
    /// Judges a batch that a client sends.
    pub(super) fn judge(&self, batch: &Batch, Rules { strict, remembered }: Rules) -> Verdict {
        if batch.producer_id < 0 {
            return Verdict::Append;
        }
        let (first, last) = (batch.base_sequence, last_sequence(batch.base_sequence, batch.records));
        let Some(known) = self.0.iter().rev().find(|producer| producer.id == batch.producer_id) else {
            let refused = strict && first != 0;
            return if refused { Verdict::Refused(code::UNKNOWN_PRODUCER_ID) } else { Verdict::Append };
        };
        let seen = &known.seen[..known.seen_count];
        if batch.producer_epoch == known.epoch
            && let Some(twin) = seen.iter().rev().take(remembered).find(|seen| (seen.first, seen.last) == (first, last))
        {
            return Verdict::Stored(twin.offset);
        }
        if batch.producer_epoch < known.epoch {
            return Verdict::Refused(code::INVALID_PRODUCER_EPOCH);
        }
        let expected = match seen.last() {
            Some(newest) if batch.producer_epoch == known.epoch => last_sequence(newest.last, 2),
            _ => 0,
        };
        if first == expected { Verdict::Append } else { Verdict::Refused(code::OUT_OF_ORDER_SEQUENCE_NUMBER) }
    }

    /// The sequence that follows what is known of a producer in this epoch; `None` if nothing is.
    pub(super) fn expects(&self, producer_id: i64, epoch: i16) -> Option<i32> {
        let known = self.0.iter().rev().find(|producer| producer.id == producer_id && producer.epoch == epoch)?;
        let newest = known.seen[..known.seen_count].last()?;
        Some(last_sequence(newest.last, 2))
    }

    /// A batch has been appended at `offset`.
    pub(super) fn appended(&mut self, batch: &Batch, offset: i64) {
        if batch.producer_id < 0 {
            return;
        }
        let at = self.0.iter().rposition(|producer| producer.id == batch.producer_id).unwrap_or_else(|| {
            self.0.push(Producer {
                id: batch.producer_id,
                epoch: batch.producer_epoch,
                seen: [Seen::default(); REMEMBERED],
                seen_count: 0,
                last_timestamp_ms: 0,
            });
            self.0.len() - 1
        });
        let known = &mut self.0[at];
        if known.epoch != batch.producer_epoch {
            (known.epoch, known.seen_count) = (batch.producer_epoch, 0);
        }
        if known.seen_count == REMEMBERED {
            known.seen.rotate_left(1);
            known.seen_count -= 1;
        }
        let first = batch.base_sequence;
        known.seen[known.seen_count] = Seen { first, last: last_sequence(first, batch.records), offset };
        known.seen_count += 1;
        known.last_timestamp_ms = batch.max_timestamp_ms;
    }

    /// Forgets all of them; their ids and epochs.
    pub(super) fn forget(&mut self) -> impl Iterator<Item = (i64, i16)> {
        self.0.drain(..).map(|producer| (producer.id, producer.epoch))
    }

    /// Forgets those whose last record is older than `expiry_ms`; their ids and epochs.
    pub(super) fn expire(&mut self, wall_ms: i64, expiry_ms: i64) -> impl Iterator<Item = (i64, i16)> {
        let old = self.0.extract_if(.., move |producer| wall_ms - producer.last_timestamp_ms >= expiry_ms);
        old.map(|producer| (producer.id, producer.epoch))
    }
}

/// The sequence of the last of `records` that begin at `first`; after 2^31-1 comes 0.
fn last_sequence(first: i32, records: u32) -> i32 {
    let last = i64::from(first) + i64::from(records) - 1;
    if last > i64::from(i32::MAX) { (last - i64::from(i32::MAX) - 1) as i32 } else { last as i32 }
}

#[cfg(test)]
mod tests;

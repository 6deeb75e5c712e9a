//! Records that can never be written go to the sink that `dead_letter` names, and their tickets with them.
//!
//! ```text
//! outcome: too large, denied, invalid, no such topic
//!   record ─ accumulator of the dead-letter sink ─ its own way to Kafka
//!   ticket ─ waits on there: success is the publisher's success, failure is told as the first failure
//! ```
//!
//! Key, value and headers stay, and headers are added that say why, and where the record belonged. Its time is now, because
//! the time of the record may be what was refused; that stands in a header too. Its partition follows from the key.
//!
//! A batch of failed records gives its charge to the records that are copied out of it. Where that is not enough it waits
//! here, until there is room, or until the dead-letter sink has nothing under way, for then nobody else would make room.
//!
//! What lay on disk for its sink stays there until the dead-letter sink has it, on a disk or in Kafka: a crash in between has the
//! records sent again, and whoever refused them may have changed his mind.

use std::collections::VecDeque;

use kafka::record_batch::{self, HEADER_LEN, HeaderBlock, RawHeaders, RecordHeader, Records};

use super::Shard;
use crate::buffer::{Batch, PartKey};
use crate::clock::Now;
use crate::session::tickets::Verdict;
use crate::sink::accumulator::{At, Record, Room};
use crate::sink::partitioning::Choice;
use crate::ticket::{FailReason, Lane, Outcome, Run};

/// Names of the headers that are added.
const CAUSE: &str = "aqueduct.cause";
const SINK: &str = "aqueduct.sink";
const TOPIC: &str = "aqueduct.topic";
const PARTITION: &str = "aqueduct.partition";
const TIMESTAMP: &str = "aqueduct.timestamp";

/// Batches whose failed records wait for room.
#[derive(Debug, Default)]
pub(super) struct DeadLetters {
    waiting: VecDeque<Dead>,
    headers: HeaderBlock,
    /// Entries of journals whose records have been copied, by the number that runs name; `None` where one is free.
    entries: Vec<Option<HeldEntry>>,
    /// The numbers that are free.
    free: Vec<u32>,
    /// Entries whose records are safe, or were given up there too.
    safe: Vec<u32>,
}

/// An entry that stays on disk until its dead letters have their outcome.
#[derive(Debug)]
struct HeldEntry {
    part: PartKey,
    topic: String,
    token: u64,
    /// Records without an outcome.
    left: u32,
}

/// A batch some of whose records, or all, can never be written. Its runs are those of these records, one record each.
#[derive(Debug)]
struct Dead {
    batch: Box<Batch>,
    outcome: Outcome,
}

impl DeadLetters {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether an entry of a journal is to be passed.
    pub(super) fn has_safe(&self) -> bool {
        !self.safe.is_empty()
    }

    /// Records of an entry have their outcome.
    pub(super) fn settle(&mut self, run: Run) {
        let Some(entry) = self.entries.get_mut(run.session as usize).and_then(Option::as_mut) else { return };
        entry.left -= u32::from(run.n);
        if entry.left == 0 {
            self.safe.push(run.session);
        }
    }

    /// The number for an entry that is to be held.
    fn number(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() as u32 - 1
        })
    }

    /// Gives up what is held under a number, which is free from now on.
    fn take(&mut self, number: u32) -> Option<HeldEntry> {
        self.free.push(number);
        self.entries.get_mut(number as usize).and_then(Option::take)
    }

    /// Whether a batch of this sink waits.
    pub(super) fn has_batch_of(&self, sink: u16) -> bool {
        self.waiting.iter().any(|dead| dead.batch.part.sink == sink)
    }

    /// Bytes that the batches have charged.
    pub(super) fn charged_bytes(&self) -> usize {
        self.waiting.iter().map(|dead| dead.batch.charge_bytes).sum()
    }
}

impl Dead {
    /// Why the record at `place` can never be written, if so.
    fn cause(&self, place: u32) -> Option<FailReason> {
        cause(&self.batch, self.outcome, place).filter(|why| why.is_final())
    }
}

/// Why the record at `place` of a batch failed, if it did.
fn cause(batch: &Batch, outcome: Outcome, place: u32) -> Option<FailReason> {
    let own = batch.refused.iter().find(|refused| (refused.first..refused.first + refused.n).contains(&place));
    match (own, outcome) {
        (Some(own), _) => Some(own.why),
        (None, Outcome::Failed(why)) => Some(why),
        (None, Outcome::Stored { .. }) => None,
    }
}

impl Shard {
    /// Whether records of this batch go to a dead-letter sink.
    #[inline]
    pub(super) fn has_dead_letters(&self, batch: &Batch, outcome: Outcome) -> bool {
        let failed = matches!(outcome, Outcome::Failed(_)) || !batch.refused.is_empty();
        failed && self.is_final_somewhere(batch, outcome)
    }

    #[cold]
    fn is_final_somewhere(&self, batch: &Batch, outcome: Outcome) -> bool {
        let whole = matches!(outcome, Outcome::Failed(why) if why.is_final());
        let some = batch.refused.iter().any(|refused| refused.why.is_final());
        self.settings.sinks[usize::from(batch.part.sink)].dead_letter.is_some() && (whole || some)
    }

    /// Settles the other records of a batch and keeps those that can never be written, with their tickets.
    #[cold]
    pub(super) fn bury(&mut self, now: Now, mut batch: Box<Batch>, outcome: Outcome) {
        let sink = usize::from(batch.part.sink);
        let unpacked = self.packer.unpack(&mut batch);
        debug_assert!(unpacked.is_ok(), "what we compressed comes back: {unpacked:?}");
        let mut kept = Vec::new();
        for run in std::mem::take(&mut batch.runs) {
            for i in 0..u32::from(run.n) {
                let run = Run { first: run.first.wrapping_add(i), record: run.record + i, n: 1, ..run };
                match cause(&batch, outcome, run.record) {
                    Some(why) if why.is_final() && unpacked.is_ok() => kept.push(run),
                    Some(why) => self.settle_run(sink, run, Verdict::Bad(why)),
                    None => self.settle_run(sink, run, Verdict::Good),
                }
            }
        }
        batch.runs = kept;
        if unpacked.is_err() {
            self.pass_dead(now, &batch);
            return self.release(batch);
        }
        self.dead.waiting.push_back(Dead { batch, outcome });
        self.bury_waiting(now);
    }

    /// Copies records into the batches of their dead-letter sinks, the oldest first, as far as there is room.
    pub(super) fn bury_waiting(&mut self, now: Now) {
        while let Some(number) = self.dead.safe.pop() {
            let Some(HeldEntry { part, topic, token, .. }) = self.dead.take(number) else { continue };
            self.pass_entry(now, part, &topic, token);
        }
        while let Some(dead) = self.dead.waiting.pop_front() {
            if self.settings.sinks[usize::from(dead.batch.part.sink)].dead_letter.is_none() {
                self.leave_unburied(now, dead);
                continue;
            }
            match self.grave(&dead) {
                Some(sink) => self.bury_one(now, dead, sink),
                None => return self.dead.waiting.push_front(dead),
            }
        }
    }

    /// The dead-letter sink for a batch, if it can take the records now.
    fn grave(&self, dead: &Dead) -> Option<u16> {
        let sink = self.settings.sinks[usize::from(dead.batch.part.sink)].dead_letter?;
        let grave = &self.sinks[usize::from(sink)];
        self.writers[grave.connector].partitions(sink)?;
        let records: u32 = (0..dead.batch.records).filter(|&place| dead.cause(place).is_some()).count() as u32;
        // Each may need a batch of its own, and buffers grow in steps.
        let needed = 2 * (dead.batch.plain_bytes() + records as usize * ADDED_BYTES_MAX) + HEADER_LEN;
        let room = needed <= self.budget.free_bytes() + dead.batch.charge_bytes;
        (room || grave.accumulator.is_idle()).then_some(sink)
    }

    /// The sink has no dead-letter sink any more: publishers are told what became of their records.
    #[cold]
    fn leave_unburied(&mut self, now: Now, mut dead: Dead) {
        let sink = usize::from(dead.batch.part.sink);
        for run in std::mem::take(&mut dead.batch.runs) {
            let why = dead.cause(run.record).unwrap_or(FailReason::Invalid);
            self.settle_run(sink, run, Verdict::Bad(why));
        }
        self.pass_dead(now, &dead.batch);
        self.release(dead.batch);
    }

    /// The entry of a batch of which nothing was copied, if it has one.
    fn pass_dead(&mut self, now: Now, batch: &Batch) {
        if batch.journal > 0 {
            self.pass(now, batch);
        }
    }

    fn bury_one(&mut self, now: Now, mut dead: Dead, sink: u16) {
        self.budget.release(std::mem::take(&mut dead.batch.charge_bytes));
        self.budget.open_beyond(true);
        let number = (dead.batch.journal > 0).then(|| self.dead.number());
        let body = dead.batch.bytes.get(HEADER_LEN..).unwrap_or_default();
        let mut buried: u32 = 0;
        for (place, record) in (0..).zip(Records::new(dead.batch.records, body)) {
            let (Some(why), Ok(record)) = (dead.cause(place), record) else { continue };
            let runs = dead.batch.runs.iter().filter(|run| run.record == place);
            let entry = number.map(|session| Run {
                session,
                lane_gen: 0,
                first: place,
                record: place,
                n: 1,
                lane: Lane::Entry,
                cause: None,
            });
            if self.inter(now, sink, &dead.batch, &record, why, runs.clone().chain(&entry)) {
                buried += 1;
            } else {
                debug_assert!(false, "a record has room once room for it was found");
                runs.for_each(|run| self.settle_run(usize::from(dead.batch.part.sink), *run, Verdict::Bad(why)));
            }
        }
        self.budget.open_beyond(false);
        self.sink_counters[usize::from(dead.batch.part.sink)].dead_lettered += u64::from(buried);
        match number {
            Some(number) if buried > 0 => self.hold_entry(number, buried, &dead.batch),
            number => {
                // Nothing of it went anywhere.
                number.and_then(|number| self.dead.take(number));
                self.pass_dead(now, &dead.batch);
            }
        }
        dead.batch.runs.clear();
        self.release(dead.batch);
    }

    /// Keeps a batch's entry on disk until so many records have their outcome.
    fn hold_entry(&mut self, number: u32, left: u32, batch: &Batch) {
        let (topic, token) = (batch.topic_name.clone(), batch.journal);
        if let Some(entry) = self.dead.entries.get_mut(number as usize) {
            *entry = Some(HeldEntry { part: batch.part, topic, token, left });
        }
    }

    /// Copies one record, and has its tickets wait for it there.
    fn inter<'r>(
        &mut self,
        now: Now,
        sink: u16,
        batch: &Batch,
        record: &record_batch::Record<'_>,
        why: FailReason,
        runs: impl Iterator<Item = &'r Run>,
    ) -> bool {
        let index = usize::from(sink);
        let mut headers = std::mem::take(&mut self.dead.headers);
        let origin = Origin {
            sink: &self.settings.sinks[usize::from(batch.part.sink)].name,
            topic: match batch.topic_name.as_str() {
                "" => &self.settings.sinks[usize::from(batch.part.sink)].topic,
                name => name,
            },
            partition: Some(batch.part.partition),
            timestamp_ms: batch.base_timestamp_ms.saturating_add(record.timestamp_delta_ms),
        };
        origin.put(record.headers.raw(), why, &mut headers);
        let copy = Record { key: record.key, value: record.value, timestamp_ms: now.wall_ms, headers: headers.raw() };
        let choice = choice(record.key);
        let grave = &mut self.sinks[index];
        let at = At { now: now.mono, opened: now.mono };
        let partition = grave.choose(sink, &choice, &self.writers[grave.connector], now.mono);
        let placed = partition.filter(|&partition| {
            let bytes = copy.bytes_max();
            grave.accumulator.reserve(partition, bytes, at, &mut self.pool, &mut self.budget) == Room::Ready
        });
        if let Some(partition) = placed {
            grave.accumulator.append(partition, &copy);
            for run in runs {
                grave.accumulator.note_ticket(partition, run.session, run.lane_gen, run.first, run.lane, Some(why));
            }
            self.sink_counters[index].matched += 1;
        }
        self.dead.headers = headers;
        placed.is_some()
    }
}

/// Most bytes that the added headers and the framing of a record take, names of sinks and topics included.
const ADDED_BYTES_MAX: usize = 512;

/// Where a record belonged.
pub(super) struct Origin<'a> {
    pub(super) sink: &'a str,
    pub(super) topic: &'a str,
    /// None was chosen for a topic that does not exist.
    pub(super) partition: Option<u32>,
    pub(super) timestamp_ms: i64,
}

/// Its partition follows from the key, whatever else a strategy looks at.
pub(super) fn choice(key: Option<&[u8]>) -> Choice<'_> {
    let name = key.and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
    Choice { key, client_id: name, topic: name }
}

impl Origin<'_> {
    /// The headers of the record, and those that tell its story.
    pub(super) fn put(&self, own: RawHeaders<'_>, why: FailReason, block: &mut HeaderBlock) {
        block.clear();
        block.extend(own);
        let mut put = |name: &str, value: &str| {
            block.push(RecordHeader { key: name.as_bytes(), value: Some(value.as_bytes()) });
        };
        put(CAUSE, why.word());
        put(SINK, self.sink);
        put(TOPIC, self.topic);
        if let Some(partition) = self.partition {
            put(PARTITION, &partition.to_string());
        }
        put(TIMESTAMP, &self.timestamp_ms.to_string());
    }
}

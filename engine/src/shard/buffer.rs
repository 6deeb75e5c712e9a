//! Buffers on disk: where sealed batches go between the accumulator and the owner of their partition.
//!
//! ```text
//! disk    seal ─ journal ─ (durable: async acknowledged) ─ owner ─ outcome ─ passed
//! hybrid  seal ─────────────────────────────────────────── owner ─ outcome
//!              └ beyond the sink's share of memory, while more than half of the shard's is used, or behind what lies there already:
//!                as disk
//! ```
//!
//! The shard that received the records fills, stores and reads back; the owner of the partition sends. So a batch is charged
//! here, comes back here, and what has been passed is known where the files are. What was read back is not charged as far as the
//! plan leaves room for it beside the budget. What is beyond that is, and so are the lists of entries.

use super::control::{Level, SlotState};
use super::io::Io;
use super::mesh::MeshMsg;
use super::placement::owner_of_batch;
use super::{Shard, SinkSettings};
use crate::buffer::{Batch, BatchPool, PartKey};
use crate::clock::{self, Mono, Now};
use crate::config::{BufferMode, QueryMode};
use crate::log::DiskOp;
use crate::log::journal::{BacklogPart, Gone, Journal, JournalCounts, JournalDone, JournalLimits, JournalStart};
use crate::metrics::{Health, SinkCounters};
use crate::plants::{Plant, is_planted};
use crate::session::tickets::Verdict;
use crate::sink::mapping::Mapping;
use crate::sink::{Answered, Sink, Stored};
use crate::ticket::{FailReason, Outcome};

/// Parts of the batch budget, as divisors: what batches that left a journal may keep charged; what may be read back beside
/// the budget, out of what the plan leaves spare; what a hybrid buffer holds in memory. Each is shared by the sinks.
const KEPT_DIVISOR: usize = 4;
const LOADED_DIVISOR: usize = 20;
const SHARE_DIVISOR: usize = 4;
/// While memory is short, a batch that no slot is free for goes to disk at this age: small batches cost more there too.
const SPILL_AGE_NS: u64 = 500_000_000;

impl Stored {
    pub(super) fn new(journal: Journal) -> Self {
        Self { journal, charge_bytes: 0, ready: true, deadline: None, held: false }
    }

    /// For a sink that comes with a change.
    pub(super) fn held(journal: Journal) -> Self {
        Self { ready: false, held: true, ..Self::new(journal) }
    }

    /// Records that lie here and are the sink's.
    pub(super) fn records(&self) -> u64 {
        if self.held { 0 } else { self.journal.counts().records }
    }
}

impl Sink {
    /// Whether the partition of a slot holds as much on disk as it may, with what waits in memory.
    #[inline]
    pub(super) fn is_full_on_disk(&self, slot: u32, bytes: usize) -> bool {
        let Some(stored) = &self.journal else { return false };
        let (topic, partition) = self.target(slot);
        let held = stored.journal.held_bytes(topic, partition);
        let limits = self.accumulator.limits();
        let all = held + (self.accumulator.waiting_bytes(slot) + bytes) as u64;
        if held == 0 || all <= limits.partition_bytes_max as u64 {
            return false;
        }
        all > limits.partition_adopted_bytes_max as u64 || !stored.journal.has_adopted(topic, partition)
    }
}

/// The journal of a sink, as it was found; its share of memory is its shard's to say.
pub(super) fn journal(start: JournalStart, settings: &SinkSettings) -> Journal {
    let limits = JournalLimits {
        segment_bytes: settings.segment_bytes,
        inflight_max: settings.inflight_max,
        topics_max: settings.live_topics_max,
        merge_bytes: settings.merge_bytes,
        loaded_bytes_max: 0,
        kept_bytes_max: 0,
    };
    // Memory keeps nothing for a start without Kafka.
    let is_kept = settings.buffer != BufferMode::Memory;
    Journal::new(limits, JournalStart { topic_partitions: start.topic_partitions * u32::from(is_kept), ..start })
}

/// Gives a sealed batch to the journal if it has to go there, else back. `spills`: where a hybrid buffer keeps nothing in memory for now.
/// `answered` is told of slots that have nothing unanswered by it.
pub(super) fn store(
    stored: &mut Stored,
    buffer: BufferMode,
    spills: bool,
    batch: Box<Batch>,
    answered: &mut Vec<u32>,
) -> Option<Box<Batch>> {
    let held = || stored.journal.holds(&batch.topic_name, batch.part.partition);
    // A buffer that is in memory now may have been on disk before.
    let spills = buffer != BufferMode::Disk && (spills && buffer == BufferMode::Hybrid || held());
    if buffer != BufferMode::Disk && !spills {
        return Some(batch);
    }
    if spills {
        answered.push(batch.slot);
    }
    stored.ready = true;
    stored.journal.push(batch);
    None
}

/// Records that will not be sent, as a batch to be settled.
pub(super) fn gone_batch(sink: u16, gone: Gone, pool: &mut BatchPool, now: Mono) -> Box<Batch> {
    let part = PartKey { sink, partition: gone.partition };
    let mut batch = gone.batch.unwrap_or_else(|| pool.take(part, 0, now));
    gone.topic.as_ref().clone_into(&mut batch.topic_name);
    batch.records = gone.records;
    batch.runs = gone.runs;
    batch.queued_bytes = gone.bytes as usize;
    batch
}

/// Copies what a journal has counted.
pub(super) fn show(counters: &mut SinkCounters, counts: &JournalCounts) {
    counters.stored_records = counts.records;
    counters.stored_bytes = counts.bytes;
    counters.stored_segments = counts.segments;
    counters.stored_segment_bytes = counts.segment_bytes;
    counters.stored_copied_bytes = counts.copied_bytes;
    counters.stored_syncs = counts.syncs;
    counters.stored_sync_ns = counts.sync_ns;
    counters.stored_failures = counts.failures;
    counters.stored_damaged = counts.damaged;
    counters.stored_replayed = counts.replayed;
}

impl Shard {
    /// With the journals of its sinks, as they were found at start.
    pub fn with_journals(mut self, starts: Vec<JournalStart>) -> Self {
        for start in starts {
            let index = usize::from(start.sink);
            let records = start.records();
            let sink = &mut self.sinks[index];
            sink.accumulator.adopt(records);
            sink.mapping = Mapping::of(start.topic_partitions);
            self.sink_counters[index].matched += records;
            sink.journal = Some(Stored::new(journal(start, &self.settings.sinks[index])));
        }
        self.share_journal_memory();
        self
    }

    /// Shares out among the journals what they may have in memory; whenever one comes or goes.
    pub(super) fn share_journal_memory(&mut self) {
        let journals = || self.sinks.iter().filter(|sink| sink.journal.is_some());
        let count = journals().count().max(1);
        let share = |divisor: usize| self.settings.memory_bytes / divisor / count;
        let (kept_bytes_max, loaded_bytes_max) = (share(KEPT_DIVISOR), share(LOADED_DIVISOR));
        for stored in self.sinks.iter_mut().filter_map(|sink| sink.journal.as_mut()) {
            stored.journal.share(kept_bytes_max, loaded_bytes_max);
        }
    }

    /// The disk has done something for a journal.
    pub(super) fn on_journal(&mut self, now: Now, mut done: JournalDone, io: &mut impl Io) {
        let owner = done.journal();
        let owns = |stored: &Stored| stored.journal.owns(owner);
        let Some(index) = self.sinks.iter().position(|sink| sink.journal.as_ref().is_some_and(owns)) else { return };
        if let JournalDone::Appended { batches, result: Ok(()), .. } = &mut done {
            self.on_durable(index, batches);
        }
        let (budget, pool, round) = (&mut self.budget, &mut self.pool, &mut self.round);
        let Some(stored) = &mut self.sinks[index].journal else { return };
        stored.ready = true;
        let release = |mut batch: Box<Batch>| {
            budget.release(std::mem::take(&mut batch.charge_bytes));
            pool.give(batch);
            round.released = true;
        };
        stored.journal.on_done(now, done, |op| io.disk(DiskOp::Journal(op)), release);
    }

    /// Batches are durable: in async their clients are told so.
    fn on_durable(&mut self, index: usize, batches: &mut [Box<Batch>]) {
        let is_disk = self.settings.sinks[index].buffer == BufferMode::Disk;
        for batch in batches {
            if is_disk {
                self.sinks[index].accumulator.answered(batch.slot);
                self.round.released = true;
            }
            if batch.told_when_durable {
                self.acknowledge(index, batch);
            }
        }
    }

    fn acknowledge(&mut self, index: usize, batch: &mut Batch) {
        for run in batch.runs.drain(..) {
            self.settle_run(index, run, Verdict::Good);
        }
    }

    /// An entry of a journal has its outcome.
    pub(super) fn pass(&mut self, now: Now, batch: &Batch) {
        self.pass_entry(now, batch.part, &batch.topic_name, batch.journal);
    }

    /// As [`pass`](Self::pass), without its batch.
    pub(super) fn pass_entry(&mut self, now: Now, part: PartKey, topic: &str, token: u64) {
        if let Some(stored) = &mut self.sinks[usize::from(part.sink)].journal {
            let known = stored.journal.passed(now.mono, topic, part.partition, token);
            assert!(known, "an outcome belongs to an entry that was handed over");
            stored.ready = true;
        }
    }

    pub(super) fn on_backlog_passed(&mut self, sink: u16, topic: &str, partition: u32) {
        if let Some(stored) = self.sinks.get_mut(usize::from(sink)).and_then(|sink| sink.journal.as_mut()) {
            stored.journal.unblock(topic, partition);
            stored.ready = !stored.held;
        }
    }

    /// Spills what exceeds its share of memory, writes what waits, hands over what may leave.
    pub(super) fn run_journals(&mut self, now: Now, io: &mut impl Io) {
        for index in 0..self.sinks.len() {
            if self.sinks[index].journal.as_ref().is_none_or(|stored| stored.held) {
                continue;
            }
            if self.settings.sinks[index].buffer == BufferMode::Hybrid {
                self.spill(now.mono, index);
            }
            if is_planted(Plant::AckBeforeSync) && !self.settings.sinks[index].is_sync() {
                self.acknowledge_early(index);
            }
            self.run_journal(now, index, io);
            self.settle_gone(now, index);
        }
    }

    /// Gives the journal the oldest batches of a hybrid buffer that holds more memory than its share; whole batches, or those that have
    /// waited, also of one that holds less while more than half of the shard's is used. What is on its way past the journal stays where it
    /// is, and what the journal keeps needs a quarter.
    fn spill(&mut self, now: Mono, index: usize) {
        let there = self.settings.sinks.iter().filter(|sink| sink.state != SlotState::Vacant);
        let hybrids = there.filter(|sink| sink.buffer == BufferMode::Hybrid).count();
        let share = self.budget.limit_bytes() / SHARE_DIVISOR / hybrids.max(1);
        let is_short = self.is_short(index);
        let sink = &mut self.sinks[index];
        let Some(stored) = &mut sink.journal else { return };
        let mut push = |mut batch: Box<Batch>| {
            if let Some(live) = sink.live.as_deref() {
                live.name(batch.live).0.clone_into(&mut batch.topic_name);
            }
            stored.journal.push(batch);
            stored.ready = true;
        };
        while sink.accumulator.queued_bytes() > share {
            let oldest = sink.accumulator.oldest(|_| true);
            let Some(batch) = oldest.and_then(|slot| sink.accumulator.drop_oldest(slot)) else { break };
            push(batch);
        }
        if is_short {
            sink.accumulator.take_waiting(now, SPILL_AGE_NS, push);
        }
    }

    /// Whether more than half of the memory is used, and the disk of a sink could take what waits.
    fn is_short(&self, index: usize) -> bool {
        let takes = |stored: &Stored| !stored.journal.is_refused();
        self.budget.is_half_used() && self.sinks[index].journal.as_ref().is_some_and(takes)
    }

    fn run_journal(&mut self, now: Now, index: usize, io: &mut impl Io) {
        let drain = self.drain.is_draining();
        let (id, shards) = (self.id, self.settings.shards);
        let sink = &mut self.sinks[index];
        let (writer, accumulator) = (&mut self.writers[sink.connector], &sink.accumulator);
        let Some(stored) = &mut sink.journal else { return };
        let settings = &self.settings.sinks[index];
        // One that leaves has no use for it, and is to come to rest.
        if settings.buffer != BufferMode::Memory
            && settings.state == SlotState::Active
            && let Some(count) = writer.partitions(index as u16)
        {
            stored.ready |= stored.journal.learn_partitions(now.mono, count);
        }
        if !stored.ready && stored.deadline.is_none_or(|at| now.mono < at) && !drain {
            return;
        }
        stored.ready = false;
        // With a disk buffer nothing that has a slot of the accumulator is on its way to Kafka.
        let is_disk = self.settings.sinks[index].buffer == BufferMode::Disk;
        let live = sink.live.as_deref();
        let direct = |topic: &str, partition| match live {
            _ if is_disk => 0,
            Some(live) => live.slot(topic, partition).map_or(0, |slot| accumulator.unanswered(slot)),
            None if topic.is_empty() => accumulator.unanswered(partition),
            None => 0,
        };
        let mut leaving = std::mem::take(&mut self.leaving);
        let ask = |op| io.disk(DiskOp::Journal(op));
        stored.deadline = stored.journal.poll(now, drain, direct, ask, |batch| leaving.push(batch));
        for batch in leaving.drain(..) {
            match owner_of_batch(&batch, shards) {
                owner if owner == id => writer.submit(now, batch),
                owner => io.mesh(owner, MeshMsg::HandOver(batch)),
            }
        }
        self.leaving = leaving;
        let bytes = stored.journal.charged_bytes();
        let charged = std::mem::replace(&mut stored.charge_bytes, bytes);
        match bytes > charged {
            true => self.budget.charge(bytes - charged),
            false => self.budget.release(charged - bytes),
        }
        self.round.released |= bytes < charged;
        while let Some(text) = stored.journal.pop_note() {
            self.notes.say(now.mono, Level::Error, io, || text);
        }
        while let Some(BacklogPart { topic, partition }) = stored.journal.pop_unblocked() {
            for other in (0..shards).map(super::ShardId).filter(|&other| other != id) {
                let topic = topic.clone();
                io.mesh(other, MeshMsg::BacklogPassed { sink: index as u16, topic, partition });
            }
        }
    }

    /// What was damaged on disk has failed, and what was being written when its head was given up.
    fn settle_gone(&mut self, now: Now, index: usize) {
        loop {
            let Some((gone, why)) = self.sinks[index].journal.as_mut().and_then(|s| s.journal.pop_gone()) else {
                return;
            };
            let batch = gone_batch(index as u16, gone, &mut self.pool, now.mono);
            self.round.discarded.push(Answered { batch, outcome: Outcome::Failed(why) });
        }
    }

    /// When a journal wants to be called.
    pub(super) fn journals_deadline(&self, now: Mono) -> Option<Mono> {
        let deadline = |stored: &Stored| if stored.ready { Some(now) } else { stored.deadline };
        let journals = self.sinks.iter().filter_map(|sink| sink.journal.as_ref()).filter_map(deadline).min();
        let is_spilling =
            |&index: &usize| self.settings.sinks[index].buffer == BufferMode::Hybrid && self.is_short(index);
        let spilling = (0..self.sinks.len()).filter(is_spilling);
        let spills = spilling.filter_map(|index| self.sinks[index].accumulator.waits_until(SPILL_AGE_NS)).min();
        clock::earliest([journals, spills])
    }

    /// Whether what was taken is where it is safe: on disk in async, with Kafka in sync.
    pub(super) fn journals_are_safe(&self) -> bool {
        let safe = |(sink, settings): (&crate::sink::Sink, &SinkSettings)| match &sink.journal {
            Some(stored) if stored.held => true,
            Some(stored) if settings.is_sync() => stored.journal.is_empty() && stored.journal.is_safe(),
            Some(stored) => stored.journal.is_safe(),
            None => true,
        };
        self.sinks.iter().zip(&self.settings.sinks).all(safe)
    }

    /// Whether the writers have nothing that has to be waited for. What lies on disk as well is not waited for where Kafka
    /// does not answer.
    pub(super) fn writers_are_idle(&self, now: Now) -> bool {
        let stored = |connector: usize| {
            let sinks = self.sinks.iter().zip(&self.settings.sinks).enumerate();
            let is_own = |sink: &Sink, settings: &SinkSettings| {
                sink.connector == connector && settings.state != SlotState::Vacant
            };
            let mut own = sinks.filter(|(_, (sink, settings))| is_own(sink, settings));
            own.all(|(index, (sink, settings))| {
                let healthy = matches!(self.writers[connector].health(index as u16, now.mono), Health::Connected);
                sink.journal.is_some() && settings.query_mode == QueryMode::Async && !healthy
            })
        };
        self.writers.iter().enumerate().all(|(connector, writer)| writer.is_idle() || stored(connector))
    }

    /// Entries that Kafka does not have, in all journals of this shard.
    pub fn stored_records(&self) -> u64 {
        let journals = self.sinks.iter().filter_map(|sink| sink.journal.as_ref());
        journals.map(|stored| stored.journal.counts().records).sum()
    }

    /// A planted bug: what lies behind a batch that failed is given up with it.
    #[cold]
    pub(super) fn fail_neighbour(&mut self, now: Now, batch: &Batch) {
        let PartKey { sink, partition } = batch.part;
        let stored = self.sinks[usize::from(sink)].journal.as_mut();
        let gone = stored.and_then(|stored| stored.journal.drop_oldest(now.mono, &batch.topic_name, partition));
        let Some(gone) = gone else { return };
        let batch = gone_batch(sink, gone, &mut self.pool, now.mono);
        self.round.discarded.push(Answered { batch, outcome: Outcome::Failed(FailReason::Disk) });
    }

    /// A planted bug: clients are told before anything is durable.
    #[cold]
    fn acknowledge_early(&mut self, index: usize) {
        let Some(stored) = &mut self.sinks[index].journal else { return };
        let runs = stored.journal.take_waiting_runs();
        runs.into_iter().for_each(|run| self.settle_run(index, run, Verdict::Good));
    }
}

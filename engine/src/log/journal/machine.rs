//! The journal of one sink at one shard as a pure machine: numbers what is to be written, says where, keeps the order of each
//! partition, and knows what has been passed.
//!
//! ```text
//! push ─ waiting ─ Append ─ (durable) ─ queue ┬ kept in memory ──────────┬ hand over ─ open ─ outcome ─ passed
//!                                             └ forgotten … Read ─ window ┘
//! ```
//!
//! At most one append is with the writer. What arrives meanwhile goes out together, all partitions in one write and one sync,
//! so groups grow by themselves as the disk gets slower. After a failed append its file takes nothing more, and the same
//! batches are written again, from memory, to a new one.
//!
//! Memory: a batch that cannot leave at once is forgotten as soon as it is durable; what is read ahead is bounded. A few
//! bytes for each entry stay. A file goes when nothing in it is left and the positions that say so have been written, so
//! that it does not come back after a crash without them.

mod directory;
mod disk;
mod forward;
mod passed;
mod segments;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::backlog::{Backlog, ENTRY_BYTES, Entry, Memory, Open, Ready};
use super::backlogs::Backlogs;
use super::entry;
use super::footer::{ENTRIES_MAX, Footer, Item};
use super::op::{BacklogId, JournalId, JournalOp, SegmentId, Wanted};
use super::open::JournalStart;
use crate::buffer::Batch;
use crate::clock::{self, Mono, Now};
use crate::hash::Keyed;
use crate::plants::{Plant, is_planted};
use crate::ticket::{FailReason, Run};
use directory::Directory;
use forward::Forward;
use segments::Segments;

/// Most bytes of one read.
const READ_BYTES: usize = 1 << 20;
/// Most entries of one read.
const READ_ENTRIES: usize = 512;
/// What may be ready for one partition before no more is read, bytes.
const AHEAD_BYTES: usize = 512 << 10;
/// Entries of a partition on their way at most: bounds what positions say.
const OPEN_MAX: usize = 256;

/// The limits of one journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalLimits {
    /// A file is finished at this length, unless a single entry is longer.
    pub segment_bytes: u64,
    /// Batches of a partition that Kafka has not answered.
    pub inflight_max: u32,
    /// Topics that messages named and that have batches on their way at once.
    pub topics_max: usize,
    /// Below this many bytes more entries than `inflight_max` may be with the owner, which merges small batches.
    pub merge_bytes: usize,
    /// Bytes that may be read back and not yet passed.
    pub loaded_bytes_max: usize,
    /// Bytes that batches on their way may keep charged since they were filled.
    pub kept_bytes_max: usize,
}

/// What a journal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalCounts {
    /// Records that lie here and have not been passed.
    pub records: u64,
    /// Bytes of their entries.
    pub bytes: u64,
    /// Files.
    pub segments: u64,
    /// Bytes of them.
    pub segment_bytes: u64,
    /// Bytes of entries that were copied out of files that could go then.
    pub copied_bytes: u64,
    /// Group commits.
    pub syncs: u64,
    /// Time they took, nanoseconds.
    pub sync_ns: u64,
    /// Group commits and positions that failed.
    pub failures: u64,
    /// Stretches that were found damaged.
    pub damaged: u64,
    /// Records that an earlier start had left.
    pub replayed: u64,
}

/// Records that will not reach Kafka: displaced, or damaged.
#[derive(Debug)]
pub struct Gone {
    /// The topic that messages named; empty for the sink's own.
    pub topic: Box<str>,
    /// Their partition.
    pub partition: u32,
    /// How many.
    pub records: u32,
    /// Bytes of their entry.
    pub bytes: u32,
    /// Who waits for them.
    pub runs: Vec<Run>,
    /// Their batch, if it was in memory.
    pub batch: Option<Box<Batch>>,
}

/// One sink's journal at one shard.
#[derive(Debug)]
pub struct Journal {
    limits: JournalLimits,
    own: JournalId,
    mark: u32,
    next_number: u64,
    /// Numbered, oldest first.
    waiting: VecDeque<Box<Batch>>,
    writing: Option<Writing>,
    /// No append before this, after a failed one.
    retry_at: Mono,
    /// The disk has refused the newest append.
    refused: bool,
    /// The file that takes appends, or will be begun.
    seq: u32,
    /// Its durable end; 0: it is to be begun.
    at: u64,
    footer: Footer,
    segments: Segments,
    forward: Forward,
    backlogs: Backlogs,
    /// Backlogs with something to do, in the order in which they are looked at.
    listed: Vec<BacklogId>,
    /// In the order of their entries; that of this start is the last.
    directories: Vec<Directory>,
    /// Tokens of entries of earlier starts given so far.
    tokens: u64,
    loaded_bytes: usize,
    kept_bytes: usize,
    entries: usize,
    gone: VecDeque<(Gone, FailReason)>,
    /// Partitions of the topic, as Kafka said last, perhaps to an earlier start; 0 if it has not.
    topic_partitions: u32,
    /// Partitions for which everything of earlier starts has been passed.
    unblocked: Vec<BacklogPart>,
    notes: VecDeque<String>,
    counts: JournalCounts,
}

/// The append that is with the writer.
#[derive(Debug)]
struct Writing {
    segment: SegmentId,
    end: u64,
    /// Number of its first entry.
    first: u64,
}

/// A partition; `topic` is empty for the sink's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BacklogPart {
    /// The topic that messages named.
    pub topic: Box<str>,
    /// Kafka's number of the partition.
    pub partition: u32,
}

/// Tokens of entries of earlier starts, apart from those of this one, which are one above the number.
const ADOPTED_TOKENS: u64 = 1 << 63;

impl Journal {
    /// The journal as it was found at start.
    pub fn new(limits: JournalLimits, start: JournalStart) -> Self {
        let mut journal = Self {
            limits,
            own: start.own,
            mark: start.mark,
            next_number: 0,
            waiting: VecDeque::new(),
            writing: None,
            retry_at: Mono::default(),
            refused: false,
            seq: 0,
            at: 0,
            footer: Footer::default(),
            segments: Segments::default(),
            forward: Forward::default(),
            // The mark is drawn at random for this start.
            backlogs: Backlogs::new(limits.topics_max, Keyed::new(start.mark.into(), start.own.0.into())),
            listed: Vec::new(),
            directories: Vec::new(),
            tokens: 0,
            loaded_bytes: 0,
            kept_bytes: 0,
            entries: 0,
            gone: VecDeque::new(),
            topic_partitions: start.topic_partitions,
            unblocked: Vec::new(),
            notes: VecDeque::new(),
            counts: JournalCounts { damaged: start.damaged, ..JournalCounts::default() },
        };
        journal.counts.replayed = start.records();
        journal.adopt(start);
        journal
    }

    /// Works by another length of files, number of batches and of topics from now on.
    pub fn configure(&mut self, segment_bytes: u64, inflight_max: u32, topics_max: usize) {
        (self.limits.segment_bytes, self.limits.inflight_max) = (segment_bytes, inflight_max);
        self.backlogs.configure(topics_max);
    }

    /// May have so many bytes in memory from now on.
    pub fn share(&mut self, kept_bytes_max: usize, loaded_bytes_max: usize) {
        (self.limits.kept_bytes_max, self.limits.loaded_bytes_max) = (kept_bytes_max, loaded_bytes_max);
    }

    fn adopt(&mut self, start: JournalStart) {
        for adopted in start.adopted {
            let journal = adopted.journal;
            let next_seq = adopted.segments.last().map_or(0, |(seq, _)| seq + 1);
            for (seq, bytes) in adopted.segments {
                self.segments.adopt(SegmentId { journal, seq }, bytes);
            }
            for (BacklogPart { topic, partition }, entries) in adopted.entries {
                let id = self.backlogs.open(&topic, partition);
                for (seq, item) in entries {
                    let segment = SegmentId { journal, seq };
                    let Item { number, at, bytes, records, .. } = item;
                    self.backlogs[id].adopted += 1;
                    self.enqueue(id, Entry { number, segment, at, bytes, records });
                    self.backlogs[id].held_bytes += u64::from(bytes);
                }
                self.list(id);
            }
            let resume = adopted.positions.partitions.iter().map(|(&p, position)| (p, position.resume)).collect();
            let (count, named_end) = (adopted.positions.count, adopted.named_end);
            let mut directory = Directory::new(journal, adopted.mark, count, next_seq);
            (directory.resume, directory.named_end) = (resume, named_end);
            self.directories.push(directory);
        }
        let mut own = Directory::new(start.own, start.mark, 0, 0);
        self.seq = own.take_seq();
        self.directories.push(own);
        for BacklogPart { topic, partition } in start.waits_for {
            let id = self.backlogs.open(&topic, partition);
            self.backlogs[id].blocked = true;
        }
        // What earlier starts have passed and not removed.
        self.segments.spent().into_iter().for_each(|segment| self.condemn(Mono::default(), segment));
    }

    /// Takes a batch to be written.
    pub fn push(&mut self, mut batch: Box<Batch>) {
        assert!(batch.records > 0, "an empty batch is never written");
        self.next_number += 1;
        batch.journal = self.next_number;
        let id = self.backlogs.open(&batch.topic_name, batch.part.partition);
        let backlog = &mut self.backlogs[id];
        backlog.unwritten += 1;
        backlog.held_bytes += entry::bytes_of(&batch) as u64;
        match is_planted(Plant::ReorderSpill) && self.next_number.is_multiple_of(3) {
            true => self.waiting.push_front(batch),
            false => self.waiting.push_back(batch),
        }
    }

    /// Asks for what is to be done and hands over what may leave. `direct` tells how many batches of a topic's partition are on
    /// their way past the journal. Returns when to be called again at the latest.
    pub fn poll(
        &mut self,
        now: Now,
        hurry: bool,
        direct: impl Fn(&str, u32) -> u32,
        mut ask: impl FnMut(JournalOp),
        mut hand_over: impl FnMut(Box<Batch>),
    ) -> Option<Mono> {
        self.append(now, &mut ask);
        let mut listed = std::mem::take(&mut self.listed);
        let mut retry_at = None;
        let (mut at, mut kept) = (0, 0);
        while let Some(&id) = listed.get(at) {
            at += 1;
            if self.visit(now.mono, id, &direct, &mut ask, &mut hand_over) {
                listed[kept] = id;
                kept += 1;
                let retry = Some(self.backlogs[id].retry_at).filter(|&at| at > now.mono);
                retry_at = clock::earliest([retry_at, retry]);
            }
            // Those whose turn has come with the end of another's.
            listed.append(&mut self.listed);
        }
        listed.truncate(kept);
        self.listed = listed;
        let forward = self.forward(now.mono, hurry, &mut ask);
        let positions = self.write_positions(now.mono, hurry, &mut ask);
        let append = (self.writing.is_none() && !self.waiting.is_empty()).then_some(self.retry_at);
        clock::earliest([append, retry_at, forward, positions])
    }

    /// Hands over what may leave a backlog and asks for what comes next. Whether it stays listed.
    fn visit(
        &mut self,
        now: Mono,
        id: BacklogId,
        direct: &impl Fn(&str, u32) -> u32,
        ask: &mut impl FnMut(JournalOp),
        hand_over: &mut impl FnMut(Box<Batch>),
    ) -> bool {
        let has_turn = self.backlogs[id].has_more() && self.backlogs.claim(id);
        if has_turn {
            let direct = direct(self.backlogs.topic(id), self.backlogs[id].partition);
            self.depart(id, direct, hand_over);
            self.read(now, id, ask);
        }
        let backlog = &mut self.backlogs[id];
        // A named one that waits for others is listed by them.
        backlog.listed =
            if backlog.topic.is_some() { has_turn && backlog.has_more() } else { !backlog.queue.is_empty() };
        let stays = backlog.listed;
        let mut next = Vec::new();
        self.backlogs.end_turn(id, |id| next.push(id));
        next.into_iter().for_each(|id| self.list(id));
        self.backlogs.close_spent(id);
        stays
    }

    /// Gives the writer what waits.
    fn append(&mut self, now: Now, ask: &mut impl FnMut(JournalOp)) {
        if self.writing.is_some() || now.mono < self.retry_at {
            return;
        }
        let Some(first) = self.waiting.front() else { return };
        let full = self.at + entry::bytes_of(first) as u64 > self.limits.segment_bytes;
        let first = first.journal - 1;
        if self.at > 0 && (full || self.footer.is_full()) {
            self.roll(now.mono, ask);
        }
        let segment = SegmentId { journal: self.own, seq: self.seq };
        let (mut end, mut batches) = (self.at, Vec::with_capacity(self.waiting.len()));
        while let Some(next) = self.waiting.front() {
            let bytes = entry::bytes_of(next) as u64;
            let fits = end + bytes <= self.limits.segment_bytes && self.footer.entries() + batches.len() < ENTRIES_MAX;
            if end > 0 && !fits {
                break;
            }
            let Some(mut batch) = self.waiting.pop_front() else { break };
            let number = batch.journal - 1;
            entry::seal(&mut batch, number, self.mark, now.wall_ms);
            end += bytes;
            batches.push(batch);
        }
        self.segments.begin(segment);
        self.writing = Some(Writing { segment, end, first });
        ask(JournalOp::Append { segment, at: self.at, batches });
    }

    /// Finishes the file that takes appends.
    fn roll(&mut self, now: Mono, ask: &mut impl FnMut(JournalOp)) {
        let segment = SegmentId { journal: self.own, seq: self.seq };
        let mut footer = std::mem::take(&mut self.footer);
        self.finish(now, segment, self.at, &mut footer, ask);
        self.begin_next();
    }

    /// Ends a file behind byte `at`.
    fn finish(&mut self, now: Mono, segment: SegmentId, at: u64, footer: &mut Footer, ask: &mut impl FnMut(JournalOp)) {
        let Some(directory) = self.directories.iter().find(|d| d.journal == segment.journal) else { return };
        let footer = footer.finish(at, directory.mark);
        self.segments.grow(segment, footer.len() as u64);
        ask(JournalOp::Finish { segment, at, footer });
        self.close_file(now, segment);
    }

    /// The next append begins another file.
    fn begin_next(&mut self) {
        let seq = self.directories.last_mut().map_or(self.seq + 1, Directory::take_seq);
        (self.seq, self.at, self.footer) = (seq, 0, Footer::default());
    }

    /// A file takes no more entries.
    fn close_file(&mut self, now: Mono, segment: SegmentId) {
        if self.segments.close(segment) {
            self.condemn(now, segment);
        }
    }

    /// Hands over what is ready, as far as the partition may have batches unanswered.
    fn depart(&mut self, id: BacklogId, direct: u32, hand_over: &mut impl FnMut(Box<Batch>)) {
        let inflight_max = self.limits.inflight_max;
        loop {
            let backlog = &mut self.backlogs[id];
            let open = backlog.open.len();
            let slot = open + (direct as usize) < inflight_max as usize;
            let small = direct == 0 && backlog.open_bytes < self.limits.merge_bytes && open < OPEN_MAX;
            if backlog.blocked || backlog.window.is_empty() || !(slot || small) {
                return;
            }
            let Some((entry, Some(Ready { mut batch, memory }))) = backlog.pop() else { return };
            let token = match entry.segment.journal == self.own {
                true => entry.number + 1,
                false => {
                    self.tokens += 1;
                    ADOPTED_TOKENS | self.tokens
                }
            };
            if entry.segment.journal == self.own && matches!(memory, Memory::Loaded(_)) {
                batch.runs = backlog.take_saved(entry.number);
            }
            batch.journal = token;
            backlog.open_bytes += entry.bytes as usize;
            backlog.open.push(Open { token, entry, memory });
            self.backlogs.departed(id);
            self.leave_queue(id, &entry);
            hand_over(batch);
        }
    }

    /// Notes that an entry is in the queue no longer.
    fn leave_queue(&mut self, id: BacklogId, entry: &Entry) {
        let Backlog { partition, topic: None, .. } = self.backlogs[id] else { return };
        if let Some(directory) = self.directories.iter_mut().find(|d| d.journal == entry.segment.journal) {
            let resume = directory.resume.entry(partition).or_default();
            *resume = (*resume).max(entry.number + 1);
        }
    }

    /// Asks for the next entries of a partition that are not in memory.
    fn read(&mut self, now: Mono, id: BacklogId, ask: &mut impl FnMut(JournalOp)) {
        let may_load = self.backlogs.may_load(id);
        let backlog = &mut self.backlogs[id];
        let enough = backlog.window_bytes >= AHEAD_BYTES || backlog.is_in_memory() || !may_load;
        if backlog.reading || backlog.blocked || enough || now < backlog.retry_at {
            return;
        }
        // One entry of a partition may always be in memory, or it could wait for others for ever.
        let alone = backlog.window.is_empty() && backlog.open.is_empty();
        // Of named topics there may be many: they read ahead in one half of what there is, and the first of each has the other.
        let most = self.limits.loaded_bytes_max;
        let (ahead_max, alone_max) = if backlog.topic.is_some() { (most / 2, most.max(1)) } else { (most, usize::MAX) };
        let loaded_max = if alone { alone_max } else { ahead_max };
        if self.loaded_bytes >= loaded_max {
            return;
        }
        // What is being copied is elsewhere in a moment, and its file may be gone when it is read.
        let next = backlog.queue.get(backlog.window.len()).map(|entry| entry.segment);
        let Some(segment) = next.filter(|&segment| !self.forward.is_moving(segment)) else { return };
        let (mut wanted, mut bytes) = (Vec::new(), 0);
        for entry in backlog.queue.range(backlog.window.len()..).take(READ_ENTRIES) {
            let fits = bytes + entry.bytes as usize <= READ_BYTES;
            if !wanted.is_empty() && (!fits || segment != entry.segment) {
                break;
            }
            bytes += entry.bytes as usize;
            wanted.push(Wanted::new(entry.number, entry.at, entry.bytes));
            if self.loaded_bytes + bytes >= ahead_max {
                break;
            }
        }
        (backlog.reading, backlog.reading_bytes) = (true, bytes);
        // Taken now, so that partitions that ask in the same round do not all see the same room.
        self.loaded_bytes += bytes;
        let partition = backlog.partition;
        ask(JournalOp::Read { segment, backlog: id, partition, wanted });
    }

    /// An entry that was handed over has its last word, whatever it is. False: it is none of this journal's.
    pub fn passed(&mut self, now: Mono, topic: &str, partition: u32, token: u64) -> bool {
        let Some(id) = self.backlogs.find(topic, partition) else { return false };
        let backlog = &mut self.backlogs[id];
        let Some(at) = backlog.open.iter().position(|open| open.token == token) else { return false };
        let Open { entry, memory, .. } = backlog.open.remove(at);
        backlog.open_bytes -= entry.bytes as usize;
        self.release_memory(memory);
        self.backlogs.returned(id);
        self.forget(now, id, &entry);
        self.list_named(id);
        true
    }

    /// Discards the oldest entry of a partition that is not on its way. `None` if there is none.
    pub fn drop_oldest(&mut self, now: Mono, topic: &str, partition: u32) -> Option<Gone> {
        let own = self.own;
        let id = self.backlogs.find(topic, partition)?;
        let backlog = &mut self.backlogs[id];
        let resurrect = is_planted(Plant::ResurrectDropped).then(|| backlog.queue.front().copied()).flatten();
        let newest = is_planted(Plant::DropNewest) && backlog.is_in_memory() && !backlog.reading;
        let (entry, ready) = if newest { backlog.pop_newest() } else { backlog.pop() }?;
        let runs = if entry.segment.journal == own { backlog.take_saved(entry.number) } else { Vec::new() };
        let (records, bytes) = (entry.records, entry.bytes);
        let mut gone = Gone { topic: topic.into(), partition, records, bytes, runs, batch: None };
        if let Some(Ready { mut batch, memory }) = ready {
            self.release_memory(memory);
            gone.runs.append(&mut batch.runs);
            gone.batch = Some(batch);
        }
        if let Some(entry) = resurrect {
            let backlog = &mut self.backlogs[id];
            let at = backlog.window.len();
            backlog.queue.insert(at, entry);
            return Some(gone);
        }
        self.leave_queue(id, &entry);
        self.forget(now, id, &entry);
        self.list_named(id);
        Some(gone)
    }

    /// Takes the tickets of everything that is not durable; for a planted bug.
    pub fn take_waiting_runs(&mut self) -> Vec<Run> {
        self.waiting.iter_mut().flat_map(|batch| batch.runs.drain(..)).collect()
    }

    /// Another shard has passed what it took over for a partition.
    pub fn unblock(&mut self, topic: &str, partition: u32) {
        let Some(id) = self.backlogs.find(topic, partition) else { return };
        self.backlogs[id].blocked = false;
        self.list(id);
    }

    /// The next partition for which everything of earlier starts has been passed here.
    pub fn pop_unblocked(&mut self) -> Option<BacklogPart> {
        self.unblocked.pop()
    }

    /// The next records that will not be sent, and why.
    pub fn pop_gone(&mut self) -> Option<(Gone, FailReason)> {
        self.gone.pop_front()
    }

    /// The next complaint about the disk, for the log.
    pub fn pop_note(&mut self) -> Option<String> {
        self.notes.pop_front()
    }

    /// Whether this journal asked for what is done there.
    pub fn owns(&self, journal: JournalId) -> bool {
        self.directories.iter().any(|directory| directory.journal == journal)
    }

    /// Whether something of a partition waits here, so that what comes later must wait behind it.
    pub fn holds(&self, topic: &str, partition: u32) -> bool {
        let backlog = self.backlogs.find(topic, partition).map(|id| &self.backlogs[id]);
        backlog.is_some_and(|backlog| !backlog.is_passed() || backlog.blocked)
    }

    /// How many partitions the topic had when Kafka was heard of last, in this start or an earlier one.
    pub fn topic_partitions(&self) -> Option<u32> {
        (self.topic_partitions > 0).then_some(self.topic_partitions)
    }

    /// Kafka says how many partitions the topic has. Whether that is news, to be noted on disk.
    pub fn learn_partitions(&mut self, now: Mono, count: u32) -> bool {
        let is_news = std::mem::replace(&mut self.topic_partitions, count) != count;
        if is_news && let Some(directory) = self.directories.iter_mut().find(|d| d.journal == self.own) {
            directory.touch(now);
        }
        is_news
    }

    /// Bytes of a partition that wait here, not those on their way.
    pub fn held_bytes(&self, topic: &str, partition: u32) -> u64 {
        self.backlogs.find(topic, partition).map_or(0, |id| self.backlogs[id].held_bytes)
    }

    /// Whether a partition has entries of earlier starts, perhaps of all their shards.
    pub fn has_adopted(&self, topic: &str, partition: u32) -> bool {
        self.backlogs.find(topic, partition).is_some_and(|id| self.backlogs[id].adopted > 0)
    }

    /// Whether everything taken is durable, and what has been passed is noted on disk.
    pub fn is_safe(&self) -> bool {
        let noted = self.directories.iter().all(Directory::is_noted);
        self.waiting.is_empty() && self.writing.is_none() && noted
    }

    /// Whether everything that was taken has been passed.
    pub fn is_empty(&self) -> bool {
        self.entries == 0 && self.waiting.is_empty() && self.writing.is_none()
    }

    /// Whether nothing waits here, nor with another shard that sends what an earlier start has left of the same partition.
    pub fn holds_nothing(&self) -> bool {
        self.is_empty() && self.backlogs.iter().all(|backlog| !backlog.blocked)
    }

    /// Whether nothing of it is anywhere: everything has been passed, disk and shards know it, and none of them has
    /// something of it to do or to say.
    pub fn is_at_rest(&self) -> bool {
        let is_free = |backlog: &Backlog| !backlog.reading && !backlog.blocked;
        let is_quiet = self.gone.is_empty() && self.unblocked.is_empty() && !self.segments.is_leaving();
        self.is_empty() && self.is_safe() && self.forward.is_idle() && is_quiet && self.backlogs.iter().all(is_free)
    }

    /// Bytes of memory that the lists of entries take, and those of named topics.
    pub fn index_bytes(&self) -> usize {
        self.entries * ENTRY_BYTES + self.backlogs.bytes()
    }

    /// Bytes that are charged for it: its lists, and what was read back beyond what may be. Each partition may have an entry read
    /// back though the others hold everything, or it would wait for a broker that is away; of many that is much.
    pub fn charged_bytes(&self) -> usize {
        self.index_bytes() + self.loaded_bytes.saturating_sub(self.limits.loaded_bytes_max)
    }

    /// What was counted.
    pub fn counts(&self) -> JournalCounts {
        JournalCounts { segments: self.segments.len() as u64, segment_bytes: self.segments.bytes(), ..self.counts }
    }

    /// Shows every batch it holds; not those that the writer has.
    pub fn each_batch(&self, show: &mut impl FnMut(&Batch)) {
        self.waiting.iter().for_each(|batch| show(batch));
        self.gone.iter().filter_map(|(gone, _)| gone.batch.as_deref()).for_each(&mut *show);
        self.backlogs.iter().flat_map(|backlog| &backlog.window).for_each(|ready| show(&ready.batch));
    }

    /// Whether the disk takes nothing at present, as far as that was tried.
    pub fn is_refused(&self) -> bool {
        self.refused && (self.writing.is_some() || !self.waiting.is_empty())
    }

    /// Shows what waits, partition by partition and oldest first, where all of it is in memory.
    pub fn each_backlog(&self, mut show: impl FnMut(&mut dyn Iterator<Item = &Batch>)) {
        for backlog in self.backlogs.iter().filter(|backlog| backlog.is_in_memory()) {
            show(&mut backlog.window.iter().map(|ready| &*ready.batch));
        }
    }

    fn enqueue(&mut self, id: BacklogId, entry: Entry) {
        self.segments.hold(&entry);
        self.entries += 1;
        self.counts.records += u64::from(entry.records);
        self.counts.bytes += u64::from(entry.bytes);
        self.backlogs[id].queue.push_back(entry);
    }

    /// An entry has been passed: it need not be found again.
    fn forget(&mut self, now: Mono, id: BacklogId, entry: &Entry) {
        self.entries -= 1;
        self.counts.records -= u64::from(entry.records);
        self.counts.bytes -= u64::from(entry.bytes);
        if entry.segment.journal != self.own {
            let backlog = &mut self.backlogs[id];
            backlog.adopted -= 1;
            if backlog.adopted == 0 {
                let partition = backlog.partition;
                self.unblocked.push(BacklogPart { topic: self.backlogs.topic(id).into(), partition });
            }
        }
        if let Some(directory) = self.directories.iter_mut().find(|d| d.journal == entry.segment.journal) {
            directory.touch(now);
        }
        if self.segments.let_go(entry) {
            self.condemn(now, entry.segment);
        }
    }

    /// A file holds nothing that is needed: it goes with the next positions.
    fn condemn(&mut self, now: Mono, segment: SegmentId) {
        if !self.segments.leave(segment) {
            return;
        }
        if let Some(directory) = self.directories.iter_mut().find(|d| d.journal == segment.journal) {
            directory.condemned.push(segment);
            directory.touch(now);
        }
    }

    fn release_memory(&mut self, memory: Memory) {
        match memory {
            Memory::Kept(bytes) => self.kept_bytes -= bytes,
            Memory::Loaded(bytes) => self.loaded_bytes -= bytes,
        }
    }

    /// Notes that a backlog has something to do.
    fn list(&mut self, id: BacklogId) {
        if !std::mem::replace(&mut self.backlogs[id].listed, true) {
            self.listed.push(id);
        }
    }

    /// A named topic may have ended its turn, or be there no longer.
    fn list_named(&mut self, id: BacklogId) {
        if self.backlogs[id].topic.is_some() {
            self.list(id);
        }
    }
}

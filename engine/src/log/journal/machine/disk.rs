//! The words of the disk: what became durable, what was read back, what failed.

use super::{Gone, Journal, Memory, Writing};
use crate::buffer::Batch;
use crate::clock::{Mono, Now};
use crate::log::DiskError;
use crate::log::journal::backlog::{Entry, LeftBehind};
use crate::log::journal::entry;
use crate::log::journal::footer::Item;
use crate::log::journal::op::{BacklogId, JournalDone, JournalOp, ReadBack, SegmentId};
use crate::ticket::FailReason;

/// How long appends and reads stay away from a disk that has just failed one.
const RETRY_MS: u64 = 500;
/// How often an entry that the disk does not give is asked for, where the entry is to blame and not the system.
const READ_TRIES: u32 = 3;

impl Journal {
    /// Takes in an answer. Batches that are durable and cannot leave at once are given to `release`, without their tickets.
    pub fn on_done(
        &mut self,
        now: Now,
        done: JournalDone,
        mut ask: impl FnMut(JournalOp),
        mut release: impl FnMut(Box<Batch>),
    ) {
        match done {
            JournalDone::Appended { segment, batches, sync_ns, result } => {
                let Some(Writing { end, .. }) = self.writing.take().filter(|w| w.segment == segment) else {
                    debug_assert!(false, "an answer follows its append");
                    return;
                };
                match result {
                    Ok(()) => self.on_durable(now.mono, segment, batches, end, sync_ns, &mut release),
                    Err(error) => self.on_not_durable(now.mono, segment, batches.into_iter(), &error),
                }
            }
            JournalDone::Finished { result, .. } => {
                // The next start scans the file instead.
                if let Err(error) = result {
                    self.complain(&error, "The next start takes longer");
                }
            }
            JournalDone::Read { segment, backlog, entries } => self.on_read(now, segment, backlog, entries),
            JournalDone::Positions { journal, result } => {
                let Some(directory) = self.directories.iter_mut().find(|d| d.journal == journal) else { return };
                let going = directory.end(now.mono, result.as_ref().map(|&()| ()));
                going.into_iter().for_each(|segment| ask(JournalOp::Delete { segment }));
                if let Err(error) = result {
                    self.counts.failures += 1;
                    self.complain(&error, "It is tried again; after a crash before that more records are sent twice");
                }
            }
            JournalDone::Copied { from, to, result } => self.on_copied(now.mono, from, to, result),
            JournalDone::Deleted { segment, result } => {
                self.segments.remove(segment);
                if let Err(error) = result {
                    self.complain(&error, "The next start tries again");
                }
            }
        }
    }

    /// The head of a partition was given up, and all that was durable behind it: what is being written goes with it, once that is
    /// durable.
    pub fn leave_behind(&mut self, topic: &str, partition: u32, why: FailReason) {
        let Some(id) = self.backlogs.find(topic, partition) else { return };
        let below = self.next_number;
        let backlog = &mut self.backlogs[id];
        backlog.left_behind = (backlog.unwritten > 0).then_some(LeftBehind { below, why });
    }

    fn on_durable(
        &mut self,
        now: Mono,
        segment: SegmentId,
        batches: impl IntoIterator<Item = Box<Batch>>,
        end: u64,
        sync_ns: u64,
        release: &mut impl FnMut(Box<Batch>),
    ) {
        self.refused = false;
        self.segments.grow(segment, end - self.at);
        self.counts.syncs += 1;
        self.counts.sync_ns += sync_ns;
        for batch in batches {
            let (partition, number) = (batch.part.partition, batch.journal - 1);
            let (at, bytes, records) = (self.at as u32, entry::bytes_of(&batch) as u32, batch.records);
            self.at += u64::from(bytes);
            self.footer.push(&Item { number, at, bytes, partition, records, topic: 0 }, &batch.topic_name);
            self.note_named(number, &batch);
            let id = self.backlogs.open(&batch.topic_name, partition);
            let backlog = &mut self.backlogs[id];
            backlog.unwritten -= 1;
            let open = backlog.window.len() + backlog.open.len();
            let left_behind = backlog.left_behind.filter(|left| number < left.below);
            let mut turn = backlog.is_in_memory() && !backlog.blocked && left_behind.is_none();
            turn = turn && self.backlogs.claim(id) && self.backlogs.may_load(id);
            self.enqueue(id, Entry { number, segment, at, bytes, records });
            let room = self.kept_bytes + batch.charge_bytes <= self.limits.kept_bytes_max;
            self.keep_or_release(id, batch, turn && room && open < self.limits.inflight_max as usize, release);
            self.list(id);
            if let Some(LeftBehind { why, .. }) = left_behind {
                self.drop_left_behind(now, id, why);
            }
        }
        debug_assert!(self.at == end, "what was planned was written");
    }

    /// The oldest entry of this partition is one of those.
    #[cold]
    fn drop_left_behind(&mut self, now: Mono, id: BacklogId, why: FailReason) {
        let topic: Box<str> = self.backlogs.topic(id).into();
        let gone = self.drop_oldest(now, &topic, self.backlogs[id].partition);
        self.gone.extend(gone.map(|gone| (gone, why)));
    }

    /// From now on positions speak of topics that messages named.
    fn note_named(&mut self, number: u64, batch: &Batch) {
        if batch.topic_name.is_empty() {
            return;
        }
        if let Some(own) = self.directories.last_mut() {
            own.named_end = number + 1;
        }
    }

    /// Keeps a durable batch that will leave at once; of others only the tickets.
    fn keep_or_release(
        &mut self,
        id: BacklogId,
        mut batch: Box<Batch>,
        keep: bool,
        release: &mut impl FnMut(Box<Batch>),
    ) {
        let number = batch.journal - 1;
        if keep {
            let memory = Memory::Kept(batch.charge_bytes);
            self.kept_bytes += batch.charge_bytes;
            return self.backlogs[id].load(batch, memory);
        }
        if !batch.runs.is_empty() {
            let runs = std::mem::take(&mut batch.runs);
            self.backlogs[id].saved.push_back((number, runs));
        }
        release(batch);
    }

    /// What the file holds is in doubt: it takes nothing more, and the same batches go to another.
    fn on_not_durable(
        &mut self,
        now: Mono,
        segment: SegmentId,
        batches: impl DoubleEndedIterator<Item = Box<Batch>>,
        error: &DiskError,
    ) {
        self.counts.failures += 1;
        self.complain(error, "Nothing is acknowledged until the disk takes it again");
        batches.rev().for_each(|batch| self.waiting.push_front(batch));
        self.retry_at = now.plus_ms(RETRY_MS);
        self.refused = true;
        // A file that could not even be begun is replaced by the next one of its name.
        if self.at > 0 {
            self.begin_next();
            self.close_file(now, segment);
        }
    }

    fn on_read(&mut self, now: Now, segment: SegmentId, id: BacklogId, entries: Vec<(u64, ReadBack)>) {
        let asked: usize = std::mem::take(&mut self.backlogs[id].reading_bytes);
        self.loaded_bytes -= asked;
        self.backlogs[id].reading = false;
        for (number, found) in entries {
            let backlog = &mut self.backlogs[id];
            let at = backlog.window.len();
            // What was displaced meanwhile is not expected any more.
            let expected = backlog.queue.get(at).is_some_and(|e| e.segment == segment && e.number == number);
            if !expected {
                continue;
            }
            match found {
                ReadBack::Whole(mut batch, written_ms) => {
                    let age_ms = u64::try_from(now.wall_ms.saturating_sub(written_ms)).unwrap_or(0);
                    batch.opened = now.mono - age_ms.saturating_mul(1_000_000);
                    let bytes = batch.bytes.capacity();
                    backlog.tries = 0;
                    backlog.load(batch, Memory::Loaded(bytes));
                    self.loaded_bytes += bytes;
                }
                ReadBack::Failed(error) if error.may_pass() || backlog.tries + 1 < READ_TRIES => {
                    backlog.tries += u32::from(!error.may_pass());
                    backlog.retry_at = now.mono.plus_ms(RETRY_MS);
                    self.complain(&error, "It is tried again");
                    break;
                }
                ReadBack::Failed(error) => {
                    self.complain(&error, "The entry is given up");
                    self.lose(now.mono, id, at);
                }
                ReadBack::Damaged => self.lose(now.mono, id, at),
            }
        }
        self.list(id);
    }

    /// The entry at `at` of a queue cannot be sent.
    fn lose(&mut self, now: Mono, id: BacklogId, at: usize) {
        let own = self.own;
        let topic: Box<str> = self.backlogs.topic(id).into();
        let backlog = &mut self.backlogs[id];
        let partition = backlog.partition;
        backlog.tries = 0;
        let Some(entry) = backlog.queue.remove(at) else { return };
        backlog.held_bytes -= u64::from(entry.bytes);
        let runs = if entry.segment.journal == own { backlog.take_saved(entry.number) } else { Vec::new() };
        self.counts.damaged += 1;
        let Entry { number, segment, records, bytes, .. } = entry;
        let of = if topic.is_empty() { String::new() } else { format!(" of topic {topic}") };
        self.notes.push_back(format!(
            "buffer: {records} records of partition {partition}{of} in {segment:?}, entry {number}, are damaged and cannot be sent; \
             what was read was set aside in the directory quarantine. Check the disk."
        ));
        self.forget(now, id, &entry);
        self.gone.push_back((Gone { topic, partition, records, bytes, runs, batch: None }, FailReason::Disk));
    }

    pub(super) fn complain(&mut self, error: &DiskError, consequence: &str) {
        let text = format!(
            "buffer: {} failed: {}. {consequence}. Check the disk of the buffer and its free space.",
            error.during, error.text
        );
        self.notes.push_back(text);
    }
}

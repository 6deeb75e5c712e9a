//! Copying forward: entries of a partition that waits for long leave files of which less than half is needed, so that these
//! can go and the disk is not kept for what others have long had passed.
//!
//! ```text
//! files take more than twice what is held, and a few files ─ the oldest sparse file ─ slices of what is left in it
//!   ─ Copy ─ (durable) ─ entries are looked for in the copy from now on ─ nothing left: the file goes as any other
//! ```
//!
//! Copies go to files of their own, under the numbers and the mark that the entries have: a start that finds an entry in two
//! files takes either. A file of copies is one whose numbers ascend, like every other; entries that would not fit that
//! begin another.

use std::collections::VecDeque;

use super::Journal;
use crate::clock::Mono;
use crate::log::DiskError;
use crate::log::journal::backlog::Entry;
use crate::log::journal::footer::{ENTRIES_MAX, Footer, Item};
use crate::log::journal::op::{BacklogId, Copied, JournalId, JournalOp, SegmentId};
use crate::plants::{Plant, is_planted};

/// Files may take twice what is held, and as much as so many of them: that which takes entries, and that which takes copies.
const SLACK_SEGMENTS: u64 = 2;
/// Bytes of one copy: an append that clients wait for may have to wait for it.
const SLICE_BYTES: u64 = 1 << 20;
/// Entries of one copy.
const SLICE_ENTRIES: usize = 4096;
/// How long a disk is left alone that has just refused one.
const RETRY_MS: u64 = 500;

/// What is being copied.
#[derive(Debug, Default)]
pub(super) struct Forward {
    source: Option<Source>,
    /// The file that takes copies.
    target: Option<Target>,
    /// What the writer has.
    moving: Option<Moving>,
    /// Nothing before this, after a copy that failed.
    retry_at: Mono,
}

/// The file whose entries are being copied.
#[derive(Debug)]
struct Source {
    segment: SegmentId,
    /// What was there when it was chosen, oldest first.
    left: VecDeque<(u64, BacklogId)>,
}

#[derive(Debug)]
struct Target {
    segment: SegmentId,
    /// Its durable end; 0: it is to be begun.
    at: u64,
    /// Number of its newest entry.
    newest: Option<u64>,
    footer: Footer,
}

#[derive(Debug)]
struct Moving {
    from: SegmentId,
    entries: Vec<Moved>,
}

#[derive(Debug)]
struct Moved {
    backlog: BacklogId,
    entry: Entry,
    partition: u32,
    topic: Box<str>,
}

impl Forward {
    /// Whether entries of this file are being copied.
    pub(super) fn is_moving(&self, segment: SegmentId) -> bool {
        self.moving.as_ref().is_some_and(|moving| moving.from == segment)
    }

    /// Whether the writer has nothing of it.
    pub(super) fn is_idle(&self) -> bool {
        self.moving.is_none()
    }
}

impl Journal {
    /// Asks for the next slice to be copied, if there is something to copy. Returns when to look again after a failure.
    pub(super) fn forward(&mut self, now: Mono, hurry: bool, ask: &mut impl FnMut(JournalOp)) -> Option<Mono> {
        if self.forward.moving.is_some() || hurry {
            return None;
        }
        self.close_target(now, ask);
        if now < self.forward.retry_at {
            return Some(self.forward.retry_at);
        }
        while self.choose_source() {
            if let Some(slice) = self.next_slice() {
                self.copy(now, slice, ask);
                return None;
            }
        }
        None
    }

    /// A file of copies that nobody needs makes room, whether it is full or not; one that is full may be sparse one day.
    fn close_target(&mut self, now: Mono, ask: &mut impl FnMut(JournalOp)) {
        let spent = |target: &mut Target| self.segments.get(target.segment).is_some_and(|segment| segment.live == 0);
        if let Some(target) = self.forward.target.take_if(spent) {
            self.close_file(now, target.segment);
        }
        let most_bytes = self.limits.segment_bytes;
        if let Some(mut target) = self.forward.target.take_if(|target| target.at >= most_bytes) {
            self.finish(now, target.segment, target.at, &mut target.footer, ask);
        }
    }

    /// Whether there is a file to copy from: the one that was begun, or the next.
    fn choose_source(&mut self) -> bool {
        if self.forward.source.as_ref().is_some_and(|source| !source.left.is_empty()) {
            return true;
        }
        self.forward.source = None;
        let bound = 2 * self.counts.bytes + SLACK_SEGMENTS * self.limits.segment_bytes;
        if self.segments.staying_bytes() <= bound {
            return false;
        }
        let Some(segment) = self.segments.sparsest() else { return false };
        let left = VecDeque::from(self.entries_of(segment));
        if left.is_empty() {
            debug_assert!(false, "what is needed of a file is found");
            self.segments.spoil(segment);
        }
        self.forward.source = Some(Source { segment, left });
        true
    }

    /// What has not been passed of a file, oldest first.
    fn entries_of(&self, segment: SegmentId) -> Vec<(u64, BacklogId)> {
        let Some(file) = self.segments.get(segment) else { return Vec::new() };
        let (first, last, order) = (file.first, file.last, self.order(segment.journal));
        let mut found = Vec::with_capacity(file.live as usize);
        for (id, backlog) in self.backlogs.ids() {
            let begin = backlog
                .queue
                .partition_point(|entry| (self.order(entry.segment.journal), entry.number) < (order, first));
            let near = |entry: &&Entry| entry.segment.journal == segment.journal && entry.number <= last;
            let waiting = backlog.queue.range(begin..).take_while(near);
            let away = backlog.open.iter().map(|open| &open.entry);
            let inside = waiting.chain(away).filter(|entry| entry.segment == segment);
            found.extend(inside.map(|entry| (entry.number, id)));
        }
        found.sort_unstable();
        found
    }

    /// The place of a directory among those of this journal: what is sent before what.
    pub(super) fn order(&self, journal: JournalId) -> Option<usize> {
        self.directories.iter().position(|directory| directory.journal == journal)
    }

    /// The next entries of the source that are still there.
    fn next_slice(&mut self) -> Option<Moving> {
        let source = self.forward.source.as_mut()?;
        let from = source.segment;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes < SLICE_BYTES
            && entries.len() < SLICE_ENTRIES
            && let Some((number, id)) = self.forward.source.as_mut()?.left.pop_front()
        {
            let Some(&mut entry) = self.entry_mut(id, from, number) else { continue };
            bytes += u64::from(entry.bytes);
            let (partition, topic) = (self.backlogs[id].partition, self.backlogs.topic(id).into());
            entries.push(Moved { backlog: id, entry, partition, topic });
        }
        (!entries.is_empty()).then_some(Moving { from, entries })
    }

    /// An entry of a backlog that is in this file.
    fn entry_mut(&mut self, id: BacklogId, segment: SegmentId, number: u64) -> Option<&mut Entry> {
        let order = self.order(segment.journal);
        let directories = &self.directories;
        let order_of = |entry: &Entry| directories.iter().position(|d| d.journal == entry.segment.journal);
        let backlog = &mut self.backlogs[id];
        let at = backlog.queue.partition_point(|entry| (order_of(entry), entry.number) < (order, number));
        let waiting = backlog.queue.get_mut(at);
        let away = backlog.open.iter_mut().map(|open| &mut open.entry);
        waiting.into_iter().chain(away).find(|entry| entry.segment == segment && entry.number == number)
    }

    fn copy(&mut self, now: Mono, moving: Moving, ask: &mut impl FnMut(JournalOp)) {
        let (from, entries) = (moving.from, &moving.entries);
        self.finish_full_target(now, &moving, ask);
        let Some(directory) = self.directories.iter_mut().find(|d| d.journal == from.journal) else { return };
        let target = self.forward.target.get_or_insert_with(|| Target {
            segment: SegmentId { journal: from.journal, seq: directory.take_seq() },
            at: 0,
            newest: None,
            footer: Footer::default(),
        });
        self.segments.begin(target.segment);
        let place = |moved: &Moved| Copied { number: moved.entry.number, at: moved.entry.at, bytes: moved.entry.bytes };
        let places = entries.iter().map(place).collect();
        ask(JournalOp::Copy { from, to: target.segment, at: target.at, entries: places });
        self.forward.moving = Some(moving);
    }

    /// Finishes the file of copies if these entries cannot go to it.
    fn finish_full_target(&mut self, now: Mono, moving: &Moving, ask: &mut impl FnMut(JournalOp)) {
        let most_bytes = self.limits.segment_bytes;
        let bytes: u64 = moving.entries.iter().map(|moved| u64::from(moved.entry.bytes)).sum();
        let first = moving.entries.first().map(|moved| moved.entry.number);
        let refuses = |target: &mut Target| {
            let entries = target.footer.entries() + moving.entries.len();
            let is_full =
                target.at > 0 && target.at + bytes > most_bytes || entries > ENTRIES_MAX || target.footer.is_full();
            is_full || target.segment.journal != moving.from.journal || target.newest >= first
        };
        let Some(mut target) = self.forward.target.take_if(refuses) else { return };
        self.finish(now, target.segment, target.at, &mut target.footer, ask);
    }

    /// Copies are durable, but for entries that were found damaged, or none of them is.
    pub(super) fn on_copied(
        &mut self,
        now: Mono,
        from: SegmentId,
        to: SegmentId,
        result: Result<Vec<bool>, DiskError>,
    ) {
        let Some(moving) = self.forward.moving.take().filter(|moving| moving.from == from) else {
            debug_assert!(false, "an answer follows its copy");
            return;
        };
        match result {
            Ok(whole) => moving.entries.iter().zip(whole).for_each(|(moved, whole)| match whole {
                true => self.relocate(now, moved, to),
                false => self.segments.spoil(from),
            }),
            Err(error) => self.on_not_copied(now, &error),
        }
    }

    /// An entry is in another file from now on, as far as it is still needed.
    fn relocate(&mut self, now: Mono, moved: &Moved, to: SegmentId) {
        let Some(target) = self.forward.target.as_mut().filter(|target| target.segment == to) else { return };
        let Entry { number, segment: from, bytes, records, .. } = moved.entry;
        let at = target.at as u32;
        target.at += u64::from(bytes);
        target.newest = Some(number);
        let item = Item { number, at, bytes, partition: moved.partition, records, topic: 0 };
        target.footer.push(&item, &moved.topic);
        self.segments.grow(to, u64::from(bytes));
        self.counts.copied_bytes += u64::from(bytes);
        let Some(entry) = self.entry_mut(moved.backlog, from, number) else { return };
        let at = if is_planted(Plant::CopyAstray) { entry.at } else { at };
        let before = std::mem::replace(entry, Entry { segment: to, at, ..*entry });
        let after = *entry;
        self.segments.hold(&after);
        if self.segments.let_go(&before) {
            self.condemn(now, from);
        }
    }

    /// What the file of copies holds behind its end is in doubt: it takes nothing more.
    fn on_not_copied(&mut self, now: Mono, error: &DiskError) {
        self.counts.failures += 1;
        self.complain(error, "What others have passed keeps its place on the disk until it is tried again");
        self.forward.retry_at = now.plus_ms(RETRY_MS);
        self.forward.source = None;
        if let Some(target) = self.forward.target.take() {
            self.close_file(now, target.segment);
        }
    }
}

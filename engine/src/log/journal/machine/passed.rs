//! How far directories have been passed, as it is written for the next start.

use super::Journal;
use crate::clock::{self, Mono};
use crate::log::journal::backlog::Entry;
use crate::log::journal::op::JournalOp;
use crate::log::journal::positions::{Position, Positions};

impl Journal {
    /// Writes positions that have changed, once in a while, or at once in a hurry; after a failure not before a pause. Returns when to look again.
    pub(super) fn write_positions(&mut self, now: Mono, hurry: bool, ask: &mut impl FnMut(JournalOp)) -> Option<Mono> {
        let mut next = None;
        for at in 0..self.directories.len() {
            let Some(due) = self.directories[at].due_at(hurry) else { continue };
            if now < due {
                next = clock::earliest([next, Some(due)]);
                continue;
            }
            let bytes = self.positions(at).encode(self.directories[at].mark);
            let directory = &mut self.directories[at];
            directory.begin();
            ask(JournalOp::Positions { journal: directory.journal, slot: directory.next_slot(), bytes });
        }
        next
    }

    /// How far a directory has been passed.
    pub(super) fn positions(&self, at: usize) -> Positions {
        let directory = &self.directories[at];
        let journal = directory.journal;
        let order = |entry: &Entry| self.directories.iter().position(|d| d.journal == entry.segment.journal);
        let (count, topic_partitions) = (directory.next_count(), self.topic_partitions);
        let mut positions = Positions { count, topic_partitions, ..Positions::default() };
        for (&partition, &resume) in &directory.resume {
            let Some(backlog) = self.backlogs.find("", partition).map(|id| &self.backlogs[id]) else {
                positions.partitions.insert(partition, Position { resume, open: Vec::new() });
                continue;
            };
            let mine = |entry: &&Entry| entry.segment.journal == journal && entry.number < resume;
            let first = backlog.queue.partition_point(|entry| order(entry) < Some(at));
            let waiting = backlog.queue.range(first..).take_while(mine).map(|entry| entry.number);
            let away = backlog.open.iter().map(|open| &open.entry).filter(mine).map(|entry| entry.number);
            let mut open: Vec<u64> = away.chain(waiting).collect();
            open.sort_unstable();
            positions.partitions.insert(partition, Position { resume, open });
        }
        if directory.named_end > 0 {
            self.add_named(at, &mut positions);
        }
        positions
    }

    /// How far the topics of a directory that messages named have been passed: those that hold something are told, all others
    /// as a whole.
    fn add_named(&self, at: usize, positions: &mut Positions) {
        let journal = self.directories[at].journal;
        let mine = |entry: &Entry| entry.segment.journal == journal;
        let order = |entry: &Entry| self.directories.iter().position(|d| d.journal == entry.segment.journal);
        positions.passed = match journal == self.own {
            true => self.durable_end(),
            false => self.directories[at].named_end,
        };
        for (topic, backlog) in self.backlogs.named() {
            let mut open: Vec<u64> =
                backlog.open.iter().filter(|open| mine(&open.entry)).map(|open| open.entry.number).collect();
            let first = backlog.queue.partition_point(|entry| order(entry) < Some(at));
            let next = backlog.queue.get(first).filter(|entry| mine(entry)).map(|entry| entry.number);
            if open.is_empty() && next.is_none() {
                continue;
            }
            open.sort_unstable();
            let resume = next.unwrap_or(positions.passed);
            let partitions = positions.topics.entry(topic.into()).or_default();
            partitions.insert(backlog.partition, Position { resume, open });
        }
    }

    /// One above the last number below which everything is durable.
    fn durable_end(&self) -> u64 {
        let first = self.waiting.front().map_or(self.next_number, |batch| batch.journal - 1);
        self.writing.as_ref().map_or(first, |writing| writing.first)
    }
}

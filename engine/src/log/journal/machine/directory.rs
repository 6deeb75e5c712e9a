//! A directory of a journal: how far it has been passed, when that is written, and which of its files go then.

use std::collections::BTreeMap;

use crate::clock::Mono;
use crate::log::DiskError;
use crate::log::journal::op::{JournalId, SegmentId};

/// How old positions on disk may be.
const POSITIONS_MS: u64 = 500;
/// How long a disk is left alone that has just refused them.
const RETRY_MS: u64 = 500;

/// A directory, and how far it has been passed.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) journal: JournalId,
    pub(super) mark: u32,
    /// By partition of the sink's own topic, one above the newest entry that has left the queue.
    pub(super) resume: BTreeMap<u32, u64>,
    /// One above the newest entry of an earlier start that names a topic; 0 if none does.
    pub(super) named_end: u64,
    /// Number of its next file.
    next_seq: u32,
    /// How often positions were made durable.
    count: u64,
    /// Since when there is something to write.
    dirty_since: Option<Mono>,
    /// No positions before this, after some that failed.
    retry_at: Mono,
    writing: bool,
    /// Files to be removed once the next positions are durable.
    pub(super) condemned: Vec<SegmentId>,
    /// Files to be removed once those being written are.
    going: Vec<SegmentId>,
}

impl Directory {
    /// One whose positions have been written so many times, and whose next file has this number.
    pub(super) fn new(journal: JournalId, mark: u32, count: u64, next_seq: u32) -> Self {
        Self {
            journal,
            mark,
            resume: BTreeMap::new(),
            named_end: 0,
            next_seq,
            count,
            dirty_since: None,
            retry_at: Mono::default(),
            writing: false,
            condemned: Vec::new(),
            going: Vec::new(),
        }
    }

    /// The number of a new file.
    pub(super) fn take_seq(&mut self) -> u32 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// There is something to write.
    pub(super) fn touch(&mut self, now: Mono) {
        self.dirty_since.get_or_insert(now);
    }

    /// Whether what is on disk says everything.
    pub(super) fn is_noted(&self) -> bool {
        self.dirty_since.is_none() && !self.writing
    }

    /// When positions are to be written; `None` if they say nothing new, or are being written.
    pub(super) fn due_at(&self, hurry: bool) -> Option<Mono> {
        let since = self.dirty_since.filter(|_| !self.writing)?;
        let due = if hurry { since } else { since.plus_ms(POSITIONS_MS) };
        Some(due.max(self.retry_at))
    }

    /// Number of the positions that are written next.
    pub(super) fn next_count(&self) -> u64 {
        self.count + 1
    }

    /// Which of the two files they go to. The other one is whole: this one is taken again until it is, too.
    pub(super) fn next_slot(&self) -> u8 {
        (self.next_count() % 2) as u8
    }

    /// Positions are being written.
    pub(super) fn begin(&mut self) {
        (self.dirty_since, self.writing) = (None, true);
        self.going.append(&mut self.condemned);
    }

    /// They are durable, or not. Returns files that go now.
    ///
    /// Without positions files stay, so that after a crash what is sent again ends where it had ended. But a full disk may
    /// take them only when a file has gone.
    pub(super) fn end(&mut self, now: Mono, result: Result<(), &DiskError>) -> Vec<SegmentId> {
        self.writing = false;
        let Err(error) = result else {
            self.count += 1;
            return std::mem::take(&mut self.going);
        };
        self.touch(now);
        self.retry_at = now.plus_ms(RETRY_MS);
        let goes = if error.is_full() { self.going.len().min(1) } else { 0 };
        self.going.drain(..goes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(errno: i32) -> DiskError {
        DiskError { during: "write", errno, text: String::new() }
    }

    fn segment(seq: u32) -> SegmentId {
        SegmentId { journal: JournalId(0), seq }
    }

    #[test]
    fn positions_that_failed_are_written_again_to_the_same_file_after_a_pause() {
        let (mut directory, now) = (Directory::new(JournalId(0), 7, 4, 0), Mono::from_ms(10_000));
        directory.touch(now);
        assert_eq!((directory.due_at(false), directory.due_at(true)), (Some(now.plus_ms(500)), Some(now)));
        for _ in 0..3 {
            assert_eq!((directory.next_count(), directory.next_slot()), (5, 1));
            directory.begin();
            assert_eq!(directory.due_at(true), None);
            assert!(directory.end(now, Err(&error(5))).is_empty());
            assert!(!directory.is_noted());
            assert_eq!(directory.due_at(true), Some(now.plus_ms(500)), "not at once, even in a hurry");
        }
        directory.begin();
        directory.end(now, Ok(()));
        assert!(directory.is_noted());
        assert_eq!((directory.next_count(), directory.next_slot()), (6, 0));
    }

    #[test]
    fn files_stay_until_positions_are_durable_unless_the_disk_is_full() {
        let (mut directory, now) = (Directory::new(JournalId(0), 7, 0, 0), Mono::from_ms(10_000));
        directory.condemned = (0..4).map(segment).collect();
        directory.touch(now);
        directory.begin();
        assert_eq!(directory.end(now, Err(&error(5))), []);
        directory.begin();
        assert_eq!(directory.end(now, Err(&error(28))), [segment(0)], "one makes room");
        directory.condemned.push(segment(4));
        directory.begin();
        directory.condemned.push(segment(5));
        assert_eq!(directory.end(now, Ok(())), [1, 2, 3, 4].map(segment));
    }
}

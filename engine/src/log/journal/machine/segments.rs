//! The files of a journal: what is still needed of each, and when one may go.

use std::collections::BTreeMap;

use crate::log::journal::backlog::Entry;
use crate::log::journal::op::SegmentId;

/// One file.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// Entries that have not been passed.
    pub(super) live: u32,
    /// Bytes of them.
    pub(super) live_bytes: u64,
    /// Its length, as far as it is durable.
    pub(super) bytes: u64,
    /// Numbers of its oldest entry and of its newest.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Takes no more entries.
    closed: bool,
    /// Its removal has been decided.
    leaving: bool,
    /// An entry of it cannot be copied.
    spoiled: bool,
}

impl Segment {
    /// Whether less than half of it is needed, and that can be had elsewhere.
    fn is_sparse(&self) -> bool {
        self.closed && !self.leaving && !self.spoiled && self.live > 0 && 2 * self.live_bytes < self.bytes
    }

    fn is_spent(&self) -> bool {
        self.closed && self.live == 0
    }
}

/// All of them, and how long they are together.
#[derive(Debug, Default)]
pub(super) struct Segments {
    all: BTreeMap<SegmentId, Segment>,
    bytes: u64,
    leaving_bytes: u64,
}

impl Segments {
    /// A file that takes entries; it may be there already.
    pub(super) fn begin(&mut self, id: SegmentId) {
        self.all.entry(id).or_default();
    }

    /// A file of an earlier start, so many bytes long.
    pub(super) fn adopt(&mut self, id: SegmentId, bytes: u64) {
        self.all.insert(id, Segment { bytes, closed: true, ..Segment::default() });
        self.bytes += bytes;
    }

    /// So many more bytes of a file are durable.
    pub(super) fn grow(&mut self, id: SegmentId, bytes: u64) {
        let Some(segment) = self.all.get_mut(&id) else { return };
        segment.bytes += bytes;
        self.bytes += bytes;
        self.leaving_bytes += if segment.leaving { bytes } else { 0 };
    }

    /// A file holds an entry that has not been passed.
    pub(super) fn hold(&mut self, entry: &Entry) {
        let segment = self.all.entry(entry.segment).or_default();
        if segment.live == 0 {
            (segment.first, segment.last) = (entry.number, entry.number);
        }
        (segment.first, segment.last) = (segment.first.min(entry.number), segment.last.max(entry.number));
        segment.live += 1;
        segment.live_bytes += u64::from(entry.bytes);
    }

    /// It is needed there no longer. Whether its file may go.
    pub(super) fn let_go(&mut self, entry: &Entry) -> bool {
        let Some(segment) = self.all.get_mut(&entry.segment) else { return false };
        segment.live -= 1;
        segment.live_bytes -= u64::from(entry.bytes);
        segment.is_spent()
    }

    /// A file takes no more entries. Whether it may go.
    pub(super) fn close(&mut self, id: SegmentId) -> bool {
        let Some(segment) = self.all.get_mut(&id) else { return false };
        segment.closed = true;
        segment.is_spent()
    }

    /// Something in a file cannot be copied: it stays as long as it is needed.
    pub(super) fn spoil(&mut self, id: SegmentId) {
        if let Some(segment) = self.all.get_mut(&id) {
            segment.spoiled = true;
        }
    }

    /// A file is to go. False: that is known.
    pub(super) fn leave(&mut self, id: SegmentId) -> bool {
        let Some(segment) = self.all.get_mut(&id).filter(|segment| !segment.leaving) else { return false };
        segment.leaving = true;
        self.leaving_bytes += segment.bytes;
        true
    }

    /// A file has gone.
    pub(super) fn remove(&mut self, id: SegmentId) {
        let Some(segment) = self.all.remove(&id) else { return };
        self.bytes -= segment.bytes;
        self.leaving_bytes -= if segment.leaving { segment.bytes } else { 0 };
    }

    /// A file by its number.
    pub(super) fn get(&self, id: SegmentId) -> Option<&Segment> {
        self.all.get(&id)
    }

    /// Files in which nothing is needed though they are closed.
    pub(super) fn spent(&self) -> Vec<SegmentId> {
        self.all.iter().filter(|(_, segment)| segment.is_spent()).map(|(&id, _)| id).collect()
    }

    /// Of the files of which less than half is needed the one with the oldest entries.
    pub(super) fn sparsest(&self) -> Option<SegmentId> {
        let sparse = self.all.iter().filter(|(_, segment)| segment.is_sparse());
        sparse.min_by_key(|(id, segment)| (id.journal, segment.first)).map(|(&id, _)| id)
    }

    /// Whether one of them is about to go.
    pub(super) fn is_leaving(&self) -> bool {
        self.all.values().any(|segment| segment.leaving)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of those that stay.
    pub(super) fn staying_bytes(&self) -> u64 {
        self.bytes - self.leaving_bytes
    }
}

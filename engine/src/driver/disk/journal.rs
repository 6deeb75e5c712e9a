//! The files of sinks' buffers: appends that share a sync, footers, positions, and entries read back or copied.
//!
//! Reads and copies wait until everything else that is queued has been done, and are done one at a time: an acknowledgement may
//! wait for an append, nobody waits for what is read ahead.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Instant;

use super::segment::{Segment, error};
use crate::buffer::{Batch, PartKey};
use crate::log::journal::{
    BacklogId, Copied, JournalDone, JournalId, JournalOp, Journals, ReadBack, SegmentId, Wanted, copy_entries, pieces,
    read_back,
};
use crate::log::{DiskDone, DiskError};

/// Files kept open for reading.
const READERS_KEPT: usize = 8;

/// All journal files of one shard.
#[derive(Debug)]
pub(super) struct JournalFiles {
    journals: Journals,
    /// The files that take entries, or copies.
    open: HashMap<SegmentId, Segment>,
    written: Vec<Written>,
    reads: VecDeque<Read>,
    readers: VecDeque<(SegmentId, File)>,
    /// Files of positions whose names are durable, as far as this process has seen to it.
    named: HashSet<(JournalId, u8)>,
}

/// What was written and waits for the sync.
#[derive(Debug)]
struct Written {
    segment: SegmentId,
    what: What,
    result: Result<(), DiskError>,
}

#[derive(Debug)]
enum What {
    // The box is what travels.
    #[expect(clippy::vec_box)]
    Entries(Vec<Box<Batch>>),
    Footer,
}

/// What waits until nothing else is to be done.
#[derive(Debug)]
enum Read {
    Back { segment: SegmentId, backlog: BacklogId, partition: u32, wanted: Vec<Wanted> },
    Copy { from: SegmentId, to: SegmentId, at: u64, entries: Vec<Copied> },
}

impl JournalFiles {
    pub(super) fn new(journals: Journals) -> Self {
        Self {
            journals,
            open: HashMap::new(),
            written: Vec::new(),
            reads: VecDeque::new(),
            readers: VecDeque::new(),
            named: HashSet::new(),
        }
    }

    /// Journals of a sink that comes while the node runs.
    pub(super) fn add(&mut self, journals: Journals) {
        self.journals.add(journals);
    }

    /// A sink is gone: nothing more is asked of its journals.
    pub(super) fn remove(&mut self, sink: u16) {
        self.journals.remove(sink);
        let journals = &self.journals;
        self.open.retain(|segment, _| journals.has(segment.journal));
        self.readers.retain(|(segment, _)| journals.has(segment.journal));
        self.named.retain(|(journal, _)| journals.has(*journal));
    }

    /// Carries out an operation, or the part of it that comes before the sync.
    pub(super) fn take(&mut self, op: JournalOp, done: &mut impl FnMut(DiskDone)) {
        match op {
            JournalOp::Append { segment, at, batches } => {
                let pieces = batches.iter().flat_map(|batch| pieces(batch)).filter(|piece| !piece.is_empty());
                let result = self.append(segment, at, pieces, done);
                self.written.push(Written { segment, what: What::Entries(batches), result });
            }
            JournalOp::Finish { segment, at, footer } => {
                let result = self.append(segment, at, [&footer[..]].into_iter(), done);
                self.written.push(Written { segment, what: What::Footer, result });
            }
            JournalOp::Read { segment, backlog, partition, wanted } => {
                self.reads.push_back(Read::Back { segment, backlog, partition, wanted });
            }
            JournalOp::Copy { from, to, at, entries } => self.reads.push_back(Read::Copy { from, to, at, entries }),
            JournalOp::Positions { journal, slot, bytes } => {
                let result = self.write_positions(journal, slot, &bytes).map_err(|e| error("write", &e));
                done(DiskDone::Journal(JournalDone::Positions { journal, result }));
            }
            JournalOp::Delete { segment } => {
                self.commit(done);
                let result = self.delete(segment);
                done(DiskDone::Journal(JournalDone::Deleted { segment, result }));
            }
        }
    }

    fn append<'a>(
        &mut self,
        segment: SegmentId,
        at: u64,
        pieces: impl Iterator<Item = &'a [u8]>,
        done: &mut impl FnMut(DiskDone),
    ) -> Result<(), DiskError> {
        let SegmentId { journal, seq } = segment;
        if at == 0 {
            // What went to other files is synced before a new one is begun.
            self.commit(done);
            self.open.remove(&segment);
        }
        let file = match self.open.entry(segment) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let place = self.journals.place(journal);
                place.make().map_err(|e| error("create", &e))?;
                entry.insert(Segment::open(&place.dir, &place.segment_path(seq), i64::from(seq), at)?)
            }
        };
        file.append(at, pieces)
    }

    /// Replaces the bytes of a file of positions. It is written in place: the other one is whole meanwhile.
    fn write_positions(&mut self, journal: JournalId, slot: u8, bytes: &[u8]) -> io::Result<()> {
        let place = self.journals.place(journal);
        let is_named = self.named.contains(&(journal, slot));
        if !is_named {
            place.make()?;
        }
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).custom_flags(nofollow).mode(0o600);
        let file = options.open(place.positions_path(slot))?;
        file.write_all_at(bytes, 0)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_data()?;
        // The name of a new file, or of one whose name was not made durable when it was.
        if !is_named {
            File::open(&place.dir)?.sync_all()?;
            self.named.insert((journal, slot));
        }
        Ok(())
    }

    /// Syncs every touched file once, and answers.
    pub(super) fn commit(&mut self, done: &mut impl FnMut(DiskDone)) {
        let mut failed: HashMap<SegmentId, DiskError> = HashMap::new();
        let begin = Instant::now();
        for (&segment, file) in &mut self.open {
            if let Err(error) = file.sync() {
                failed.insert(segment, error);
            }
        }
        let sync_ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // A second sync of a file that failed one could succeed and prove nothing.
        self.open.retain(|segment, _| !failed.contains_key(segment));
        for Written { segment, what, result } in self.written.drain(..) {
            let result = result.and_then(|()| failed.get(&segment).map_or(Ok(()), |error| Err(error.clone())));
            // It takes nothing more.
            if result.is_err() || matches!(what, What::Footer) {
                self.open.remove(&segment);
            }
            done(DiskDone::Journal(match what {
                What::Entries(batches) => JournalDone::Appended { segment, batches, sync_ns, result },
                What::Footer => JournalDone::Finished { segment, result },
            }));
        }
    }

    /// Whether something is to be read.
    pub(super) fn has_reads(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Reads or copies what was asked for first.
    pub(super) fn read_next(&mut self, done: &mut impl FnMut(DiskDone)) {
        let answer = match self.reads.pop_front() {
            Some(Read::Back { segment, backlog, partition, wanted }) => self.read(segment, backlog, partition, wanted),
            Some(Read::Copy { from, to, at, entries }) => {
                let result = self.copy(from, to, at, &entries, done);
                // It takes nothing more, and what is in doubt is not to be found: a start takes the later of two copies.
                if result.is_err()
                    && let Some(file) = self.open.remove(&to)
                {
                    file.cut(at);
                }
                JournalDone::Copied { from, to, result }
            }
            None => return,
        };
        done(DiskDone::Journal(answer));
    }

    fn read(&mut self, segment: SegmentId, backlog: BacklogId, partition: u32, mut wanted: Vec<Wanted>) -> JournalDone {
        let place = self.journals.place(segment.journal).clone();
        let part = PartKey { sink: place.sink, partition };
        let entries = match self.reader(segment) {
            Ok(file) => wanted
                .iter_mut()
                .map(|wanted| {
                    let at = u64::from(wanted.at);
                    let set_aside = |bytes: &[u8]| place.set_aside(segment.seq, at, bytes);
                    (wanted.number, read_back(file, place.mark, place.shard, part, wanted, set_aside))
                })
                .collect(),
            Err(failure) => wanted.iter().map(|w| (w.number, ReadBack::Failed(error("read", &failure)))).collect(),
        };
        JournalDone::Read { segment, backlog, entries }
    }

    /// Copies entries and makes them durable; tells of each whether it was whole.
    fn copy(
        &mut self,
        from: SegmentId,
        to: SegmentId,
        at: u64,
        entries: &[Copied],
        done: &mut impl FnMut(DiskDone),
    ) -> Result<Vec<bool>, DiskError> {
        let mark = self.journals.place(from.journal).mark;
        let source = match self.reader(from) {
            // Deletions do not wait for copies: nothing in it is needed any more.
            Err(gone) if gone.kind() == ErrorKind::NotFound => return Ok(vec![false; entries.len()]),
            source => source.map_err(|e| error("read", &e))?,
        };
        let copies = copy_entries(source, mark, entries)?;
        self.append(to, at, copies.iter().flatten().map(|bytes| &bytes[..]), done)?;
        self.open.get_mut(&to).map_or(Ok(()), Segment::sync)?;
        Ok(copies.iter().map(Option::is_some).collect())
    }

    fn reader(&mut self, segment: SegmentId) -> io::Result<&File> {
        match self.readers.iter().position(|(known, _)| *known == segment) {
            Some(at) => {
                let reader = self.readers.remove(at);
                self.readers.extend(reader);
            }
            None => {
                let path = self.journals.place(segment.journal).segment_path(segment.seq);
                let nofollow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
                let file = OpenOptions::new().read(true).custom_flags(nofollow).open(path)?;
                if self.readers.len() >= READERS_KEPT {
                    self.readers.pop_front();
                }
                self.readers.push_back((segment, file));
            }
        }
        self.readers.back().map(|(_, file)| file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn delete(&mut self, segment: SegmentId) -> Result<(), DiskError> {
        self.readers.retain(|(known, _)| *known != segment);
        self.open.remove(&segment);
        match fs::remove_file(self.journals.place(segment.journal).segment_path(segment.seq)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(error("delete", &e)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

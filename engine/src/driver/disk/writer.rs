//! The writer: takes everything that is queued, writes it, syncs each touched file once, and answers.
//!
//! An append is durable as a whole or failed as a whole. A failed write leaves the segment as long as it was before, so that
//! the same bytes may be tried again at the same place; a failed sync leaves open what the file holds, and the kernel may have
//! forgotten the pages: that segment is dead, and every later append to it fails.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;

use super::journal::JournalFiles;
use super::segment::Segment;
use crate::buffer::Batch;
use crate::log::journal::Journals;
use crate::log::{Catalogue, DiskDone, DiskError, DiskOp, LogId, LogPlace};

/// What the writer is given to do, in order.
#[derive(Debug)]
pub(super) enum Work {
    /// The shard asks for it, and is answered.
    Op(DiskOp),
    /// From now on the shard may ask for work on these journals.
    Add(Journals),
    /// It no longer does for those of this sink.
    Remove {
        /// The sink's slot.
        sink: u16,
    },
}

impl From<DiskOp> for Work {
    fn from(op: DiskOp) -> Self {
        Work::Op(op)
    }
}

/// The files of one shard's logs. Only this thread touches them while the engine runs.
#[derive(Debug)]
pub(super) struct Writer {
    /// The node's logs, if it has any.
    catalogue: Option<Arc<Catalogue>>,
    journals: JournalFiles,
    /// The segment each log appends to.
    open: HashMap<LogId, Segment>,
    /// Segments whose sync failed.
    dead: HashSet<(LogId, i64)>,
}

/// An append that has been written and waits for the sync.
#[derive(Debug)]
struct Written {
    log: LogId,
    segment: i64,
    end_offset: i64,
    #[expect(clippy::vec_box)]
    batches: Vec<Box<Batch>>,
    result: Result<(), DiskError>,
}

impl Writer {
    pub(super) fn new(catalogue: Option<Arc<Catalogue>>, journals: Journals) -> Self {
        Self { catalogue, journals: JournalFiles::new(journals), open: HashMap::new(), dead: HashSet::new() }
    }

    /// Whether entries of buffers are to be read when nothing else is left to do.
    pub(super) fn has_reads(&self) -> bool {
        self.journals.has_reads()
    }

    /// Reads the next of them.
    pub(super) fn read_next(&mut self, mut done: impl FnMut(DiskDone)) {
        self.journals.read_next(&mut done);
    }

    /// Carries out a drain of the queue as one group commit; `done` gets the results in the order of the operations.
    pub(super) fn run(&mut self, work: impl Iterator<Item = impl Into<Work>>, mut done: impl FnMut(DiskDone)) {
        let mut written = Vec::new();
        for work in work {
            let op = match work.into() {
                Work::Op(op) => op,
                Work::Add(journals) => {
                    self.journals.add(journals);
                    continue;
                }
                Work::Remove { sink } => {
                    self.journals.commit(&mut done);
                    self.journals.remove(sink);
                    continue;
                }
            };
            match op {
                DiskOp::Append { log, segment, at, end_offset, batches } => {
                    if self.open.get(&log).is_some_and(|open| open.base() != segment) {
                        // The log rolls: what went to the old file is synced before the new one is begun, so that a crash
                        // never leaves a gap in front of a segment.
                        self.commit(&mut written, &mut done);
                        self.open.remove(&log);
                    }
                    let result = self.append(log, segment, at, &batches);
                    written.push(Written { log, segment, end_offset, batches, result });
                }
                DiskOp::Delete { log, segment } => {
                    self.commit(&mut written, &mut done);
                    let result = self.delete(log, segment);
                    done(DiskDone::Deleted { log, segment, result });
                }
                DiskOp::Journal(op) => self.journals.take(op, &mut done),
            }
        }
        self.commit(&mut written, &mut done);
        self.journals.commit(&mut done);
    }

    fn place(&self, log: LogId) -> &LogPlace {
        self.catalogue.as_ref().expect("a log is one of the node's").place(log)
    }

    fn append(&mut self, log: LogId, base: i64, at: u64, batches: &[Box<Batch>]) -> Result<(), DiskError> {
        if at == 0 {
            // A file of that name that failed before is replaced by a new one.
            self.dead.remove(&(log, base));
            self.open.remove(&log);
        }
        if self.dead.contains(&(log, base)) {
            return Err(DiskError {
                during: "sync",
                errno: 0,
                text: format!("segment {base} is dead after a failed sync"),
            });
        }
        let segment = match self.open.entry(log) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let place = self.catalogue.as_ref().expect("a log is one of the node's").place(log);
                entry.insert(Segment::open(&place.dir, &place.segment_path(base), base, at)?)
            }
        };
        segment.append(at, batches.iter().map(|batch| &batch.bytes[..]))
    }

    /// Syncs every touched file once, publishes what is durable, and answers.
    fn commit(&mut self, written: &mut Vec<Written>, done: &mut impl FnMut(DiskDone)) {
        let mut failed: HashMap<LogId, DiskError> = HashMap::new();
        for (&log, segment) in &mut self.open {
            if let Err(error) = segment.sync() {
                self.dead.insert((log, segment.base()));
                failed.insert(log, error);
            }
        }
        for Written { log, segment, end_offset, batches, result } in written.drain(..) {
            let result = result.and_then(|()| failed.get(&log).map_or(Ok(()), |error| Err(error.clone())));
            if result.is_ok() {
                self.place(log).ends.appended(segment, end_offset);
            }
            done(DiskDone::Appended { log, segment, end_offset, batches, result });
        }
    }

    fn delete(&mut self, log: LogId, base: i64) -> Result<(), DiskError> {
        if self.open.get(&log).is_some_and(|open| open.base() == base) {
            self.open.remove(&log);
        }
        self.dead.remove(&(log, base));
        let place = self.place(log);
        // Readers first, or one of them would miss a file it had been promised.
        place.ends.retired(base);
        match fs::remove_file(place.segment_path(base)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(super::segment::error("delete", &e)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

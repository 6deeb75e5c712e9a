//! Reads one partition's log for the Kafka listener: whole, checked batches below the published end.
//!
//! Positions come from a sparse index in memory, one for each segment, that grows as the segment is first walked. Nothing
//! about it is on disk: a walk runs at the speed of memory, and an index file would be one more thing to keep consistent
//! through crashes.
//!
//! Every batch is checked here although recovery has seen it, because disks forget later too, and a consumer that is sent a
//! damaged batch stops there for ever. Damaged bytes are left out and counted once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use kafka::record_batch::{self, Header};

use super::scan::{Found, Scanner, Stretch};
use super::{Catalogue, LogId};

/// Bytes between two entries of an index: a read walks at most this far before it finds its offset, some 20 µs.
const INDEX_INTERVAL_BYTES: u64 = 64 * 1024;

/// Why nothing could be read.
#[derive(Debug)]
pub enum ReadError {
    /// The offset lies below the log's start or above the next record's.
    OutOfRange,
    /// The disk refuses.
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A place in a segment where a batch begins.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u64,
    offset: i64,
    /// Latest timestamp of the records before it in the segment; `i64::MIN` where there are none.
    latest_before_ms: i64,
}

/// What is known about a segment.
#[derive(Debug)]
struct Index {
    /// Every so many bytes a place, ascending; the first is the start.
    places: Vec<Place>,
    /// How far the segment has been walked.
    walked: Place,
    /// The walk has reached the end of a segment that takes no more.
    complete: bool,
}

impl Index {
    fn new(base_offset: i64) -> Self {
        let start = Place { at: 0, offset: base_offset, latest_before_ms: i64::MIN };
        Self { places: vec![start], walked: start, complete: false }
    }

    /// Where to begin in order to find `offset`.
    fn before_offset(&self, offset: i64) -> Place {
        if offset >= self.walked.offset {
            return self.walked;
        }
        let after = self.places.partition_point(|place| place.offset <= offset);
        // An offset below the segment's first is looked for from its start: it lies in a hole at the end of the one before.
        self.places.get(after.saturating_sub(1)).copied().unwrap_or(self.walked)
    }

    /// Where to begin in order to find the first record not older than `timestamp_ms`.
    fn before_time(&self, timestamp_ms: i64) -> Place {
        if self.walked.latest_before_ms < timestamp_ms {
            return self.walked;
        }
        let after = self.places.partition_point(|place| place.latest_before_ms < timestamp_ms);
        self.places.get(after.saturating_sub(1)).copied().unwrap_or(self.walked)
    }

    /// Takes in a batch that a walk has met.
    fn met(&mut self, at: u64, header: &Header) {
        if at != self.walked.at {
            return;
        }
        if self.places.last().is_some_and(|last| at >= last.at + INDEX_INTERVAL_BYTES) {
            self.places.push(Place { offset: header.base_offset, ..self.walked });
        }
        self.walked = Place {
            at: at + header.batch_bytes as u64,
            offset: header.next_offset(),
            latest_before_ms: self.walked.latest_before_ms.max(header.max_timestamp_ms),
        };
    }
}

/// What a walk does after a batch, and how it ended.
#[derive(Debug, PartialEq, Eq)]
enum Walk {
    On,
    Stop,
}

/// Reads one log.
#[derive(Debug)]
pub struct LogReader {
    catalogue: Arc<Catalogue>,
    log: LogId,
    /// By base offset of the segment.
    indexes: BTreeMap<i64, Index>,
    /// Decompressed records; kept for its capacity.
    scratch: Vec<u8>,
}

/// No batch of ours decompresses to more; one that claims to is answered with its first offset.
const DECOMPRESSED_BYTES_MAX: usize = 32 << 20;

impl LogReader {
    /// A reader of `log`.
    pub fn new(catalogue: Arc<Catalogue>, log: LogId) -> Self {
        Self { catalogue, log, indexes: BTreeMap::new(), scratch: Vec::new() }
    }

    /// Appends batches to `out`, from the one that holds `offset` on, up to `bytes_max` bytes; with `one_at_least` the first
    /// batch counts however long it is. Where damage has taken the records at `offset`, they are the ones behind it, as
    /// Kafka does with the holes that compaction leaves. At the end of the log there are none.
    ///
    /// # Errors
    /// If the offset is not in the log, or the disk refuses.
    pub fn read(
        &mut self,
        offset: i64,
        bytes_max: usize,
        one_at_least: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let before = out.len();
        let end = self.check_range(offset)?;
        let bases = self.segments();
        if bases.is_empty() {
            return Ok(());
        }
        let first = bases.partition_point(|&base| base <= offset).checked_sub(1).ok_or(ReadError::OutOfRange)?;
        for n in first..bases.len() {
            let start = self.index(bases[n]).before_offset(offset);
            let walk = self.walk(&bases, n, end, start, |header, batch| {
                if header.next_offset() <= offset {
                    return Walk::On;
                }
                let read = out.len() - before;
                if read + batch.len() > bytes_max && !(read == 0 && one_at_least) {
                    return Walk::Stop;
                }
                let begin = out.len();
                out.extend_from_slice(batch);
                // The leader epoch lies outside the checksum, and a wrong one would send consumers astray.
                record_batch::set_base_offset(&mut out[begin..], header.base_offset, 0);
                Walk::On
            })?;
            // A segment at a time is enough, unless damage left nothing of it.
            if walk == Walk::Stop || out.len() > before {
                break;
            }
        }
        Ok(())
    }

    /// The first record whose timestamp is not below `timestamp_ms`: its offset and timestamp.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn find_time(&mut self, timestamp_ms: i64) -> Result<Option<(i64, i64)>, ReadError> {
        let end = self.check_range(self.ends().end())?;
        let bases = self.segments();
        let mut found = None;
        let mut scratch = std::mem::take(&mut self.scratch);
        for n in 0..bases.len() {
            let index = self.index(bases[n]);
            if index.complete && index.walked.latest_before_ms < timestamp_ms {
                continue;
            }
            let start = index.before_time(timestamp_ms);
            self.walk(&bases, n, end, start, |header, batch| {
                if header.max_timestamp_ms < timestamp_ms {
                    return Walk::On;
                }
                found = Some(first_since(header, batch, timestamp_ms, &mut scratch));
                Walk::Stop
            })?;
            if found.is_some() {
                break;
            }
        }
        self.scratch = scratch;
        Ok(found)
    }

    fn ends(&self) -> &super::PublishedEnds {
        &self.catalogue.place(self.log).ends
    }

    /// The end of the log, read before its segments are.
    fn check_range(&self, offset: i64) -> Result<i64, ReadError> {
        let end = self.ends().end();
        if self.ends().contains(offset) { Ok(end) } else { Err(ReadError::OutOfRange) }
    }

    /// The segments there are; what is known about others is forgotten.
    fn segments(&mut self) -> Vec<i64> {
        let bases = self.ends().segments();
        if let Some(&oldest) = bases.first() {
            self.indexes = self.indexes.split_off(&oldest);
        }
        bases
    }

    fn index(&mut self, base_offset: i64) -> &mut Index {
        self.indexes.entry(base_offset).or_insert_with(|| Index::new(base_offset))
    }

    /// Walks segment `bases[n]` from `start`, shows each batch below `end` to `visit`, and lets the index learn.
    fn walk(
        &mut self,
        bases: &[i64],
        n: usize,
        end: i64,
        start: Place,
        mut visit: impl FnMut(&Header, &[u8]) -> Walk,
    ) -> Result<Walk, ReadError> {
        let next = bases.get(n + 1).copied();
        let limit = next.map_or(end, |next| next.min(end));
        let catalogue = Arc::clone(&self.catalogue);
        let path = catalogue.place(self.log).segment_path(bases[n]);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) => {
                let named = io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                return self.not_open(bases[n], limit, named);
            }
        };
        let len = file.metadata()?.len();
        let mut scanner = Scanner::new(&file, catalogue.mark(), len, start.at, start.offset, limit);
        let (log, index) = (self.log, self.index(bases[n]));
        let mut damage = None;
        loop {
            match scanner.next()? {
                Found::Batch { at, header } => {
                    if let Some(stretch) = damage.take().filter(|stretch: &Stretch| stretch.at == index.walked.at) {
                        // Damage with a batch behind it is passed for good, and counted.
                        catalogue.damage().count(log, bases[n], stretch);
                        index.walked = Place { at, offset: header.base_offset, ..index.walked };
                    }
                    index.met(at, &header);
                    if visit(&header, scanner.batch()) == Walk::Stop {
                        return Ok(Walk::Stop);
                    }
                }
                Found::Damaged(stretch) => damage = Some(stretch),
                Found::End { .. } => break,
            }
        }
        // Damage at the end of the newest segment may be an append that is just being written; in a segment that takes no
        // more it is what it seems. The segments were listed after `end` was read, and may be ahead of it.
        if next.is_some_and(|next| next <= end) && !index.complete {
            index.complete = true;
            if let Some(stretch) = damage {
                catalogue.damage().count(log, bases[n], stretch);
            }
        }
        Ok(Walk::On)
    }

    /// What it means that the file of a segment cannot be opened.
    fn not_open(&self, base_offset: i64, limit: i64, error: io::Error) -> Result<Walk, ReadError> {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        match is_missing {
            // An empty segment may have no file yet.
            true if limit <= base_offset => Ok(Walk::On),
            // Retention was faster than we: the offset is below the start by now.
            true if self.ends().log_start() > base_offset => Err(ReadError::OutOfRange),
            _ => Err(error.into()),
        }
    }
}

/// The first record of a batch that is not older than `timestamp_ms`: its offset and timestamp.
fn first_since(header: &Header, batch: &[u8], timestamp_ms: i64, scratch: &mut Vec<u8>) -> (i64, i64) {
    let records = record_batch::decompressed_records(batch, scratch, DECOMPRESSED_BYTES_MAX);
    let hit = records.ok().and_then(|records| {
        records.map_while(Result::ok).find_map(|record| {
            let at_ms = header.base_timestamp_ms.saturating_add(record.timestamp_delta_ms);
            (at_ms >= timestamp_ms).then(|| (header.base_offset.saturating_add(i64::from(record.offset_delta)), at_ms))
        })
    });
    // The header promised one. Too early is the safe side for a consumer.
    hit.unwrap_or((header.base_offset, header.max_timestamp_ms))
}

#[cfg(test)]
mod tests;

//! The files of sinks' buffers: what one shard's writer does with them, step by step.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use aqueduct::buffer::{Batch, PartKey};
use aqueduct::clock::Now;
use aqueduct::log::DiskError;
use aqueduct::log::journal::{
    BacklogId, Copied, JournalDone, JournalId, JournalOp, ReadBack, SegmentId, Wanted, copy_entries, pieces, read_back,
};

use super::media::Directory;
use super::writer::{ENOSPC, Ground, error, write_over, write_part};

const EIO: i32 = 5;
const EMFILE: i32 = 24;

/// A file that takes appends, or copies; `len` bytes of it are whole ones.
#[derive(Debug)]
struct Open {
    len: u64,
    touched: bool,
    is_new: bool,
}

#[derive(Debug)]
struct Written {
    segment: SegmentId,
    what: What,
    result: Result<(), DiskError>,
}

#[derive(Debug)]
enum What {
    #[expect(clippy::vec_box)]
    Entries(Vec<Box<Batch>>),
    Footer,
    Copies {
        from: SegmentId,
        whole: Vec<bool>,
    },
}

/// The journals of one shard.
#[derive(Debug, Default)]
pub(super) struct Journals {
    open: BTreeMap<SegmentId, Open>,
    written: Vec<Written>,
    /// Files of positions whose names are durable.
    named: BTreeSet<(JournalId, u8)>,
}

/// The name of a file of positions among a directory's numbers.
pub(super) fn positions_name(slot: u8) -> i64 {
    -1 - i64::from(slot)
}

impl Journals {
    /// Whether nothing waits for a sync.
    pub(super) fn is_committed(&self) -> bool {
        self.written.is_empty() && !self.open.values().any(|open| open.touched || open.is_new)
    }

    /// Whether what was written has to be synced before this.
    pub(super) fn must_commit(&self, op: &JournalOp) -> bool {
        let waits = match op {
            JournalOp::Append { at, .. } | JournalOp::Copy { at, .. } => *at == 0,
            JournalOp::Delete { .. } => true,
            JournalOp::Finish { .. } | JournalOp::Read { .. } | JournalOp::Positions { .. } => false,
        };
        waits && !self.is_committed()
    }

    /// Nothing more is asked of this journal.
    pub(super) fn forget(&mut self, journal: JournalId) {
        self.open.retain(|segment, _| segment.journal != journal);
        self.named.retain(|(known, _)| *known != journal);
    }

    /// Carries out an operation, or the part of it that comes before the sync.
    pub(super) fn take(&mut self, now: Now, op: JournalOp, ground: &mut Ground<'_>) -> Option<JournalDone> {
        match op {
            JournalOp::Append { segment, at, batches } => {
                let bytes = entries_of(&batches);
                let result = self.append(now, segment, at, &bytes, ground);
                self.written.push(Written { segment, what: What::Entries(batches), result });
                None
            }
            JournalOp::Finish { segment, at, footer } => {
                let result = self.append(now, segment, at, &footer, ground);
                self.written.push(Written { segment, what: What::Footer, result });
                None
            }
            JournalOp::Read { segment, backlog, partition, mut wanted } => {
                Some(read(segment, backlog, partition, &mut wanted, ground))
            }
            JournalOp::Copy { from, to, at, entries } => self.copy(now, from, (to, at), &entries, ground),
            JournalOp::Positions { journal, slot, bytes } => {
                let result = self.write_positions(now, journal, slot, &bytes, ground);
                Some(JournalDone::Positions { journal, result })
            }
            JournalOp::Delete { segment } => {
                self.open.remove(&segment);
                let result = if ground.random.chance(ground.faults.delete_fails) {
                    Err(error("delete", EIO, "input/output error"))
                } else {
                    remove(
                        ground.journals.get_mut(&segment.journal).expect("a journal"),
                        i64::from(segment.seq),
                        ground.used,
                    );
                    Ok(())
                };
                Some(JournalDone::Deleted { segment, result })
            }
        }
    }

    fn append(
        &mut self,
        now: Now,
        segment: SegmentId,
        at: u64,
        bytes: &[u8],
        ground: &mut Ground<'_>,
    ) -> Result<(), DiskError> {
        let SegmentId { journal, seq } = segment;
        if at == 0 {
            self.open.remove(&segment);
        }
        let directory = ground.journals.get_mut(&journal).expect("a journal");
        let open = match self.open.entry(segment) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => {
                assert!(at == 0, "no file of an earlier start, or in doubt, takes an append");
                if ground.random.chance(ground.faults.create_fails) {
                    return Err(error("create", EMFILE, "too many open files"));
                }
                remove(directory, i64::from(seq), ground.used);
                directory.make(i64::from(seq));
                vacant.insert(Open { len: 0, touched: false, is_new: true })
            }
        };
        assert!(at == open.len, "an append belongs at the end of its file");
        open.touched = true;
        let file = directory.get_mut(i64::from(seq)).expect("an open file is there");
        file.touched_ms = now.wall_ms;
        write_part(file, at as usize, bytes, ground.faults, ground.random, ground.used, ground.counts)?;
        open.len += bytes.len() as u64;
        Ok(())
    }

    /// Copies entries, or the part of that which comes before the sync.
    fn copy(
        &mut self,
        now: Now,
        from: SegmentId,
        (to, at): (SegmentId, u64),
        entries: &[Copied],
        ground: &mut Ground<'_>,
    ) -> Option<JournalDone> {
        if ground.random.chance(ground.faults.read_fails) {
            let result = Err(error("read", EMFILE, "too many open files"));
            return Some(JournalDone::Copied { from, to, result });
        }
        let copies = copies(from, entries, ground);
        let whole = copies.iter().map(Option::is_some).collect();
        let bytes: Vec<u8> = copies.into_iter().flatten().flatten().collect();
        let result = self.append(now, to, at, &bytes, ground);
        ground.counts.copies += 1;
        self.written.push(Written { segment: to, what: What::Copies { from, whole }, result });
        None
    }

    fn write_positions(
        &mut self,
        now: Now,
        journal: JournalId,
        slot: u8,
        bytes: &[u8],
        ground: &mut Ground<'_>,
    ) -> Result<(), DiskError> {
        let directory = ground.journals.get_mut(&journal).expect("a journal");
        let name = positions_name(slot);
        if directory.get(name).is_none() {
            if ground.random.chance(ground.faults.create_fails) {
                return Err(error("create", ENOSPC, "no space left"));
            }
            directory.make(name);
        }
        let file = directory.get_mut(name).expect("it is there");
        file.touched_ms = now.wall_ms;
        write_over(file, bytes, ground.faults, ground.random, ground.used, ground.counts)?;
        if ground.random.chance(ground.faults.sync_fails) {
            file.fail_sync(ground.random);
            return Err(error("sync", EIO, "input/output error"));
        }
        if !ground.faults.forgets_sync {
            file.sync();
        }
        if !self.named.contains(&(journal, slot)) {
            if ground.random.chance(ground.faults.sync_fails) {
                return Err(error("sync", EIO, "input/output error"));
            }
            if !ground.faults.forgets_directory_sync {
                directory.sync();
            }
            self.named.insert((journal, slot));
        }
        Ok(())
    }

    /// Syncs every touched file once, and answers.
    pub(super) fn commit(&mut self, ground: &mut Ground<'_>) -> Vec<JournalDone> {
        let mut failed: BTreeMap<SegmentId, DiskError> = BTreeMap::new();
        for (&segment, open) in &mut self.open {
            if let Err(error) = sync(segment, open, ground) {
                ground.counts.failed_syncs += 1;
                failed.insert(segment, error);
            }
        }
        self.open.retain(|segment, _| !failed.contains_key(segment));
        let mut answers = Vec::with_capacity(self.written.len());
        for Written { segment, what, result } in std::mem::take(&mut self.written) {
            let result = result.and_then(|()| failed.get(&segment).map_or(Ok(()), |error| Err(error.clone())));
            if result.is_err() || matches!(what, What::Footer) {
                self.open.remove(&segment);
            }
            answers.push(match what {
                What::Entries(batches) => JournalDone::Appended { segment, batches, sync_ns: 1_000_000, result },
                What::Footer => JournalDone::Finished { segment, result },
                What::Copies { from, whole } => {
                    JournalDone::Copied { from, to: segment, result: result.map(|()| whole) }
                }
            });
        }
        answers
    }

    /// The machine stops while this is being written: a part of it may be there.
    pub(super) fn stop(&self, op: &JournalOp, ground: &mut Ground<'_>) {
        let (segment, at, bytes) = match op {
            JournalOp::Append { segment, at, batches } => (segment, at, entries_of(batches)),
            JournalOp::Copy { from, to, at, entries } => {
                (to, at, copies(*from, entries, ground).into_iter().flatten().flatten().collect())
            }
            _ => return,
        };
        let fits = self.open.get(segment).is_some_and(|open| open.len == *at);
        let directory = ground.journals.get_mut(&segment.journal).expect("a journal");
        let Some(file) = directory.get_mut(i64::from(segment.seq)).filter(|_| fits) else { return };
        let part = ground.random.between(0, bytes.len() as u64) as usize;
        file.write(*at as usize, &bytes[..part]);
    }

    /// What waits for the sync.
    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        let entries = self.written.iter().filter_map(|written| match &written.what {
            What::Entries(batches) => Some(batches),
            What::Footer | What::Copies { .. } => None,
        });
        entries.flatten().map(|batch| &**batch)
    }
}

/// What is written for batches.
fn entries_of(batches: &[Box<Batch>]) -> Vec<u8> {
    batches.iter().flat_map(|batch| pieces(batch)).flatten().copied().collect()
}

/// The bytes of entries, where they are whole.
fn copies(from: SegmentId, entries: &[Copied], ground: &Ground<'_>) -> Vec<Option<Vec<u8>>> {
    let file = ground.journals[&from.journal].get(i64::from(from.seq)).expect("what is copied is there");
    let mark = ground.places.place(from.journal).mark;
    copy_entries(file.bytes(), mark, entries).expect("memory reads")
}

/// Where an envelope says how many records there are.
const RECORDS_AT: usize = 24;

fn read(
    segment: SegmentId,
    backlog: BacklogId,
    partition: u32,
    wanted: &mut [Wanted],
    ground: &mut Ground<'_>,
) -> JournalDone {
    let place = ground.places.place(segment.journal);
    let part = PartKey { sink: place.sink, partition };
    let file = ground.journals[&segment.journal].get(i64::from(segment.seq));
    let fails = ground.random.chance(ground.faults.read_fails);
    let one = |wanted: &mut Wanted| match file {
        Some(file) if !fails => read_back(file.bytes(), place.mark, place.shard, part, wanted, |_| {}),
        _ => ReadBack::Failed(error("read", EIO, "input/output error")),
    };
    let entries = wanted.iter_mut().map(|wanted| (wanted.number, one(wanted))).collect();
    if let Some(file) = file.filter(|_| fails) {
        for Wanted { number, at, .. } in wanted {
            let records = file.bytes().get(*at as usize + RECORDS_AT..).and_then(|bytes| bytes.first_chunk());
            let (tries, of) = ground.unread.entry((segment.journal, *number)).or_default();
            (*tries, *of) = (*tries + 1, records.map_or(0, |bytes| u32::from_be_bytes(*bytes)));
        }
    }
    JournalDone::Read { segment, backlog, entries }
}

fn sync(segment: SegmentId, open: &mut Open, ground: &mut Ground<'_>) -> Result<(), DiskError> {
    let directory = ground.journals.get_mut(&segment.journal).expect("a journal");
    if std::mem::take(&mut open.touched) {
        let file = directory.get_mut(i64::from(segment.seq)).expect("an open file is there");
        if ground.random.chance(ground.faults.sync_fails) {
            file.fail_sync(ground.random);
            return Err(error("sync", EIO, "input/output error"));
        }
        if !ground.faults.forgets_sync {
            file.sync();
        }
    }
    if std::mem::take(&mut open.is_new) {
        if ground.random.chance(ground.faults.sync_fails) {
            return Err(error("sync", EIO, "input/output error"));
        }
        if !ground.faults.forgets_directory_sync {
            directory.sync();
        }
    }
    Ok(())
}

fn remove(directory: &mut Directory, name: i64, used: &mut u64) {
    let len = directory.get(name).map_or(0, |file| file.len() as u64);
    if directory.remove(name) {
        *used -= len;
    }
}

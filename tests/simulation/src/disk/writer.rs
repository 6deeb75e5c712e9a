//! One shard's writer: takes everything that is queued, writes it, syncs each touched file once, publishes, answers; as the
//! driver's writer thread does, step by step, with time in between.
//!
//! ```text
//! group   append, append, | roll: sync | append, | sync | delete, append, | sync, publish, answer
//! ```

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aqueduct::buffer::Batch;
use aqueduct::clock::{Mono, Now};
use aqueduct::log::journal::{JournalId, JournalOp};
use aqueduct::log::{Catalogue, DiskDone, DiskError, DiskOp, LogId, LogPlace};

use super::journal::Journals;
use super::media::{Directory, File};
use super::{Counts, DiskFaults, DiskPlan, Unread};
use crate::random::Random;

const EIO: i32 = 5;
const EMFILE: i32 = 24;
pub(super) const ENOSPC: i32 = 28;

/// What all writers share.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub(super) plan: &'a DiskPlan,
    pub(super) faults: &'a DiskFaults,
    pub(super) random: &'a mut Random,
    pub(super) catalogue: Option<&'a Catalogue>,
    pub(super) directories: &'a mut [Directory],
    pub(super) places: &'a aqueduct::log::journal::Journals,
    pub(super) journals: &'a mut BTreeMap<JournalId, Directory>,
    /// Bytes of all files.
    pub(super) used: &'a mut u64,
    pub(super) counts: &'a mut Counts,
    pub(super) unread: &'a mut Unread,
}

/// A segment that is open; `len` bytes of it are whole appends.
#[derive(Debug)]
struct Open {
    base: i64,
    len: u64,
    touched: bool,
    /// Its name is not durable yet.
    is_new: bool,
}

#[derive(Debug)]
struct Written {
    log: LogId,
    segment: i64,
    end_offset: i64,
    #[expect(clippy::vec_box)]
    batches: Vec<Box<Batch>>,
    result: Result<(), DiskError>,
}

/// What takes its time at the moment.
#[derive(Debug)]
enum Work {
    /// Waking up.
    Begin,
    Append,
    /// `rolls`: the log whose file is closed afterwards.
    Commit {
        rolls: Option<LogId>,
    },
    Delete,
    Journal,
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    journals: Journals,
    queue: VecDeque<DiskOp>,
    /// What shares the next sync; the first is worked on.
    group: VecDeque<DiskOp>,
    work: Option<Work>,
    pub(super) ends_at: Option<Mono>,
    open: BTreeMap<LogId, Open>,
    dead: BTreeSet<(LogId, i64)>,
    written: Vec<Written>,
    pub(super) done: VecDeque<DiskDone>,
}

impl Writer {
    /// Nothing more is asked of this journal.
    pub(super) fn forget(&mut self, journal: JournalId) {
        self.journals.forget(journal);
    }

    pub(super) fn submit(&mut self, now: Mono, op: DiskOp, ground: &mut Ground<'_>) {
        self.queue.push_back(op);
        if self.work.is_none() {
            let (least, most) = ground.plan.wake_ns;
            self.work = Some(Work::Begin);
            self.ends_at = Some(now + ground.random.between(least, most));
        }
    }

    /// Ends what is due and begins what follows.
    pub(super) fn tick(&mut self, now: Now, ground: &mut Ground<'_>) {
        while let Some(at) = self.ends_at.filter(|&at| at <= now.mono) {
            match self.work.take().expect("what ends was begun") {
                Work::Begin => {}
                Work::Append => self.append(now, ground),
                Work::Commit { rolls } => {
                    self.commit(ground);
                    if let Some(log) = rolls {
                        self.open.remove(&log);
                    }
                }
                Work::Delete => self.delete(ground),
                Work::Journal => self.journal(now, ground),
            }
            self.begin(at, ground);
        }
    }

    /// Chooses the next piece of work and how long it takes.
    fn begin(&mut self, now: Mono, ground: &mut Ground<'_>) {
        if self.group.is_empty() && self.is_committed() {
            self.group = std::mem::take(&mut self.queue);
        }
        let rolls = |log: &LogId, segment: i64| self.open.get(log).is_some_and(|open| open.base != segment);
        let work = match self.group.front() {
            None if self.is_committed() => return self.ends_at = None,
            None => Work::Commit { rolls: None },
            Some(DiskOp::Append { log, segment, .. }) if rolls(log, *segment) => Work::Commit { rolls: Some(*log) },
            Some(DiskOp::Append { .. }) => Work::Append,
            Some(DiskOp::Delete { .. }) if self.is_committed() => Work::Delete,
            Some(DiskOp::Delete { .. }) => Work::Commit { rolls: None },
            Some(DiskOp::Journal(op)) if self.journals.must_commit(op) => Work::Commit { rolls: None },
            Some(DiskOp::Journal(_)) => Work::Journal,
        };
        let (least, most) = match &work {
            Work::Commit { .. } => ground.plan.sync_ns,
            _ => ground.plan.write_ns,
        };
        let mut takes_ns = ground.random.between(least, most);
        if ground.random.chance(ground.faults.stall) {
            takes_ns += ground.random.below(ground.faults.stall_ns_max + 1);
        }
        self.work = Some(work);
        self.ends_at = Some(now + takes_ns);
    }

    fn is_committed(&self) -> bool {
        let logs = self.written.is_empty() && !self.open.values().any(|open| open.touched || open.is_new);
        logs && self.journals.is_committed()
    }

    fn journal(&mut self, now: Now, ground: &mut Ground<'_>) {
        let Some(DiskOp::Journal(op)) = self.group.pop_front() else {
            panic!("the first of the group is a buffer's");
        };
        ground.counts.appends += u64::from(matches!(op, JournalOp::Append { .. }));
        self.done.extend(self.journals.take(now, op, ground).map(DiskDone::Journal));
    }

    fn append(&mut self, now: Now, ground: &mut Ground<'_>) {
        let Some(DiskOp::Append { log, segment, at, end_offset, batches }) = self.group.pop_front() else {
            panic!("the first of the group is an append");
        };
        let result = self.try_append(now, log, segment, at, &batches, ground);
        ground.counts.appends += 1;
        self.written.push(Written { log, segment, end_offset, batches, result });
    }

    fn try_append(
        &mut self,
        now: Now,
        log: LogId,
        base: i64,
        at: u64,
        batches: &[Box<Batch>],
        ground: &mut Ground<'_>,
    ) -> Result<(), DiskError> {
        if at == 0 {
            self.dead.remove(&(log, base));
            self.open.remove(&log);
        }
        if self.dead.contains(&(log, base)) {
            return Err(error("sync", 0, "the segment is dead after a failed sync"));
        }
        let open = match self.open.entry(log) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(open(log, base, at, ground)?),
        };
        if at != open.len {
            return Err(error("write", 0, "the append does not belong at the end of the segment"));
        }
        open.touched = true;
        let bytes: Vec<u8> = batches.iter().flat_map(|batch| &batch.bytes).copied().collect();
        let file = ground.directories[log.0 as usize].get_mut(base).expect("an open file is there");
        file.touched_ms = now.wall_ms;
        write_part(file, at as usize, &bytes, ground.faults, ground.random, ground.used, ground.counts)?;
        open.len += bytes.len() as u64;
        Ok(())
    }

    /// Syncs every touched file once, publishes what is durable, and answers.
    fn commit(&mut self, ground: &mut Ground<'_>) {
        let mut failed: BTreeMap<LogId, DiskError> = BTreeMap::new();
        for (&log, open) in &mut self.open {
            if let Err(error) = sync(log, open, ground) {
                ground.counts.failed_syncs += 1;
                self.dead.insert((log, open.base));
                failed.insert(log, error);
            }
        }
        for Written { log, segment, end_offset, batches, result } in self.written.drain(..) {
            let result = result.and_then(|()| failed.get(&log).map_or(Ok(()), |error| Err(error.clone())));
            if result.is_ok() {
                place(ground.catalogue, log).ends.appended(segment, end_offset);
            }
            self.done.push_back(DiskDone::Appended { log, segment, end_offset, batches, result });
        }
        self.done.extend(self.journals.commit(ground).into_iter().map(DiskDone::Journal));
        ground.counts.commits += 1;
    }

    fn delete(&mut self, ground: &mut Ground<'_>) {
        let Some(DiskOp::Delete { log, segment }) = self.group.pop_front() else {
            panic!("the first of the group is a deletion");
        };
        if self.open.get(&log).is_some_and(|open| open.base == segment) {
            self.open.remove(&log);
        }
        self.dead.remove(&(log, segment));
        place(ground.catalogue, log).ends.retired(segment);
        let result = if ground.random.chance(ground.faults.delete_fails) {
            Err(error("delete", EIO, "input/output error"))
        } else {
            remove(log, segment, ground);
            Ok(())
        };
        self.done.push_back(DiskDone::Deleted { log, segment, result });
    }

    /// What it holds.
    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        let asked = self.queue.iter().chain(&self.group).filter_map(|op| match op {
            DiskOp::Append { batches, .. } | DiskOp::Journal(JournalOp::Append { batches, .. }) => Some(batches),
            DiskOp::Delete { .. } | DiskOp::Journal(_) => None,
        });
        let written = self.written.iter().map(|written| &written.batches);
        let logs = asked.chain(written).flatten().map(|batch| &**batch);
        logs.chain(self.journals.batches()).chain(self.done.iter().flat_map(DiskDone::batches))
    }

    /// The machine stops: of an append that is being written a part may be there.
    pub(super) fn stop(&mut self, ground: &mut Ground<'_>) {
        if matches!(self.work, Some(Work::Journal))
            && let Some(DiskOp::Journal(op)) = self.group.front()
        {
            return self.journals.stop(op, ground);
        }
        if !matches!(self.work, Some(Work::Append)) {
            return;
        }
        let Some(DiskOp::Append { log, segment, at, batches, .. }) = self.group.pop_front() else { return };
        let Some(file) = ground.directories[log.0 as usize].get_mut(segment) else { return };
        let fits = self.open.get(&log).is_some_and(|open| open.base == segment && open.len == at);
        if fits && file.len() as u64 >= at {
            let bytes: Vec<u8> = batches.iter().flat_map(|batch| &batch.bytes).copied().collect();
            let part = ground.random.between(0, bytes.len() as u64) as usize;
            file.write(at as usize, &bytes[..part]);
        }
    }
}

/// Writes `bytes` at the end of a file, or the part of them that the disk takes.
pub(super) fn write_part(
    file: &mut File,
    at: usize,
    bytes: &[u8],
    faults: &DiskFaults,
    random: &mut Random,
    used: &mut u64,
    counts: &mut Counts,
) -> Result<(), DiskError> {
    let room = faults.bytes_max.map_or(u64::MAX, |most| most.saturating_sub(*used));
    let (taken, result) = take(bytes.len(), room, faults, random, counts);
    let before = file.len();
    file.write(at, &bytes[..taken]);
    if taken < bytes.len() && !random.chance(faults.cut_fails) {
        file.cut(at);
    }
    *used += file.len() as u64;
    *used -= before as u64;
    result
}

/// How many of `len` bytes the disk takes, and what it says.
fn take(
    len: usize,
    room: u64,
    faults: &DiskFaults,
    random: &mut Random,
    counts: &mut Counts,
) -> (usize, Result<(), DiskError>) {
    let fails = random.chance(faults.write_fails);
    let taken = if fails { random.below(len as u64) } else { room.min(len as u64) } as usize;
    if taken == len {
        return (taken, Ok(()));
    }
    counts.failed_writes += 1;
    let (errno, text) = if fails { (EIO, "input/output error") } else { (ENOSPC, "no space left") };
    (taken, Err(error("write", errno, text)))
}

/// Replaces what a file holds, or the part of it that the disk takes: beyond what it held that needs room.
pub(super) fn write_over(
    file: &mut File,
    bytes: &[u8],
    faults: &DiskFaults,
    random: &mut Random,
    used: &mut u64,
    counts: &mut Counts,
) -> Result<(), DiskError> {
    let before = file.len() as u64;
    let room = faults.bytes_max.map_or(u64::MAX, |most| before + most.saturating_sub(*used));
    let (taken, result) = take(bytes.len(), room, faults, random, counts);
    file.write(0, &bytes[..taken]);
    if taken == bytes.len() {
        file.cut(taken);
    }
    *used += file.len() as u64;
    *used -= before;
    result
}

fn place(catalogue: Option<&Catalogue>, log: LogId) -> &LogPlace {
    catalogue.expect("a log is one of the node's").place(log)
}

/// Opens a segment to append at `at`, or begins it. Bytes behind `at` are cut off.
fn open(log: LogId, base: i64, at: u64, ground: &mut Ground<'_>) -> Result<Open, DiskError> {
    if ground.random.chance(ground.faults.create_fails) {
        return Err(error("create", EMFILE, "too many open files"));
    }
    if at == 0 {
        remove(log, base, ground);
        ground.directories[log.0 as usize].make(base);
        return Ok(Open { base, len: 0, touched: false, is_new: true });
    }
    let Some(file) = ground.directories[log.0 as usize].get_mut(base) else {
        return Err(error("create", 2, "no such file"));
    };
    let len = file.len() as u64;
    if len < at {
        return Err(error("write", 0, "the segment is shorter than that"));
    }
    file.cut(at as usize);
    *ground.used -= len - at;
    Ok(Open { base, len: at, touched: len > at, is_new: false })
}

fn remove(log: LogId, base: i64, ground: &mut Ground<'_>) {
    let directory = &mut ground.directories[log.0 as usize];
    let len = directory.get(base).map_or(0, |file| file.len() as u64);
    if directory.remove(base) {
        *ground.used -= len;
    }
}

/// Makes everything written so far durable, the name of a new file included.
fn sync(log: LogId, open: &mut Open, ground: &mut Ground<'_>) -> Result<(), DiskError> {
    let directory = &mut ground.directories[log.0 as usize];
    if std::mem::take(&mut open.touched) {
        let file = directory.get_mut(open.base).expect("an open file is there");
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

pub(super) fn error(during: &'static str, errno: i32, text: &str) -> DiskError {
    DiskError { during, errno, text: text.to_string() }
}

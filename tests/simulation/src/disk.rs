//! The disk under the embedded log and sinks' buffers: carries out the shards' [`DiskOp`]s in memory, knows what is durable, and turns into real
//! files when the machine stops.
//!
//! ```text
//! real files ── open ──> catalogue ── Disk::read ──> memory ── submit, tick, done ── … ── crash ──> real files ── open
//! ```
//!
//! Each shard has a writer of its own that works as the driver's does: what is queued shares a sync, a log that rolls is
//! synced first, a failed sync kills the segment, an end is published when everything below it is durable. Writes and syncs
//! take their time, fail, or find the disk full.
//!
//! A power cut leaves of each sector that was not synced the old or the new bytes, of each name that was not synced the old
//! or the new state; a killed process leaves everything it wrote. Left out: damage to what was synced, unless asked for.

mod journal;
mod media;
mod writer;

use std::collections::BTreeMap;
use std::fs::{self, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aqueduct::buffer::Batch;
use aqueduct::clock::{Mono, Now};
use aqueduct::log::journal::{JournalId, JournalPlace, Journals};
use aqueduct::log::{Catalogue, DiskDone, DiskOp, LogId, OpenError, Opened, TopicSpec, open, segment};

use crate::random::Random;
use journal::positions_name;
use media::{Directory, File};
use writer::{Ground, Writer};

/// How long things take, ns: least and most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskPlan {
    /// From the first operation until the writer looks at its queue.
    pub wake_ns: (u64, u64),
    /// A write or a deletion.
    pub write_ns: (u64, u64),
    /// The syncs of a group.
    pub sync_ns: (u64, u64),
}

impl Default for DiskPlan {
    fn default() -> Self {
        Self { wake_ns: (2_000, 50_000), write_ns: (5_000, 100_000), sync_ns: (200_000, 8_000_000) }
    }
}

/// What goes wrong: chances of a million for each operation. The default is that nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskFaults {
    /// Bytes that all files together may have; a write beyond it is cut short (ENOSPC).
    pub bytes_max: Option<u64>,
    /// An append, or positions: only a part of it is written (EIO).
    pub write_fails: u32,
    /// An append that failed: its part cannot be cut off again.
    pub cut_fails: u32,
    /// A segment that is opened or begun, or new positions: it cannot be.
    pub create_fails: u32,
    /// A file or directory that is synced: it cannot be, and what it holds is left to chance.
    pub sync_fails: u32,
    /// A segment that is to go: it stays.
    pub delete_fails: u32,
    /// Entries of a buffer that are read: they cannot be.
    pub read_fails: u32,
    /// A piece of work: it takes up to `stall_ns_max` longer.
    pub stall: u32,
    /// How much longer, ns.
    pub stall_ns_max: u64,
    /// A bug, to see that it is found: files are never synced, and said to be.
    pub forgets_sync: bool,
    /// A bug, to see that it is found: names are never synced, and said to be.
    pub forgets_directory_sync: bool,
}

/// What has happened on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Appends tried.
    pub appends: u64,
    /// Appends that failed when they were written.
    pub failed_writes: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Groups committed.
    pub commits: u64,
    /// Slices of buffers copied forward.
    pub copies: u64,
}

/// How the machine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process is gone, the kernel writes what it has.
    Process,
    /// The power is gone.
    Power {
        /// Bits flipped in what was synced: rot, which no sync protects from.
        rotten_bits: u32,
    },
}

/// The files of a node.
#[derive(Debug)]
pub struct Disk {
    plan: DiskPlan,
    faults: DiskFaults,
    random: Random,
    catalogue: Option<Arc<Catalogue>>,
    places: Journals,
    journals: BTreeMap<JournalId, Directory>,
    writers: Vec<Writer>,
    directories: Vec<Directory>,
    used: u64,
    counts: Counts,
    unread: Unread,
    /// Above those that were.
    next_journal: u32,
}

/// Entries that could not be read: how often each, and its records.
pub(crate) type Unread = BTreeMap<(JournalId, u64), (u32, u32)>;
/// After so many failures a node may give an entry up.
const READ_TRIES: u32 = 3;

/// Opens the logs under `dir` as the node does at start, so that the same seed gives the same logs: the mark of a new
/// directory comes from `random`, and no segment is younger than `wall_ms`.
///
/// # Errors
/// As [`aqueduct::log::open`].
pub fn open_logs(dir: &Path, topics: &[TopicSpec], wall_ms: i64, random: &mut Random) -> Result<Opened, OpenError> {
    let root = dir.join("log");
    let path = root.join("mark");
    if !path.exists() {
        let mark = random.below(1 << 31);
        let made = fs::create_dir_all(&root).and_then(|()| fs::write(&path, format!("{mark}\n")));
        made.map_err(|error| OpenError::Io { what: "write", path, error })?;
    }
    let mut opened = open(dir, topics)?;
    for segment in opened.logs.iter_mut().flat_map(|log| &mut log.segments) {
        segment.opened_ms = segment.opened_ms.min(wall_ms);
        segment.touched_ms = segment.touched_ms.min(wall_ms);
    }
    Ok(opened)
}

impl Disk {
    /// Reads what lies in the directories of `catalogue` and of sinks' buffers, for the writers of so many shards.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn read(
        plan: DiskPlan,
        shards: usize,
        catalogue: Option<Arc<Catalogue>>,
        places: Journals,
        random: Random,
    ) -> io::Result<Self> {
        let mut directories: Vec<Directory> = Vec::new();
        let mut used = 0;
        let logs = catalogue.as_ref().map_or(0, |catalogue| catalogue.len());
        for place in (0..logs).filter_map(|log| Some(catalogue.as_ref()?.place(LogId(log as u32)))) {
            let mut directory = Directory::default();
            for base in place.ends.segments() {
                let path = place.segment_path(base);
                let bytes = fs::read(&path)?;
                let touched = fs::metadata(&path)?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
                used += bytes.len() as u64;
                directory.add(base, File::durable(bytes, touched.as_millis() as i64));
            }
            directories.push(directory);
        }
        let mut journals = BTreeMap::new();
        for (journal, place) in places.places() {
            journals.insert(journal, read_journal(place, &mut used)?);
        }
        let writers = (0..shards).map(|_| Writer::default()).collect();
        let (faults, counts) = (DiskFaults::default(), Counts::default());
        let unread = Unread::new();
        let next_journal = 0;
        Ok(Self {
            plan,
            faults,
            random,
            catalogue,
            places,
            journals,
            writers,
            directories,
            used,
            counts,
            unread,
            next_journal,
        })
    }

    /// The number of the next journal that comes.
    pub(crate) fn next_journal(&self) -> JournalId {
        JournalId(self.places.places().last().map_or(0, |(journal, _)| journal.0 + 1).max(self.next_journal))
    }

    /// Journals of a sink that comes while the node runs.
    pub(crate) fn add(&mut self, journals: Journals) {
        for (journal, place) in journals.places() {
            let directory = read_journal(place, &mut self.used).expect("a tmpfs reads");
            self.journals.insert(journal, directory);
        }
        self.places.add(journals);
    }

    /// A sink is gone: its journals lie as they are in the real files.
    pub(crate) fn remove(&mut self, sink: u16) {
        self.next_journal = self.next_journal().0;
        for (journal, place) in self.places.places().filter(|(_, place)| place.sink == sink) {
            let Some(directory) = self.journals.remove(&journal) else { continue };
            let files: Vec<_> = directory.files().map(|(name, f)| (name, f.bytes().to_vec(), f.touched_ms)).collect();
            self.used -= files.iter().map(|(_, bytes, _)| bytes.len() as u64).sum::<u64>();
            write_journal(place, files).expect("a tmpfs writes");
            self.writers.iter_mut().for_each(|writer| writer.forget(journal));
        }
        self.places.remove(sink);
    }

    /// Records of entries that could not be read so often that they may be given up.
    pub fn unread_records(&self) -> u64 {
        self.unread.values().filter(|(tries, _)| *tries >= READ_TRIES).map(|&(_, records)| u64::from(records)).sum()
    }

    /// What goes wrong from now on.
    pub fn set_faults(&mut self, faults: DiskFaults) {
        self.faults = faults;
    }

    /// A shard gives its writer something to do.
    pub fn submit(&mut self, now: Mono, shard: usize, op: DiskOp) {
        let (writers, mut ground) = self.split();
        writers[shard].submit(now, op, &mut ground);
    }

    /// When [`Self::tick`] is to be called at the latest.
    pub fn next_event(&self) -> Option<Mono> {
        self.writers.iter().filter_map(|writer| writer.ends_at).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        let (writers, mut ground) = self.split();
        for writer in writers {
            writer.tick(now, &mut ground);
        }
    }

    /// What a shard's writer has done, in order.
    pub fn done(&mut self, shard: usize) -> impl Iterator<Item = DiskDone> + '_ {
        self.writers[shard].done.drain(..)
    }

    /// The batches that shards' writers hold: queued, being written, or done and not fetched.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.writers.iter().flat_map(Writer::batches)
    }

    /// Bytes of all files.
    pub fn used_bytes(&self) -> u64 {
        self.used
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Writes what is durable now to the real files, so that a [`aqueduct::log::LogReader`] of the catalogue finds what it
    /// was promised, and no more.
    ///
    /// # Errors
    /// If the real disk refuses.
    pub fn show_durable(&self) -> io::Result<()> {
        for (log, directory) in (0..).zip(&self.directories) {
            let left = directory.files().map(|(base, file)| (base, file.durable_bytes().to_vec(), file.touched_ms));
            self.write_files(LogId(log), left)?;
        }
        Ok(())
    }

    /// The machine stops: what is left of the files is written to the real ones, for [`open_logs`] to find. Returns how many
    /// sectors were lost.
    ///
    /// # Errors
    /// If the real disk refuses.
    pub fn crash(mut self, crash: Crash) -> io::Result<u64> {
        let (writers, mut ground) = self.split();
        for writer in writers {
            writer.stop(&mut ground);
        }
        let mut torn = 0;
        let mut left: Vec<Vec<(i64, Vec<u8>, i64)>> = Vec::new();
        for directory in self.directories.iter_mut().chain(self.journals.values_mut()) {
            left.push(match crash {
                Crash::Process => directory.files().map(|(base, f)| (base, f.bytes().to_vec(), f.touched_ms)).collect(),
                Crash::Power { .. } => directory.left(&mut self.random, &mut torn),
            });
        }
        if let Crash::Power { rotten_bits } = crash {
            (0..rotten_bits).for_each(|_| rot(&mut left, &mut self.random));
        }
        let journals = left.split_off(self.directories.len());
        for (log, files) in (0..).zip(left) {
            self.write_files(LogId(log), files)?;
        }
        for ((_, place), files) in self.places.places().zip(journals) {
            write_journal(place, files)?;
        }
        Ok(torn)
    }

    /// Replaces the real files of a log.
    fn write_files(&self, log: LogId, files: impl IntoIterator<Item = (i64, Vec<u8>, i64)>) -> io::Result<()> {
        let catalogue = self.catalogue.as_ref().expect("a log is one of the node's");
        let place = catalogue.place(log);
        for entry in fs::read_dir(&place.dir)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| segment::base_offset(name).is_some()) {
                fs::remove_file(entry.path())?;
            }
        }
        for (base, bytes, touched_ms) in files {
            let path = place.segment_path(base);
            fs::write(&path, bytes)?;
            let touched = UNIX_EPOCH + Duration::from_millis(touched_ms.max(0) as u64);
            fs::File::options().write(true).open(&path)?.set_times(FileTimes::new().set_modified(touched))?;
        }
        Ok(())
    }

    fn split(&mut self) -> (&mut [Writer], Ground<'_>) {
        let ground = Ground {
            plan: &self.plan,
            faults: &self.faults,
            random: &mut self.random,
            catalogue: self.catalogue.as_deref(),
            directories: &mut self.directories,
            places: &self.places,
            journals: &mut self.journals,
            used: &mut self.used,
            counts: &mut self.counts,
            unread: &mut self.unread,
        };
        (&mut self.writers, ground)
    }
}

/// The file that a number in a journal's directory stands for.
fn journal_path(place: &JournalPlace, name: i64) -> PathBuf {
    match u32::try_from(name) {
        Ok(seq) => place.segment_path(seq),
        Err(_) => place.positions_path(u8::from(name != positions_name(0))),
    }
}

fn read_journal(place: &JournalPlace, used: &mut u64) -> io::Result<Directory> {
    let mut directory = Directory::default();
    for entry in fs::read_dir(&place.dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = match name.strip_suffix(".journal") {
            Some(seq) => seq.parse().ok(),
            None => name.strip_prefix("positions-").and_then(|slot| slot.parse().ok()).map(positions_name),
        };
        let Some(number) = number else { continue };
        let bytes = fs::read(journal_path(place, number))?;
        *used += bytes.len() as u64;
        directory.add(number, File::durable(bytes, 0));
    }
    Ok(directory)
}

fn write_journal(place: &JournalPlace, files: Vec<(i64, Vec<u8>, i64)>) -> io::Result<()> {
    for entry in fs::read_dir(&place.dir)? {
        fs::remove_file(entry?.path())?;
    }
    files.into_iter().try_for_each(|(name, bytes, _)| fs::write(journal_path(place, name), bytes))
}

/// Flips a bit somewhere.
fn rot(left: &mut [Vec<(i64, Vec<u8>, i64)>], random: &mut Random) {
    let total: usize = left.iter().flatten().map(|(_, bytes, _)| bytes.len()).sum();
    if total == 0 {
        return;
    }
    let mut at = random.below(total as u64) as usize;
    for (_, bytes, _) in left.iter_mut().flatten() {
        if at < bytes.len() {
            return bytes[at] ^= 1 << random.below(8);
        }
        at -= bytes.len();
    }
}

#[cfg(test)]
mod tests;

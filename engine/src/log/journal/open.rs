//! Start-up: directories of this start, what earlier ones left, and who takes it over.
//!
//! Where all of it was written by as many shards as there are now, each shard takes over its own: clients live where they
//! lived. Else one shard takes over everything of the sink, oldest start first, and the others do not send to a partition
//! before it has passed what it took over for it; so the records of a client keep their order, wherever it lives now.
//!
//! A start reads footers and positions, not entries; where a crash left no footer, it scans that segment. How many partitions
//! the topic has is handed from start to start, before the directories of earlier ones go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::footer::Item;
use super::machine::BacklogPart;
use super::op::JournalId;
use super::positions::{Position, Positions};
use super::rescue::is_broken;
use crate::log::open::{OpenError, make_dir, sync_dir};
use crate::shard::ShardId;
use segment::Segment;

mod segment;

/// A sink whose buffer may lie on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSpec {
    /// Index of the sink.
    pub sink: u16,
    /// The directory of this sink alone.
    pub dir: PathBuf,
}

/// Where a journal lies and what its entries bear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalPlace {
    /// Its directory.
    pub dir: PathBuf,
    /// Where damaged bytes are set aside.
    pub quarantine: PathBuf,
    /// What its entries bear.
    pub mark: u32,
    /// Its sink.
    pub sink: u16,
    /// The shard that has it now.
    pub shard: ShardId,
}

impl JournalPlace {
    /// The file of a segment.
    pub fn segment_path(&self, seq: u32) -> PathBuf {
        self.dir.join(format!("{seq:010}.journal"))
    }

    /// One of the two files of positions.
    pub fn positions_path(&self, slot: u8) -> PathBuf {
        self.dir.join(format!("positions-{slot}"))
    }

    /// Makes its directory, where the disk was too full for it at the start.
    pub fn make(&self) -> io::Result<()> {
        match make_dir(&self.dir) {
            Err(OpenError::Io { error, .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// Keeps damaged bytes for people to look at. That it cannot is no reason to stop.
    pub fn set_aside(&self, seq: u32, at: u64, bytes: &[u8]) {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = self.quarantine.join(format!("{name}-{seq:010}-{at}"));
        let _ = fs::create_dir_all(&self.quarantine).and_then(|()| fs::write(path, bytes));
    }

    /// Gives a file a second name in the quarantine, so that it is still there when its segment goes. Whether it has one.
    fn keep_file(&self, seq: u32) -> bool {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = self.quarantine.join(format!("{name}-{seq:010}-whole"));
        let linked = fs::create_dir_all(&self.quarantine).and_then(|()| fs::hard_link(self.segment_path(seq), path));
        linked.is_ok() || linked.is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
    }
}

/// Journals by [`JournalId`]; for writer threads, each of which has a list of its own.
#[derive(Debug, Clone, Default)]
pub struct Journals {
    places: BTreeMap<JournalId, JournalPlace>,
}

impl Journals {
    /// A journal by its number, which must be one of these.
    pub fn place(&self, journal: JournalId) -> &JournalPlace {
        &self.places[&journal]
    }

    /// All of them, by number.
    pub fn places(&self) -> impl Iterator<Item = (JournalId, &JournalPlace)> {
        self.places.iter().map(|(&journal, place)| (journal, place))
    }

    /// Whether it is one of these.
    pub fn has(&self, journal: JournalId) -> bool {
        self.places.contains_key(&journal)
    }

    /// With these, too.
    pub fn add(&mut self, others: Journals) {
        self.places.extend(others.places);
    }

    /// Without those of a sink.
    pub fn remove(&mut self, sink: u16) {
        self.places.retain(|_, place| place.sink != sink);
    }
}

/// What one shard begins with for one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStart {
    /// The sink.
    pub sink: u16,
    /// The directory this start writes to.
    pub own: JournalId,
    /// What its entries bear.
    pub mark: u32,
    /// What is taken over, in the order it is to be sent.
    pub(crate) adopted: Vec<Adopted>,
    /// Partitions that another shard took over something for.
    pub(crate) waits_for: Vec<BacklogPart>,
    /// Partitions of the topic, as far as earlier starts knew; 0 if they did not.
    pub topic_partitions: u32,
    /// Stretches that were found damaged.
    pub damaged: u64,
}

impl JournalStart {
    /// A journal that begins empty.
    pub fn empty(sink: u16, own: JournalId, mark: u32) -> Self {
        Self { sink, own, mark, adopted: Vec::new(), waits_for: Vec::new(), topic_partitions: 0, damaged: 0 }
    }

    /// Entries that are taken over.
    pub fn entries(&self) -> usize {
        self.adopted.iter().flat_map(|adopted| adopted.entries.values()).map(Vec::len).sum()
    }

    /// Whether entries are taken over that name no topic.
    pub fn has_unnamed(&self) -> bool {
        self.adopted.iter().flat_map(|adopted| adopted.entries.keys()).any(|part| part.topic.is_empty())
    }

    /// Records that are taken over.
    pub fn records(&self) -> u64 {
        let items = self.adopted.iter().flat_map(|adopted| adopted.entries.values()).flatten();
        items.map(|(_, item)| u64::from(item.records)).sum()
    }
}

/// What an earlier start left in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adopted {
    pub(crate) journal: JournalId,
    pub(crate) mark: u32,
    /// How often positions were written.
    pub(crate) positions: Positions,
    /// Its files and their lengths.
    pub(crate) segments: Vec<(u32, u64)>,
    /// Entries that have not been passed, by partition, in order, each with its file.
    pub(crate) entries: BTreeMap<BacklogPart, Vec<(u32, Item)>>,
    /// One above the newest entry that names a topic; 0 if none does.
    pub(crate) named_end: u64,
}

/// The journals after start-up.
#[derive(Debug, Default)]
pub struct OpenedJournals {
    /// For writer threads.
    pub journals: Journals,
    /// What each shard begins with: by shard, then by sink that has a journal.
    pub starts: Vec<Vec<JournalStart>>,
    /// What was found, one sentence each, for people.
    pub notes: Vec<String>,
}

/// Opens the journals of these sinks for so many shards, and numbers them from `first` on. `draw` gives the marks of new
/// directories.
///
/// # Errors
/// If a directory or a file cannot be read, or the disk refuses a directory though it has room. Damage is no error, and
/// sectors that the disk does not give are damage: that is noted and counted.
pub fn open_journals(
    specs: &[JournalSpec],
    shards: u16,
    first: JournalId,
    mut draw: impl FnMut() -> u32,
) -> Result<OpenedJournals, OpenError> {
    let starts = vec![Vec::new(); usize::from(shards)];
    let mut opening = Opening { next: first, starts, ..Opening::new(make_dir) };
    for spec in specs {
        opening.open_sink(spec, shards, &mut draw)?;
    }
    let journals = Journals { places: opening.places };
    Ok(OpenedJournals { journals, starts: opening.starts, notes: opening.notes })
}

/// Gives back the space of a sink that is gone: removes the files of all journals in which nothing is left. What is known of
/// the topic stays, for a sink that comes back.
///
/// # Errors
/// If the disk refuses something.
pub fn remove_passed(spec: &JournalSpec) -> Result<(), OpenError> {
    let mut opening = Opening::new(make_dir);
    for found in earlier(&spec.dir)? {
        let place = place_of(spec, &found);
        let (adopted, _) = opening.look_into(&place)?;
        if adopted.entries.is_empty() {
            remove_segments(&place)?;
        }
    }
    Ok(())
}

/// Where the journal of an earlier start lies; its shard is not known yet.
fn place_of(spec: &JournalSpec, found: &Earlier) -> JournalPlace {
    JournalPlace {
        quarantine: spec.dir.join("quarantine"),
        mark: found.mark,
        sink: spec.sink,
        shard: ShardId(0),
        dir: found.dir.clone(),
    }
}

struct Opening {
    next: JournalId,
    places: BTreeMap<JournalId, JournalPlace>,
    starts: Vec<Vec<JournalStart>>,
    notes: Vec<String>,
    /// Makes a directory.
    make: MakeDir,
    /// Makes a file durable, and its name.
    sync: SyncFile,
}

type MakeDir = fn(&Path) -> Result<(), OpenError>;
type SyncFile = fn(&Path) -> io::Result<()>;

/// A directory of an earlier start, as its name says.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Earlier {
    start: u64,
    shard: u16,
    shards: u16,
    mark: u32,
    dir: PathBuf,
}

impl Opening {
    fn new(make: MakeDir) -> Self {
        let (places, starts, notes) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { next: JournalId(0), places, starts, notes, make, sync: sync_file }
    }

    fn open_sink(&mut self, spec: &JournalSpec, shards: u16, draw: &mut impl FnMut() -> u32) -> Result<(), OpenError> {
        make_dir(&spec.dir)?;
        let earlier = earlier(&spec.dir)?;
        let start = earlier.last().map_or(1, |last| last.start + 1);
        let (mut left, mut spent) = (Vec::new(), Vec::new());
        // The newest start that knew it: by start, then by number of partitions.
        let mut known = (0, 0);
        for found in earlier {
            let place = place_of(spec, &found);
            let (adopted, damaged) = self.look_into(&place)?;
            if adopted.positions.topic_partitions > 0 {
                known = known.max((found.start, adopted.positions.topic_partitions));
            }
            if adopted.entries.is_empty() {
                spent.push(place);
            } else {
                left.push((found, place, adopted, damaged));
            }
        }
        // First of all: a disk may be so full that it takes a directory only when these have gone. Their positions stay until
        // what they know of the topic has been handed on.
        spent.iter().try_for_each(remove_segments)?;
        let mut starts = Vec::new();
        for shard in 0..shards {
            let mark = draw();
            let dir = spec.dir.join(format!("{start:06}.{shards}.{shard}.{mark:08x}"));
            let quarantine = spec.dir.join("quarantine");
            let place = JournalPlace { dir, quarantine, mark, sink: spec.sink, shard: ShardId(shard) };
            let topic_partitions = known.1;
            self.begin(&place, topic_partitions)?;
            let own = self.add(place);
            starts.push(JournalStart { topic_partitions, ..JournalStart::empty(spec.sink, own, mark) });
        }
        spent.iter().try_for_each(remove_dir)?;
        let same = left.iter().all(|(found, ..)| found.shards == shards && found.shard < shards);
        let one_for_all = spec.sink % shards;
        for (found, place, mut adopted, damaged) in left {
            let shard = if same { found.shard } else { one_for_all };
            adopted.journal = self.add(JournalPlace { shard: ShardId(shard), ..place });
            if !same {
                let others = (0..).zip(&mut starts).filter(|(other, _)| *other != shard);
                others.for_each(|(_, start)| start.waits_for.extend(adopted.entries.keys().cloned()));
            }
            let start = &mut starts[usize::from(shard)];
            start.damaged += damaged;
            start.adopted.push(adopted);
        }
        for (mut start, all) in starts.into_iter().zip(&mut self.starts) {
            start.waits_for.sort_unstable();
            start.waits_for.dedup();
            all.push(start);
        }
        Ok(())
    }

    /// Makes a directory of this start, and hands on what is known of the topic. A full disk is no reason not to start: what
    /// lies on it has to leave. The directory is made when something is written, then.
    fn begin(&mut self, place: &JournalPlace, topic_partitions: u32) -> Result<(), OpenError> {
        match (self.make)(&place.dir) {
            Err(OpenError::Io { error, .. }) if is_full(&error) => {
                let dir = place.dir.display();
                self.notes
                    .push(format!("cannot make the directory {dir}: {error}; it is made as soon as there is room"));
                return Ok(());
            }
            made => made?,
        }
        let positions = Positions { topic_partitions, ..Positions::default() };
        if topic_partitions > 0
            && let Err(error) = begin_positions(place, &positions)
        {
            self.notes
                .push(format!("{error}; should the node be started again before Kafka answers, clients wait for it"));
        }
        Ok(())
    }

    fn add(&mut self, place: JournalPlace) -> JournalId {
        let journal = self.next;
        self.next = JournalId(journal.0 + 1);
        self.places.insert(journal, place);
        journal
    }

    /// What is left in a directory, and how many stretches are damaged.
    ///
    /// A file that cannot be read is an error: without its entries what lies behind them would be sent before them, and the
    /// positions would say of them that they have been passed.
    fn look_into(&mut self, place: &JournalPlace) -> Result<(Adopted, u64), OpenError> {
        let positions = self.newest_positions(place)?;
        let mut adopted = Adopted {
            journal: JournalId(0),
            mark: place.mark,
            named_end: positions.passed,
            positions,
            segments: Vec::new(),
            entries: BTreeMap::new(),
        };
        let (mut damaged, mut doubtful) = (0, BTreeSet::new());
        for seq in segments_of(&place.dir)? {
            let found = Segment::read(place, seq)
                .map_err(|error| OpenError::Unread { path: place.segment_path(seq), error })?;
            damaged += found.damaged.len() as u64;
            self.notes.extend(found.note(place, seq));
            adopted.segments.push((seq, found.bytes));
            if !found.is_finished && (self.sync)(&place.segment_path(seq)).is_err() {
                doubtful.insert(seq);
            }
            for item in found.items {
                let part = BacklogPart { topic: found.topics.name(item.topic).into(), partition: item.partition };
                if item.topic > 0 {
                    adopted.named_end = adopted.named_end.max(item.number + 1);
                }
                adopted.entries.entry(part).or_default().push((seq, item));
            }
        }
        for (part, entries) in &mut adopted.entries {
            keep_left(entries, &adopted.positions.position(&part.topic, part.partition), &doubtful);
        }
        adopted.entries.retain(|_, entries| !entries.is_empty());
        Ok((adopted, damaged))
    }

    /// The newer of two files of positions that is whole. That none is costs no record: more are sent twice.
    fn newest_positions(&mut self, place: &JournalPlace) -> Result<Positions, OpenError> {
        let mut newest: Option<Positions> = None;
        for slot in 0..2 {
            let path = place.positions_path(slot);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if is_broken(&error) => {
                    let path = path.display();
                    self.notes
                        .push(format!("{path}: cannot be read: {error}. Records may be sent twice. Check the disk"));
                    continue;
                }
                Err(error) => return Err(OpenError::Unread { path, error }),
            };
            let found = Positions::decode(&bytes, place.mark);
            newest = [newest, found].into_iter().flatten().max_by_key(|positions| positions.count);
        }
        Ok(newest.unwrap_or_default())
    }
}

/// What has not been passed, in order, each entry once: what was in doubt after an error was written again, and the later
/// copy is the one that was made durable. One in a file that cannot be made durable counts only where there is no other.
fn keep_left(entries: &mut Vec<(u32, Item)>, passed: &Position, doubtful: &BTreeSet<u32>) {
    entries.retain(|(_, item)| !passed.has_passed(item.number));
    entries.sort_by_key(|(seq, item)| (item.number, !doubtful.contains(seq), *seq));
    let mut kept: Vec<(u32, Item)> = Vec::with_capacity(entries.len());
    for entry in entries.drain(..) {
        match kept.last_mut().filter(|last| last.1.number == entry.1.number) {
            Some(last) => *last = entry,
            None => kept.push(entry),
        }
    }
    *entries = kept;
}

/// What a process wrote before it was killed may not be on the disk yet.
fn sync_file(path: &Path) -> io::Result<()> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    OpenOptions::new().read(true).custom_flags(nofollow).open(path)?.sync_data()?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// Writes the first positions of a directory.
fn begin_positions(place: &JournalPlace, positions: &Positions) -> Result<(), OpenError> {
    let path = place.positions_path(0);
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut options = OpenOptions::new();
    let open = options.write(true).create(true).truncate(true).custom_flags(nofollow).mode(0o600).open(&path);
    let written = open.and_then(|mut file| {
        file.write_all(&positions.encode(place.mark))?;
        file.sync_all()
    });
    written.map_err(|error| OpenError::Io { what: "write", path, error })?;
    sync_dir(&place.dir)
}

/// Whether something is refused for want of room alone.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The directories of earlier starts, oldest first.
fn earlier(root: &Path) -> Result<Vec<Earlier>, OpenError> {
    let mut found = Vec::new();
    for earlier in names(root)?.iter().filter_map(|name| parse_name(name, root)) {
        match fs::metadata(&earlier.dir) {
            Ok(metadata) if metadata.is_dir() => found.push(earlier),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::Unread { path: earlier.dir, error });
            }
            _ => {}
        }
    }
    found.sort();
    Ok(found)
}

fn parse_name(name: &str, root: &Path) -> Option<Earlier> {
    let mut parts = name.split('.');
    let start = parts.next()?.parse().ok()?;
    let (shards, shard) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let mark = u32::from_str_radix(parts.next()?, 16).ok()?;
    parts.next().is_none().then(|| Earlier { start, shard, shards, mark, dir: root.join(name) })
}

/// The numbers of a directory's segments, ascending.
fn segments_of(dir: &Path) -> Result<Vec<u32>, OpenError> {
    let seq = |name: &String| name.strip_suffix(".journal")?.parse().ok();
    let mut found: Vec<u32> = names(dir)?.iter().filter_map(seq).collect();
    found.sort_unstable();
    Ok(found)
}

fn names(dir: &Path) -> Result<Vec<String>, OpenError> {
    let list = || fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
    let names = list().map_err(|error| OpenError::Io { what: "list", path: dir.to_owned(), error })?;
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// Removes what has been passed: the entries before the positions, so that a crash never leaves entries without these.
fn remove_dir(place: &JournalPlace) -> Result<(), OpenError> {
    remove_segments(place)?;
    (0..2).try_for_each(|slot| remove(&place.positions_path(slot)))?;
    fs::remove_dir(&place.dir).or_else(|error| match error.kind() {
        // Something of a stranger's lies there.
        io::ErrorKind::DirectoryNotEmpty => Ok(()),
        _ => Err(OpenError::Io { what: "remove", path: place.dir.clone(), error }),
    })
}

fn remove_segments(place: &JournalPlace) -> Result<(), OpenError> {
    for seq in segments_of(&place.dir)? {
        remove(&place.segment_path(seq))?;
    }
    sync_dir(&place.dir)
}

fn remove(path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(OpenError::Io { what: "remove", path: path.to_owned(), error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

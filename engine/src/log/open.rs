//! Start-up: every partition of every topic, found or made, its newest segment checked and cut to what is valid.
//!
//! When [`open`] returns, everything a reader will be shown is durable: directories are synced into their parents, the
//! newest segments are synced after the cut. What a killed process had written but not synced counts, because it is synced
//! here before anybody reads it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::catalogue::{Catalogue, LogPlace, TopicLogs};
use super::partition::{LogLimits, Recovered, Segment};
use super::recovery::{Recovery, recover};
use super::scan::Mark;
use super::segment;
use super::{LogId, PublishedEnds};

/// A topic that must exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions it has at least; a topic that has more on disk keeps them.
    pub partitions: u32,
    /// The limits of each of its logs.
    pub limits: LogLimits,
}

/// The logs of the node after start-up.
#[derive(Debug)]
pub struct Opened {
    /// For writer threads and listener.
    pub catalogue: Arc<Catalogue>,
    /// For the shards, by [`LogId`].
    pub logs: Vec<Recovered>,
    /// What was repaired, one sentence each, for people.
    pub notes: Vec<String>,
}

/// Why the logs cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refuses.
    #[error("cannot {what} {}: {error}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// What lies there may not have been sent, and what it is cannot be told.
    #[error("cannot read {}: {error}; records that were acknowledged may lie there", .path.display())]
    Unread {
        /// What cannot be read.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// Kafka would not take the name, or it would lead out of the directory.
    #[error("{0:?} is no topic name: use 1 to 249 of a-z A-Z 0-9 . _ -")]
    TopicName(String),
}

/// Opens the logs of `topics` under `data_dir/log`. A topic that is named twice is opened once, with the larger number of
/// partitions and the limits named first.
///
/// # Errors
/// If a name is none, or the disk refuses. Damage is no error: it is counted, noted and left out.
pub fn open(data_dir: &Path, topics: &[TopicSpec]) -> Result<Opened, OpenError> {
    let root = data_dir.join("log");
    make_dir(&root)?;
    let mark = mark(&root)?;
    let grown = Arc::default();
    let (mut places, mut logs, mut topic_logs, mut notes) =
        (Vec::new(), Vec::new(), Vec::<TopicLogs>::new(), Vec::new());
    let mut damage = Vec::new();
    for topic in topics {
        if !segment::is_topic_name(&topic.name) {
            return Err(OpenError::TopicName(topic.name.clone()));
        }
        if topic_logs.iter().any(|known| known.name == topic.name) {
            continue;
        }
        let named = topics.iter().filter(|other| other.name == topic.name).map(|other| other.partitions).max();
        let partitions = partitions_on_disk(data_dir, &topic.name).max(named.unwrap_or(0));
        topic_logs.push(TopicLogs { name: topic.name.clone(), first: LogId(places.len() as u32), partitions });
        for partition in 0..partitions {
            let dir = segment::partition_dir(data_dir, &topic.name, partition);
            let log = LogId(places.len() as u32);
            let (found, recovery) = open_partition(&dir, log, mark, topic.limits)?;
            let end = readable_end(&dir, &found, &recovery)?;
            if !recovery.is_clean() {
                notes.push(describe(&dir, &recovery));
            }
            // Recovery has looked at the segment that was the newest then; an empty one may have been begun behind it.
            let scanned = found.segments.iter().rev().find(|segment| segment.bytes > 0);
            damage.extend(scanned.map(|scanned| (log, scanned.base_offset, recovery.damaged)));
            let bases = found.segments.iter().map(|segment| segment.base_offset).collect();
            let ends = PublishedEnds::new(bases, end, found.next_offset, Arc::clone(&grown));
            places.push(LogPlace { partition, dir, ends });
            logs.push(found);
        }
    }
    sync_dir(&root)?;
    let catalogue = Catalogue::new(data_dir.to_owned(), mark, topic_logs, places, grown);
    for (log, segment, stretches) in damage {
        stretches.into_iter().for_each(|stretch| catalogue.damage().count(log, segment, stretch));
    }
    Ok(Opened { catalogue: Arc::new(catalogue), logs, notes })
}

fn describe(dir: &Path, found: &Recovery) -> String {
    let mut text = format!("{}:", dir.display());
    if found.torn_bytes > 0 {
        text += &format!(
            " cut {} bytes of a write that never ended, which nobody had been told was stored;",
            found.torn_bytes
        );
    }
    if !found.damaged.is_empty() {
        let bytes: u64 = found.damaged.iter().map(|stretch| stretch.bytes).sum();
        text += &format!(" left out {bytes} damaged bytes;");
    }
    text + &format!(" going on at offset {}", found.next_offset)
}

fn open_partition(dir: &Path, log: LogId, mark: Mark, limits: LogLimits) -> Result<(Recovered, Recovery), OpenError> {
    make_dir(dir)?;
    let mut segments = segments_of(dir)?;
    let mut recovery = Recovery::default();
    if let Some(newest) = segments.last_mut() {
        recovery = repair(&dir.join(segment::file_name(newest.base_offset)), newest, mark)?;
        if recovery.next_offset > newest.base_offset && !recovery.is_clean() {
            segments.push(begin_segment(dir, recovery.next_offset)?);
        }
        sync_dir(dir)?;
    }
    let next_offset = recovery.next_offset;
    Ok((Recovered { log, mark, limits, segments, next_offset }, recovery))
}

/// One above the last record that can be read. Where the newest segment has none, as one that was begun behind damage, the
/// older ones are looked through, newest first.
fn readable_end(dir: &Path, found: &Recovered, newest: &Recovery) -> Result<i64, OpenError> {
    let Some(oldest) = found.segments.first() else { return Ok(found.next_offset) };
    if let Some(end) = newest.end_offset {
        return Ok(end);
    }
    for pair in found.segments.windows(2).rev() {
        let (segment, limit) = (pair[0], pair[1].base_offset);
        let path = dir.join(segment::file_name(segment.base_offset));
        let scan = || recover(&File::open(&path)?, found.mark, segment.bytes, segment.base_offset, limit);
        let scanned = scan().map_err(|error| OpenError::Io { what: "read", path: path.clone(), error })?;
        if let Some(end) = scanned.end_offset {
            return Ok(end);
        }
    }
    Ok(oldest.base_offset)
}

/// Makes an empty segment behind one that is not clean. Its name keeps the offset where the log goes on, though the next
/// start finds nothing to repair, and maybe nothing appended either.
fn begin_segment(dir: &Path, base_offset: i64) -> Result<Segment, OpenError> {
    let path = dir.join(segment::file_name(base_offset));
    let made = File::create_new(&path).and_then(|file| {
        file.sync_all()?;
        Ok(wall_ms(file.metadata()?.modified()?))
    });
    let opened_ms = made.map_err(|error| OpenError::Io { what: "make", path, error })?;
    Ok(Segment { base_offset, bytes: 0, opened_ms, touched_ms: opened_ms })
}

fn wall_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The segments of a directory, ascending; other files are left alone.
fn segments_of(dir: &Path) -> Result<Vec<Segment>, OpenError> {
    let failed = |error| OpenError::Io { what: "list", path: dir.to_owned(), error };
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(base_offset) = entry.file_name().to_str().and_then(segment::base_offset) else { continue };
        let metadata = entry.metadata().map_err(failed)?;
        let touched_ms = wall_ms(metadata.modified().map_err(failed)?);
        segments.push(Segment { base_offset, bytes: metadata.len(), opened_ms: touched_ms, touched_ms });
    }
    segments.sort_by_key(|segment| segment.base_offset);
    // A segment was begun when the one before it had its last append.
    for n in 1..segments.len() {
        segments[n].opened_ms = segments[n - 1].touched_ms;
    }
    Ok(segments)
}

/// Checks the newest segment, cuts what a crash left half written, and makes the rest durable.
fn repair(path: &Path, newest: &mut Segment, mark: Mark) -> Result<Recovery, OpenError> {
    let failed = |what| move |error| OpenError::Io { what, path: path.to_owned(), error };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed("open"))?;
    let found = recover(&file, mark, newest.bytes, newest.base_offset, i64::MAX).map_err(failed("read"))?;
    if found.torn_bytes > 0 {
        file.set_len(found.keep_bytes).map_err(failed("cut"))?;
    }
    file.sync_all().map_err(failed("sync"))?;
    newest.bytes = found.keep_bytes;
    Ok(found)
}

/// How many partitions of a topic lie on disk: one above the highest number.
fn partitions_on_disk(data_dir: &Path, topic: &str) -> u32 {
    let Ok(entries) = fs::read_dir(data_dir.join("log")) else { return 0 };
    let numbers = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let (owner, number) = name.to_str()?.rsplit_once('-')?;
        let number = number.parse::<u32>().ok().filter(|&n| owner == topic && n < PARTITIONS_MAX)?;
        entry.file_type().ok()?.is_dir().then_some(number + 1)
    });
    numbers.max().unwrap_or(0)
}

/// A directory with a higher number was not made by us; the option's range ends at 1024 partitions.
const PARTITIONS_MAX: u32 = 100_000;

/// Makes a directory and all above it, each durable in its parent.
pub(super) fn make_dir(dir: &Path) -> Result<(), OpenError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dir(parent)?;
    }
    fs::create_dir(dir).map_err(|error| OpenError::Io { what: "make the directory", path: dir.to_owned(), error })?;
    // One that is there counts as durable when it is asked for again.
    sync_dir(parent.unwrap_or(Path::new("."))).inspect_err(|_| drop(fs::remove_dir(dir)))
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), OpenError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| OpenError::Io { what: "sync the directory", path: dir.to_owned(), error })
}

/// The mark of this log directory, drawn when it is made. Lost or damaged, a new one is drawn: old batches are still
/// read, only the search behind damage no longer finds them.
fn mark(root: &Path) -> Result<Mark, OpenError> {
    let path = root.join("mark");
    let known = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).filter(|&n: &i32| n >= 0);
    if let Some(known) = known {
        return Ok(Mark(known));
    }
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |error| OpenError::Io { what, path, error }
    };
    let mut drawn = [0; 4];
    let random = Path::new("/dev/urandom");
    File::open(random).and_then(|mut file| file.read_exact(&mut drawn)).map_err(failed("read", random))?;
    let mark = i32::from_ne_bytes(drawn) & i32::MAX;
    let temporary = root.join("mark.new");
    let write = || {
        let mut file = File::create(&temporary)?;
        writeln!(file, "{mark}")?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    };
    write().map_err(failed("write", &path))?;
    sync_dir(root)?;
    Ok(Mark(mark))
}

#[cfg(test)]
mod tests;

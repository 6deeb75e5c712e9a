//! Every partition log of the node, by its [`LogId`]: where it lies and how far it may be read.
//!
//! Built once at start, then shared by the writer threads (which look up a directory and publish an end) and the listener
//! (which looks up a topic and reads). The shards do not see it: they know numbers.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::scan::{Mark, Stretch};
use super::segment;
use super::{LogId, PublishedEnds};

/// One partition's log.
#[derive(Debug)]
pub struct LogPlace {
    /// Kafka's number of the partition.
    pub partition: u32,
    /// The directory that holds its segments.
    pub dir: PathBuf,
    /// What readers may see.
    pub ends: PublishedEnds,
}

impl LogPlace {
    /// The file of a segment.
    pub fn segment_path(&self, base_offset: i64) -> PathBuf {
        self.dir.join(segment::file_name(base_offset))
    }
}

/// A topic: consecutive logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicLogs {
    /// Its name.
    pub name: String,
    /// The log of partition 0; the others follow.
    pub first: LogId,
    /// How many.
    pub partitions: u32,
}

impl TopicLogs {
    /// The log of a partition; `None` where the topic has no such partition.
    pub fn log(&self, partition: u32) -> Option<LogId> {
        (partition < self.partitions).then(|| LogId(self.first.0 + partition))
    }
}

/// Bytes found damaged, at start and while reading, since the process started. They stay where they are and nobody is
/// shown them. Each stretch counts once, however often it is met.
#[derive(Debug, Default)]
pub struct Damage {
    batches: AtomicU64,
    bytes: AtomicU64,
    /// Log, segment and position of every stretch; no more of them than batches on the disk.
    met: Mutex<HashSet<(LogId, i64, u64)>>,
}

impl Damage {
    /// Counts a stretch of a segment, usually what was one batch.
    pub fn count(&self, log: LogId, segment: i64, stretch: Stretch) {
        // A set is whole whatever happened to the thread that held it.
        let is_new = self.met.lock().unwrap_or_else(PoisonError::into_inner).insert((log, segment, stretch.at));
        if is_new {
            self.batches.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(stretch.bytes, Ordering::Relaxed);
        }
    }

    /// Damaged stretches.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Damaged bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// All partition logs of the node.
#[derive(Debug)]
pub struct Catalogue {
    data_dir: PathBuf,
    mark: Mark,
    topics: Vec<TopicLogs>,
    logs: Vec<LogPlace>,
    grown: Arc<Notify>,
    damage: Damage,
}

impl Catalogue {
    pub(super) fn new(
        data_dir: PathBuf,
        mark: Mark,
        topics: Vec<TopicLogs>,
        logs: Vec<LogPlace>,
        grown: Arc<Notify>,
    ) -> Self {
        let counted: u32 = topics.iter().map(|t| t.partitions).sum();
        assert!(counted as usize == logs.len(), "every log belongs to one topic");
        Self { data_dir, mark, topics, logs, grown, damage: Damage::default() }
    }

    /// The directory everything lies in.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What the batches of this directory bear.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The topics, in configuration order.
    pub fn topics(&self) -> &[TopicLogs] {
        &self.topics
    }

    /// A topic by its name.
    pub fn topic(&self, name: &str) -> Option<&TopicLogs> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// A log by its number, which must be one of this catalogue's.
    pub fn place(&self, log: LogId) -> &LogPlace {
        &self.logs[log.0 as usize]
    }

    /// How many logs there are.
    pub fn len(&self) -> usize {
        self.logs.len()
    }

    /// Whether the node keeps no log at all.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Rung at every append of any log.
    pub fn grown(&self) -> &Notify {
        &self.grown
    }

    /// What was found damaged.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }
}

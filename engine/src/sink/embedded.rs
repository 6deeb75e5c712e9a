//! The embedded sink: batches go to the local log, and their outcome is the `fdatasync`.
//!
//! The owning half only, one for each embedded connector and shard: it keeps the logs of the partitions its shard owns. The
//! verbs are those of every [`super::Writer`].

use std::collections::VecDeque;

use crate::buffer::Batch;
use crate::clock::{self, Mono, Now};
use crate::log::{DiskDone, DiskError, DiskOp, LogId, PartitionLog, Recovered, TopicLogs};
use crate::shard::ShardId;
use crate::shard::control::{Level, Snapshot};
use crate::shard::io::Io;
use crate::shard::placement::owner_of;
use crate::sink::Answered;
use crate::ticket::{FailReason, Outcome};

/// One shard's share of the local log.
#[derive(Debug)]
pub struct Embedded {
    shard: ShardId,
    shards: u16,
    /// The topic each sink writes, by the sink's index; `None` for sinks of other kinds. Sinks may share a topic.
    topics: Vec<Option<TopicLogs>>,
    /// The topics that were opened at start.
    opened: Vec<TopicLogs>,
    /// The logs this shard owns, by their number; `None` for those of other shards.
    logs: Vec<Option<PartitionLog>>,
    answered: VecDeque<Answered>,
    /// Records with the writer, by sink and by the shard that filled them.
    inflight: Vec<u64>,
    /// Something happened since the last `end_round`.
    changed: bool,
    deadline: Option<Mono>,
    /// The last complaint of the disk that was not fetched.
    note: Option<String>,
}

impl Embedded {
    /// The share of `shard` of `shards`. `topics` says what each sink writes, `recovered` holds all logs of the node.
    pub fn new(shard: ShardId, shards: u16, topics: Vec<Option<TopicLogs>>, recovered: &[Recovered]) -> Self {
        let mut logs: Vec<Option<PartitionLog>> = recovered.iter().map(|_| None).collect();
        for topic in topics.iter().flatten() {
            for partition in (0..topic.partitions).filter(|&p| owner_of(p, shards) == shard) {
                let index = topic.first.0 + partition;
                let found = &recovered[index as usize];
                assert!(found.log == LogId(index), "logs are listed by their number");
                logs[index as usize].get_or_insert_with(|| PartitionLog::new(found.clone()));
            }
        }
        let inflight = vec![0; topics.len() * usize::from(shards)];
        let answered = VecDeque::new();
        let opened = topics.iter().flatten().cloned().collect();
        Self { shard, shards, topics, opened, logs, answered, inflight, changed: true, deadline: None, note: None }
    }

    /// Takes up sinks that come with another configuration; their topics were opened at start.
    pub fn prepare(&mut self, connector: usize, snapshot: &Snapshot) {
        let sinks = &snapshot.config.sinks;
        self.topics.resize(sinks.len(), None);
        self.inflight.resize(sinks.len() * usize::from(self.shards), 0);
        for at in snapshot.fresh.iter().map(|&sink| usize::from(sink)) {
            let name = sinks.get(at).filter(|sink| sink.connector == connector).map(|sink| &sink.topic);
            self.topics[at] = name.and_then(|name| self.opened.iter().find(|topic| topic.name == *name)).cloned();
        }
    }

    /// How many partitions the sink's topic has; `None` for a sink of another connector.
    pub fn partitions(&self, sink: u16) -> Option<u32> {
        self.topic(sink).map(|topic| topic.partitions)
    }

    /// Takes a filled batch of a partition this shard owns. Its outcome comes out of [`Self::pop_answered`].
    pub fn submit(&mut self, batch: Box<Batch>) {
        assert!(
            owner_of(batch.part.partition, self.shards) == self.shard,
            "a batch is handed to its partition's owner"
        );
        let log = self.topic(batch.part.sink).and_then(|topic| topic.log(batch.part.partition));
        let log = log.expect("a batch names a partition of an embedded sink");
        self.log(log).push(batch);
        self.changed = true;
    }

    /// Gives the writer what waits, at most one append for each log, and what retention deletes. Returns when to be
    /// called again if nothing happens before.
    pub fn end_round(&mut self, now: Now, io: &mut impl Io) -> Option<Mono> {
        if !self.changed && self.deadline.is_none_or(|at| now.mono < at) {
            return self.deadline;
        }
        self.changed = false;
        self.deadline = None;
        for index in 0..self.logs.len() {
            let Some(log) = self.logs[index].as_mut() else { continue };
            let append = log.poll_append(now);
            let delete = log.poll_delete(now);
            self.deadline = clock::earliest([self.deadline, log.deadline()]);
            if let Some(DiskOp::Append { batches, .. }) = &append {
                for batch in batches {
                    *self.inflight_of(batch) += u64::from(batch.records);
                }
            }
            for op in [append, delete].into_iter().flatten() {
                io.disk(op);
            }
        }
        self.deadline
    }

    /// Whether an answer of the disk is for a log of this connector.
    pub fn owns(&self, done: &DiskDone) -> bool {
        let (DiskDone::Appended { log, .. } | DiskDone::Deleted { log, .. }) = done else { return false };
        self.logs.get(log.0 as usize).is_some_and(Option::is_some)
    }

    /// Takes the word of the disk on an operation of ours.
    pub fn on_disk(&mut self, now: Now, done: DiskDone) {
        self.changed = true;
        match done {
            DiskDone::Appended { log, segment, batches, result, .. } => {
                if let Err(error) = &result {
                    self.complain(log, error);
                }
                let mut base_offset = self.log(log).on_appended(now, segment, &result);
                for batch in batches {
                    *self.inflight_of(&batch) -= u64::from(batch.records);
                    let outcome = match base_offset.as_mut() {
                        Some(next) => {
                            let base_offset = *next;
                            *next += i64::from(batch.records);
                            Outcome::Stored { base_offset }
                        }
                        None => Outcome::Failed(FailReason::Disk),
                    };
                    self.answered.push_back(Answered { batch, outcome });
                }
            }
            DiskDone::Deleted { log, segment, result } => {
                if let Err(error) = &result {
                    self.complain(log, error);
                }
                self.log(log).on_deleted(now, segment, &result);
            }
            // Buffers are the shard's.
            DiskDone::Journal(_) => {}
        }
    }

    /// The next batch that has its last word.
    pub fn pop_answered(&mut self) -> Option<Answered> {
        self.answered.pop_front()
    }

    /// The next line for the log.
    pub fn pop_note(&mut self) -> Option<(Level, String)> {
        self.note.take().map(|text| (Level::Error, text))
    }

    /// Records of a sink that the shard `home` filled and that are with the writer.
    pub fn inflight_records(&self, sink: u16, home: ShardId) -> u64 {
        self.inflight[self.inflight_index(sink, home)]
    }

    /// Whether nothing waits, is being written or has an outcome that was not fetched: what a drain waits for.
    pub fn is_idle(&self) -> bool {
        self.answered.is_empty() && !self.logs.iter().flatten().any(PartitionLog::is_busy)
    }

    /// Shows every batch it holds; not those that the disk has.
    pub(super) fn each_batch(&self, show: &mut impl FnMut(&Batch)) {
        self.logs.iter().flatten().flat_map(PartitionLog::waiting).for_each(&mut *show);
        self.answered.iter().for_each(|answered| show(&answered.batch));
    }

    fn topic(&self, sink: u16) -> Option<&TopicLogs> {
        self.topics.get(usize::from(sink))?.as_ref()
    }

    fn log(&mut self, log: LogId) -> &mut PartitionLog {
        self.logs[log.0 as usize].as_mut().expect("the log belongs to this shard")
    }

    fn inflight_index(&self, sink: u16, home: ShardId) -> usize {
        usize::from(sink) * usize::from(self.shards) + usize::from(home.0)
    }

    fn inflight_of(&mut self, batch: &Batch) -> &mut u64 {
        let index = self.inflight_index(batch.part.sink, batch.home);
        &mut self.inflight[index]
    }

    fn complain(&mut self, log: LogId, error: &DiskError) {
        let topic = self.topics.iter().flatten().find(|t| (t.first.0..t.first.0 + t.partitions).contains(&log.0));
        let (name, partition) = topic.map_or(("", 0), |topic| (topic.name.as_str(), log.0 - topic.first.0));
        self.note = Some(format!(
            "local log {name}-{partition}: {} failed: {}. Nothing acknowledged is lost; what was being written is \
             refused to its clients, and writing goes on in a new file. Check the disk of data_dir and its free space.",
            error.during, error.text
        ));
    }
}

#[cfg(test)]
mod tests;

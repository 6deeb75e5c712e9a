//! For tests: a log on real files, laid out by the partition machine and plain writes instead of a writer thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kafka::record_batch;

use super::{Catalogue, DiskError, DiskOp, LogId, LogLimits, PartitionLog, TopicSpec, open};
use crate::buffer::{Batch, BatchPool, PartKey};
use crate::clock::{Mono, Now};
use crate::shard::ShardId;

/// A topic `t` in a directory that goes with the test.
#[derive(Debug)]
pub(crate) struct LogRig {
    pub(crate) dir: PathBuf,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) logs: Vec<PartitionLog>,
    segment_bytes: u64,
}

impl LogRig {
    /// An empty topic with these partitions and segments.
    pub(crate) fn new(name: &str, partitions: u32, segment_bytes: u64) -> Self {
        let dir = std::env::temp_dir().join(format!("aqueduct-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let (catalogue, logs) = start(&dir, partitions, segment_bytes);
        Self { dir, catalogue, logs, segment_bytes }
    }

    /// Opens the logs again, as the next start of the node does.
    pub(crate) fn reopen(&mut self) {
        (self.catalogue, self.logs) = start(&self.dir, self.logs.len() as u32, self.segment_bytes);
    }

    /// Appends a batch whose records have these timestamps, and publishes it.
    pub(crate) fn append(&mut self, partition: u32, timestamps: &[i64], value: &[u8]) {
        self.push(partition, timestamps, value);
        let (segment, end) = self.write(partition, now(0));
        self.logs[partition as usize].on_appended(now(0), segment, &Ok(())).unwrap();
        self.publish(partition, segment, end);
    }

    /// Gives the machine a batch.
    pub(crate) fn push(&mut self, partition: u32, timestamps: &[i64], value: &[u8]) {
        self.logs[partition as usize].push(batch(timestamps, value));
    }

    /// Writes what waits, publishes nothing; the segment it went to and the end.
    pub(crate) fn write(&mut self, partition: u32, now: Now) -> (i64, i64) {
        let op = self.logs[partition as usize].poll_append(now);
        let Some(DiskOp::Append { segment, at, end_offset, batches, .. }) = op else { panic!("an append") };
        let path = self.segment(partition, segment);
        let mut bytes = if at == 0 { Vec::new() } else { fs::read(&path).unwrap() };
        assert_eq!(bytes.len() as u64, at);
        batches.iter().for_each(|batch| bytes.extend_from_slice(&batch.bytes));
        fs::write(path, bytes).unwrap();
        (segment, end_offset)
    }

    /// Lets readers see what was written.
    pub(crate) fn publish(&self, partition: u32, segment: i64, end: i64) {
        self.catalogue.place(LogId(partition)).ends.appended(segment, end);
    }

    /// Fails the append that is out.
    pub(crate) fn fail(&mut self, partition: u32, segment: i64) {
        let failed = Err(DiskError { during: "sync", errno: 5, text: String::new() });
        self.logs[partition as usize].on_appended(now(0), segment, &failed);
    }

    /// A segment's file.
    pub(crate) fn segment(&self, partition: u32, base: i64) -> PathBuf {
        self.catalogue.place(LogId(partition)).segment_path(base)
    }
}

impl Drop for LogRig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn start(dir: &Path, partitions: u32, segment_bytes: u64) -> (Arc<Catalogue>, Vec<PartitionLog>) {
    let limits = LogLimits { segment_bytes, retention_bytes: u64::MAX, retention_ms: u64::MAX };
    let opened = open(dir, &[TopicSpec { name: "t".into(), partitions, limits }]).unwrap();
    (opened.catalogue, opened.logs.into_iter().map(PartitionLog::new).collect())
}

/// A time `ms` after the test's beginning.
pub(crate) fn now(ms: u64) -> Now {
    Now { mono: Mono::from_ms(1_000_000 + ms), wall_ms: 1_000_000 }
}

fn batch(timestamps: &[i64], value: &[u8]) -> Box<Batch> {
    let mut batch = BatchPool::new(ShardId(0), 0).take(PartKey { sink: 0, partition: 0 }, 0, Mono(0));
    batch.base_timestamp_ms = timestamps[0];
    batch.max_timestamp_ms = timestamps.iter().copied().max().unwrap();
    for (n, at) in timestamps.iter().enumerate() {
        record_batch::append(
            &mut batch.bytes,
            n as u32,
            at - timestamps[0],
            Some(b"key"),
            Some(value),
            record_batch::RawHeaders::NONE,
        );
        batch.records += 1;
    }
    batch
}

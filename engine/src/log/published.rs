//! How far each partition log may be read: the only thing shards and the readers of the log share.

use std::sync::atomic::{AtomicI64, Ordering};

use super::LogId;

/// The end offset of each partition log: records below it are durable. Written by the disk writers, read by the embedded
/// log's listener on the control thread.
#[derive(Debug)]
pub struct PublishedEnds {
    ends: Box<[AtomicI64]>,
}

impl PublishedEnds {
    /// Ends as recovery found them, by `LogId`.
    pub fn new(recovered: impl IntoIterator<Item = i64>) -> Self {
        Self { ends: recovered.into_iter().map(AtomicI64::new).collect() }
    }

    /// Records below `end_offset` are durable. A later append of the log never has a smaller end.
    pub fn publish(&self, log: LogId, end_offset: i64) {
        self.ends[log.0 as usize].store(end_offset, Ordering::Release);
    }

    /// One past the last readable record; `None` for a log that does not exist.
    pub fn end(&self, log: LogId) -> Option<i64> {
        self.ends.get(log.0 as usize).map(|end| end.load(Ordering::Acquire))
    }

    /// How many logs there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no log.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

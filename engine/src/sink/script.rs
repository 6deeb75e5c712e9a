//! A writer for tests of the shard: it keeps every batch until the test says what becomes of it.

use std::collections::VecDeque;

use super::{Answered, WriterCounts};
use crate::buffer::Batch;
use crate::shard::ShardId;
use crate::ticket::Outcome;

/// Batches without an outcome, and those that have one and wait to be taken.
#[derive(Debug, Default)]
pub struct Script {
    /// What [`Writer::partitions`](super::Writer::partitions) says.
    pub partitions: Option<u32>,
    /// What [`Writer::batch_bytes_max`](super::Writer::batch_bytes_max) says.
    pub batch_bytes_max: Option<usize>,
    /// Submitted and not answered, oldest first.
    pub open: Vec<Box<Batch>>,
    /// Something changed that held PUBLISHes may wait for.
    pub changed: bool,
    /// What [`Writer::counts`](super::Writer::counts) says, of every sink.
    pub counts: WriterCounts,
    /// It says something else of batches than before.
    pub limits_changed: bool,
    answered: VecDeque<Answered>,
}

impl Script {
    /// A writer whose topics have `partitions` partitions.
    pub fn new(partitions: Option<u32>) -> Self {
        Self { partitions, ..Self::default() }
    }

    /// Gives the batch at `index` of `open` its outcome.
    pub fn answer(&mut self, index: usize, outcome: Outcome) {
        self.answered.push_back(Answered { batch: self.open.remove(index), outcome });
    }

    /// All batches in its hands.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.open.iter().chain(self.answered.iter().map(|a| &a.batch)).map(|b| &**b)
    }

    pub(super) fn submit(&mut self, batch: Box<Batch>) {
        self.open.push(batch);
    }

    pub(super) fn pop_answered(&mut self) -> Option<Answered> {
        self.answered.pop_front()
    }

    pub(super) fn inflight_records(&self, sink: u16, home: ShardId) -> u64 {
        let mine = self.open.iter().filter(|b| b.part.sink == sink && b.home == home);
        mine.map(|b| u64::from(b.records)).sum()
    }

    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.answered.is_empty()
    }
}

//! The connector that counts and drops: what the path costs without a destination.

use std::collections::VecDeque;

use super::Answered;
use crate::buffer::Batch;
use crate::ticket::Outcome;

/// Partitions that a topic here pretends to have: what the canonical workloads have.
pub const PARTITIONS: u32 = 4;

/// Answers every batch with success as soon as it is asked.
#[derive(Debug)]
pub struct Discard {
    partitions: u32,
    answered: VecDeque<Answered>,
}

impl Discard {
    /// A discarding writer whose topics have `partitions` partitions.
    pub fn new(partitions: u32) -> Self {
        Self { partitions, answered: VecDeque::new() }
    }

    /// Every topic has the same number of partitions here.
    pub fn partitions(&self, _sink: u16) -> Option<u32> {
        Some(self.partitions)
    }

    /// Drops the records of `batch`.
    pub fn submit(&mut self, batch: Box<Batch>) {
        self.answered.push_back(Answered { batch, outcome: Outcome::Stored { base_offset: -1 } });
    }

    /// The next batch to give back.
    pub fn pop_answered(&mut self) -> Option<Answered> {
        self.answered.pop_front()
    }

    /// Shows every batch it holds.
    pub(super) fn each_batch(&self, show: &mut impl FnMut(&Batch)) {
        self.answered.iter().for_each(|answered| show(&answered.batch));
    }

    /// Whether every batch was given back.
    pub fn is_idle(&self) -> bool {
        self.answered.is_empty()
    }
}

//! Under which numbers the copies of a message lie in the logs, and which of them their writers know of.
//!
//! A writer sends again only what it has no word of, and under other numbers only after the end of an epoch. So no message has
//! more copies that were told to be stored than it may have records, and no more than that under one producer id and epoch.

use std::collections::{BTreeMap, BTreeSet};

use crate::kafka::Place;
use crate::message::MessageId;

/// The numbers of a batch in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    /// Where it lies.
    pub(crate) place: Place,
    /// Id and epoch; -1 without.
    pub(crate) producer: (i64, i16),
    /// Sequence of its first record.
    pub(crate) first: i32,
}

/// A batch, by its number among those that were stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BatchId(u32);

/// The copies of all messages.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// By [`BatchId`].
    batches: Vec<Stamp>,
    /// Whose writer was told that they are stored.
    told: BTreeSet<Stamp>,
    /// By message and sink: all copies but the first.
    further: BTreeMap<(MessageId, usize), Vec<BatchId>>,
}

impl Copies {
    /// A batch is stored, whose records come next.
    pub(crate) fn begin(&mut self, stamp: Stamp) -> BatchId {
        self.batches.push(stamp);
        BatchId(self.batches.len() as u32 - 1)
    }

    /// Its writer is told that a batch is stored.
    pub(crate) fn told(&mut self, stamp: Stamp) {
        self.told.insert(stamp);
    }

    /// A message is stored for a sink once more.
    pub(crate) fn again(&mut self, id: MessageId, sink: usize, batch: BatchId) {
        self.further.entry((id, sink)).or_default().push(batch);
    }

    /// The numbers of a batch.
    pub(crate) fn stamp(&self, batch: BatchId) -> &Stamp {
        &self.batches[batch.0 as usize]
    }

    /// All copies of a message, the first of which lies in this batch.
    pub(crate) fn of(&self, id: MessageId, sink: usize, first: BatchId) -> Vec<Stamp> {
        let further = self.further.get(&(id, sink)).into_iter().flatten();
        std::iter::once(&first).chain(further).map(|&batch| *self.stamp(batch)).collect()
    }

    /// How many of these copies their writer knows of. What has no numbers is written once.
    pub(crate) fn known(&self, copies: &[Stamp]) -> usize {
        let (numbered, plain): (Vec<Stamp>, Vec<Stamp>) = copies.iter().partition(|stamp| stamp.producer.0 >= 0);
        // A broker that forgot a producer may have the same batch twice.
        let numbered: BTreeSet<Stamp> = numbered.into_iter().filter(|stamp| self.told.contains(stamp)).collect();
        numbered.len() + plain.len()
    }
}

/// Most copies under one producer id and epoch in one life of their topic, but for those `is_excused`.
pub(crate) fn under_one_number(copies: &[Stamp], is_excused: impl Fn(&Stamp) -> bool) -> usize {
    let numbered = copies.iter().filter(|stamp| stamp.producer.0 >= 0 && !is_excused(stamp));
    let counts = count_by(numbered, |stamp| (stamp.place.life, stamp.producer));
    counts.into_values().max().unwrap_or_default()
}

/// How many of these copies are more than `may` lie in one life of their topic.
pub(crate) fn beyond(copies: &[Stamp], may: usize) -> usize {
    let counts = count_by(copies.iter(), |stamp| stamp.place.life);
    counts.into_values().map(|count| count.saturating_sub(may)).sum()
}

fn count_by<'s, K: Ord>(stamps: impl Iterator<Item = &'s Stamp>, key: impl Fn(&Stamp) -> K) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    stamps.for_each(|stamp| *counts.entry(key(stamp)).or_default() += 1);
    counts
}

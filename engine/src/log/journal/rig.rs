//! For tests: entries as the journal writes them.

use std::collections::BTreeMap;

use kafka::record_batch;

use super::footer::Item;
use super::op::JournalId;
use super::open::{Adopted, JournalStart};
use super::positions::Positions;
use super::{BacklogPart, entry};
use crate::buffer::{Batch, BatchPool, PartKey};
use crate::clock::Mono;
use crate::shard::ShardId;

/// A partition; `topic` is empty for the sink's own.
pub(crate) fn part(topic: &str, partition: u32) -> BacklogPart {
    BacklogPart { topic: topic.into(), partition }
}

/// A batch of one record.
pub(crate) fn batch(partition: u32, value: &[u8]) -> Box<Batch> {
    let mut batch = BatchPool::new(ShardId(0), 0).take(PartKey { sink: 0, partition }, 0, Mono(0));
    record_batch::append(&mut batch.bytes, 0, 0, Some(b"key"), Some(value), record_batch::RawHeaders::NONE);
    batch.records = 1;
    batch.queued_bytes = batch.bytes.len() - record_batch::HEADER_LEN;
    batch
}

/// As [`batch`], for a topic that a message named.
pub(crate) fn batch_to(topic: &str, partition: u32, value: &[u8]) -> Box<Batch> {
    let mut batch = batch(partition, value);
    batch.topic_name.push_str(topic);
    batch
}

/// The bytes of an entry with one record.
pub(crate) fn entry(number: u64, partition: u32, value: &[u8], mark: u32) -> Vec<u8> {
    entry_to("", number, partition, value, mark)
}

/// As [`entry`], for a topic that a message named.
pub(crate) fn entry_to(topic: &str, number: u64, partition: u32, value: &[u8], mark: u32) -> Vec<u8> {
    let mut batch = batch_to(topic, partition, value);
    entry::seal(&mut batch, number, mark, 1_700_000_000_000);
    entry::pieces(&batch).concat()
}

/// What a shard finds where an earlier start has left so many entries of partition 0.
pub(crate) fn found(sink: u16, own: JournalId, entries: u32) -> JournalStart {
    let bytes = entry(0, 0, b"value", 1).len() as u32;
    let part = BacklogPart { topic: "".into(), partition: 0 };
    let item = |n| Item { number: u64::from(n), at: n * bytes, bytes, partition: 0, records: 1, topic: 0 };
    let adopted = Adopted {
        journal: JournalId(own.0 + 1),
        mark: 1,
        positions: Positions::default(),
        segments: vec![(0, u64::from(entries * bytes))],
        named_end: 0,
        entries: BTreeMap::from([(part, (0..entries).map(|n| (0, item(n))).collect())]),
    };
    JournalStart { adopted: vec![adopted], ..JournalStart::empty(sink, own, 2) }
}

//! For tests: entries as the journal writes them.

use std::collections::BTreeMap;

use kafka::record_batch;

use super::entry;
use super::footer::Item;
use super::op::JournalId;
use super::open::{Adopted, JournalStart};
use super::positions::Positions;
use crate::buffer::{Batch, BatchPool, PartKey};
use crate::clock::Mono;
use crate::shard::ShardId;

/// A batch of one record.
pub(crate) fn batch(partition: u32, value: &[u8]) -> Box<Batch> {
    let mut batch = BatchPool::new(ShardId(0), 0).take(PartKey { sink: 0, partition }, 0, Mono(0));
    record_batch::append(&mut batch.bytes, 0, 0, Some(b"key"), Some(value), record_batch::RawHeaders::NONE);
    batch.records = 1;
    batch.queued_bytes = batch.bytes.len() - record_batch::HEADER_LEN;
    batch
}

/// The bytes of an entry with one record.
pub(crate) fn entry(number: u64, partition: u32, value: &[u8], mark: u32) -> Vec<u8> {
    let mut batch = batch(partition, value);
    entry::seal(&mut batch, number, mark, 1_700_000_000_000);
    batch.bytes
}

/// What a shard finds where an earlier start has left so many entries of partition 0.
pub(crate) fn found(sink: u16, own: JournalId, entries: u32) -> JournalStart {
    let bytes = entry(0, 0, b"value", 1).len() as u32;
    let item = |n| Item { number: u64::from(n), at: n * bytes, bytes, partition: 0, records: 1 };
    let adopted = Adopted {
        journal: JournalId(own.0 + 1),
        mark: 1,
        positions: Positions::default(),
        segments: vec![(0, u64::from(entries * bytes))],
        entries: BTreeMap::from([(0, (0..entries).map(|n| (0, item(n))).collect())]),
    };
    JournalStart { adopted: vec![adopted], ..JournalStart::empty(sink, own, 2) }
}

//! One batch: records of one partition in Kafka's format, plus the tickets that wait for them.
//!
//! Life: filling -> sealed -> (mesh) -> in flight -> answered -> (mesh) -> pool. A batch is one `Box` that is moved and never
//! shared: whoever holds it may touch its bytes and nobody else can, so a buffer cannot be recycled while a request still
//! reads it (the class of CVE-2026-35554).

use kafka::compression::Compression;
use kafka::record_batch::HEADER_LEN;

use crate::clock::Mono;
use crate::shard::ShardId;
use crate::ticket::{Refused, Run};

/// Which partition of which topic, and for which sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartKey {
    /// Index of the sink in the configuration snapshot.
    pub sink: u16,
    /// Kafka's partition number.
    pub partition: u32,
}

/// Records of one partition on their way out and back.
///
/// A request takes its batches along by value, and there is no copy of them, so nobody can give back what is still being read:
///
/// ```compile_fail,E0382
/// # use aqueduct::{buffer::{BatchPool, PartKey}, clock::Mono, shard::ShardId};
/// # let mut pool = BatchPool::new(ShardId(0), 0);
/// let batch = pool.take(PartKey { sink: 0, partition: 0 }, 0, Mono(0));
/// let request = vec![batch];
/// pool.give(batch);
/// ```
///
/// ```compile_fail,E0599
/// # use aqueduct::{buffer::{BatchPool, PartKey}, clock::Mono, shard::ShardId};
/// # let mut pool = BatchPool::new(ShardId(0), 0);
/// let batch = pool.take(PartKey { sink: 0, partition: 0 }, 0, Mono(0));
/// let request = vec![batch.clone()];
/// pool.give(batch);
/// ```
#[derive(Debug)]
pub struct Batch {
    /// `record_batch::HEADER_LEN` bytes of gap, then the records. The header is written when the owner sends.
    pub bytes: Vec<u8>,
    /// Whose tickets wait for these records, in record order.
    pub runs: Vec<Run>,
    /// Records in `bytes`.
    pub records: u32,
    /// Records that have another outcome than the batch; nearly always none.
    pub refused: Vec<Refused>,
    /// Kafka refused it as a whole for its size: its parts were sent in its place, and smaller ones are to follow.
    pub too_large: bool,
    /// How the bytes behind the gap are compressed; `None` until that is decided.
    pub packed: Option<Compression>,
    /// Where they go.
    pub part: PartKey,
    /// Where the accumulator that filled it keeps its account.
    pub slot: u32,
    /// Number of its topic at home, where the sink's topics follow from messages; 0 elsewhere.
    pub live: u16,
    /// The name of such a topic; empty elsewhere. Kept for its capacity.
    pub topic_name: String,
    /// Number of its topic at the owner, who writes it.
    pub topic: u16,
    /// Placement epoch under which the partition was chosen.
    pub epoch: u32,
    /// The shard that filled the batch, whose budget is charged and to which it returns.
    pub home: ShardId,
    /// Bytes charged to the home shard's budget, returned with the batch.
    pub charge_bytes: usize,
    /// Timestamp of the first record; the others are deltas to it.
    pub base_timestamp_ms: i64,
    /// Latest timestamp of all records.
    pub max_timestamp_ms: i64,
    /// When the first record was written; linger, age and latency count from here.
    pub opened: Mono,
    /// Bytes of the records as queued, before compression: what `queuing_bytes` counts.
    pub queued_bytes: usize,
    /// Its publishers are told as soon as the disk has it.
    pub told_when_durable: bool,
    /// What its journal knows it by; 0 if it lies in none.
    pub journal: u64,
}

impl Batch {
    /// Bytes of the whole batch before compression: what limits of batches are about.
    pub fn plain_bytes(&self) -> usize {
        HEADER_LEN + self.queued_bytes
    }
}

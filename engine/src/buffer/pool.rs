//! Recycled batches, so that the path allocates nothing once it is warm.

use super::batch::{Batch, PartKey};
use crate::clock::Mono;
use crate::shard::ShardId;

/// What a buffer holds that nobody may read any more, in builds with debug assertions: whoever sends a batch that was given
/// back sends this instead of records that might pass for his own.
const POISON: u8 = 0xdb;

/// Batches kept for reuse, in a stack: the one returned last is still in cache and goes out first.
#[derive(Debug)]
pub struct BatchPool {
    home: ShardId,
    // The box is what travels; unboxing it here would copy it at every turn.
    #[expect(clippy::vec_box)]
    free: Vec<Box<Batch>>,
    free_bytes: usize,
    keep_bytes_max: usize,
    /// Memory is short: nothing is kept.
    is_short: bool,
}

impl BatchPool {
    /// A pool of the shard `home` that keeps at most `keep_bytes_max` bytes of idle buffers.
    pub fn new(home: ShardId, keep_bytes_max: usize) -> Self {
        Self { home, free: Vec::new(), free_bytes: 0, keep_bytes_max, is_short: false }
    }

    /// An empty batch for `part`, its header gap in place.
    pub fn take(&mut self, part: PartKey, epoch: u32, opened: Mono) -> Box<Batch> {
        let mut batch = match self.free.pop() {
            Some(batch) => {
                self.free_bytes -= batch.bytes.capacity();
                batch
            }
            None => Box::new(Batch {
                bytes: Vec::new(),
                runs: Vec::new(),
                records: 0,
                refused: Vec::new(),
                too_large: false,
                packed: None,
                part,
                slot: 0,
                live: 0,
                topic_name: String::new(),
                topic: 0,
                epoch,
                home: self.home,
                charge_bytes: 0,
                base_timestamp_ms: 0,
                max_timestamp_ms: 0,
                opened,
                queued_bytes: 0,
                told_when_durable: false,
                journal: 0,
            }),
        };
        batch.part = part;
        batch.epoch = epoch;
        batch.opened = opened;
        // What it held before may have gone to a topic that a message named.
        batch.topic_name.clear();
        kafka::record_batch::begin(&mut batch.bytes);
        batch
    }

    /// Takes a batch back. Its charge must have been returned to the budget before.
    pub fn give(&mut self, mut batch: Box<Batch>) {
        assert!(batch.home == self.home, "a batch returns to the shard that filled it");
        assert!(batch.charge_bytes == 0, "the charge of a pooled batch has been returned");
        if self.is_short || self.free_bytes + batch.bytes.capacity() > self.keep_bytes_max {
            return;
        }
        if cfg!(debug_assertions) {
            batch.bytes.fill(POISON);
        }
        batch.runs.clear();
        batch.records = 0;
        batch.refused.clear();
        batch.too_large = false;
        batch.packed = None;
        batch.queued_bytes = 0;
        batch.journal = 0;
        self.free_bytes += batch.bytes.capacity();
        self.free.push(batch);
    }

    /// Whether memory is short. As long as it is the pool keeps nothing, and gives back what it has kept.
    pub fn set_short(&mut self, is_short: bool) {
        self.is_short = is_short;
        if is_short {
            (self.free, self.free_bytes) = (Vec::new(), 0);
        }
    }

    /// Bytes of idle buffers.
    pub fn idle_bytes(&self) -> usize {
        self.free_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_while_memory_is_short() {
        let mut pool = BatchPool::new(ShardId(0), 1 << 20);
        let batches = [(); 3].map(|()| pool.take(PartKey { sink: 0, partition: 0 }, 0, Mono(0)));
        let [first, second, third] = batches;
        pool.give(first);
        assert!(pool.idle_bytes() > 0);
        pool.set_short(true);
        pool.give(second);
        assert_eq!((pool.idle_bytes(), pool.free.len()), (0, 0));
        pool.set_short(false);
        pool.give(third);
        assert!(pool.idle_bytes() > 0, "as before");
    }

    #[test]
    fn what_is_given_back_can_be_read_by_nobody() {
        let mut pool = BatchPool::new(ShardId(0), 1 << 20);
        let part = PartKey { sink: 0, partition: 0 };
        let mut batch = pool.take(part, 0, Mono(0));
        batch.bytes.extend_from_slice(b"records of one client");
        let place = batch.bytes.as_ptr();
        pool.give(batch);
        let poisoned = pool.free[0].bytes.iter().all(|&byte| byte == POISON);
        assert_eq!(poisoned, cfg!(debug_assertions), "as long as it lies in the pool");
        let batch = pool.take(part, 1, Mono(0));
        assert_eq!(batch.bytes.as_ptr(), place, "the same buffer");
        assert!(!batch.bytes.contains(&b'r'), "of the records before nothing is left");
    }
}

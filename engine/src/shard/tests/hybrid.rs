//! What gives way, or goes to disk, when memory ends and some of a sink's records lie on disk.

use super::rig::{Rig, publish, settings, sink};
use crate::config::{BufferMode, Overflow, QueryMode};
use crate::log::journal::{JournalId, rig};
use crate::shard::SinkSettings;
use crate::shard::io::ConnKey;
use crate::sink::accumulator::BatchLimits;

/// A hybrid sink of which nothing leaves. Earlier starts have left records of partition 0 on disk.
fn hybrid() -> Rig {
    hybrid_within(sink().limits)
}

fn hybrid_within(limits: BatchLimits) -> Rig {
    rig_of(BufferMode::Hybrid, limits)
}

fn rig_of(buffer: BufferMode, limits: BatchLimits) -> Rig {
    rig_with(buffer, Overflow::DropOldest, limits)
}

fn rig_with(buffer: BufferMode, overflow: Overflow, limits: BatchLimits) -> Rig {
    let limits = BatchLimits { linger_ns: 500_000_000, inflight_max: 0, ..limits };
    let query_mode = QueryMode::Async;
    let mut rig = Rig::new(settings(vec![SinkSettings { limits, buffer, overflow, query_mode, ..sink() }]));
    rig.shard = rig.shard.with_journals(vec![rig::found(0, JournalId(0), 3)]);
    rig
}

impl Rig {
    fn waiting(&self, partition: u32) -> usize {
        self.shard.sinks[0].accumulator.waiting_bytes(partition)
    }

    fn publish_one(&mut self, conn: ConnKey, id: u16, bytes: usize) {
        self.feed(conn, &publish(4, 1, id, "t", &vec![b'x'; bytes]));
        self.round();
    }

    /// A client whose records go to partition 0, or to another one, with one record there.
    fn client(&mut self, to_first: bool, bytes: usize) -> ConnKey {
        for n in 0..50 {
            let conn = self.connect(&format!("c{to_first}{n}"), 4);
            let before = self.waiting(0);
            self.publish_one(conn, 1, bytes);
            if (self.waiting(0) > before) == to_first {
                return conn;
            }
        }
        panic!("no client of fifty has the partition");
    }
}

/// The buffer is in memory now; in earlier starts it was on disk.
#[test]
fn what_waits_in_memory_alone_gives_way_and_nothing_that_fills_behind_the_disk() {
    let mut rig = rig_of(BufferMode::Memory, sink().limits);
    let first = rig.client(true, 1_000);
    rig.client(false, 200_000);
    // The rest of the memory is another sink's.
    let free = rig.shard.budget.free_bytes();
    rig.shard.budget.charge(free - 100_000);
    let (mut waiting, mut id) = (rig.waiting(0), 1);
    while rig.shard.counters.backpressure_paused == 0 {
        id += 1;
        assert!(id < 1_000, "memory ends");
        rig.publish_one(first, id, 1_000);
        assert!(rig.waiting(0) >= waiting, "what lies behind the disk stays");
        waiting = rig.waiting(0);
    }
    assert!((1..4).all(|partition| rig.waiting(partition) == 0), "all that lay in memory alone has given way");
    assert!(rig.shard.sink_counters[0].dropped_queue_full > 0);
}

/// Memory is short in front of a disk that has room.
#[test]
fn where_there_is_a_disk_short_memory_refuses_nothing() {
    for (buffer, refuses) in [(BufferMode::Memory, true), (BufferMode::Hybrid, false), (BufferMode::Disk, false)] {
        let mut rig = rig_with(buffer, Overflow::Reject, sink().limits);
        let conn = rig.connect("c", 4);
        let free = rig.shard.budget.free_bytes();
        rig.shard.budget.charge(free - 100_000);
        let gone = |rig: &Rig| rig.shard.sink_counters[0].dropped_rejected > 0;
        let mut id = 1;
        while rig.shard.counters.backpressure_paused == 0 && !gone(&rig) {
            rig.publish_one(conn, id, 10_000);
            id += 1;
            assert!(id < 1_000, "memory ends");
        }
        assert_eq!(gone(&rig), refuses, "{buffer:?}");
    }
}

/// A shard may hold what all shards of an earlier start had left: that is within the limit of the partition, though beyond one shard's
/// share of it, and nothing of it gives way.
#[test]
fn what_a_shard_took_over_for_all_is_not_measured_by_its_share() {
    for (adopted, dropped) in [(1_000_000, 0), (100, 1)] {
        let limits = BatchLimits { partition_bytes_max: 100, partition_adopted_bytes_max: adopted, ..sink().limits };
        let mut rig = hybrid_within(BatchLimits { bytes_max: 10_000, ..limits });
        let is_first = |id: &String| kafka::partitioner::partition_for_key(id.as_bytes(), 4) == 0;
        let client = (0..50).map(|n| format!("c{n}")).find(is_first).expect("one of fifty");
        let conn = rig.connect(&client, 4);
        rig.publish_one(conn, 1, 10);
        let gone = rig.shard.sink_counters[0].dropped_queue_full;
        assert_eq!(gone.min(1), dropped, "with {adopted}: {gone} records gave way");
    }
}

/// What is on its way to Kafka can fill the memory, however little waits beside it.
#[test]
fn while_half_of_the_memory_is_used_everything_goes_to_disk() {
    let mut rig = hybrid();
    let in_memory = |rig: &Rig| (1..4).map(|partition| rig.waiting(partition)).sum::<usize>();
    let conn = rig.client(false, 1_000);
    rig.publish_one(conn, 2, 1_000);
    assert!(in_memory(&rig) > 2_000, "it fits the sink's share");
    let half = rig.shard.budget.limit_bytes() / 2;
    rig.shard.budget.charge(half);
    rig.publish_one(conn, 3, 1_000);
    assert!(in_memory(&rig) > 3_000, "small batches are not made smaller");
    let wait = rig.after_ms(300);
    assert!(wait.deadline.is_some(), "it comes back by itself");
    rig.after_ms(300);
    assert_eq!(in_memory(&rig), 0);
    assert_eq!(rig.shard.sink_counters[0].dropped_queue_full, 0, "it lies before the disk, and nothing gave way");
}

//! Reserving, appending and noting tickets, with a seal whenever a batch is full.

use aqueduct::buffer::BatchPool;
use aqueduct::clock::Mono;
use aqueduct::shard::ShardId;
use aqueduct::shard::budget::Budget;
use aqueduct::sink::accumulator::{Accumulator, At, BatchLimits, Record, Room};
use aqueduct::ticket::Lane;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const RECORDS: u32 = 10_000;
const LIMITS: BatchLimits = BatchLimits {
    bytes_max: 896 << 10,
    target_bytes: 128 << 10,
    linger_ns: 5_000_000,
    inflight_max: 5,
    partition_bytes_max: 1 << 30,
    partition_adopted_bytes_max: 1 << 30,
    ahead_bytes: usize::MAX,
};

fn accumulate(c: &mut Criterion) {
    let mut group = c.benchmark_group("accumulator");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    for value_bytes in [256usize, 1024] {
        let value = vec![b'x'; value_bytes];
        let record = Record {
            key: Some(b"client-17"),
            value: Some(&value),
            timestamp_ms: 1,
            headers: kafka::record_batch::RawHeaders::NONE,
        };
        let mut accumulator = Accumulator::new(0, LIMITS);
        let mut pool = BatchPool::new(ShardId(0), 16 << 20);
        let mut budget = Budget::new(64 << 20);
        group.bench_function(format!("append_{value_bytes}B_4_partitions"), |b| {
            let at = At { now: Mono(0), opened: Mono(0) };
            b.iter(|| {
                for number in 0..RECORDS {
                    let partition = number / 50 % 4;
                    let room = accumulator.reserve(partition, record.bytes_max(), at, &mut pool, &mut budget);
                    assert_eq!(room, Room::Ready);
                    accumulator.append(partition, &record);
                    accumulator.note_ticket(partition, 1, 1, number, Lane::PubAck, None);
                    if number % 500 == 0 {
                        let mut sent = Vec::new();
                        accumulator.seal_due(Mono(0), false, |batch| sent.push(batch));
                        for mut batch in sent {
                            accumulator.answered(batch.part.partition);
                            budget.release(std::mem::take(&mut batch.charge_bytes));
                            pool.give(batch);
                        }
                    }
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, accumulate);
criterion_main!(benches);

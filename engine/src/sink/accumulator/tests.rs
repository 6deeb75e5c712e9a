use super::*;
use crate::shard::ShardId;

const MS: u64 = 1_000_000;

struct Rig {
    accumulator: Accumulator,
    pool: BatchPool,
    budget: Budget,
}

impl Rig {
    fn new(limits: BatchLimits, budget_bytes: usize) -> Self {
        let pool = BatchPool::new(ShardId(0), 1 << 20);
        Self { accumulator: Accumulator::new(0, limits), pool, budget: Budget::new(budget_bytes) }
    }

    fn put(&mut self, at: Mono, value: &[u8]) -> Room {
        let record = Record { key: Some(b"k"), value: Some(value), timestamp_ms: 5, headers: RawHeaders::NONE };
        let room = self.accumulator.reserve(
            0,
            record.bytes_max(),
            At { now: at, opened: at },
            &mut self.pool,
            &mut self.budget,
        );
        if room == Room::Ready {
            self.accumulator.append(0, &record);
        }
        room
    }

    #[expect(clippy::vec_box, reason = "the box is what travels")]
    fn due(&mut self, at: Mono) -> Vec<Box<Batch>> {
        let mut sent = Vec::new();
        self.accumulator.seal_due(at, false, |batch| sent.push(batch));
        sent
    }
}

fn limits() -> BatchLimits {
    BatchLimits {
        bytes_max: 8 << 10,
        target_bytes: 4 << 10,
        linger_ns: 5 * MS,
        inflight_max: 2,
        partition_bytes_max: 64 << 10,
        partition_adopted_bytes_max: 64 << 10,
        ahead_bytes: usize::MAX,
    }
}

#[test]
fn a_small_batch_waits_for_its_linger_and_no_longer() {
    let mut rig = Rig::new(limits(), 1 << 20);
    assert_eq!(rig.put(Mono(0), b"v"), Room::Ready);
    assert_eq!(rig.accumulator.deadline(), Some(Mono(5 * MS)));
    assert!(rig.due(Mono(5 * MS - 1)).is_empty());
    let sent = rig.due(Mono(5 * MS));
    assert_eq!(sent.iter().map(|b| b.records).collect::<Vec<_>>(), [1]);
    assert_eq!((rig.accumulator.open_records(), rig.accumulator.queued_bytes()), (1, 0));
    rig.accumulator.settled(&sent[0]);
    assert_eq!(rig.accumulator.open_records(), 0);
}

#[test]
fn a_batch_at_its_target_goes_at_once() {
    let mut rig = Rig::new(limits(), 1 << 20);
    while rig.accumulator.queued_bytes() < 4 << 10 {
        assert_eq!(rig.put(Mono(0), &[7; 200]), Room::Ready);
    }
    assert_eq!(rig.due(Mono(0)).len(), 1);
}

#[test]
fn while_all_slots_are_taken_batches_fill_to_the_cap_and_keep_their_order() {
    let mut rig = Rig::new(limits(), 1 << 20);
    let mut sent = Vec::new();
    for n in 0..200u32 {
        assert_eq!(rig.put(Mono(0), &[n as u8; 200]), Room::Ready);
        sent.extend(rig.due(Mono(0)));
    }
    assert_eq!(sent.len(), 2, "two slots, two batches");
    rig.accumulator.answered(0);
    let next = rig.due(Mono(0));
    assert_eq!(next.len(), 1);
    assert!(next[0].bytes.len() > 7 << 10, "filled on to the cap: {}", next[0].bytes.len());
    assert!(next[0].bytes.len() <= 8 << 10);
    let records: Vec<u32> = sent.iter().chain(&next).map(|b| b.records).collect();
    let first_of_next = records[0] + records[1];
    assert_eq!(u32::from(first_value_byte(*next.into_iter().next().unwrap())), first_of_next);
}

fn first_value_byte(mut batch: Batch) -> u8 {
    let stamp = record_batch::Stamp {
        base_timestamp_ms: batch.base_timestamp_ms,
        max_timestamp_ms: batch.max_timestamp_ms,
        records: batch.records,
        compression: kafka::compression::Compression::None,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
    };
    record_batch::seal(&mut batch.bytes, &stamp);
    record_batch::records(&batch.bytes).unwrap().next().unwrap().unwrap().value.unwrap()[0]
}

#[test]
fn a_record_larger_than_the_cap_travels_alone() {
    let mut rig = Rig::new(limits(), 1 << 20);
    assert_eq!(rig.put(Mono(0), b"small"), Room::Ready);
    assert_eq!(rig.put(Mono(0), &[1; 20_000]), Room::Ready);
    assert_eq!(rig.put(Mono(0), b"small"), Room::Ready);
    let mut sent = rig.due(Mono(5 * MS));
    rig.accumulator.answered(0);
    sent.extend(rig.due(Mono(5 * MS)));
    assert_eq!(sent.iter().map(|b| b.records).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn what_is_charged_is_what_the_buffers_hold_and_a_full_budget_holds_the_record() {
    let mut rig = Rig::new(BatchLimits { inflight_max: 100, ..limits() }, 64 << 10);
    let mut placed = 0;
    while rig.put(Mono(0), &[0; 1000]) == Room::Ready {
        placed += 1;
    }
    assert!(placed > 3, "{placed}");
    let mut sent = Vec::new();
    rig.accumulator.seal_due(Mono(5 * MS), true, |batch| sent.push(batch));
    let charged: usize = sent.iter().map(|b| b.charge_bytes).sum();
    assert_eq!(sent.iter().map(|b| b.bytes.capacity()).sum::<usize>(), charged);
    assert_eq!(charged, rig.budget.used_bytes());
}

#[test]
fn a_full_partition_says_so_and_gives_up_its_oldest() {
    let mut rig = Rig::new(BatchLimits { partition_bytes_max: 10_000, inflight_max: 1, ..limits() }, 1 << 20);
    let mut n = 0u8;
    while rig.put(Mono(0), &[n; 1000]) == Room::Ready {
        n += 1;
        assert!(n < 20, "the limit never acted");
    }
    let batch = rig.accumulator.drop_oldest(0).expect("something waits");
    let dropped = batch.records;
    rig.accumulator.settled(&batch);
    assert_eq!(first_value_byte(*batch), 0, "the oldest goes first");
    assert_eq!(rig.accumulator.open_records(), u64::from(n) - u64::from(dropped));
}

#[test]
fn clients_wait_while_kafka_keeps_up_and_are_buffered_when_it_does_not() {
    let mut rig = Rig::new(BatchLimits { ahead_bytes: 9_000, inflight_max: 1, ..limits() }, 1 << 20);
    let mut room = Room::Ready;
    for _ in 0..100 {
        room = rig.put(Mono(MS), &[1; 1000]);
        rig.due(Mono(MS));
        if room != Room::Ready {
            break;
        }
    }
    assert_eq!(room, Room::Ahead);
    let until = rig.accumulator.ahead_until().expect("they are heard again");
    assert_eq!(until, Mono(MS) + KEEPS_UP_NS);
    assert!(!rig.accumulator.take_ahead(Mono(until.0 - 1)));
    assert_eq!(rig.put(Mono(until.0 - 1), &[1; 1000]), Room::Ahead);
    assert!(rig.accumulator.take_ahead(until));
    assert_eq!(rig.put(until, &[1; 1000]), Room::Ready, "nothing has left for half a second");
    // Another slot is free again: what waited leaves, and the queue has room.
    rig.accumulator.answered(0);
    assert_eq!(rig.put(until, &[1; 1000]), Room::Ready);
    assert_eq!(rig.due(until).len(), 1);
    assert_eq!(rig.accumulator.ahead_until(), None);
}

#[test]
fn consecutive_tickets_of_one_session_share_a_run() {
    let mut rig = Rig::new(limits(), 1 << 20);
    for (session, number) in [(1, 10), (1, 11), (2, 5), (1, 12), (1, 14)] {
        rig.put(Mono(0), b"v");
        rig.accumulator.note_ticket(0, session, 0, number, Lane::PubAck, None);
    }
    let sent = rig.due(Mono(5 * MS));
    let runs: Vec<(u32, u32, u16)> = sent[0].runs.iter().map(|r| (r.session, r.first, r.n)).collect();
    assert_eq!(runs, [(1, 10, 2), (2, 5, 1), (1, 12, 1), (1, 14, 1)]);
}

#[test]
fn tickets_and_publications_of_the_same_records_make_a_run_each() {
    let mut rig = Rig::new(limits(), 1 << 20);
    for number in 0..50 {
        rig.put(Mono(0), b"v");
        rig.accumulator.note_ticket(0, 1, 0, number, Lane::PubAck, None);
        rig.accumulator.note_ticket(0, 7, 3, number, Lane::Publication, None);
    }
    let sent = rig.due(Mono(5 * MS));
    let runs: Vec<(u32, u32, u16)> = sent[0].runs.iter().map(|r| (r.session, r.record, r.n)).collect();
    assert_eq!(runs, [(1, 0, 50), (7, 0, 50)]);
}

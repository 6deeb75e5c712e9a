//! What could make a shard stand still, or tell a client what is not true: each was so once, or nearly.

use super::mqtt_client::connect_persistent;
use super::rig::{Rig, packet, publish, settings, sink, sink_with};
use crate::config::{PartitionStrategy, Qos0OnFull};
use crate::listener::read_buffers::READ_BUFFER_BYTES;
use crate::shard::control::Command;
use crate::shard::io::{ConnKey, Input, Machine as _};
use crate::shard::{Settings, SinkSettings, conn_mut};
use crate::sink::Writer;
use crate::sink::accumulator::BatchLimits;
use crate::sink::script::Script;
use crate::ticket::{FailReason, Outcome};

const STORED: Outcome = Outcome::Stored { base_offset: 0 };

fn scripted(settings: Settings, partitions: Option<u32>) -> Rig {
    Rig::with_writer(settings, Writer::Script(Script::new(partitions)))
}

fn script(rig: &mut Rig) -> &mut Script {
    let Writer::Script(script) = &mut rig.shard.writers[0] else { panic!("a script") };
    script
}

/// Answers everything with `outcome`, some milliseconds long.
fn answer_all(rig: &mut Rig, outcome: Outcome) {
    for _ in 0..50 {
        while !script(rig).open.is_empty() {
            script(rig).answer(0, outcome);
        }
        rig.after_ms(1);
    }
}

fn count_pubacks(rig: &mut Rig, conns: &[ConnKey]) -> usize {
    conns.iter().map(|&c| rig.sent(c).chunks(4).filter(|c| c[0] == 0x40).count()).sum()
}

#[test]
fn connections_held_with_full_buffers_do_not_wait_for_each_other() {
    let mut rig = scripted(Settings { memory_bytes: 1 << 20, ..settings(vec![sink()]) }, None);
    let conns: Vec<ConnKey> = (0..100).map(|n| rig.connect(&format!("c{n}"), 4)).collect();
    let burst: Vec<u8> = (1..=40).flat_map(|id| publish(4, 1, id, "t", &[0; 1000])).collect();
    conns.iter().for_each(|&conn| rig.feed(conn, &burst));
    rig.round();
    assert_eq!(rig.shard.counters.backpressure_paused, 100, "the topic is not known yet");
    script(&mut rig).partitions = Some(4);
    script(&mut rig).changed = true;
    let mut acks = 0;
    for _ in 0..20 {
        answer_all(&mut rig, STORED);
        acks += count_pubacks(&mut rig, &conns);
    }
    assert_eq!(acks, 4000, "without waiting for a turn of the reserve");
    rig.shard.audit(0);
    assert_eq!(rig.shard.budget.used_bytes(), 0);
}

#[test]
fn a_connection_held_in_a_large_read_keeps_the_buffer_and_gives_it_back() {
    let mut rig = scripted(Settings { memory_bytes: 8 << 20, ..settings(vec![sink()]) }, Some(4));
    let conn = rig.connect("c", 4);
    let burst: Vec<u8> = (1..=600).flat_map(|id| publish(4, 1, id, "t", &[id as u8; 1000])).collect();
    rig.feed(conn, &burst);
    // The reads of its first turn grow, and all they bring is placed; of the second turn nothing can be.
    rig.round();
    assert_eq!(rig.shard.counters.backpressure_paused, 0);
    script(&mut rig).partitions = None;
    script(&mut rig).changed = true;
    rig.round();
    assert_eq!(rig.shard.counters.backpressure_paused, 1);
    let unread = &conn_mut(&mut rig.shard.conns, conn).expect("it is there").unread;
    assert!(unread.capacity() >= READ_BUFFER_BYTES, "{}", unread.capacity());
    assert!(rig.shard.budget.used_bytes() >= READ_BUFFER_BYTES, "it is charged");
    script(&mut rig).partitions = Some(4);
    script(&mut rig).changed = true;
    answer_all(&mut rig, STORED);
    assert_eq!(count_pubacks(&mut rig, &[conn]), 600);
    let unread = &conn_mut(&mut rig.shard.conns, conn).expect("it is there").unread;
    assert_eq!((unread.bytes().len(), unread.capacity()), (0, 0));
    rig.shard.audit(0);
    assert_eq!(rig.shard.budget.used_bytes(), 0);
}

#[test]
fn large_packets_that_arrive_in_part_do_not_wait_for_each_other() {
    let mut rig = scripted(Settings { memory_bytes: 2 << 20, ..settings(vec![sink()]) }, Some(4));
    let conns: Vec<ConnKey> = (0..20).map(|n| rig.connect(&format!("c{n}"), 4)).collect();
    let large = publish(4, 1, 1, "t", &vec![0; 400_000]);
    conns.iter().for_each(|&conn| rig.feed(conn, &large[..200_000]));
    rig.round();
    conns.iter().for_each(|&conn| rig.feed(conn, &large[200_000..]));
    let mut acks = 0;
    for _ in 0..20 {
        answer_all(&mut rig, STORED);
        acks += count_pubacks(&mut rig, &conns);
    }
    assert_eq!(acks, 20);
    assert_eq!(rig.shard.budget.used_bytes(), 0);
}

#[test]
fn a_qos_2_outcome_is_told_to_the_connection_that_asks_for_it() {
    for outcome in [STORED, Outcome::Failed(FailReason::Invalid)] {
        let mut rig = scripted(settings(vec![sink()]), Some(4));
        let first = rig.accept();
        rig.feed(first, &[connect_persistent("c", 5), publish(5, 2, 1, "t", b"x")].concat());
        rig.round();
        let again = rig.accept();
        rig.feed(again, &connect_persistent("c", 5));
        rig.round();
        rig.sent(again);
        answer_all(&mut rig, outcome);
        assert_eq!(rig.sent(again), [0u8; 0], "the client has not asked here: the identifier may mean something else");
        rig.feed(again, &publish(5, 2, 1, "t", b"x"));
        rig.round();
        answer_all(&mut rig, STORED);
        assert_eq!(rig.sent(again), [0x50, 2, 0, 1]);
        let records = if outcome == STORED { 1 } else { 2 };
        assert_eq!(rig.shard.sink_counters[0].matched, records, "a failed one is new");
        rig.feed(again, &packet(0x62, &[0, 1]));
        rig.round();
        assert_eq!(rig.sent(again), [0x70, 2, 0, 1]);
        rig.shard.audit(0);
    }
}

#[test]
fn the_records_of_one_publish_are_placed_together_or_not_at_all() {
    // Where random partitions are full and others are not, a second choice could differ from the one that had room.
    let narrow = BatchLimits { partition_bytes_max: 3_000, linger_ns: u64::MAX / 2, ..sink().limits };
    let random = PartitionStrategy::Random;
    let roaming = SinkSettings { limits: narrow, partition_strategy: random, ..sink_with("#", "null") };
    let mut rig = scripted(settings(vec![sink(), roaming]), Some(64));
    let conn = rig.connect("c", 4);
    let bytes: Vec<u8> = (1..=400).flat_map(|id| publish(4, 1, id, "t", &[0; 1000])).collect();
    rig.feed(conn, &bytes);
    for _ in 0..20 {
        rig.round();
        let [one, other] = &rig.shard.sink_counters[..] else { panic!("two sinks") };
        assert_eq!(one.matched, other.matched);
    }
    let charged = script(&mut rig).batches().map(|b| b.charge_bytes).sum();
    rig.shard.audit(charged);
}

#[test]
fn a_drain_reads_no_clients_that_are_in() {
    let mut rig = scripted(settings(vec![sink()]), Some(4));
    let conn = rig.connect("c", 4);
    rig.feed(conn, &publish(4, 1, 1, "t", b"x"));
    rig.round();
    rig.shard.on(rig.now, Input::Command(Command::Drain), &mut rig.world);
    rig.feed(conn, &publish(4, 1, 2, "t", b"y"));
    rig.round();
    assert_eq!(rig.shard.sink_counters[0].matched, 1);
    answer_all(&mut rig, STORED);
    assert_eq!(count_pubacks(&mut rig, &[conn]), 1);
    assert!(rig.is_drained());
}

#[test]
fn sessions_that_come_and_go_are_looked_at_once() {
    let mut rig = scripted(settings(vec![sink()]), Some(4));
    for _ in 0..20 {
        let conn = rig.connect("c", 4);
        rig.feed(conn, &publish(4, 1, 1, "t", b"x"));
        rig.round();
    }
    rig.after_ms(200);
    assert_eq!(rig.shard.lists.open_sessions.len(), 1);
}

#[test]
fn a_record_fits_wherever_its_own_bytes_do() {
    let small = Settings { memory_bytes: 1 << 20, pool_bytes: 1 << 20, ..settings(vec![sink()]) };
    let mut rig = scripted(small, Some(1));
    let conn = rig.connect("c", 4);
    // The size class of this one, beside its unread bytes, is more than the whole budget.
    rig.feed(conn, &publish(4, 1, 1, "t", &vec![0; 400_000]));
    rig.round();
    answer_all(&mut rig, STORED);
    // Most of the budget is taken; the buffer that the pool keeps is larger than the rest.
    rig.shard.budget.charge(600_000);
    rig.feed(conn, &publish(4, 1, 2, "t", b"x"));
    rig.round();
    answer_all(&mut rig, STORED);
    assert_eq!(count_pubacks(&mut rig, &[conn]), 2);
}

/// Nothing is answered and nothing is full: the clients that were ahead of Kafka are heard again by the clock alone.
#[test]
fn clients_ahead_of_kafka_are_heard_again_when_it_stays_away() {
    let close = BatchLimits {
        bytes_max: 8 << 10,
        target_bytes: 8 << 10,
        ahead_bytes: 8 << 10,
        inflight_max: 1,
        ..sink().limits
    };
    let ahead = SinkSettings { limits: close, ..sink() };
    let drop = Settings { qos0_on_full: Qos0OnFull::Drop, ..settings(vec![ahead]) };
    let mut rig = scripted(drop, Some(1));
    let conn = rig.connect("c", 4);
    let message = publish(4, 0, 0, "t", &[0; 1000]);
    rig.feed(conn, &message.repeat(10));
    rig.round();
    rig.feed(conn, &message.repeat(90));
    rig.round();
    assert_eq!(rig.shard.counters.backpressure_paused, 1);
    assert!(rig.shard.sink_counters[0].matched < 100);
    let wait = rig.round();
    let again = wait.deadline.expect("a deadline").since(rig.now.mono);
    assert!(again <= 500_000_000, "{again}");
    rig.after_ms(500);
    rig.round();
    let counters = rig.shard.sink_counters[0];
    assert_eq!((counters.matched, counters.dropped_queue_full), (100, 0), "it was not full at any time");
    assert_eq!(rig.shard.counters.backpressure_paused, 0);
}

#[test]
fn clients_whose_messages_are_dropped_are_not_held_in_the_middle_of_one() {
    let settings = Settings { memory_bytes: 1 << 20, qos0_on_full: Qos0OnFull::Drop, ..settings(vec![sink()]) };
    let mut rig = scripted(settings, Some(4));
    let conns: Vec<ConnKey> = (0..8).map(|n| rig.connect(&format!("c{n}"), 4)).collect();
    let sent: Vec<u8> = (0..50).flat_map(|_| publish(4, 0, 0, "t", &[0; 16_000])).collect();
    for piece in sent.chunks(10_000) {
        for &conn in &conns {
            rig.feed(conn, piece);
        }
        rig.after_ms(1);
    }
    rig.after_ms(2_000);
    rig.round();
    let counters = rig.shard.sink_counters[0];
    assert_eq!(counters.matched, 400, "nothing is answered, and all the same every message is read");
    assert!(counters.dropped_queue_full > 300, "{}", counters.dropped_queue_full);
    assert_eq!(rig.shard.counters.backpressure_paused, 0);
    assert!(rig.shard.budget.used_bytes() <= 1 << 20);
}

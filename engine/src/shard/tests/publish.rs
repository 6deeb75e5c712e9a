//! PUBLISH and its acknowledgements: once for each record, in order, to the connection that sent it.

use super::rig::{Rig, connect, packet, publish, settings, sink};
use crate::config::QueryMode;
use crate::shard::control::{Command, ControlMsg};
use crate::shard::io::{CloseReason, Input, Machine, ShardId};
use crate::shard::mesh::MeshMsg;
use crate::shard::{Settings, SinkSettings};
use crate::ticket::{FailReason, Outcome, Refused};

const PUBACK: u8 = 0x40;

fn acks(bytes: &[u8]) -> Vec<(u8, u16)> {
    bytes.chunks(4).map(|c| (c[0], u16::from_be_bytes([c[2], c[3]]))).collect()
}

#[test]
fn publishes_are_acknowledged_in_order_wherever_the_bytes_split() {
    for level in [4, 5] {
        for recv_max in [1, 2, 3, 7, 64, 4096] {
            let mut rig = Rig::new(settings(vec![sink()]));
            let conn = rig.connect("c", level);
            rig.world.recv_max = recv_max;
            let bytes: Vec<u8> = (1..=50).flat_map(|id| publish(level, 1, id, "a/b", &[id as u8; 100])).collect();
            rig.feed(conn, &bytes);
            rig.round();
            let expected: Vec<(u8, u16)> = (1..=50).map(|id| (PUBACK, id)).collect();
            assert_eq!(acks(&rig.sent(conn)), expected, "level {level}, reads of {recv_max}");
        }
    }
}

#[test]
fn a_large_publish_arrives_whole_in_small_pieces() {
    let mut rig = Rig::new(settings(vec![sink()]));
    let conn = rig.connect("c", 4);
    rig.world.recv_max = 1024;
    let mut bytes = publish(4, 1, 1, "t", &vec![7; 1 << 20]);
    bytes.extend(publish(4, 1, 2, "t", b"after"));
    rig.feed(conn, &bytes);
    for _ in 0..10 {
        rig.round();
    }
    assert_eq!(acks(&rig.sent(conn)), [(PUBACK, 1), (PUBACK, 2)]);
}

#[test]
fn qos_2_makes_one_record_until_its_pubrel() {
    let mut rig = Rig::new(settings(vec![sink()]));
    let conn = rig.connect("c", 5);
    rig.feed(conn, &publish(5, 2, 9, "t", b"x"));
    rig.round();
    assert_eq!(acks(&rig.sent(conn)), [(0x50, 9)]);
    let mut again = publish(5, 2, 9, "t", b"x");
    again[0] |= 0x08;
    rig.feed(conn, &again);
    rig.round();
    assert_eq!(acks(&rig.sent(conn)), [(0x50, 9)], "the resend is answered");
    assert_eq!(rig.shard.sink_counters[0].matched, 1, "and makes no record");
    rig.feed(conn, &packet(0x62, &[0, 9]));
    rig.round();
    assert_eq!(acks(&rig.sent(conn)), [(0x70, 9)]);
    rig.feed(conn, &publish(5, 2, 9, "t", b"y"));
    rig.round();
    assert_eq!(rig.shard.sink_counters[0].matched, 2, "after PUBREL the identifier is new");
}

#[test]
fn a_pending_identifier_is_a_protocol_error_in_mqtt_5_and_one_ack_in_3_1_1() {
    let held = SinkSettings { limits: long_linger(), ..sink() };
    let mut rig = Rig::new(settings(vec![held.clone()]));
    let conn = rig.connect("c", 5);
    rig.feed(conn, &[publish(5, 1, 3, "t", b"x"), publish(5, 1, 3, "t", b"y")].concat());
    rig.round();
    let sent = rig.sent(conn);
    assert_eq!((sent[0], sent[2]), (0xe0, 0x82), "{sent:02x?}");
    assert_eq!(rig.world.closed, [(conn, CloseReason::Protocol)]);

    let mut rig = Rig::new(settings(vec![held]));
    let conn = rig.connect("c", 4);
    rig.feed(conn, &[publish(4, 1, 3, "t", b"x"), publish(4, 1, 3, "t", b"y")].concat());
    rig.after_ms(1_000);
    rig.round();
    assert_eq!(acks(&rig.sent(conn)), [(PUBACK, 3)]);
    assert_eq!(rig.shard.sink_counters[0].success, 2);
}

fn long_linger() -> crate::sink::accumulator::BatchLimits {
    crate::sink::accumulator::BatchLimits { linger_ns: 500_000_000, ..sink().limits }
}

#[test]
fn an_async_sink_acknowledges_on_acceptance() {
    let lingering = SinkSettings { limits: long_linger(), query_mode: QueryMode::Async, ..sink() };
    let mut rig = Rig::new(settings(vec![lingering]));
    let conn = rig.connect("c", 4);
    rig.feed(conn, &publish(4, 1, 1, "t", b"x"));
    rig.round();
    assert_eq!(acks(&rig.sent(conn)), [(PUBACK, 1)]);
    assert_eq!(rig.shard.sink_counters[0].success, 0);
}

#[test]
fn nothing_matches_is_said_to_mqtt_5_only() {
    for (level, expected) in [(4, vec![0x40, 2, 0, 1]), (5, vec![0x40, 3, 0, 1, 0x10])] {
        let mut rig = Rig::new(settings(Vec::new()));
        let conn = rig.connect("c", level);
        rig.feed(conn, &publish(level, 1, 1, "t", b"x"));
        rig.round();
        assert_eq!(rig.sent(conn), expected);
    }
}

/// A shard whose only batch goes to another shard: what that one says of it can be chosen.
fn handing_over() -> (Rig, String) {
    let hopping = SinkSettings { partition_strategy: crate::config::PartitionStrategy::Topic, ..sink() };
    let mut two = settings(vec![hopping]);
    two.shards = 2;
    let mut rig = Rig::new(settings(vec![sink()]));
    rig.shard = crate::shard::Shard::new(ShardId(0), two, vec![discard()], 7, rig.now.mono);
    let topic =
        (0..).map(|n| format!("t{n}")).find(|t| kafka::partitioner::partition_for_key(t.as_bytes(), 4) % 2 == 1);
    (rig, topic.unwrap())
}

#[test]
fn a_record_that_fails_alone_answers_its_own_publish() {
    let (mut rig, topic) = handing_over();
    let client = (0..).map(|n| format!("c{n}")).find(|c| crate::shard::placement::home_of(c, 2).0 == 0).unwrap();
    let conn = rig.connect(&client, 5);
    // Records 0 to 5; those without a ticket stand between the others.
    let packets = [(1, 1), (0, 0), (1, 2), (1, 3), (0, 0), (1, 4)];
    rig.feed(conn, &packets.map(|(qos, id)| publish(5, qos, id, &topic, b"x")).concat());
    rig.round();
    let Some((_, MeshMsg::HandOver(mut batch))) = rig.world.mesh.pop_front() else { panic!("a hand-over") };
    assert_eq!(batch.records, 6);
    for first in [3, 4] {
        batch.refused.push(Refused { first, n: 1, why: FailReason::TooLarge });
    }
    let back = MeshMsg::Return(batch, Outcome::Stored { base_offset: 0 });
    rig.shard.on(rig.now, Input::Mesh(ShardId(1), back), &mut rig.world);
    rig.round();
    let sent = rig.sent(conn);
    assert_eq!(sent[..8], [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
    assert_eq!((sent[8], &sent[10..13]), (0x40, &[0, 3, 0x97][..]), "quota exceeded");
    assert_eq!(sent[sent.len() - 4..], [0x40, 2, 0, 4]);
    let counters = rig.shard.sink_counters[0];
    assert_eq!((counters.matched, counters.success, counters.failed), (6, 4, 2));
}

#[test]
fn an_outcome_that_comes_after_a_reconnect_answers_nothing() {
    let (mut rig, topic) = handing_over();
    let client = (0..).map(|n| format!("c{n}")).find(|c| crate::shard::placement::home_of(c, 2).0 == 0).unwrap();
    let conn = rig.connect(&client, 4);
    rig.feed(conn, &publish(4, 1, 1, &topic, b"x"));
    rig.round();
    let (to, MeshMsg::HandOver(batch)) = rig.world.mesh.pop_front().expect("the batch goes to its owner") else {
        panic!("a hand-over")
    };
    assert_eq!(to, ShardId(1));
    let again = rig.accept();
    rig.feed(again, &connect(&client, 4));
    rig.round();
    rig.sent(again);
    assert_eq!(rig.world.closed, [(conn, CloseReason::TakenOver)]);
    let back = MeshMsg::Return(batch, Outcome::Stored { base_offset: 0 });
    rig.shard.on(rig.now, Input::Mesh(ShardId(1), back), &mut rig.world);
    rig.round();
    assert!(rig.sent(again).is_empty());
    assert_eq!(rig.shard.sink_counters[0].success, 1, "it is counted all the same");
}

fn discard() -> crate::sink::Writer {
    crate::sink::Writer::Discard(crate::sink::discard::Discard::new(4))
}

#[test]
fn a_client_whose_home_is_elsewhere_moves_there_with_all_its_bytes() {
    let mut two = settings(vec![sink()]);
    two.shards = 2;
    let mut rig = Rig::new(two);
    let client = (0..).map(|n| format!("c{n}")).find(|c| crate::shard::placement::home_of(c, 2).0 == 1).unwrap();
    let conn = rig.accept();
    let bytes = [connect(&client, 4), publish(4, 1, 1, "t", b"x")].concat();
    rig.feed(conn, &bytes);
    let (key, to, moved) = rig.world.moved.pop().expect("it moves");
    assert_eq!((key, to, moved.unread), (conn, ShardId(1), bytes));
}

#[test]
fn the_parts_of_a_sample_add_up_and_drain_ends_when_nothing_is_open() {
    let lingering = SinkSettings { limits: long_linger(), ..sink() };
    let mut rig = Rig::new(settings(vec![lingering]));
    let conn = rig.connect("c", 5);
    rig.feed(conn, &publish(5, 1, 1, "t", b"x"));
    rig.shard.on(rig.now, Input::Command(Command::Scrape { token: 4 }), &mut rig.world);
    rig.round();
    let Some(ControlMsg::Sample { token: 4, sample }) = rig.world.control.pop() else { panic!("a sample") };
    let sink = &sample.sinks[0];
    assert_eq!((sink.matched, sink.success, sink.queuing), (1, 0, 1));
    assert!(sink.queuing_bytes > 0);
    rig.shard.on(rig.now, Input::Command(Command::Drain), &mut rig.world);
    rig.round();
    rig.round();
    let sent = rig.sent(conn);
    assert_eq!(&sent[..4], [0x40, 2, 0, 1], "acknowledged before the goodbye: {sent:02x?}");
    assert_eq!((sent[4], sent[6]), (0xe0, 0x8b));
    assert!(matches!(rig.world.control.pop(), Some(ControlMsg::Drained { .. })));
}

#[test]
fn the_random_strategy_chooses_once_for_the_messages_of_a_read() {
    let roaming = SinkSettings { partition_strategy: crate::config::PartitionStrategy::Random, ..sink() };
    let writer = crate::sink::Writer::Script(crate::sink::script::Script::new(Some(1_000)));
    let mut rig = Rig::with_writer(settings(vec![roaming]), writer);
    let conn = rig.connect("c", 4);
    for _ in 0..5 {
        rig.feed(conn, &publish(4, 0, 0, "t", b"x").repeat(20));
        rig.after_ms(10);
    }
    let crate::sink::Writer::Script(script) = &rig.shard.writers[0] else { panic!("a script") };
    let records: Vec<u32> = script.batches().map(|batch| batch.records).collect();
    assert_eq!(records, [20; 5], "one batch a read");
    let partitions: std::collections::BTreeSet<u32> = script.batches().map(|batch| batch.part.partition).collect();
    assert!(partitions.len() > 1, "and another partition for the next: {partitions:?}");
}

#[test]
fn a_message_after_a_silence_has_not_waited_through_it() {
    let mut rig = Rig::new(settings(vec![sink()]));
    let conn = rig.connect("c", 4);
    rig.feed(conn, &publish(4, 1, 1, "t", b"x"));
    rig.after_ms(10);
    rig.after_ms(50_000);
    rig.feed(conn, &publish(4, 1, 2, "t", b"x"));
    rig.after_ms(10);
    assert_eq!(acks(&rig.sent(conn)), [(PUBACK, 1), (PUBACK, 2)]);
    assert_eq!(rig.shard.latency[0].count_up_to(100_000), 2);
}

#[test]
fn a_shard_that_brings_more_than_its_share_spreads_it_over_all_partitions() {
    let sticky = SinkSettings { partition_strategy: crate::config::PartitionStrategy::Sticky, ..sink() };
    let mut rig = Rig::at(ShardId(0), Settings { shards: 2, ..settings(vec![sticky]) }, discard());
    let client = (0..).map(|n| format!("c{n}")).find(|c| crate::shard::placement::home_of(c, 2).0 == 0).unwrap();
    let conn = rig.connect(&client, 4);
    let mut hand_overs = [0; 2];
    for count in &mut hand_overs {
        for _ in 0..100 {
            rig.feed(conn, &publish(4, 0, 0, "t", b"x"));
            rig.after_ms(11);
            let handed = std::mem::take(&mut rig.world.mesh);
            for (_, message) in handed {
                let answer = match message {
                    MeshMsg::HandOver(batch) => {
                        *count += 1;
                        MeshMsg::Return(batch, Outcome::Stored { base_offset: 0 })
                    }
                    // The other shard has brought nothing.
                    MeshMsg::Share(_) => MeshMsg::Share(vec![0].into()),
                    other => panic!("not expected: {other:?}"),
                };
                rig.shard.on(rig.now, Input::Mesh(ShardId(1), answer), &mut rig.world);
            }
        }
    }
    assert!(hand_overs[0] < 20, "until its share is known, it keeps to its own: {hand_overs:?}");
    assert!((25..75).contains(&hand_overs[1]), "half of the partitions are the other shard's: {hand_overs:?}");
}

#[test]
fn a_timeout_answers_those_that_are_late_and_leaves_the_rest_of_their_batch_alone() {
    let slow = crate::sink::accumulator::BatchLimits { linger_ns: 1_400_000_000, ..sink().limits };
    let rejecting = SinkSettings {
        limits: slow,
        sync_timeout_ms: 1_000,
        on_sync_timeout: crate::config::OnSyncTimeout::Reject,
        ..sink()
    };
    let mut rig = Rig::new(settings(vec![rejecting]));
    let conn = rig.connect("c", 5);
    rig.feed(conn, &publish(5, 1, 1, "t", b"x"));
    rig.after_ms(900);
    rig.feed(conn, &publish(5, 1, 2, "t", b"x"));
    rig.after_ms(1);
    rig.after_ms(300);
    let said = rig.sent(conn);
    assert_eq!((&said[..4], said[4]), (&[0x40, said[1], 0, 1][..], 0x83), "the first is late: {said:02x?}");
    assert_eq!(said.len(), 2 + usize::from(said[1]), "the second is not: {said:02x?}");
    for _ in 0..4 {
        rig.after_ms(100);
    }
    assert_eq!(rig.sent(conn), [0x40, 2, 0, 2], "its outcome was good");
    let counters = rig.shard.sink_counters[0];
    assert_eq!((counters.success, counters.late, counters.late_success), (2, 1, 1));
}

//! The writer before a cluster that behaves, and before one that does not.

mod acked_loss;
mod change;
mod cluster;
mod compression;
mod given_up;
mod health;
mod limits;
mod links;
mod live;
mod rig;

use std::collections::BTreeMap;

use super::Produce;
use crate::buffer::PartKey;
use crate::metrics::Health;
use crate::sink::partitioning::Random;
use crate::ticket::{FailReason, Outcome};
use cluster::{Faults, POISON};
use rig::{Rig, config};

/// A value of `len` bytes that no other call gives.
fn value(number: u64, len: usize) -> Vec<u8> {
    let mut value = vec![b'v'];
    value.extend_from_slice(&number.to_be_bytes());
    value.resize(len.max(9), 0);
    value
}

/// Text that shrinks to about six tenths.
fn digits(number: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(number);
    let mut value = value(number, 9);
    value.extend((9..len).map(|_| b"0123456789abcdef"[random.below(16) as usize]));
    value
}

/// Checks the outcomes of everything that was sent against the logs. No more than `twice_max` records may be there twice.
fn check(rig: &Rig, twice_max: u64, ordered: bool) {
    let mut twice = 0;
    let mut stored: BTreeMap<u32, Vec<&[u8]>> = BTreeMap::new();
    for (number, sent) in rig.sent.iter().enumerate() {
        let outcome = sent.outcome.unwrap_or_else(|| panic!("batch {number} has no outcome"));
        for (at, value) in (0..).zip(&sent.values) {
            let refused = sent.refused.iter().any(|r| (r.first..r.first + r.n).contains(&at));
            if matches!(outcome, Outcome::Stored { .. }) && !refused {
                stored.entry(sent.part.partition).or_default().push(value);
            }
        }
    }
    let topic = &rig.world.cluster.topics["t"];
    for (partition, expected) in stored {
        let mut log: Vec<&[u8]> = topic.logs[partition as usize].values.iter().map(Vec::as_slice).collect();
        let total = log.len();
        let mut seen = std::collections::BTreeSet::new();
        log.retain(|value| seen.insert(*value));
        twice += (total - log.len()) as u64;
        if ordered {
            // What failed may be in the log as well, if an earlier try was stored; what was stored must be there, in order.
            let mut rest = log.iter();
            for value in &expected {
                assert!(
                    rest.any(|v| v == value),
                    "partition {partition}: {:?} is missing or out of order",
                    &value[..9]
                );
            }
        } else {
            for value in &expected {
                assert!(log.contains(value), "partition {partition}: {:?} is missing", &value[..9]);
            }
        }
    }
    assert!(twice <= twice_max, "{twice} records are there twice, {twice_max} may be");
}

fn possible_duplicates(rig: &Rig) -> u64 {
    rig.writer.counts(0).possible_duplicate
}

/// A rig with a topic of four partitions on two brokers, connected.
fn connected(connector: &str, sink: &str) -> Rig {
    let mut rig = Rig::new(1, 2, &config(connector, sink));
    rig.world.cluster.create("t", 4);
    rig.round();
    assert_eq!(rig.writer.partitions(0), None);
    rig.run_ms(100);
    assert_eq!(rig.writer.partitions(0), Some(4));
    assert!(rig.writer.take_changed());
    rig
}

#[test]
fn records_arrive_once_and_in_order() {
    for version in [3, 7, 8, 9, 12] {
        let mut rig = Rig::new(1, 3, &config("", ""));
        rig.world.cluster.create("t", 6);
        rig.world.cluster.produce_version = version;
        rig.round();
        for number in 0..200 {
            rig.submit(0, number % 6, (0..10).map(|i| value(u64::from(number) * 10 + i, 300)).collect());
            rig.run_ms(1);
        }
        rig.run_ms(200);
        check(&rig, 0, true);
        assert!(rig.writer.is_idle());
        assert_eq!(rig.health(0), Health::Connected);
        assert_eq!(rig.world.cluster.sequences_refused, 0);
        assert_eq!(rig.writer.counts(0).retried, 0);
        assert_eq!(rig.writer.inflight_records(0, crate::shard::ShardId(0)), 0);
    }
}

#[test]
fn batches_of_one_broker_share_a_request_and_small_ones_are_merged() {
    let mut rig = connected("", "");
    // The first answer of each partition, so that more than one batch may be under way.
    for partition in 0..4 {
        rig.submit(0, partition, vec![value(u64::from(partition), 10)]);
    }
    rig.run_ms(50);
    let before = rig.world.cluster.produce_requests;
    for number in 0..40 {
        rig.submit(0, number % 4, vec![value(100 + u64::from(number), 1000)]);
    }
    rig.run_ms(50);
    check(&rig, 0, true);
    assert_eq!(rig.world.cluster.produce_requests - before, 2, "one request a broker");
    assert_eq!(rig.world.cluster.widest_request, 2);
}

#[test]
fn large_batches_fill_the_window_and_no_more() {
    let mut rig = connected("", "max_inflight = 3");
    rig.submit(0, 0, vec![value(0, 10)]);
    rig.run_ms(50);
    for number in 1..20 {
        rig.submit(0, 0, vec![value(number, 20_000)]);
    }
    rig.run_ms(500);
    check(&rig, 0, true);
    assert_eq!(rig.world.widest_flight, 3);
}

#[test]
fn the_broker_of_one_partition_holds_no_other() {
    let mut rig = connected("", "");
    rig.world.stalled[1] = true;
    for number in 0..8 {
        rig.submit(0, number % 4, vec![value(u64::from(number), 100)]);
    }
    rig.run_ms(3_000);
    for sent in &rig.sent {
        assert_eq!(sent.outcome.is_some(), sent.part.partition % 2 == 0, "{:?}", sent.part);
    }
    let now = rig.now().mono;
    let answering: Vec<bool> = (0..4).map(|p| rig.writer.answers(0, p, now)).collect();
    assert_eq!(answering, [true, false, true, false]);
    rig.world.stalled[1] = false;
    rig.run_ms(1_000);
    check(&rig, 0, true);
}

#[test]
fn a_silent_link_is_given_up_and_its_batches_are_sent_again() {
    let mut rig = connected("request_timeout = \"3s\"", "");
    rig.world.stalled[0] = true;
    rig.submit(0, 0, vec![value(1, 100)]);
    rig.run_ms(3_500);
    assert!(rig.sent[0].outcome.is_none());
    rig.world.stalled[0] = false;
    rig.run_ms(4_000);
    check(&rig, 0, true);
    assert_eq!(rig.writer.counts(0).retried, 1);
    assert!(rig.notes.iter().any(|note| note.contains("does not answer")), "{:?}", rig.notes);
}

#[test]
fn requests_that_expect_no_answer_are_no_sign_of_life() {
    let none = "[sinks.n]\nconnector = \"k\"\nsource_topics = [\"#\"]\ntopic = \"t\"\nrequired_acks = \"none\"";
    let mut rig = connected("request_timeout = \"3s\"\nmetadata_request_timeout = \"3s\"", none);
    rig.submit(0, 0, vec![value(0, 100)]);
    rig.run_ms(100);
    rig.world.mute[0] = true;
    rig.submit(0, 0, vec![value(1, 100)]);
    for number in 2..12 {
        // Partitions 0 and 2 have the same leader, and share its link.
        rig.submit(1, 2, vec![value(number, 100)]);
        rig.run_ms(500);
    }
    assert!(rig.notes.iter().any(|note| note.contains("does not answer")), "{:?}", rig.notes);
    rig.world.mute[0] = false;
    rig.run_ms(10_000);
    assert!(matches!(rig.sent[1].outcome, Some(Outcome::Stored { .. })), "{:?}", rig.sent[1].outcome);
    assert_eq!(rig.world.cluster.topics["t"].logs[0].values.len(), 2, "stored, and recognised when it was sent again");
}

#[test]
fn what_is_sent_again_goes_alone() {
    // KAFKA: a broker recognises the last five batches of a producer (ProducerStateEntry.NUM_BATCHES_TO_RETAIN).
    let mut rig = connected("", "max_inflight = 4");
    rig.submit(0, 0, vec![value(0, 20_000)]);
    rig.run_ms(100);
    (1..=4).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.round();
    assert_eq!(rig.world.widest_flight, 4);
    rig.cut_off(0);
    (5..=8).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.world.widest_flight = 0;
    while rig.sent[1..=4].iter().any(|sent| sent.outcome.is_none()) {
        assert!(rig.world.widest_flight <= 1, "something is in front of a batch whose fate is open");
        rig.step_after_round();
    }
    rig.run_ms(5_000);
    check(&rig, 0, true);
}

#[test]
fn a_broker_that_remembers_one_batch_gets_one_at_a_time() {
    // KAFKA: brokers of 0.11 recognise the last batch of a producer only (ProducerAppendInfo; five since KAFKA-5494, in 1.0).
    for (version, sink, widest) in
        [(3, "max_inflight = 4", 1), (3, "max_inflight = 4\nidempotence = false", 4), (4, "max_inflight = 4", 4)]
    {
        let mut rig = Rig::new(1, 2, &config("", sink));
        rig.world.cluster.create("t", 4);
        rig.world.cluster.produce_version = version;
        rig.submit(0, 0, vec![value(0, 20_000)]);
        rig.run_ms(200);
        // Stored, and nobody hears of it.
        rig.world.mute = vec![true; 2];
        (1..=4).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
        rig.run_ms(100);
        assert_eq!(rig.world.widest_flight, widest, "Produce {version}, {sink}");
        rig.world.mute = vec![false; 2];
        (0..2).for_each(|broker| rig.cut_off(broker));
        rig.run_ms(5_000);
        let numbered = rig.world.cluster.numbered > 0;
        check(&rig, if numbered { 0 } else { 4 }, numbered);
        assert_eq!((possible_duplicates(&rig), rig.world.cluster.sequences_refused), (0, 0), "{version}, {sink}");
    }
}

#[test]
fn a_broker_that_comes_back_is_found_and_nothing_is_lost() {
    let mut rig = connected("", "");
    for number in 0..20 {
        rig.submit(0, number % 4, vec![value(u64::from(number), 20_000)]);
    }
    rig.run_ms(1);
    rig.world.dead = vec![true; 2];
    rig.cut_off(0);
    rig.cut_off(1);
    rig.run_ms(5_000);
    assert!(matches!(rig.health(0), Health::Disconnected(_)), "{:?}", rig.health(0));
    let dials = rig.world.dials;
    rig.run_ms(10_000);
    assert!(rig.world.dials - dials < 25, "{} dials in ten seconds", rig.world.dials - dials);
    rig.world.dead = vec![false; 2];
    rig.run_ms(5_000);
    check(&rig, 0, true);
    assert_eq!(rig.health(0), Health::Connected);
}

#[test]
fn a_topic_that_does_not_exist_is_waited_for() {
    let mut rig = Rig::new(1, 2, &config("", ""));
    rig.round();
    rig.run_ms(20_000);
    assert_eq!(rig.writer.partitions(0), None);
    assert!(matches!(rig.health(0), Health::Connecting(why) if why.contains("UNKNOWN_TOPIC")));
    rig.world.cluster.create("t", 2);
    rig.run_ms(4_000);
    assert_eq!(rig.writer.partitions(0), Some(2));
}

#[test]
fn a_topic_that_does_not_exist_is_asked_for_no_more_often_than_said() {
    let questions = |interval: &str| {
        let mut rig = Rig::new(1, 2, &config(&format!("min_metadata_refresh_interval = \"{interval}\""), ""));
        rig.run_ms(20_500);
        rig.world.cluster.questions
    };
    let (often, seldom) = (questions("1s"), questions("5s"));
    assert!((19..=21).contains(&often) && (4..=6).contains(&seldom), "{often} and {seldom} in 20 s");
}

#[test]
fn partitions_that_are_added_are_found() {
    let mut rig = connected("", "partition_count_refresh_interval = \"10s\"");
    let logs = &mut rig.world.cluster.topics.get_mut("t").expect("the topic").logs;
    logs.push(cluster::Log::default());
    rig.run_ms(11_000);
    assert_eq!(rig.writer.partitions(0), Some(5));
    assert!(rig.writer.take_changed());
}

#[test]
fn a_leader_that_moves_is_followed() {
    let mut rig = connected("", "");
    rig.submit(0, 0, vec![value(1, 100)]);
    rig.run_ms(50);
    rig.world.cluster.move_leader("t", 0, 1);
    for number in 2..10 {
        rig.submit(0, 0, vec![value(number, 20_000)]);
    }
    rig.run_ms(4_000);
    check(&rig, 0, true);
}

#[test]
fn a_culprit_fails_alone_and_its_neighbours_are_stored_in_order() {
    for version in [7, 9] {
        let mut rig = connected("", "");
        rig.world.cluster.produce_version = version;
        for batch in 0..6u64 {
            let mut values: Vec<Vec<u8>> = (0..10).map(|i| value(batch * 10 + i, 3_000)).collect();
            if batch % 2 == 1 {
                values[7][0] = POISON;
                values[2][0] = POISON;
            }
            rig.submit(0, 0, values);
        }
        rig.run_ms(10_000);
        check(&rig, 0, true);
        for (batch, sent) in rig.sent.iter().enumerate() {
            let mut refused: Vec<u32> = sent.refused.iter().map(|r| r.first).collect();
            refused.sort();
            assert_eq!(refused, if batch % 2 == 1 { vec![2, 7] } else { vec![] });
            assert!(sent.refused.iter().all(|r| r.why == FailReason::Invalid && r.n == 1));
        }
        assert_eq!(rig.world.cluster.topics["t"].logs[0].values.len(), 54);
        assert_eq!(possible_duplicates(&rig), 0);
    }
}

#[test]
fn a_batch_that_is_too_large_is_cut_until_it_fits() {
    let mut rig = connected("", "");
    rig.world.cluster.batch_bytes_max = 10_000;
    let mut values: Vec<Vec<u8>> = (0..50).map(|i| value(i, 1_000)).collect();
    values[20] = value(20, 11_000);
    rig.submit(0, 0, values);
    rig.submit(0, 0, (100..103).map(|i| value(i, 1_000)).collect());
    rig.submit(0, 0, vec![value(200, 12_000)]);
    rig.submit(0, 0, vec![value(300, 100)]);
    rig.run_ms(10_000);
    check(&rig, 0, true);
    assert_eq!(rig.sent[0].refused.len(), 1);
    assert_eq!((rig.sent[0].refused[0].first, rig.sent[0].refused[0].why), (20, FailReason::TooLarge));
    assert_eq!(rig.sent[2].outcome, Some(Outcome::Failed(FailReason::TooLarge)));
    assert_eq!(rig.world.cluster.topics["t"].logs[0].values.len(), 53);
}

#[test]
fn after_a_batch_that_was_too_large_merged_ones_are_smaller() {
    let mut rig = connected("", "max_inflight = 1");
    rig.world.cluster.batch_bytes_max = 10_000;
    rig.submit(0, 0, (0..20).map(|i| value(i, 1_000)).collect());
    rig.submit(0, 0, vec![value(20, 12_000)]);
    rig.run_ms(1_000);
    assert!(rig.sent[0].too_large, "the shard that filled it is told");
    assert!(!rig.sent[1].too_large, "a single record is nobody's choice");
    // Many small batches wait for the only slot, and are merged.
    for round in 0..20 {
        for i in 0..30 {
            rig.submit(0, 0, vec![value(100 + round * 30 + i, 1_000)]);
        }
        rig.run_ms(200);
    }
    check(&rig, 0, true);
    assert!(rig.world.cluster.too_large < 8, "refusals: {}", rig.world.cluster.too_large);
    assert!(rig.world.cluster.produce_requests < 300, "they are merged nevertheless");
}

#[test]
fn copies_of_merged_batches_are_bounded() {
    let batch_of = |rig: &mut Rig, number: u64| {
        rig.submit(0, (number % 4) as u32, vec![value(number, 12_000)]);
    };
    let mut rig = connected("", "max_inflight = 1");
    let bytes_max = 200_000;
    rig.writer.carriers = super::Carriers::new(crate::shard::ShardId(0), bytes_max);
    (0..400).for_each(|number| batch_of(&mut rig, number));
    for _ in 0..2_000 {
        rig.step_after_round();
        assert!(rig.writer.carriers.bytes() <= bytes_max, "{}", rig.writer.carriers.bytes());
    }
    rig.run_ms(20_000);
    check(&rig, 0, true);
    assert!(rig.world.cluster.produce_requests < 380, "some were merged: {}", rig.world.cluster.produce_requests);
}

#[test]
fn a_denied_topic_fails_its_batches_and_says_so() {
    let mut rig = connected("", "");
    rig.submit(0, 0, vec![value(100, 10)]);
    rig.run_ms(50);
    rig.world.cluster.deny_produce = 29;
    for number in 1..10 {
        rig.submit(0, 0, vec![value(number, 20_000)]);
    }
    rig.run_ms(1_000);
    assert!(rig.sent.iter().skip(1).all(|s| s.outcome == Some(Outcome::Failed(FailReason::Unauthorized))));
    assert!(matches!(rig.health(0), Health::Connecting(why) if why.contains("TOPIC_AUTHORIZATION_FAILED")));
    rig.world.cluster.deny_produce = 0;
    rig.submit(0, 0, vec![value(11, 10)]);
    rig.run_ms(1_000);
    assert!(matches!(rig.sent[10].outcome, Some(Outcome::Stored { .. })));
    assert_eq!(rig.health(0), Health::Connected);
    assert!(!rig.notes.iter().any(|note| note.contains("numbered anew")), "what was refused left its numbers");
}

#[test]
fn numbers_that_may_be_used_are_not_used_again() {
    let mut rig = connected("", "");
    rig.submit(0, 0, vec![value(1, 10)]);
    rig.run_ms(50);
    // The second is stored, its answer is lost, and when it is sent again the topic is denied.
    rig.submit(0, 0, vec![value(2, 10)]);
    while rig.world.cluster.topics["t"].logs[0].values.len() < 2 {
        rig.step_after_round();
    }
    rig.world.cluster.deny_produce = 29;
    rig.cut_off(0);
    rig.run_ms(3_000);
    assert_eq!(rig.sent[1].outcome, Some(Outcome::Failed(FailReason::Unauthorized)));
    // The third would be taken for the second if it had its number.
    rig.world.cluster.deny_produce = 0;
    rig.submit(0, 0, vec![value(3, 10)]);
    rig.run_ms(1_000);
    check(&rig, 0, true);
}

#[test]
fn a_silent_old_leader_holds_its_partition_until_its_link_is_gone() {
    let times = "request_timeout = \"3s\"\nmin_metadata_refresh_interval = \"100ms\"";
    let mut rig = connected(times, "partition_count_refresh_interval = \"1s\"");
    rig.submit(0, 1, vec![value(1, 10)]);
    rig.run_ms(50);
    rig.world.stalled[1] = true;
    rig.submit(0, 1, vec![value(2, 20_000)]);
    rig.world.cluster.move_leader("t", 1, 0);
    rig.run_ms(1_500);
    rig.submit(0, 1, vec![value(3, 20_000)]);
    rig.run_ms(1_000);
    assert_eq!((rig.sent[1].outcome, rig.sent[2].outcome), (None, None));
    rig.run_ms(8_000);
    check(&rig, 0, true);
}

#[test]
fn a_forgotten_producer_begins_anew_without_loss_or_duplicate() {
    let mut rig = connected("", "");
    for number in 0..5 {
        rig.submit(0, 0, vec![value(number, 20_000)]);
    }
    rig.run_ms(100);
    // The broker forgets; it then takes any first sequence, so only one batch may be under way.
    rig.run_ms(120_000);
    let recreated = std::mem::take(&mut rig.world.cluster.topics.get_mut("t").expect("the topic").logs[0].values);
    rig.world.cluster.create("t", 4);
    rig.world.cluster.topics.get_mut("t").expect("the topic").logs[0].values = recreated;
    for number in 5..10 {
        rig.submit(0, 0, vec![value(number, 20_000)]);
    }
    rig.run_ms(5_000);
    check(&rig, 0, true);
    assert_eq!(possible_duplicates(&rig), 0);
}

#[test]
fn batches_are_numbered_unless_that_is_off() {
    for (idempotence, numbered) in [(true, 1), (false, 0)] {
        let mut rig = connected("", &format!("idempotence = {idempotence}"));
        rig.submit(0, 0, vec![value(1, 10)]);
        rig.run_ms(100);
        check(&rig, 0, true);
        assert_eq!(rig.world.cluster.numbered, numbered);
    }
}

#[test]
fn kafka_is_told_whose_word_is_waited_for_and_how_long() {
    for (acks, ack_timeout, terms) in
        [("all_isr", "10s", (-1, 10_000)), ("leader_only", "7s", (1, 7_000)), ("none", "200ms", (0, 200))]
    {
        let mut rig = connected("", &format!("required_acks = \"{acks}\"\nack_timeout = \"{ack_timeout}\""));
        rig.submit(0, 0, vec![value(1, 10)]);
        rig.run_ms(100);
        assert_eq!(rig.world.cluster.produce_terms, terms);
    }
}

#[test]
fn without_acks_the_hand_over_is_the_outcome() {
    let mut rig = connected("", "required_acks = \"none\"");
    for number in 0..10 {
        rig.submit(0, number % 4, vec![value(u64::from(number), 20_000)]);
    }
    rig.run_ms(100);
    assert!(rig.sent.iter().all(|s| s.outcome == Some(Outcome::Stored { base_offset: -1 })));
    check(&rig, 0, true);
}

#[test]
fn sinks_of_one_topic_share_its_partitions() {
    let none = "[sinks.n]\nconnector = \"k\"\nsource_topics = [\"#\"]\ntopic = \"t\"\nrequired_acks = \"none\"";
    let mut rig = connected("", &format!("max_inflight = 4\n{none}"));
    for number in 0..60 {
        let sink = (number / 5 % 2) as u16;
        rig.submit(sink, number % 2, vec![value(u64::from(number), 20_000)]);
        rig.run_ms(u64::from(number % 3));
    }
    rig.run_ms(1_000);
    check(&rig, 0, true);
    assert!(rig.sent.iter().all(|s| {
        let unanswered = s.outcome == Some(Outcome::Stored { base_offset: -1 });
        unanswered == (s.part.sink == 1)
    }));
}

#[test]
fn a_partition_that_is_gone_for_good_fails_its_batches() {
    let mut rig = connected("min_metadata_refresh_interval = \"1s\"", "");
    rig.submit(0, 3, vec![value(1, 10)]);
    rig.run_ms(100);
    rig.world.cluster.topics.clear();
    rig.submit(0, 3, vec![value(2, 10)]);
    rig.submit(0, 0, vec![value(3, 10)]);
    rig.run_ms(5_000);
    assert_eq!(rig.sent[1].outcome, None, "the topic may come back");
    rig.world.cluster.create("t", 2);
    rig.run_ms(5_000);
    assert_eq!(rig.sent[1].outcome, Some(Outcome::Failed(FailReason::UnknownTopic)));
    assert!(matches!(rig.sent[2].outcome, Some(Outcome::Stored { .. })));
    assert_eq!(rig.writer.partitions(0), Some(2));
}

/// Bad days in a usual run; `AQUEDUCT_SEEDS` asks for more.
const SEEDS: u64 = 300;

/// One seed of a bad day: everything goes wrong for a while, then nothing any more.
fn bad_day(seed: u64) {
    let mut random = Random::new(seed);
    let idempotent = random.below(4) > 0;
    let inflight = 1 + random.below(5);
    let brokers = 1 + random.below(3) as usize;
    let links = 1 + random.below(2);
    let codec = ["none", "none", "gzip", "snappy", "lz4", "zstd"][random.below(6) as usize];
    let sink = format!("max_inflight = {inflight}\nidempotence = {idempotent}\ncompression = \"{codec}\"");
    let connector = format!(
        "connections_per_broker = {links}\nrequest_timeout = \"2s\"\nreconnect_delay = \"200ms\"\nmin_metadata_refresh_interval = \"300ms\""
    );
    let mut rig = Rig::new(seed, brokers, &config(&connector, &sink));
    rig.world.cluster.create("t", 3);
    rig.world.cluster.produce_version = [3, 7, 8, 9, 12][random.below(5) as usize];
    rig.world.cluster.batch_bytes_max = if random.below(3) == 0 { 15_000 } else { 1 << 20 };
    let swarm = |random: &mut Random, per_mille: u32| if random.below(2) == 0 { random.below(per_mille) } else { 0 };
    let amnesia = if idempotent && random.below(4) == 0 { 10 } else { 0 };
    rig.world.cluster.faults = Faults {
        passing: swarm(&mut random, 100),
        after_append: if idempotent { swarm(&mut random, 60) } else { 0 },
        amnesia,
        moves: swarm(&mut random, 30),
    };
    let breaks = swarm(&mut random, 30);
    let poison = swarm(&mut random, 30);
    rig.world.breaks = breaks;
    rig.round();
    let mut number = 0;
    for _ in 0..120 {
        for _ in 0..random.below(4) {
            let partition = random.below(3);
            let open = rig.sent.iter().filter(|s| s.outcome.is_none() && s.part.partition == partition).count();
            if open >= 8 {
                continue;
            }
            let len = [20, 500, 4_000][random.below(3) as usize];
            let values = (0..1 + random.below(12)).map(|_| {
                number += 1;
                let mut value = value(number, len);
                if random.below(1000) < poison {
                    value[0] = POISON;
                }
                value
            });
            let values = values.collect();
            rig.submit(0, partition, values);
        }
        if random.below(60) == 0 {
            let broker = random.below(brokers as u32) as usize;
            rig.world.stalled[broker] = !rig.world.stalled[broker];
        }
        if random.below(40) == 0 {
            let (partition, to) = (random.below(3) as usize, random.below(brokers as u32) as usize);
            rig.world.cluster.move_leader("t", partition, to);
        }
        if breaks > 0 && random.below(60) == 0 {
            let broker = random.below(brokers as u32) as usize;
            rig.world.dead[broker] = !rig.world.dead[broker];
            rig.cut_off(broker);
        }
        rig.run_ms(u64::from(random.below(60)));
    }
    rig.world.cluster.faults = Faults::default();
    rig.world.breaks = 0;
    rig.world.dead.fill(false);
    rig.world.stalled.fill(false);
    rig.run_ms(60_000);
    assert!(rig.writer.is_idle(), "all is answered a minute after the last fault");
    assert_eq!(rig.writer.inflight_records(0, crate::shard::ShardId(0)), 0);
    assert!(rig.writer.carriers.bytes() <= 1 << 20, "carriers come back: {}", rig.writer.carriers.bytes());
    // A broker that forgets a producer in the middle of its batches takes what comes next, whatever was before it.
    let forgetful = amnesia > 0;
    let twice_max = if idempotent && !forgetful { possible_duplicates(&rig) } else { u64::MAX };
    check(&rig, twice_max, (idempotent || inflight == 1) && !forgetful);
    for sent in &rig.sent {
        check_refused(sent);
    }
}

/// Only what deserves it fails.
fn check_refused(sent: &rig::Sent) {
    let PartKey { partition, .. } = sent.part;
    for (at, value) in (0..).zip(&sent.values) {
        let poisoned = value[0] == POISON;
        let refused = sent.outcome.is_some_and(|o| matches!(o, Outcome::Failed(_)))
            || sent.refused.iter().any(|r| (r.first..r.first + r.n).contains(&at));
        assert_eq!(refused, poisoned, "partition {partition}: record {at} of {}", sent.values.len());
    }
}

#[test]
fn on_bad_days_every_batch_gets_its_one_true_outcome() {
    let seeds = std::env::var("AQUEDUCT_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| bad_day(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}

#[test]
fn a_connector_of_another_kind_has_no_kafka_writer() {
    let mut config = config("", "");
    config.connectors[0].kind = crate::config::ConnectorKind::Discard;
    assert!(Produce::new(crate::shard::ShardId(0), 1, 0, &config, [0; 32]).is_none());
}

//! What Kafka acknowledged and has no more is told of.

use super::{connected, value};
use crate::ticket::Outcome;

#[test]
fn acknowledged_records_that_kafka_has_lost_are_told_of_within_a_second() {
    let mut rig = connected("", "");
    for number in 0..5 {
        rig.submit(0, 0, vec![value(number, 20_000)]);
    }
    rig.run_ms(100);
    assert_eq!(rig.writer.counts(0).acked_loss, 0);
    rig.world.cluster.truncate("t", 0, 2);
    rig.submit(0, 0, vec![value(5, 100)]);
    rig.run_ms(1_000);
    assert_eq!(rig.writer.counts(0).acked_loss, 3);
    let told = rig.notes.iter().find(|text| text.contains("lost records that it had acknowledged: offsets 2 to 4"));
    assert!(told.is_some(), "{:?}", rig.notes);
}

/// What is sent again behind the loss hides where it begins, but not that what was acknowledged before it was first sent is gone.
#[test]
fn a_loss_is_told_though_what_was_in_doubt_fills_it() {
    let impatient = "request_timeout = \"500ms\"\nmetadata_request_timeout = \"300ms\"\nreconnect_delay = \"100ms\"";
    let mut rig = connected(impatient, "ack_timeout = \"300ms\"");
    (0..5).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.run_ms(100);
    rig.world.mute = vec![true; 2];
    (5..10).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.run_ms(100);
    rig.world.cluster.truncate("t", 0, 2);
    rig.world.mute = vec![false; 2];
    rig.run_ms(5_000);
    assert!(rig.sent.iter().all(|sent| matches!(sent.outcome, Some(Outcome::Stored { .. }))));
    assert_eq!(rig.writer.counts(0).acked_loss, 3, "{:?}", rig.notes);
}

/// No broker knows an earlier try of what has no number, so its offset is where it lies, and no loss reaches back before that.
#[test]
fn without_numbers_what_was_in_doubt_is_not_lost_with_what_is() {
    assert_eq!(told_when_the_last_of_those_in_doubt_is_lost("idempotence = false"), 1);
}

/// What was in doubt lies behind all that was acknowledged before, so its offset is not that of an earlier try.
#[test]
fn nor_with_numbers_where_its_place_was_in_no_doubt() {
    assert_eq!(told_when_the_last_of_those_in_doubt_is_lost(""), 1);
}

/// One record is acknowledged, five more are once their links have died and they were sent again, and the last of them is lost.
fn told_when_the_last_of_those_in_doubt_is_lost(sink: &str) -> u64 {
    let impatient = "request_timeout = \"500ms\"\nmetadata_request_timeout = \"300ms\"\nreconnect_delay = \"100ms\"";
    let mut rig = connected(impatient, &format!("ack_timeout = \"300ms\"\n{sink}"));
    rig.submit(0, 0, vec![value(0, 100)]);
    rig.run_ms(100);
    rig.world.mute = vec![true; 2];
    (1..6).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.run_ms(100);
    rig.world.mute = vec![false; 2];
    rig.run_ms(5_000);
    let last = rig.sent.iter().filter_map(|sent| match sent.outcome {
        Some(Outcome::Stored { base_offset }) => Some(base_offset),
        _ => None,
    });
    let last = last.max().expect("they are stored");
    assert!(last >= 5, "{last}");
    rig.world.cluster.truncate("t", 0, last as usize);
    rig.submit(0, 0, vec![value(6, 100)]);
    rig.run_ms(1_000);
    rig.writer.counts(0).acked_loss
}

#[test]
fn a_topic_made_anew_has_lost_nothing() {
    let mut rig = connected("", "");
    for number in 0..5 {
        rig.submit(0, 0, vec![value(number, 20_000)]);
    }
    rig.run_ms(100);
    rig.world.cluster.create("t", 4);
    rig.submit(0, 0, vec![value(5, 100)]);
    rig.run_ms(10_000);
    assert_eq!(rig.writer.counts(0).acked_loss, 0);
    assert!(matches!(rig.sent[5].outcome, Some(Outcome::Stored { base_offset: 0 })), "{:?}", rig.sent[5].outcome);
}

/// The broker that questions go to has not heard of it, for as long as the test lasts. The one that leads the partition has.
#[test]
fn nor_one_of_which_others_hear_late() {
    let mut rig = connected("min_metadata_refresh_interval = \"100ms\"", "");
    (0..5).for_each(|number| rig.submit(0, 1, vec![value(number, 20_000)]));
    rig.run_ms(100);
    assert_eq!(rig.world.cluster.topics["t"].logs[1].leader, 1);
    let former_id = rig.world.cluster.topics["t"].id;
    rig.world.cluster.create("t", 4);
    rig.world.cluster.behind = Some((0, former_id));
    for number in 5..10 {
        rig.submit(0, 1, vec![value(number, 100)]);
        rig.run_ms(1_000);
    }
    assert!(rig.sent.iter().all(|sent| matches!(sent.outcome, Some(Outcome::Stored { .. }))));
    assert_eq!(rig.writer.counts(0).acked_loss, 0, "{:?}", rig.notes);
    let told = rig.notes.iter().filter(|text| text.contains("made anew")).count();
    assert_eq!(told, 1, "it is believed once: {:?}", rig.notes);
}

/// A broker that tells of the same topic is believed, also where it is not the one that questions go to.
#[test]
fn a_loss_is_told_by_the_word_of_the_leader() {
    let mut rig = connected("", "");
    (0..5).for_each(|number| rig.submit(0, 1, vec![value(number, 20_000)]));
    rig.run_ms(100);
    let questions = rig.world.cluster.questions;
    rig.world.cluster.truncate("t", 1, 2);
    rig.submit(0, 1, vec![value(5, 100)]);
    rig.run_ms(1_000);
    assert_eq!(rig.writer.counts(0).acked_loss, 3);
    assert_eq!(rig.world.cluster.questions, questions + 1, "one question is enough");
}

//! Topics that messages name, before a cluster that has them, does not have them, or gets them late.

use super::rig::{Rig, config};
use super::value;
use crate::metrics::Health;
use crate::sink::Found;
use crate::ticket::{FailReason, Outcome};

/// A rig whose sink has a topic for each site.
fn live() -> Rig {
    let config = config("min_metadata_refresh_interval = \"3s\"", "");
    let mut config = config;
    config.sinks[0].topic = "t-${payload.site}".to_string();
    let mut rig = Rig::new(1, 2, &config);
    rig.round();
    rig.run_ms(100);
    rig
}

#[test]
fn topics_that_messages_name_are_asked_for_at_once_and_written() {
    let mut rig = live();
    rig.world.cluster.create("t-a", 2);
    rig.world.cluster.create("t-b", 1);
    rig.submit_to("t-a", 0, 1, vec![value(1, 10)]);
    rig.submit_to("t-b", 0, 0, vec![value(2, 10)]);
    rig.run_ms(50);
    assert!(rig.sent.iter().all(|sent| matches!(sent.outcome, Some(Outcome::Stored { .. }))), "{:?}", rig.notes);
    let topics = &rig.world.cluster.topics;
    assert_eq!((&topics["t-a"].logs[1].values[0], &topics["t-b"].logs[0].values[0]), (&value(1, 10), &value(2, 10)));
    assert_eq!(rig.health(0), Health::Connected);
}

#[test]
fn a_topic_that_nobody_knows_for_a_minute_takes_its_records_with_it() {
    let mut rig = live();
    rig.world.cluster.create("t-a", 1);
    let topic = rig.writer.open_topic(0, "t-x").unwrap();
    rig.submit_to("t-x", 0, 0, vec![value(1, 10)]);
    rig.submit_to("t-a", 0, 0, vec![value(2, 10)]);
    rig.run_ms(58_000);
    assert_eq!(rig.writer.find_topic(topic, rig.now().mono), Found::Unknown);
    assert_eq!(rig.sent[0].outcome, None);
    assert!(matches!(rig.sent[1].outcome, Some(Outcome::Stored { .. })), "the other one is not kept");
    assert!(rig.writer.take_changed());
    rig.run_ms(3_000);
    assert_eq!(rig.sent[0].outcome, Some(Outcome::Failed(FailReason::UnknownTopic)));
    assert_eq!(rig.writer.find_topic(topic, rig.now().mono), Found::Never(FailReason::UnknownTopic));
    assert!(rig.writer.take_changed(), "whoever waited for it is told");
    // It is asked for now and then all the same.
    rig.world.cluster.create("t-x", 3);
    rig.run_ms(70_000);
    assert_eq!(rig.writer.find_topic(topic, rig.now().mono), Found::Partitions(3));
}

#[test]
fn a_topic_that_was_forgotten_is_written_anew_under_numbers_of_its_own() {
    let mut rig = live();
    let name = |n: u64| format!("t-{n}");
    let topics = 450;
    (0..topics).for_each(|n| rig.world.cluster.create(&name(n), 1));
    for n in (0..topics).chain(0..5) {
        rig.submit_to(&name(n), 0, 0, vec![value(rig.sent.len() as u64, 10)]);
        rig.run_ms(30);
    }
    rig.run_ms(1_000);
    assert!(rig.sent.iter().all(|sent| matches!(sent.outcome, Some(Outcome::Stored { .. }))));
    assert!(rig.writer.topics.len() < 250, "{} are kept", rig.writer.topics.len());
    for n in 0..5 {
        let values = &rig.world.cluster.topics[&name(n)].logs[0].values;
        assert_eq!(values, &[value(n, 10), value(topics + n, 10)], "the second is no repeat of the first");
    }
}

#[test]
fn a_topic_that_comes_back_is_not_asked_to_pass_over_what_was_given_up() {
    let mut rig = live();
    rig.world.cluster.create("t-a", 1);
    rig.submit_to("t-a", 0, 0, vec![value(1, 10)]);
    rig.run_ms(100);
    let gone = rig.world.cluster.topics.remove("t-a").unwrap();
    rig.submit_to("t-a", 0, 0, vec![value(2, 10)]);
    rig.run_ms(70_000);
    assert_eq!(rig.sent[1].outcome, Some(Outcome::Failed(FailReason::UnknownTopic)));
    rig.world.cluster.topics.insert("t-a".to_string(), gone);
    rig.run_ms(70_000);
    rig.submit_to("t-a", 0, 0, vec![value(3, 10)]);
    rig.run_ms(1_000);
    assert_eq!(rig.world.cluster.topics["t-a"].logs[0].values, [value(1, 10), value(3, 10)]);
    assert_eq!(rig.world.cluster.sequences_refused, 0);
}

//! What the writer knows of how large batches topics take.

use super::connected;
use super::rig::{Rig, config};

const ASKED_EVERY_SECOND: &str = "partition_count_refresh_interval = \"1s\"";

#[test]
fn it_is_asked_for_once_the_topic_is_known_and_again_every_interval() {
    let mut rig = Rig::new(1, 2, &config("", ASKED_EVERY_SECOND));
    rig.world.cluster.create("t", 4);
    rig.world.cluster.batch_bytes_max = 10_000;
    rig.round();
    assert_eq!(rig.writer.batch_bytes_max(0), None);
    rig.run_ms(100);
    assert_eq!(rig.writer.batch_bytes_max(0), Some(10_000));
    assert!(rig.writer.take_limits_changed());
    rig.world.cluster.batch_bytes_max = 20_000;
    rig.run_ms(1_100);
    assert_eq!(rig.writer.batch_bytes_max(0), Some(20_000), "it was raised");
    assert!(rig.writer.take_limits_changed());
    rig.run_ms(3_000);
    assert!(!rig.writer.take_limits_changed(), "it is what it was");
    assert!((4..=6).contains(&rig.world.cluster.limits_asked.len()), "{:?}", rig.world.cluster.limits_asked);
}

#[test]
fn where_it_is_denied_nothing_is_known_and_the_link_stays() {
    let mut rig = connected("", ASKED_EVERY_SECOND);
    assert_eq!(rig.writer.batch_bytes_max(0), Some(1 << 20));
    rig.world.cluster.deny_configs = 29;
    let dials = rig.world.dials;
    rig.run_ms(1_100);
    assert_eq!((rig.writer.batch_bytes_max(0), rig.world.dials), (None, dials));
    assert!(rig.notes.iter().all(|note| !note.contains("not understood")), "{:?}", rig.notes);
}

#[test]
fn brokers_that_do_not_know_the_question_are_not_asked() {
    let mut rig = Rig::new(1, 2, &config("", ASKED_EVERY_SECOND));
    rig.world.cluster.create("t", 4);
    rig.world.cluster.configs_version = 0;
    rig.run_ms(5_000);
    assert_eq!((rig.writer.partitions(0), rig.writer.batch_bytes_max(0)), (Some(4), None));
    assert!(rig.world.cluster.limits_asked.is_empty());
}

#[test]
fn it_is_forgotten_with_the_link_and_asked_for_on_the_next_one() {
    let mut rig = connected("", "");
    assert!(rig.writer.take_limits_changed());
    (0..2).for_each(|broker| rig.cut_off(broker));
    assert_eq!(rig.writer.batch_bytes_max(0), None);
    assert!(rig.writer.take_limits_changed());
    rig.world.cluster.batch_bytes_max = 5_000;
    rig.run_ms(5_000);
    assert_eq!(rig.writer.batch_bytes_max(0), Some(5_000));
}

#[test]
fn a_topic_that_a_message_names_is_asked_for_alone() {
    let mut rig = connected("", "");
    rig.world.cluster.create("u", 1);
    rig.world.cluster.limits_asked.clear();
    let topic = rig.writer.open_topic(0, "u").expect("room");
    rig.run_ms(100);
    assert_eq!(rig.writer.topic_batch_bytes_max(topic), Some(1 << 20));
    assert_eq!(rig.world.cluster.limits_asked, [["u"]]);
}

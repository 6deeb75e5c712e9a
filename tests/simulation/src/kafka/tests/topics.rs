//! Questions, and topics that change.

use ::kafka::ErrorCode;
use ::kafka::message::metadata::{self, Metadata};
use ::kafka::message::{api_versions, init_producer_id};

use super::rig::{Rig, TOPIC, batch, plan};
use crate::kafka::faults::code;
use crate::kafka::{ClusterPlan, Faults, HOST, PORT};

const OFTEN: u32 = 1_000_000;

fn metadata(rig: &mut Rig, broker: usize, version: i16) -> Metadata {
    let mut frame = Vec::new();
    metadata::encode_request(version, 5, "c", Some(&[TOPIC]), false, &mut frame);
    let body = rig.ask(broker, &frame);
    metadata::decode_response(version, if version >= 9 { &body[1..] } else { &body }).expect("metadata")
}

#[test]
fn metadata_names_leaders_in_every_version() {
    for version in 4..=12 {
        let mut rig = Rig::new(plan(3, 4, 1));
        let told = metadata(&mut rig, 1, version);
        assert_eq!(told.brokers.len(), 3);
        assert_eq!((told.brokers[2].host.as_str(), told.brokers[2].port), (HOST, PORT + 2));
        let partitions = &told.topics[0].partitions;
        assert_eq!(partitions.iter().map(|p| p.leader).collect::<Vec<_>>(), [0, 1, 2, 0]);
        assert_eq!(partitions[1].in_sync.len(), 3);
        assert_eq!(told.topics[0].id != [0; 16], version >= 10);
    }
}

#[test]
fn brokers_hear_late_of_what_has_changed() {
    let mut rig = Rig::new(ClusterPlan { news_ns: (50_000_000, 100_000_000), ..plan(3, 1, 1) });
    rig.cluster.move_leader(rig.now, 0);
    let leader = rig.leader(0).expect("a leader") as i32;
    assert_eq!(metadata(&mut rig, 0, 12).topics[0].partitions[0].leader, 0);
    rig.run_ms(101);
    for broker in 0..3 {
        assert_eq!(metadata(&mut rig, broker, 12).topics[0].partitions[0].leader, leader);
    }
}

#[test]
fn a_topic_vanishes_and_comes_back_under_another_id() {
    let mut rig = Rig::new(plan(1, 1, 1));
    let before = metadata(&mut rig, 0, 12).topics[0].id;
    assert_eq!(rig.store(0, &batch(0, 0, &[b"a"])), (0, 0));
    rig.cluster.delete(rig.now, 0);
    rig.run_ms(100);
    assert_eq!(metadata(&mut rig, 0, 12).topics[0].error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(rig.store(0, &batch(0, 1, &[b"b"])).0, code::UNKNOWN_TOPIC_OR_PARTITION);
    rig.cluster.heal(rig.time());
    rig.run_ms(100);
    assert_ne!(metadata(&mut rig, 0, 12).topics[0].id, before);
    assert_eq!(rig.cluster.life(0), 1);
    assert_eq!(rig.store(0, &batch(0, 1, &[b"b"])), (0, 0), "it knows no producers");
}

#[test]
fn partitions_are_added() {
    let mut rig = Rig::new(plan(2, 1, 1));
    rig.faults(Faults { grow: OFTEN, partitions_max: 3, ..Faults::default() });
    rig.run_ms(200);
    assert_eq!(metadata(&mut rig, 0, 12).topics[0].partitions.len(), 3);
    let broker = rig.leader(2).expect("a leader");
    assert_eq!(rig.store_all(broker, &[(2, batch(0, 0, &[b"a"]).seal())]), [(0, 0)]);
}

#[test]
fn producer_ids_are_never_given_twice() {
    let mut rig = Rig::new(plan(2, 1, 1));
    let mut ids = Vec::new();
    for n in 0..10 {
        let mut frame = Vec::new();
        init_producer_id::encode_request(4, n, "c", &mut frame);
        let body = rig.ask(n as usize % 2, &frame);
        let producer = init_producer_id::decode_response(4, &body[1..]).expect("an answer").producer.expect("an id");
        assert_eq!(producer.epoch, 0);
        assert!(!ids.contains(&producer.id));
        ids.push(producer.id);
    }
    rig.faults(Faults { producer_id_error: OFTEN, ..Faults::default() });
    let mut frame = Vec::new();
    init_producer_id::encode_request(2, 1, "c", &mut frame);
    let body = rig.ask(0, &frame);
    assert!(init_producer_id::decode_response(2, &body[1..]).expect("an answer").producer.is_err());
}

#[test]
fn an_old_broker_answers_a_new_question_in_its_oldest_form() {
    for (newest, version) in [(4, 3), (3, 3), (2, 0), (0, 0)] {
        let mut rig = Rig::new(ClusterPlan { versions_version: newest, producer_id_version: None, ..plan(1, 1, 1) });
        let mut frame = Vec::new();
        api_versions::encode_request(3, 1, "c", "aqueduct", "0.1.0", &mut frame);
        let body = rig.ask(0, &frame);
        let answer = api_versions::decode_response(version, &body).expect("an answer");
        assert_eq!(answer.error.is_ok(), newest >= 3);
        assert!(answer.ranges.iter().any(|range| (range.key, range.version_max) == (18, newest)));
        assert!(answer.ranges.iter().all(|range| range.key != 22));
    }
}

#[test]
#[should_panic(expected = "was not announced")]
fn a_question_in_a_version_that_was_not_announced_is_our_bug() {
    let mut rig = Rig::new(ClusterPlan { metadata_version: 4, ..plan(1, 1, 1) });
    metadata(&mut rig, 0, 9);
}

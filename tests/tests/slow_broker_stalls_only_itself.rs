//! One broker of two stops answering: only sessions with a ticket on one of its partitions wait, all others are acknowledged as before.
//!
//! Setup: two brokers, a topic without replicas, so that each broker leads partitions that the other cannot take over; a node with
//! one shard. Action: SIGSTOP to one broker. Expectation: clients whose partition lies on the other are acknowledged within a second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::Plan;
use aqueduct_tests::support::peer;

const CLIENTS: usize = 24;

#[test]
fn of_two() {
    let kafka = match Kafka::start(2, "") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("two", 4);
    let node = Plan::kafka(kafka.bootstrap(), "two").sink("value = \"${clientid}\"").start();
    let mut clients: BTreeMap<String, Client> = (0..CLIENTS)
        .map(|i| {
            let name = format!("client-{i}");
            let mut client = Client::connect(node.mqtt(), Version::V5, &name);
            client.publish_acked("t", b"x", 1);
            (name, client)
        })
        .collect();
    // Key = client id: where a client's first record lies, all of its records go.
    let partitions: BTreeMap<String, i32> = kafka
        .read_count("two", CLIENTS)
        .into_iter()
        .map(|record| (String::from_utf8(record.value.expect("a value")).expect("text"), record.partition))
        .collect();
    let leaders = kafka.leaders("two");

    let stopped = 2;
    let frozen = kafka.freeze(stopped);
    let is_stalled = |name: &String| leaders[&partitions[name]] == stopped;
    let (stalled, free): (Vec<_>, Vec<_>) = clients.keys().cloned().partition(is_stalled);
    assert!(stalled.len() >= 3 && free.len() >= 3, "{} and {}", stalled.len(), free.len());
    for name in &stalled {
        clients.get_mut(name).expect("a client").publish("t", b"x", 1);
    }
    let start = Instant::now();
    for _ in 0..50 {
        for name in &free {
            let client = clients.get_mut(name).expect("a client");
            let id = client.publish("t", b"x", 1);
            let answer = client.packet_within(Duration::from_secs(1));
            assert_eq!(answer, Some(Packet::PubAck { id, reason: 0 }), "{name}, {:?} after the stop", start.elapsed());
        }
    }
    for name in &stalled {
        clients.get_mut(name).expect("a client").expect_silence(Duration::from_millis(20));
    }

    drop(frozen);
    for name in &stalled {
        match clients.get_mut(name).expect("a client").packet_within(Duration::from_secs(60)) {
            Some(Packet::PubAck { reason: 0, .. }) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    kafka.read_count("two", CLIENTS + free.len() * 50 + stalled.len());
}

//! What Kafka has accepted reaches every subscriber, on whichever shard it lives, once and in order; a slow one delays nobody.
//!
//! Setup: one node with four shards and the embedded log; subscribers of every version and quality of service with wildcards.
//! Action: clients publish numbered messages at every QoS and leave at once. Expectation: every subscriber reads each number once, those
//! of one publisher in order, nobody before Kafka has them; a client that is away for a while gets the rest afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_tests::support::kafka;
use aqueduct_tests::support::mqtt::{Client, Connect, Packet, Properties, Version};
use aqueduct_tests::support::node::{Node, Plan};

const VERSIONS: [Version; 2] = [Version::V3_1_1, Version::V5];

#[test]
fn every_subscriber_reads_everything_once_and_in_order() {
    let node = four_shards("");
    let mut subscribers: Vec<Client> = (0..12)
        .map(|n| {
            let mut client = Client::connect(node.mqtt(), VERSIONS[n % 2], &format!("subscriber-{n}"));
            let filter = ["site/+/temperature", "#", "site/#"][n % 3];
            assert_eq!(client.subscribe(filter, (n % 3) as u8), (n % 3) as u8);
            client
        })
        .collect();
    for publisher in 0..6 {
        let mut client = Client::connect(node.mqtt(), VERSIONS[publisher % 2], &format!("publisher-{publisher}"));
        for number in 0..50 {
            let topic = format!("site/{}/temperature", number % 3);
            client.publish_acked(&topic, format!("{publisher}:{number}").as_bytes(), (publisher % 3) as u8);
        }
        client.disconnect();
    }
    for client in &mut subscribers {
        let read = read(client, 300);
        for publisher in 0..6 {
            let expected: Vec<u32> = (0..50).collect();
            assert_eq!(read[&publisher], expected, "of publisher {publisher}");
        }
        client.expect_silence(Duration::from_millis(20));
    }
    let stored = kafka::read_count(&node.bootstrap(), "mqtt", 300);
    assert_eq!(stored.len(), 300);
    assert_eq!(node.metrics().sum("aqueduct_deliveries_total", &[]), 12.0 * 300.0);
}

#[test]
fn a_client_that_was_away_gets_the_rest() {
    let node = four_shards("");
    for version in VERSIONS {
        let client_id = format!("away-{version:?}");
        let mut connect = Connect::new(version, &client_id);
        connect.clean = false;
        // Session expiry: an hour.
        connect.properties = Properties::default().with(0x11, &3_600u32.to_be_bytes());
        let (mut client, _) = Client::connect_with(node.mqtt(), &connect);
        client.subscribe("t", 1);
        let mut publisher = Client::connect(node.mqtt(), version, "publisher");
        publisher.publish_acked("t", b"0:0", 1);
        let Packet::Publish { id, dup: false, .. } = client.packet() else { panic!("a delivery was due") };
        // Gone without a PUBACK, and without a word.
        drop(client);
        publisher.publish_acked("t", b"0:1", 2);
        let (mut client, connack) = Client::connect_with(node.mqtt(), &connect);
        assert!(matches!(connack, Packet::ConnAck { session_present: true, .. }), "{connack:?}");
        match client.packet() {
            Packet::Publish { id: again, dup: true, payload, .. } => {
                assert_eq!((again, &payload[..]), (id, &b"0:0"[..]))
            }
            other => panic!("the first message was due again, not {other:?}"),
        }
        assert_eq!(read(&mut client, 1)[&0], [1]);
    }
}

#[test]
fn a_subscriber_that_does_not_read_delays_nobody() {
    let node = four_shards("[mqtt]\nqueue_max_bytes = \"64KB\"\n");
    let mut slow = Client::connect(node.mqtt(), Version::V3_1_1, "slow");
    slow.subscribe("t", 0);
    let mut fast = Client::connect(node.mqtt(), Version::V5, "fast");
    fast.subscribe("t", 1);
    let mut publisher = Client::connect(node.mqtt(), Version::V5, "publisher");
    for number in 0..300u32 {
        let payload = format!("0:{number} {}", "x".repeat(60_000));
        publisher.publish_acked("t", payload.as_bytes(), 1);
        assert_eq!(read(&mut fast, 1)[&0], [number]);
    }
    assert!(node.metrics().sum("aqueduct_deliveries_dropped_total", &["reason=\"queue_full\""]) > 0.0);
}

fn four_shards(more: &str) -> Node {
    Plan::embedded().node("shards = 4\npin = false\nmemory_limit = \"512MB\"").section(more).start()
}

/// Reads and acknowledges `count` publications `publisher:number ...`; the numbers by publisher.
fn read(client: &mut Client, count: usize) -> BTreeMap<u32, Vec<u32>> {
    let mut numbers = BTreeMap::<u32, Vec<u32>>::new();
    let mut left = count;
    let mut open = 0;
    while left > 0 || open > 0 {
        match client.packet() {
            Packet::Publish { payload, qos, id, .. } => {
                let text = String::from_utf8(payload).expect("text");
                let (publisher, number) = text.split(' ').next().unwrap_or_default().split_once(':').expect("a name");
                numbers
                    .entry(publisher.parse().expect("a number"))
                    .or_default()
                    .push(number.parse().expect("a number"));
                client.acknowledge(qos, id);
                open += usize::from(qos == 2);
                left -= 1;
            }
            Packet::PubRel { id, reason: 0 } => {
                client.complete(id);
                open -= 1;
            }
            other => panic!("a delivery was due, not {other:?}"),
        }
    }
    numbers
}

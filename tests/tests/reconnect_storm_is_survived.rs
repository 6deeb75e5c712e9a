//! Row T16 of docs/explanation/faults.md: a fleet loses its network and comes back all at once, under the same client ids, while the
//! node still holds the connections of before.
//!
//! Setup: two shards, 2,000 connected clients of which each has a publication acknowledged. Action: all connect again at once and
//! publish at once; once more where the node lets in only so many a second. Expectation: everybody is let in within a minute, the old
//! connections are told why they end (0x8E, session taken over), and everything acknowledged is there, once.

use std::time::{Duration, Instant};

use aqueduct_tests::support::chaos::Chaos;
use aqueduct_tests::support::kafka;
use aqueduct_tests::support::mqtt::{Client, Connect, Packet, Version};
use aqueduct_tests::support::node::{Node, Plan};
use serde_json::json;

const CLIENTS: usize = 2_000;
/// MQTT 5 3.14.2.1: session taken over.
const TAKEN_OVER: u8 = 0x8E;

#[test]
fn all_clients_come_back_at_once() {
    let node = plan().start();
    come_back(&node);
    assert_eq!(paced(&node), 0.0, "the default lets them all in at once");
}

/// The limit of each shard in a second is far below what comes: the rest waits in the kernel's queue, and its turn comes.
#[test]
fn a_limit_lets_them_in_one_after_the_other() {
    // Of both shards, and each lets in a second's worth at once.
    const RATE: usize = 2 * 100;
    let node = plan().section("[mqtt]\nconnect_rate = 100").start();
    let took = come_back(&node);
    // One second's worth comes at once, and the last second need not end.
    let at_least = Duration::from_secs((CLIENTS / RATE - 2) as u64);
    assert!(took > at_least, "{CLIENTS} at {RATE} a second: all were in after {took:?}");
    assert!(paced(&node) > 0.0, "the limit has told that it was reached");
}

/// Real Kafka, and the ledger as judge: a thousand clients of every kind come back while they publish, and once more while the broker stands
/// still and memory is full, so that part of what they have open was taken and part lies unread in the connections of before. What had been
/// acknowledged is there, at QoS 2 once.
#[test]
fn what_was_open_when_they_went_is_neither_lost_nor_out_of_order() {
    const CLIENTS: u64 = 1_000;
    let load = ["--clients", "1000", "--window", "16", "--rate", "1500", "--payload-bytes", "16384"];
    let plan = Chaos::plan("storm@4+0.5,broker-pause=1@7+8,storm@12+0.5").with(&load).calm(3);
    let Some(verdict) = plan.with(&["--set", "node.memory_limit=64MB"]).acquitted() else { return };
    for storm in verdict.json["faults"].as_array().expect("faults").iter().filter(|fault| fault["fault"] == "storm") {
        let back_ms = storm["until_ms"].as_u64().zip(storm["from_ms"].as_u64()).map(|(until, from)| until - from);
        assert!(back_ms.is_some_and(|ms| ms < 60_000), "{}", verdict.said());
    }
    // Half of them speak MQTT 5, and each was told twice.
    assert_eq!(verdict.json["farewells"], json!({ "142": CLIENTS }), "{}", verdict.said());
    assert_eq!(verdict.count("disconnects"), 0, "nobody else's connection ends\n{}", verdict.said());
    assert_eq!(verdict.count("dup2"), 0, "{}", verdict.said());
    assert!(verdict.count("resent") > CLIENTS, "little was open\n{}", verdict.said());
    assert_eq!(verdict.count("acked"), verdict.count("sent"), "{}", verdict.said());
}

fn plan() -> Plan {
    Plan::embedded().node("shards = 2\npin = false").sink("value = \"${payload}\"")
}

/// How often connections were left in the kernel's queue.
fn paced(node: &Node) -> f64 {
    node.metrics().sum("aqueduct_accepts_paced_total", &[])
}

/// All clients connect and publish, and again while the connections of before still stand; how long the second time took until all were
/// let in.
fn come_back(node: &Node) -> Duration {
    let ids: Vec<String> = (0..CLIENTS).map(|i| format!("device-{i}")).collect();
    let mut before = storm(node, &ids);
    publish(&mut before, "before");
    let began = Instant::now();
    let mut after = storm(node, &ids);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(60), "all were back after {took:?}");
    for (client, id) in before.iter_mut().zip(&ids) {
        let last = client.packet();
        assert!(matches!(last, Packet::Disconnect { reason: TAKEN_OVER, .. }), "{id}: {last:?}");
        client.expect_close();
    }
    publish(&mut after, "after");
    let records = kafka::read_count(&node.bootstrap(), "mqtt", 2 * CLIENTS);
    let mut values: Vec<String> =
        records.into_iter().map(|record| String::from_utf8(record.value.unwrap_or_default()).expect("text")).collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), 2 * CLIENTS, "each once");
    assert_eq!(node.metrics().sum("aqueduct_connections", &[]), CLIENTS as f64);
    took
}

/// Opens all connections and sends every CONNECT before the first answer is read.
fn storm(node: &Node, ids: &[String]) -> Vec<Client> {
    let mut clients: Vec<Client> = ids.iter().map(|_| Client::open(node.mqtt(), Version::V5)).collect();
    for (client, id) in clients.iter_mut().zip(ids) {
        client.send(&Connect::new(Version::V5, id).encode());
    }
    for client in &mut clients {
        let answer = client.packet_within(Duration::from_secs(60));
        assert!(matches!(answer, Some(Packet::ConnAck { code: 0, .. })), "{answer:?}");
    }
    clients
}

fn publish(clients: &mut [Client], when: &str) {
    let ids: Vec<u16> = (clients.iter_mut().enumerate())
        .map(|(i, client)| client.publish("fleet/status", format!("{when} {i}").as_bytes(), 1))
        .collect();
    for (client, id) in clients.iter_mut().zip(ids) {
        client.expect(&Packet::PubAck { id, reason: 0 });
    }
}

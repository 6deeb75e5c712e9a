//! Row T16 of docs/explanation/faults.md: a fleet loses its network and comes back all at once, under the same client ids, while the
//! node still holds the connections of before.
//!
//! Setup: two shards, 2,000 connected clients of which each has a publication acknowledged. Action: all connect again at once and
//! publish at once. Expectation: everybody is let in within a minute, the old connections are told why they end (0x8E, session
//! taken over), and everything acknowledged is there, once.

use std::time::{Duration, Instant};

use aqueduct_tests::support::kafka;
use aqueduct_tests::support::mqtt::{Client, Connect, Packet, Version};
use aqueduct_tests::support::node::Plan;

const CLIENTS: usize = 2_000;
/// MQTT 5 3.14.2.1: session taken over.
const TAKEN_OVER: u8 = 0x8E;

#[test]
fn all_clients_come_back_at_once() {
    let node = Plan::embedded().node("shards = 2\npin = false").sink("value = \"${payload}\"").start();
    let ids: Vec<String> = (0..CLIENTS).map(|i| format!("device-{i}")).collect();
    let mut before = storm(&node, &ids);
    publish(&mut before, "before");
    let began = Instant::now();
    let mut after = storm(&node, &ids);
    assert!(began.elapsed() < Duration::from_secs(60), "all were back after {:?}", began.elapsed());
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
}

/// Opens all connections and sends every CONNECT before the first answer is read.
fn storm(node: &aqueduct_tests::support::node::Node, ids: &[String]) -> Vec<Client> {
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

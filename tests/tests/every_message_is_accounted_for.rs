//! The accounting identity: `matched = success + failed + dropped + queuing + inflight`, at every scrape under load, and at rest with
//! the last two 0. And the counters tell the truth: what was published is what was matched and what Kafka holds.
//!
//! Setup: a node of two shards. Action: clients publish at all three QoS while another thread scrapes. Expectation as above.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_tests::support::kafka::{self, Kafka};
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::wait;

const CLIENTS: usize = 8;
const ROUNDS: usize = 40;
/// Messages a client sends in a round, at each QoS.
const BURST: usize = 25;

#[test]
fn with_the_embedded_log() {
    let node = Plan::embedded().node("shards = 2\npin = false").start();
    accounts_hold(&node, "mqtt");
}

#[test]
fn with_kafka() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("accounts", 4);
    let node = Plan::kafka(kafka.bootstrap(), "accounts").node("shards = 2\npin = false").start();
    accounts_hold(&node, "accounts");
}

fn accounts_hold(node: &Node, topic: &str) {
    let done = AtomicBool::new(false);
    let scrapes = std::thread::scope(|scope| {
        let scraper = scope.spawn(|| scrape_until(node, &done));
        let clients: Vec<_> = (0..CLIENTS).map(|i| scope.spawn(move || publish(node, i))).collect();
        let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a client failed");
        scraper.join().expect("the scrapes held")
    });
    assert!(scrapes.under_load > 5, "only {} scrapes saw records on their way", scrapes.under_load);

    let sent = (CLIENTS * ROUNDS * BURST * 3) as f64;
    let metrics =
        wait::until("rest", 20, || Some(node.metrics()).filter(|metrics| metrics.sink("success_total") == sent));
    assert_eq!(metrics.accounts(), (sent, sent));
    assert_eq!((metrics.sink("queuing"), metrics.sink("inflight"), metrics.sink("queuing_bytes")), (0.0, 0.0, 0.0));
    assert_eq!(metrics.sum("aqueduct_publishes_received_total", &[]), sent);
    for qos in 0..3 {
        assert_eq!(metrics.sum("aqueduct_publishes_received_total", &[&format!("qos=\"{qos}\"")]), sent / 3.0);
    }
    assert_eq!(metrics.sink("ack_latency_seconds_count"), sent);
    assert_eq!(kafka::read(&node.bootstrap(), topic).len() as f64, sent);
}

struct Scrapes {
    under_load: usize,
}

fn scrape_until(node: &Node, done: &AtomicBool) -> Scrapes {
    let mut scrapes = Scrapes { under_load: 0 };
    while !done.load(Ordering::Relaxed) {
        let metrics = node.metrics();
        let (matched, became) = metrics.accounts();
        assert_eq!(matched, became, "{metrics:?}");
        scrapes.under_load += usize::from(metrics.sink("queuing") + metrics.sink("inflight") > 0.0);
        std::thread::sleep(Duration::from_millis(3));
    }
    scrapes
}

/// Bursts at each QoS, several publishes open at once.
fn publish(node: &Node, number: usize) {
    let mut client = Client::connect(node.mqtt(), Version::V3_1_1, &format!("client-{number}"));
    for round in 0..ROUNDS {
        for qos in 0..3 {
            for i in 0..BURST {
                client.publish(&format!("load/{number}"), format!("{round}-{qos}-{i}").as_bytes(), qos);
            }
        }
        let mut open = BURST * 2;
        while open > 0 {
            match client.packet() {
                Packet::PubAck { .. } | Packet::PubComp { .. } => open -= 1,
                Packet::PubRec { id, .. } => client.release(id),
                other => panic!("no answer to a PUBLISH: {other:?}"),
            }
        }
    }
    client.disconnect();
}

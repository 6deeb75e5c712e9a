//! A connector that is found unhealthy keeps what waits for it. Elsewhere a broker that hung made the bridge unhealthy, the bridge
//! was started anew, and its buffer was gone with 50,000 messages (emqx/emqx issue 17916).
//!
//! Setup: a node that gives a broker up after a second, one for each kind of buffer, in async, so that only the buffer knows of
//! what was acknowledged. Action: the broker hangs, 50,000 messages are acknowledged, the connector becomes unhealthy, the
//! broker comes to for a moment and hangs again, twice. Expectation: nothing is dropped or failed because of that, all messages are
//! in Kafka, each client's in its order.

use aqueduct_tests::support::flow::publish_range;
use aqueduct_tests::support::http;
use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::{peer, wait};

const CLIENTS: u32 = 4;
const MESSAGES: u32 = 50_000;

#[test]
fn of_memory_of_a_hybrid_or_of_a_disk() {
    let kafka = match Kafka::start(1, "") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    for mode in ["memory", "hybrid", "disk"] {
        keeps_all(&kafka, mode);
    }
}

fn keeps_all(kafka: &Kafka, mode: &str) {
    kafka.create_topic(mode, 4);
    // Little memory for the hybrid, so that it is one.
    let memory = if mode == "hybrid" { "64MB" } else { "512MB" };
    let node = Plan::kafka(kafka.bootstrap(), mode)
        .node(&format!("shards = 2\npin = false\nmemory_limit = \"{memory}\""))
        .connector("request_timeout = \"1s\"\nmetadata_request_timeout = \"1s\"\nreconnect_delay = \"300ms\"")
        .sink("value = \"${payload}\"\nquery_mode = \"async\"\nack_timeout = \"500ms\"")
        .sink(&format!("buffer.mode = \"{mode}\""))
        .start();
    publish_range(&node, CLIENTS, 0..1, payload);
    let frozen = kafka.freeze(1);
    publish_range(&node, CLIENTS, 1..MESSAGES / CLIENTS, payload);
    await_health(&node, false);
    drop(frozen);
    for _ in 0..2 {
        // Some of it leaves, or nothing: the broker has no more than a moment.
        await_health(&node, true);
        let frozen = kafka.freeze(1);
        await_health(&node, false);
        drop(frozen);
    }
    let metrics = node.metrics();
    let spilled = metrics.sink("buffer_syncs_total");
    assert_eq!(spilled > 0.0, mode != "memory", "{mode}: {spilled} syncs");
    check(kafka, mode);
    wait::until("everything is accounted for", 20, || {
        (node.metrics().sink("success_total") == f64::from(MESSAGES)).then_some(())
    });
    let metrics = node.metrics();
    for gone in ["dropped_total", "failed_total"] {
        assert_eq!(metrics.sink(gone), 0.0, "{mode}: {gone}");
    }
}

fn payload(client: u32, number: u32) -> Vec<u8> {
    let mut payload = format!("{client} {number} ").into_bytes();
    payload.resize(500, b'.');
    payload
}

/// Waits until the connector is said to be connected, or not to be.
fn await_health(node: &Node, connected: bool) {
    let what = if connected { "the connector is connected again" } else { "the connector is found unhealthy" };
    wait::until(what, 60, || {
        let (_, ready) = http::get(node.ports().http, "/readyz")?;
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
        ((ready["connectors"]["main"]["health"] == "connected") == connected).then_some(())
    });
}

/// Everything is there, once, each client's in order.
fn check(kafka: &Kafka, topic: &str) {
    wait::until("all that was acknowledged is in Kafka", 90, || {
        (kafka.count(topic) >= i64::from(MESSAGES)).then_some(())
    });
    let mut next = [0; CLIENTS as usize];
    for record in kafka.read(topic) {
        let value = record.value.unwrap_or_default();
        let text = String::from_utf8_lossy(&value);
        let mut words = text.split(' ').map(|word| word.parse::<u32>());
        let (Some(Ok(client)), Some(Ok(number))) = (words.next(), words.next()) else { panic!("a stranger's: {text}") };
        let next = &mut next[client as usize];
        assert_eq!(number, *next, "{topic}: client {client}, once and in order");
        *next += 1;
    }
    assert_eq!(next, [MESSAGES / CLIENTS; CLIENTS as usize], "{topic}");
}

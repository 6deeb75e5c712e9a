//! Kafka stops answering for a minute: clients keep their connections, every PINGREQ is answered within a second, no acknowledgement
//! is invented, and when Kafka is back everything is written once and acknowledged in order.
//!
//! Setup: a cluster of its own, a node, clients with open publishes below the receive maximum. Action: SIGSTOP to the broker for
//! 60 s, then SIGCONT.

use std::time::{Duration, Instant};

use aqueduct_tests::support::http;
use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::Plan;
use aqueduct_tests::support::peer;

const OUTAGE: Duration = Duration::from_secs(60);
const OPEN: usize = 20;

#[test]
fn for_a_minute() {
    let kafka = match Kafka::start(1, "") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("away", 4);
    let node = Plan::kafka(kafka.bootstrap(), "away").sink("value = \"${payload}\"").start();
    let mut clients = [Version::V3_1_1, Version::V5].map(|version| {
        let mut client = Client::connect(node.mqtt(), version, &format!("{version:?}"));
        client.publish_acked("before", format!("{version:?} before").as_bytes(), 1);
        client
    });

    let frozen = kafka.freeze(1);
    let outage = Instant::now();
    let ids = clients.each_mut().map(|client| {
        let payload = |i: usize| format!("{i} in between").into_bytes();
        (0..OPEN).map(|i| client.publish("between", &payload(i), 1)).collect::<Vec<u16>>()
    });
    while outage.elapsed() < OUTAGE {
        for client in &mut clients {
            client.ping();
            let asked = Instant::now();
            let answer = client.packet_within(Duration::from_secs(1));
            assert_eq!(
                answer,
                Some(Packet::PingResp),
                "after {:?} of outage, {:?} after asking",
                outage.elapsed(),
                asked.elapsed()
            );
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let metrics = node.metrics();
    assert_eq!(metrics.sink("success_total"), 2.0);
    assert_eq!(metrics.sink("queuing") + metrics.sink("inflight"), (2 * OPEN) as f64);
    // sync_timeout has passed for each of them; on_sync_timeout = "wait" counts and keeps waiting.
    assert_eq!(metrics.sink("late_total"), (2 * OPEN) as f64);

    assert_eq!(metrics.sum("aqueduct_sink_health", &["sink=\"main\"", "state=\"connected\""]), 0.0);
    let (status, ready) = http::get(node.ports().http, "/readyz").expect("the node answers");
    assert_eq!(status, 200, "clients are taken all the same: {ready}");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    let health = |of: &str| ready[of]["main"]["health"].as_str().map(str::to_owned);
    assert!(["connecting", "disconnected"].map(|word| Some(word.to_owned())).contains(&health("sinks")), "{ready}");
    assert_eq!(health("sinks"), health("connectors"));
    assert!(ready["sinks"]["main"]["reason"].is_string(), "{ready}");

    drop(frozen);
    for (client, ids) in clients.iter_mut().zip(ids) {
        for id in ids {
            match client.packet_within(Duration::from_secs(60)) {
                Some(Packet::PubAck { id: answered, reason: 0 }) => assert_eq!(answered, id),
                other => panic!("PUBACK {id} was due, not {other:?}"),
            }
        }
    }
    kafka.read_count("away", 2 * (OPEN + 1));
    let metrics = node.metrics();
    assert_eq!(metrics.sink("late_success_total"), (2 * OPEN) as f64);
    assert_eq!(metrics.sum("aqueduct_sink_health", &["sink=\"main\"", "state=\"connected\""]), 1.0);
}

//! A drain while Kafka is away: it ends when `shutdown_timeout` is over, or at once at the second signal, and says what is lost.
//!
//! Setup: a cluster of its own that SIGSTOP holds still, a node with publishes open. Action: SIGTERM, once or twice.
//! Expectation: what no client was told is safe costs one sentence and exit code 0, for the client sends it again; what was
//! acknowledged from memory costs one sentence and exit code 1.

use std::time::{Duration, Instant};

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::peer;
use aqueduct_tests::support::wait;
use rustix::process::Signal;

const OPEN: usize = 5;

#[test]
fn with_kafka_away() {
    let kafka = match Kafka::start(1, "") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("held", 1);
    let start = |query_mode: &str, shutdown_timeout: &str| {
        let node = format!("shards = 1\npin = false\nshutdown_timeout = \"{shutdown_timeout}\"");
        let sink = format!("value = \"${{payload}}\"\nquery_mode = \"{query_mode}\"");
        let node = Plan::kafka(kafka.bootstrap(), "held").node(&node).sink(&sink).start();
        let mut client = Client::connect(node.mqtt(), Version::V5, "before");
        client.publish_acked("t", b"before", 1);
        wait::until("the record is there", 10, || (node.metrics().sink("success_total") == 1.0).then_some(()));
        node
    };
    let (mut sync, mut buffered, mut twice) = (start("sync", "1s"), start("async", "1s"), start("sync", "30s"));
    let frozen = kafka.freeze(1);

    let _client = open_publishes(&sync, false);
    ends(&mut sync, Some(0), "aqueduct: 5 unacknowledged records were dropped; their clients will send them again");

    let _client = open_publishes(&buffered, true);
    ends(
        &mut buffered,
        Some(1),
        "aqueduct: 5 acknowledged records were dropped: time for draining was up, and they are lost",
    );

    let _client = open_publishes(&twice, false);
    twice.signal(Signal::TERM);
    wait::until("it drains", 5, || twice.said().contains("draining, for 30 s at most").then_some(()));
    assert_eq!(twice.metrics().sink("queuing") + twice.metrics().sink("inflight"), OPEN as f64, "it waits for Kafka");
    let second = Instant::now();
    twice.signal(Signal::TERM);
    assert_eq!(twice.ended().code(), Some(1), "{}", twice.said());
    assert!(second.elapsed() < Duration::from_secs(2), "{:?}", second.elapsed());
    assert!(twice.said().contains("aqueduct: SIGTERM again: ended without draining"), "{}", twice.said());
    drop(frozen);
}

/// Publishes that Kafka will not answer.
fn open_publishes(node: &Node, acknowledged: bool) -> Client {
    let mut client = Client::connect(node.mqtt(), Version::V5, "open");
    for i in 0..OPEN {
        let id = client.publish("t", format!("open {i}").as_bytes(), 1);
        if acknowledged {
            client.expect(&Packet::PubAck { id, reason: 0 });
        }
    }
    wait::until("they are open", 5, || {
        let metrics = node.metrics();
        (metrics.sink("queuing") + metrics.sink("inflight") == OPEN as f64).then_some(())
    });
    client
}

/// One signal, the end after a second, the exit code and the sentence.
#[track_caller]
fn ends(node: &mut Node, code: Option<i32>, sentence: &str) {
    let begin = Instant::now();
    let status = node.terminate();
    let took = begin.elapsed();
    let said = node.said();
    assert_eq!(status.code(), code, "{said}");
    assert!(said.lines().any(|line| line == sentence), "`{sentence}` in\n{said}");
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{took:?}");
}

//! Row T04 of docs/explanation/faults.md: Kafka is away for longer than memory lasts. The node stops reading instead of growing, or
//! drops QoS 0 where it was told to, and everything it took is in Kafka afterwards.
//!
//! Setup: a cluster of its own, a node with 64 MB of memory, clients that publish at QoS 0 as fast as the node takes it, which no
//! receive maximum holds back. Action: SIGSTOP to the broker until nothing more is taken, then SIGCONT.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Version, publish_head};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::{peer, wait};

const MEMORY_BYTES: u64 = 64 << 20;
const PAYLOAD: [u8; 16 << 10] = [b'x'; 16 << 10];
const CLIENTS: usize = 8;
/// More than memory and all socket buffers hold.
const PUBLISHES: u64 = 12_000;

fn cluster() -> Option<Kafka> {
    Kafka::start(1, "").inspect_err(|remedy| peer::skip("AQUEDUCT_REQUIRE_KAFKA", remedy)).ok()
}

fn node(kafka: &Kafka, more: &str) -> Node {
    kafka.create_topic("bounded", 4);
    let memory = format!("shards = 1\npin = false\nmemory_limit = \"{}MB\"", MEMORY_BYTES >> 20);
    // Keys are all different, so that every partition fills.
    let sink = "value = \"${payload}\"\nkey = \"${id}\"";
    let node = Plan::kafka(kafka.bootstrap(), "bounded").node(&memory).sink(sink).section(more).start();
    // The node knows the topic before Kafka goes.
    Client::connect(node.mqtt(), Version::V3_1_1, "first").publish_acked("bounded/t", b"first", 1);
    node
}

/// Publishes `share` messages as fast as the node takes them.
fn publish(stream: &mut TcpStream, share: u64) {
    let mut packet = publish_head(Version::V3_1_1, "bounded/t", 0, 0, PAYLOAD.len());
    packet.extend_from_slice(&PAYLOAD);
    for _ in 0..share {
        stream.write_all(&packet).expect("the connection stands");
    }
}

fn publishers(node: &Node) -> Vec<thread::JoinHandle<()>> {
    let start = |client: usize| {
        let mut stream = Client::connect(node.mqtt(), Version::V3_1_1, &format!("flood-{client}")).into_stream();
        thread::spawn(move || publish(&mut stream, PUBLISHES / CLIENTS as u64))
    };
    (0..CLIENTS).map(start).collect()
}

/// Waits until the node has taken nothing for two seconds; says how many messages it has.
fn standstill(node: &Node) -> f64 {
    let mut last = (node.metrics().sink("matched_total"), Instant::now());
    wait::until("the node takes nothing more", 60, || {
        let now = node.metrics().sink("matched_total");
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(2)).then_some(now)
    })
}

/// Holds the node to what it was given, and a tenth for the program itself.
#[track_caller]
fn assert_bounded(node: &Node) {
    let peak_bytes = node.peak_bytes();
    assert!(peak_bytes < MEMORY_BYTES * 11 / 10, "{peak_bytes} bytes resident at the peak, of {MEMORY_BYTES}");
}

/// By default QoS 0 waits like everything else: clients are not read, and lose nothing.
#[test]
fn publishers_wait_and_lose_nothing() {
    let Some(kafka) = cluster() else { return };
    let node = node(&kafka, "");
    let frozen = kafka.freeze(1);
    let publishers = publishers(&node);
    let taken = standstill(&node);
    let bytes = taken * PAYLOAD.len() as f64;
    assert!(bytes > 10e6, "the buffer is there to be used: {taken} messages");
    assert!(bytes < MEMORY_BYTES as f64, "{taken} messages fit into no {MEMORY_BYTES} bytes");
    assert_bounded(&node);
    drop(frozen);
    for publisher in publishers {
        publisher.join().expect("it ends");
    }
    kafka.read_count("bounded", PUBLISHES as usize + 1);
    assert_bounded(&node);
}

/// `qos0_on_full = "drop"`: clients never wait; what does not fit is dropped, and counted to the last message.
#[test]
fn or_messages_are_dropped_and_counted() {
    let Some(kafka) = cluster() else { return };
    let node = node(&kafka, "[mqtt]\nqos0_on_full = \"drop\"");
    let frozen = kafka.freeze(1);
    for publisher in publishers(&node) {
        publisher.join().expect("it ends");
    }
    let (matched, dropped) = wait::until("every message is counted", 60, || {
        let metrics = node.metrics();
        let matched = metrics.sink("matched_total");
        (matched == PUBLISHES as f64 + 1.0).then_some((matched, metrics.sink("dropped_total")))
    });
    assert!(dropped > 0.0 && dropped < matched, "{dropped} of {matched} dropped");
    assert_bounded(&node);
    drop(frozen);
    kafka.read_count("bounded", (matched - dropped) as usize);
}

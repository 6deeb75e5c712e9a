//! Row T04 of docs/explanation/faults.md: Kafka is away for longer than memory lasts. The node stops reading instead of growing, or
//! drops QoS 0 where it was told to, and everything it took is in Kafka afterwards. With a buffer on disk, or hybrid, it takes what the
//! disk may hold first, in no more memory.
//!
//! Setup: a cluster of its own, a node with 64 MB of memory, clients that publish at QoS 0 as fast as the node takes it, which no
//! receive maximum holds back. Action: SIGSTOP to the broker until nothing more is taken, then SIGCONT. Expectation: the process never
//! had more resident than its limit and a tenth, neither while it took, nor while it read back what lay on disk.

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
const PARTITIONS: u64 = 4;
/// What may lie on disk for one partition: all of them together three times what the node may have in memory.
const ON_DISK_BYTES: u64 = 3 * MEMORY_BYTES / PARTITIONS;
/// More than disk, memory and all socket buffers hold.
const PUBLISHES_BEYOND_DISK: u64 = 24_000;

fn cluster() -> Option<Kafka> {
    Kafka::start(1, "").inspect_err(|remedy| peer::skip("AQUEDUCT_REQUIRE_KAFKA", remedy)).ok()
}

fn node(kafka: &Kafka, buffer: &str, more: &str) -> Node {
    kafka.create_topic("bounded", PARTITIONS as i32);
    let memory = format!("shards = 1\npin = false\nmemory_limit = \"{}MB\"", MEMORY_BYTES >> 20);
    // Keys are all different, so that every partition fills.
    let sink = "value = \"${payload}\"\nkey = \"${id}\"";
    let node = Plan::kafka(kafka.bootstrap(), "bounded").node(&memory).sink(sink).sink(buffer).section(more).start();
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

/// Clients that publish so many messages together.
fn publishers(node: &Node, publishes: u64) -> Vec<thread::JoinHandle<()>> {
    let start = |client: usize| {
        let mut stream = Client::connect(node.mqtt(), Version::V3_1_1, &format!("flood-{client}")).into_stream();
        thread::spawn(move || publish(&mut stream, publishes / CLIENTS as u64))
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
    let node = node(&kafka, "", "");
    let frozen = kafka.freeze(1);
    let publishers = publishers(&node, PUBLISHES);
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
    let node = node(&kafka, "", "[mqtt]\nqos0_on_full = \"drop\"");
    let frozen = kafka.freeze(1);
    for publisher in publishers(&node, PUBLISHES) {
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

/// What was acknowledged with the buffer on disk lies there, and memory is only its way.
#[test]
fn a_disk_takes_what_it_may_and_memory_no_more() {
    spills_and_then_waits("disk");
}

/// What exceeds the sink's share of memory goes to disk.
#[test]
fn what_a_hybrid_buffer_spills_takes_no_memory() {
    spills_and_then_waits("hybrid");
}

/// Three times its memory goes to disk; then clients wait as they do without one. When Kafka is back everything is read back and sent,
/// within the same bound.
fn spills_and_then_waits(mode: &str) {
    let Some(kafka) = cluster() else { return };
    let limit = format!("buffer.per_partition_limit = \"{}MB\"", ON_DISK_BYTES >> 20);
    let buffer = format!(
        "query_mode = \"async\"\nbuffer.mode = \"{mode}\"\nbuffer.overflow = \"backpressure\"\n\
         buffer.segment_bytes = \"8MB\"\n{limit}"
    );
    let node = node(&kafka, &buffer, "");
    let frozen = kafka.freeze(1);
    let publishers = publishers(&node, PUBLISHES_BEYOND_DISK);
    let on_disk_bytes = || node.metrics().sink("buffer_disk_bytes");
    let is_used = || (on_disk_bytes() > 2.0 * MEMORY_BYTES as f64).then_some(());
    wait::until("the disk holds twice what memory may", 120, is_used);
    let taken = standstill(&node);
    let (on_disk_bytes, most_bytes) = (on_disk_bytes(), 1.1 * (PARTITIONS * ON_DISK_BYTES) as f64);
    println!("{mode}: {taken} messages taken, {on_disk_bytes} bytes on disk, {} resident", node.peak_bytes());
    assert!(on_disk_bytes < most_bytes, "{on_disk_bytes} bytes lie on disk, of {most_bytes}");
    assert!(taken < PUBLISHES_BEYOND_DISK as f64, "what fits into neither waits");
    assert_bounded(&node);
    drop(frozen);
    for publisher in publishers {
        publisher.join().expect("it ends");
    }
    let all = PUBLISHES_BEYOND_DISK as i64 + 1;
    wait::until("every message is in Kafka", 180, || (kafka.count("bounded") >= all).then_some(()));
    assert_eq!(kafka.count("bounded"), all);
    assert_bounded(&node);
}

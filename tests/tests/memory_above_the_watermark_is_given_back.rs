//! `buffer.memory_overload_protection`: more memory is in use than `node.memory_high_watermark`, by the node itself or by somebody else
//! in its control group. A sink that acknowledges before Kafka does gives up its oldest records, counted; one that acknowledges after
//! Kafka reads no more. Both go on as before once less is in use.
//!
//! Setup: a cluster of its own, a node with a low watermark. Action: SIGSTOP to the broker; clients publish more than the watermark, or
//! another process takes most of the group's memory; then the broker goes on, or the other process ends. The same without the option.
//! Expectation: with it what was given up is the oldest, counted, and everything else stored, and once the broker goes on memory comes
//! back below the watermark; without it nothing is given up and nobody waits.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};
use std::{fs, thread};

use aqueduct_tests::support::cgroup::MemoryGroup;
use aqueduct_tests::support::flow::publish_range;
use aqueduct_tests::support::hog::Hog;
use aqueduct_tests::support::kafka::{Kafka, Record};
use aqueduct_tests::support::mqtt::{Client, Version, publish_head};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::{peer, wait};

const PARTITIONS: u64 = 4;
/// What a protected partition keeps above the watermark, by its sink: five batches of 256 KB.
const KEPT_BYTES: u64 = PARTITIONS * 5 * (256 << 10);
const SINK: &str = "value = \"${payload}\"\nkey = \"${clientid}\"\nmax_batch_bytes = \"256KB\"\nmax_inflight = 5";
const MESSAGE_BYTES: usize = 16 << 10;
const WATERMARK_BYTES: u64 = 96 << 20;
const CLIENTS: u32 = 4;
/// Of each client: all of them together are more than twice the watermark, and less than the node plans with.
const MESSAGES: u32 = 3_200;
/// So much of each client at a time, then a pause: in the tenth of a second between two looks at the memory, and in the second by which
/// a busy machine may delay one, comes little of a watermark.
const STEP_MESSAGES: u32 = 100;
const STEP_PAUSE: Duration = Duration::from_millis(100);

fn cluster() -> Option<Kafka> {
    let kafka = Kafka::start(1, "").inspect_err(|remedy| peer::skip("AQUEDUCT_REQUIRE_KAFKA", remedy)).ok()?;
    kafka.create_topic("shed", PARTITIONS as i32);
    kafka.create_topic("kept", PARTITIONS as i32);
    Some(kafka)
}

fn plan(kafka: &Kafka, topic: &str, memory: &str, protected: bool) -> Plan {
    let protection = format!("buffer.memory_overload_protection = {protected}");
    Plan::kafka(kafka.bootstrap(), topic)
        .node(&format!("shards = 1\npin = false\n{memory}"))
        .sink(SINK)
        .sink(&protection)
}

/// Memory of the node now that no file backs, bytes.
fn resident_bytes(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid().as_raw_nonzero())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("its memory");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") << 10
}

/// How often the node has found more, and less, in use than the watermark.
fn crossings(node: &Node) -> (usize, usize) {
    let said = node.said();
    let count = |side: &str| said.matches(&format!("{side} node.memory_high_watermark")).count();
    (count("above"), count("below"))
}

/// By itself, in async: every client has been told that its records are taken.
#[test]
fn the_oldest_records_are_given_up_and_counted() {
    let Some(kafka) = cluster() else { return };
    let memory = format!("memory_limit = \"1GB\"\nmemory_high_watermark = \"{}MB\"", WATERMARK_BYTES >> 20);
    for (topic, protected) in [("shed", true), ("kept", false)] {
        let node = plan(&kafka, topic, &memory, protected).sink("query_mode = \"async\"").start();
        publish_range(&node, CLIENTS, 0..1, payload);
        wait::until("the topic is known", 20, || (node.metrics().sink("success_total") > 0.0).then_some(()));
        let frozen = kafka.freeze(1);
        publish_in_steps(&node);
        if protected {
            wait::until("the node has seen it", 20, || (crossings(&node).0 > 0).then_some(()));
        } else {
            let waiting_bytes = u64::from(CLIENTS * MESSAGES) * MESSAGE_BYTES as u64;
            let resident_bytes = resident_bytes(&node);
            assert!(resident_bytes >= waiting_bytes, "{waiting_bytes} bytes wait in memory, in {resident_bytes}");
            assert_eq!(crossings(&node), (0, 0), "nobody looks");
        }
        drop(frozen);
        let dropped = at_rest(&node, CLIENTS * MESSAGES);
        assert_eq!(dropped > 0, protected, "{dropped} were given up");
        let records = kafka.read_count(topic, (CLIENTS * MESSAGES - dropped) as usize);
        check_that_the_oldest_gave_way(&records);
        if protected {
            let peak_bytes = node.peak_bytes();
            println!("{peak_bytes} bytes resident at the peak");
            assert!(peak_bytes < 2 * WATERMARK_BYTES, "{peak_bytes} bytes resident at the peak, of {WATERMARK_BYTES}");
            wait::until("memory is given back", 20, || (crossings(&node).1 > 0).then_some(()));
        }
        publish_range(&node, CLIENTS, MESSAGES..MESSAGES + 100, payload);
        assert_eq!(at_rest(&node, CLIENTS * (MESSAGES + 100)), dropped, "it gives up nothing any more");
    }
}

/// All after the first of each client.
fn publish_in_steps(node: &Node) {
    for start in (1..MESSAGES).step_by(STEP_MESSAGES as usize) {
        publish_range(node, CLIENTS, start..MESSAGES.min(start + STEP_MESSAGES), payload);
        thread::sleep(STEP_PAUSE);
    }
}

fn payload(client: u32, number: u32) -> Vec<u8> {
    let mut payload = format!("{client} {number} ").into_bytes();
    payload.resize(MESSAGE_BYTES, b'.');
    payload
}

/// Waits until each of so many records has its outcome; how many were given up for want of memory.
fn at_rest(node: &Node, records: u32) -> u32 {
    wait::until("every record has its outcome", 60, || {
        let metrics = node.metrics();
        let dropped = metrics.sum("aqueduct_sink_dropped_total", &["reason=\"queue_full\""]);
        (metrics.sink("success_total") + dropped == f64::from(records)).then_some(dropped as u32)
    })
}

/// Of each client, whose records all have one partition, those are missing that lay between what was on its way when the broker stopped
/// and the newest: what gives way is the oldest that waits. Of each partition something of the newest is there.
fn check_that_the_oldest_gave_way(records: &[Record]) {
    let values: BTreeSet<&[u8]> = records.iter().filter_map(|record| record.value.as_deref()).collect();
    let mut newest = 0;
    for client in 0..CLIENTS {
        let is_there: Vec<bool> = (0..MESSAGES).map(|number| values.contains(&*payload(client, number))).collect();
        let changes = is_there.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(is_there[0] && changes <= 2, "client {client}: what is missing is in {changes} places");
        newest += u32::from(is_there[MESSAGES as usize - 1]);
    }
    assert!(newest > 0, "the newest of all gave way");
}

/// What the group may have, and what somebody else takes of it.
const GROUP_MIB: u64 = 512;
const HOG_MIB: usize = 400;
/// What is published, less than the node plans with.
const FLOOD: u64 = 3_000;

/// By another process, in sync: the node itself is far from the watermark.
#[test]
fn publishers_wait_while_somebody_else_has_the_memory() {
    let Some(group) = MemoryGroup::of_mib(GROUP_MIB) else { return };
    let Some(kafka) = cluster() else { return };
    let memory = "memory_limit = \"256MB\"\nmemory_high_watermark = \"70%\"";
    for (topic, protected) in [("shed", true), ("kept", false)] {
        let node = plan(&kafka, topic, memory, protected).inside(&group).start();
        Client::connect(node.mqtt(), Version::V3_1_1, "first").publish_acked("t", b"first", 1);
        let frozen = kafka.freeze(1);
        let hog = Hog::inside(&group, HOG_MIB);
        if protected {
            wait::until("the node sees it", 10, || (crossings(&node) == (1, 0)).then_some(()));
        }
        let stream = Client::connect(node.mqtt(), Version::V3_1_1, "flood").into_stream();
        let flood = thread::spawn(move || flood(stream));
        let taken_bytes = standstill(&node) * MESSAGE_BYTES as u64;
        println!("protected {protected}: {taken_bytes} bytes taken");
        let paused = node.metrics().sum("aqueduct_backpressure_paused", &[]);
        if protected {
            // With what was under way before it was full.
            assert!(taken_bytes <= 2 * KEPT_BYTES, "{taken_bytes} bytes taken, {KEPT_BYTES} may be kept");
            assert_eq!(paused, 1.0, "the publisher waits");
            drop(hog);
            wait::until("the node sees that it is gone", 10, || (crossings(&node) == (1, 1)).then_some(()));
            wait::until("the publisher is read again", 20, || (taken(&node) == FLOOD + 1).then_some(()));
        } else {
            assert_eq!((taken(&node), paused, crossings(&node)), (FLOOD + 1, 0.0, (0, 0)));
        }
        flood.join().expect("it ends");
        drop(frozen);
        kafka.read_count(topic, FLOOD as usize + 1);
        assert_eq!(node.metrics().sink("dropped_total"), 0.0);
    }
    assert_eq!(group.kills(), 0, "killed by the kernel");
}

/// Publishes as fast as the node takes it, at QoS 0, which no receive maximum holds back.
fn flood(mut stream: std::net::TcpStream) {
    let mut packet = publish_head(Version::V3_1_1, "t", 0, 0, MESSAGE_BYTES);
    packet.resize(packet.len() + MESSAGE_BYTES, b'x');
    for _ in 0..FLOOD {
        stream.write_all(&packet).expect("the connection stands");
    }
}

fn taken(node: &Node) -> u64 {
    node.metrics().sink("matched_total") as u64
}

/// Waits until the node has taken nothing for two seconds; says how many messages it has.
fn standstill(node: &Node) -> u64 {
    let mut last = (taken(node), Instant::now());
    wait::until("the node takes nothing more", 60, || {
        let now = taken(node);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(2)).then_some(now)
    })
}

//! A partition that waits for its broker keeps on disk what it holds, and as much again, not all that others wrote and sent meanwhile.
//!
//! Setup: three brokers, a topic without replicas, a node with one shard and a buffer on disk in files of 1 MB. Action: SIGSTOP to one
//! broker; clients of all partitions publish on, those of its partitions a tenth of it; the node is killed and started again.
//! Expectation: the files of the buffer take at most twice what is held and a few files more, although many times that was written; in
//! the end everything that was acknowledged is in Kafka, each client's in its order, and what had been copied is there once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aqueduct_tests::support::kafka::{Kafka, Record};
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::{peer, wait};

const CLIENTS: usize = 30;
const SEGMENT_BYTES: u64 = 1_000_000;
const PAYLOAD_BYTES: usize = 2_000;
/// Messages of a client whose partition is served; of one that waits a tenth.
const MESSAGES: usize = 1_500;
/// Two files that grow, one that is being copied from, and what was passed since positions were written.
const SLACK_SEGMENTS: u64 = 6;

#[test]
fn while_a_broker_stands_still() {
    let kafka = match Kafka::start(3, "") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("sparse", 6);
    let mut node = Plan::kafka(kafka.bootstrap(), "sparse")
        .node("shards = 1\npin = false")
        .connector("request_timeout = \"2s\"\nmetadata_request_timeout = \"1s\"")
        .sink("value = \"${payload}\"\nquery_mode = \"async\"\nbuffer.mode = \"disk\"\nbuffer.segment_bytes = \"1MB\"")
        .sink("buffer.overflow = \"backpressure\"\nack_timeout = \"1s\"\nmax_batch_bytes = \"64KB\"\nlinger = \"1ms\"")
        .start();
    publish(&node, |_| 0..1);
    let (stopped, waits) = who_waits(&kafka);
    let frozen = kafka.freeze(stopped);
    let each = |client: usize, tenths: usize| match waits[client] {
        true => 1 + tenths * MESSAGES / 100..1 + (tenths + 1) * MESSAGES / 100,
        false => 1 + tenths * MESSAGES / 10..1 + (tenths + 1) * MESSAGES / 10,
    };
    let waiting = waits.iter().filter(|waits| **waits).count();
    for tenths in 0..9 {
        publish(&node, |client| each(client, tenths));
        settle(&node, waiting * (tenths + 1) * MESSAGES / 100);
    }
    let metrics = node.metrics();
    let (held, copied) = (metrics.sink("buffer_disk_bytes"), metrics.sink("buffer_copied_bytes_total"));
    let written = ((CLIENTS - waiting) * MESSAGES / 10 * 9 * PAYLOAD_BYTES) as f64;
    println!("{held} bytes wait, {copied} were copied, {written} were written beside them");
    assert!(held > 1e6 && copied > 0.0 && written > 5.0 * held, "{held} held, {copied} copied, {written} written");

    node.kill();
    node.start_again();
    publish(&node, |client| each(client, 9));
    settle(&node, waiting * MESSAGES / 10);
    drop(frozen);
    let total: usize = waits.iter().map(|&waits| 1 + if waits { MESSAGES / 10 } else { MESSAGES }).sum();
    let records = wait::until("all that was acknowledged is in Kafka", 60, || {
        let records = kafka.read("sparse");
        (records.iter().map(|record| &record.value).collect::<std::collections::BTreeSet<_>>().len() >= total)
            .then_some(records)
    });
    check(&records, &waits);
    wait::until("the buffer is empty", 20, || (node.metrics().sink("buffer_disk_records") == 0.0).then_some(()));
    wait::until("its files are gone", 20, || (node.metrics().sink("buffer_segments") <= 2.0).then_some(()));
    assert!(node.terminate().success());
}

/// Each client publishes these of its numbers.
fn publish(node: &Node, numbers: impl Fn(usize) -> std::ops::Range<usize>) {
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (to, numbers) = (node.mqtt(), numbers(client));
            scope.spawn(move || {
                let mut mqtt = Client::connect(to, Version::V5, &format!("client-{client}"));
                let payloads: Vec<Vec<u8>> = numbers.map(|n| payload(client, n)).collect();
                for some in payloads.chunks(50) {
                    mqtt.publish_all_acked("t", some.iter().map(Vec::as_slice), 1);
                }
            });
        }
    });
}

fn payload(client: usize, n: usize) -> Vec<u8> {
    let mut payload = format!("{client} {n} ").into_bytes();
    payload.resize(PAYLOAD_BYTES, b'.');
    payload
}

/// Client and number of a record.
fn said(record: &Record) -> (usize, usize) {
    let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
    let mut words = text.split(' ').map(|word| word.parse().unwrap_or_else(|_| panic!("a stranger's: {text}")));
    (words.next().expect("a client"), words.next().expect("a number"))
}

/// The broker to stop, of those that lead the one with the fewest clients (Kafka deals leaders out by lot, not evenly), and by client whether
/// its partition is that broker's: the key is the client's id, so all of its records go where the first went.
fn who_waits(kafka: &Kafka) -> (u32, Vec<bool>) {
    let leaders = kafka.leaders("sparse");
    let mut brokers = [0; CLIENTS];
    for record in kafka.read_count("sparse", CLIENTS) {
        brokers[said(&record).0] = leaders[&record.partition];
    }
    let clients_of = |id: u32| brokers.iter().filter(|broker| **broker == id).count();
    let stopped = *brokers.iter().min_by_key(|&&id| clients_of(id)).expect("somebody leads");
    let count = clients_of(stopped);
    assert!((3..=CLIENTS / 2).contains(&count), "{count} of {CLIENTS} are of broker {stopped}");
    (stopped, brokers.iter().map(|&broker| broker == stopped).collect())
}

/// Until nothing waits but what the stopped broker is to have, and the files take no more than they may, by what the node says and by
/// what lies there.
fn settle(node: &Node, waiting: usize) {
    wait::until("the others have what is theirs, and files take twice what is held", 30, || {
        let metrics = node.metrics();
        let bound = 2 * metrics.sink("buffer_disk_bytes") as u64 + SLACK_SEGMENTS * SEGMENT_BYTES;
        let counted = metrics.sink("buffer_segment_bytes") as u64;
        let lies = bytes_in(&node.folder().join("data/buffer"));
        assert!(lies > 0, "the buffer lies somewhere else");
        (metrics.sink("buffer_disk_records") as usize <= waiting && counted <= bound && lies <= bound).then_some(())
    });
}

fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        // One that went meanwhile takes nothing.
        metadata => metadata.map_or(0, |metadata| metadata.len()),
    });
    sizes.sum()
}

/// Every number of every client is there, the first copies in order; what waited when the node was killed was sent by nobody before, but
/// for the few batches that the stopped broker's links had taken.
fn check(records: &[Record], waits: &[bool]) {
    let mut order: Vec<_> = records.iter().map(|record| (record.partition, record.offset, said(record))).collect();
    order.sort_unstable();
    let (mut next, mut again) = (vec![0; CLIENTS], BTreeMap::<usize, usize>::new());
    for (partition, offset, (client, n)) in order {
        assert!(n <= next[client], "client {client}: {n} at {partition}-{offset} comes before {}", next[client]);
        *again.entry(client).or_default() += usize::from(n < next[client]);
        next[client] = next[client].max(n + 1);
    }
    for (client, &waits) in waits.iter().enumerate() {
        let (sent, twice) = (if waits { MESSAGES / 10 } else { MESSAGES }, again.get(&client).copied().unwrap_or(0));
        assert_eq!(next[client], 1 + sent, "client {client}");
        assert!(!waits || twice < sent / 2, "client {client}: {twice} of {sent} are there twice");
    }
}

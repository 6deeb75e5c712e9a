//! The embedded log is a Kafka broker to those who read: kcat, Kafka's console consumer, and Kafka's own reader of segment files.
//!
//! Setup: a node without Kafka; 100 records over four partitions. Each test reads them by another tool.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use aqueduct_tests::support::kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::peer::{self, Peer};

const COUNT: usize = 100;

#[test]
fn kcat_lists_consumes_and_queries() {
    let node = published();
    let bootstrap = node.bootstrap();
    let kcat = |arguments: &[&str]| {
        Peer::Kcat.command().map(|mut kcat| peer::run(kcat.args(["-b", &bootstrap, "-q"]).args(arguments)))
    };
    let Some(listed) = kcat(&["-L"]) else { return };
    assert!(listed.contains("topic \"mqtt\" with 4 partitions"), "{listed}");

    let consumed = kcat(&["-C", "-t", "mqtt", "-o", "beginning", "-e", "-f", "%k %s\n"]).expect("kcat");
    assert_eq!(consumed.lines().collect::<BTreeSet<_>>(), expected().iter().map(String::as_str).collect());
    let offsets = kcat(&["-C", "-t", "mqtt", "-o", "beginning", "-e", "-f", "%p %o\n"]).expect("kcat");
    for partition in 0..4 {
        let of_partition = offsets.lines().filter_map(|line| line.strip_prefix(&format!("{partition} ")));
        let of_partition: Vec<usize> = of_partition.map(|offset| offset.parse().expect("a number")).collect();
        assert_eq!(of_partition, (0..of_partition.len()).collect::<Vec<_>>(), "offsets of partition {partition}");
    }

    // Offset by time: before everything, and after everything.
    let queried = kcat(&["-Q", "-t", "mqtt:0:0"]).expect("kcat");
    assert!(queried.contains("mqtt [0] offset 0"), "{queried}");

    let tail = kcat(&["-C", "-t", "mqtt", "-p", "0", "-o", "-1", "-e", "-f", "%o\n"]).expect("kcat");
    assert_eq!(tail.lines().count(), 1, "{tail}");
}

#[test]
fn the_console_consumer_reads_a_partition() {
    let node = published();
    let Some(mut consumer) = kafka_tool(&node, "consumer") else { return };
    // The ten keys spread over the partitions, each with its ten records.
    let values = records_of_partition_0(&node);
    let from =
        ["--topic", "mqtt", "--partition", "0", "--offset", "earliest", "--max-messages", &values.len().to_string()];
    let read = peer::run(consumer.args(from).args(["--bootstrap-server", &node.bootstrap()]));
    assert_eq!(read.lines().collect::<Vec<_>>(), values);
}

fn records_of_partition_0(node: &Node) -> Vec<String> {
    let records = kafka::read(&node.bootstrap(), "mqtt").into_iter().filter(|record| record.partition == 0);
    let values: Vec<String> =
        records.map(|record| String::from_utf8(record.value.expect("a value")).expect("text")).collect();
    assert!(!values.is_empty());
    values
}

#[test]
fn dump_log_segments_accepts_every_segment() {
    let plan = Plan::embedded()
        .sink("value = \"${payload}\"\nmax_batch_bytes = \"24KB\"")
        .connector("segment_bytes = \"64KB\"");
    let plan = plan.section("[mqtt]\nmax_packet_size = \"16KB\"");
    let node = publish(plan, &"x".repeat(10_000));
    let Some(mut dump) = kafka_tool(&node, "dump") else { return };
    let logs = segments(&node.folder().join("data"));
    assert!(logs.len() > 4, "four partitions, each with more than one segment: {logs:?}");
    let files: Vec<&str> = logs.iter().map(|log| log.to_str().expect("text")).collect();
    let said = peer::run(dump.args(["--deep-iteration", "--print-data-log", "--files", &files.join(",")]));
    assert!(!said.contains("isvalid: false"), "{said}");
    let records = said.lines().filter(|line| line.trim_start().starts_with("| offset:")).count();
    assert_eq!(records, COUNT, "in {logs:?}");
}

fn published() -> Node {
    publish(Plan::embedded().sink("value = \"${payload}\""), "")
}

/// Keys spread over the partitions, values that name their number.
fn publish(plan: Plan, filler: &str) -> Node {
    let node = plan.sink("key = \"${topic}\"").start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "publisher");
    for i in 0..COUNT {
        client.publish_acked(&format!("key-{}", i % 10), format!("{i}{filler}").as_bytes(), 1);
    }
    node
}

fn expected() -> Vec<String> {
    (0..COUNT).map(|i| format!("key-{} {i}", i % 10)).collect()
}

fn kafka_tool(node: &Node, name: &str) -> Option<Command> {
    kafka::tool(&node.folder().join("tools"), name)
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the data directory").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            found.extend(segments(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "log")
            && entry.metadata().expect("its size").len() > 0
        {
            found.push(entry);
        }
    }
    found.sort();
    found
}

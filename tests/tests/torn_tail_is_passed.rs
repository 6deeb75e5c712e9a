//! A write that was cut off leaves a hole in the embedded log that no consumer waits at.
//!
//! Setup: a node without Kafka, one partition, killed with signal 9; the last byte of its segment is cut off, as a crash in the
//! middle of a write does. Action: it is started again, read to the end, and published to. Expectation: readers are told the
//! end of what is left; nobody who stands in the hole is sent back; the next record comes to all of them.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::PathBuf;

use aqueduct_tests::support::kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::peer::{self, Peer};

#[test]
fn readers_end_before_the_hole_and_go_on_behind_it() {
    let mut node = Plan::embedded().connector("partitions = 1").sink("value = \"${payload}\"").start();
    publish(&node, &["one", "two", "torn"]);
    node.kill();
    cut_last_byte(&node);
    // Twice, because the second start finds nothing to repair.
    for found in [true, false] {
        node.start_again();
        assert_eq!(node.said().contains("a write that never ended"), found, "{}", node.said());
        assert_eq!(read(&node), [(0, "one".to_owned()), (1, "two".to_owned())]);
        kcat(&node, "beginning", &["one", "two"]);
        // One who had read `torn` stands behind it, and has nothing to read yet.
        kcat(&node, "3", &[]);
        assert!(node.terminate().success());
    }
    node.start_again();
    publish(&node, &["behind"]);
    assert_eq!(read(&node), [(0, "one".to_owned()), (1, "two".to_owned()), (3, "behind".to_owned())]);
    for offset in ["2", "3"] {
        kcat(&node, offset, &["behind"]);
    }
    kcat(&node, "beginning", &["one", "two", "behind"]);
}

fn publish(node: &Node, values: &[&str]) {
    let mut client = Client::connect(node.mqtt(), Version::V5, "publisher");
    for value in values {
        client.publish_acked("t", value.as_bytes(), 1);
    }
}

/// Offset and value of every record, by rskafka, which waits until it has come to the end it is told.
fn read(node: &Node) -> Vec<(i64, String)> {
    let records = kafka::read(&node.bootstrap(), "mqtt").into_iter();
    records.map(|record| (record.offset, String::from_utf8(record.value.expect("not null")).expect("text"))).collect()
}

/// kcat reads from `offset` to the end; an offset that is out of range is an error.
fn kcat(node: &Node, offset: &str, expected: &[&str]) {
    let Some(mut kcat) = Peer::Kcat.command() else { return };
    kcat.args(["-b", &node.bootstrap(), "-q", "-X", "auto.offset.reset=error", "-C", "-t", "mqtt", "-p", "0"]);
    let said = peer::run(kcat.args(["-o", offset, "-e", "-f", "%s\n"]));
    assert_eq!(said.lines().collect::<BTreeSet<_>>(), expected.iter().copied().collect(), "from {offset}");
}

fn cut_last_byte(node: &Node) {
    let segment: PathBuf = node.folder().join("data/log/mqtt-0/00000000000000000000.log");
    let file = OpenOptions::new().write(true).open(&segment).expect("the segment");
    let len = file.metadata().expect("its size").len();
    file.set_len(len - 1).expect("it is cut");
}

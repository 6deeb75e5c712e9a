//! A write that was cut off, or a bit that has flipped, leaves a hole in the embedded log that no consumer waits at.
//!
//! Setup: a node without Kafka, one partition, killed with signal 9; its segment loses its last byte, as a crash in the middle
//! of a write does, or a bit of it flips. Action: it is started again, read to the end, and published to. Expectation: readers
//! are told the end of what is left; nobody who stands in the hole is sent back; the next record comes to all of them.

use std::collections::BTreeSet;
use std::fs;

use aqueduct_tests::support::kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::peer::{self, Peer};

#[test]
fn readers_end_before_the_hole_and_go_on_behind_it() {
    let mut node = node();
    publish(&node, &["one", "two", "torn"]);
    node.kill();
    spoil(&node, |bytes| bytes.truncate(bytes.len() - 1));
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

#[test]
fn a_flipped_bit_costs_its_batch_and_is_counted() {
    let mut node = node();
    publish(&node, &["one", "flipped", "three"]);
    node.kill();
    spoil(&node, |bytes| {
        let at = bytes.windows(7).position(|window| window == b"flipped").expect("the record");
        bytes[at] ^= 1;
    });
    node.start_again();
    assert!(node.said().contains("damaged bytes"), "{}", node.said());
    assert_eq!(read(&node), [(0, "one".to_owned()), (2, "three".to_owned())]);
    kcat(&node, "1", &["three"]);
    assert_eq!(node.metrics().sum("aqueduct_log_damaged_total", &[]), 1.0);
    publish(&node, &["four"]);
    kcat(&node, "beginning", &["one", "three", "four"]);
}

fn node() -> Node {
    Plan::embedded().connector("partitions = 1").sink("value = \"${payload}\"").start()
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

fn spoil(node: &Node, how: impl FnOnce(&mut Vec<u8>)) {
    let segment = node.folder().join("data/log/mqtt-0/00000000000000000000.log");
    let mut bytes = fs::read(&segment).expect("the segment");
    how(&mut bytes);
    fs::write(segment, bytes).expect("it is writable");
}

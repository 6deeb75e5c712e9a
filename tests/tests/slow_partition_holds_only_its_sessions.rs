//! A partition whose leader does not answer holds those sessions that have a ticket on it, and nobody else.
//!
//! Setup: a shard in memory, a Kafka cluster of two brokers, records keyed by their MQTT topic. Action: one broker stops
//! answering; clients publish to partitions of either, one of them to both, one until it is held. Expectation: whoever publishes
//! to the other broker is acknowledged as before; a session's acknowledgements wait behind its first one that is due; and when the
//! broker is back everybody gets all of them, in order.

use aqueduct_tests::in_memory::{Node, PARTITIONS, To, publishes};

/// Rounds in which a broker that answers has answered, with room to spare.
const SOON: usize = 6;

const SLOW: u32 = 1;

const NOTHING: [u16; 0] = [];

/// A topic whose records go to a partition that broker `broker` of two leads.
fn topic_at(broker: u32) -> String {
    let led = |topic: &String| kafka::partitioner::partition_for_key(topic.as_bytes(), PARTITIONS) % 2 == broker;
    (0..).map(|i| format!("fleet/{i}")).find(led).expect("some topic goes there")
}

fn node() -> Node {
    Node::new(To::Kafka(2), "key = \"${topic}\"\nlinger = \"0ms\"")
}

fn pass(node: &mut Node, rounds: usize) {
    for _ in 0..rounds {
        node.pass_ms(5);
        node.answer();
    }
}

fn ids(range: std::ops::RangeInclusive<u16>) -> Vec<u16> {
    range.collect()
}

#[test]
fn tickets_wait_for_their_own_partition_and_those_before_them() {
    let mut node = node();
    let (fast, slow) = (topic_at(0), topic_at(SLOW));
    let [on_slow, on_fast, on_both] = ["slow", "fast", "both"].map(|id| node.connect(id));
    node.world.brokers.stall(SLOW);
    node.publish(on_slow, publishes(1, 1..=10, &slow, b"x"));
    node.publish(on_fast, publishes(1, 1..=10, &fast, b"x"));
    let mixed = [publishes(1, 1..=1, &fast, b"x"), publishes(1, 2..=2, &slow, b"x"), publishes(1, 3..=5, &fast, b"x")];
    node.publish(on_both, mixed.concat());
    pass(&mut node, SOON);
    assert_eq!(node.world.clients.acked(on_slow), NOTHING);
    assert_eq!(node.world.clients.acked(on_fast), ids(1..=10));
    assert_eq!(node.world.clients.acked(on_both), [1], "acknowledgements keep the order of their publications");

    node.world.brokers.wake_all();
    pass(&mut node, SOON);
    assert_eq!(node.world.clients.acked(on_slow), ids(1..=10));
    assert_eq!(node.world.clients.acked(on_both), ids(1..=5));
}

#[test]
fn a_session_that_is_held_holds_no_other() {
    const PUBLISHES: u16 = 40_000;
    let mut node = node();
    let (fast, slow) = (topic_at(0), topic_at(SLOW));
    let [on_slow, on_fast] = ["slow", "fast"].map(|id| node.connect(id));
    node.world.brokers.stall(SLOW);
    node.publish(on_slow, publishes(1, 1..=PUBLISHES, &slow, &[b'x'; 1024]));
    pass(&mut node, 100);
    assert!(node.world.clients.unread_bytes(on_slow) > 0, "it is held: what it sends is not read any more");

    for _ in 0..100 {
        node.world.clients.forget_acks();
        node.publish(on_fast, publishes(1, 1..=100, &fast, &[b'x'; 256]));
        pass(&mut node, SOON);
        assert_eq!(node.world.clients.acked(on_fast), ids(1..=100));
    }
    assert_eq!(node.world.clients.acked(on_slow), NOTHING);

    node.world.brokers.wake_all();
    pass(&mut node, 300);
    assert_eq!(node.world.clients.acked(on_slow), ids(1..=PUBLISHES), "everything is acknowledged, in order");
}

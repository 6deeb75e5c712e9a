//! What an acknowledgement says and when it leaves: in order per lane, one for each PUBLISH, "no matching subscribers" only where
//! nothing takes it, and one record per QoS 2 PUBLISH whatever is resent.
//!
//! Setup: a node with its embedded log, value = payload; the raw client.

use aqueduct_tests::support::kafka;
use aqueduct_tests::support::mqtt::{Client, Connect, Packet, Properties, Publication, Version};
use aqueduct_tests::support::node::{Node, Plan};

const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
const PACKET_ID_NOT_FOUND: u8 = 0x92;

#[test]
fn pubacks_leave_in_the_order_of_their_publishes() {
    let node = node();
    let mut client = Client::connect(node.mqtt(), Version::V3_1_1, "orderly");
    // Different keys would go to different partitions; the order is the session's all the same.
    let ids: Vec<u16> = (0..500).map(|i| client.publish(&format!("t/{i}"), b"x", 1)).collect();
    for id in ids {
        client.expect(&Packet::PubAck { id, reason: 0 });
    }
}

#[test]
fn pubrecs_leave_in_the_order_of_their_publishes_and_do_not_wait_for_pubacks() {
    let node = node();
    let mut client = Client::connect(node.mqtt(), Version::V5, "orderly");
    let mut expected = (Vec::new(), Vec::new());
    for i in 0..60 {
        expected.0.push(client.publish("one", format!("one-{i}").as_bytes(), 1));
        expected.1.push(client.publish("two", format!("two-{i}").as_bytes(), 2));
    }
    let mut came = (Vec::new(), Vec::new());
    while came.0.len() < 60 || came.1.len() < 60 {
        match client.packet() {
            Packet::PubAck { id, reason: 0 } => came.0.push(id),
            Packet::PubRec { id, reason: 0 } => came.1.push(id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(came, expected);
}

#[test]
fn an_acknowledged_record_can_be_read_at_once() {
    let node = node();
    let mut client = Client::connect(node.mqtt(), Version::V5, "reader");
    for i in 0..20 {
        client.publish_acked("t", format!("{i}").as_bytes(), 1 + i % 2);
        assert_eq!(values(&node).len(), usize::from(i) + 1);
    }
}

#[test]
fn only_where_nothing_takes_it_says_so() {
    let node = Plan::embedded().only_sink("source_topics = [\"in/#\"]\ntopic = \"mqtt\"").start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "publisher");
    let mut check = |topic: &str, reason| {
        let id = client.publish(topic, b"x", 1);
        client.expect(&Packet::PubAck { id, reason });
        let id = client.publish(topic, b"x", 2);
        client.expect(&Packet::PubRec { id, reason });
        client.release(id);
        client.expect(&Packet::PubComp { id, reason: 0 });
    };
    check("in/a", 0);
    check("in", 0);
    check("out/a", NO_MATCHING_SUBSCRIBERS);
    let mut subscriber = Client::connect(node.mqtt(), Version::V5, "subscriber");
    subscriber.subscribe("out/+", 0);
    check("out/a", 0);
    check("out/a/b", NO_MATCHING_SUBSCRIBERS);
    assert_eq!(node.metrics().sink("success_total"), 4.0);
}

#[test]
fn a_resent_qos2_publish_makes_no_second_record() {
    let node = node();
    let mut client = persistent(&node);
    let first = Publication { topic: "t", payload: b"once", qos: 2, id: 7, ..Default::default() };
    let again = Publication { dup: true, ..first.clone() };
    client.send(&first.encode(Version::V5));
    client.expect(&Packet::PubRec { id: 7, reason: 0 });
    client.send(&again.encode(Version::V5));
    client.expect(&Packet::PubRec { id: 7, reason: 0 });
    drop(client);

    // Over a reconnect too, as the session lives.
    let mut client = persistent(&node);
    client.send(&again.encode(Version::V5));
    client.expect(&Packet::PubRec { id: 7, reason: 0 });
    client.release(7);
    client.expect(&Packet::PubComp { id: 7, reason: 0 });
    assert_eq!(values(&node), ["once"]);

    // Released: the identifier is free for a new message.
    let next = Publication { payload: b"next", ..first };
    client.send(&next.encode(Version::V5));
    client.expect(&Packet::PubRec { id: 7, reason: 0 });
    client.release(7);
    client.expect(&Packet::PubComp { id: 7, reason: 0 });
    assert_eq!(values(&node), ["once", "next"]);

    client.release(99);
    client.expect(&Packet::PubComp { id: 99, reason: PACKET_ID_NOT_FOUND });
}

#[test]
fn a_resent_qos1_publish_makes_its_own_record_whatever_dup_says() {
    let node = node();
    let mut client = Client::connect(node.mqtt(), Version::V5, "resends");
    let publication = Publication { topic: "t", payload: b"x", qos: 1, id: 5, dup: true, ..Default::default() };
    for count in 1..=2 {
        client.send(&publication.encode(Version::V5));
        client.expect(&Packet::PubAck { id: 5, reason: 0 });
        assert_eq!(values(&node).len(), count);
    }
}

#[test]
fn more_than_the_receive_maximum_is_an_offence() {
    let node = Plan::embedded().section("[mqtt]\nreceive_maximum = 10").start();
    let (mut client, answer) = Client::connect_with(node.mqtt(), &Connect::new(Version::V5, "greedy"));
    let Packet::ConnAck { properties, .. } = answer else { unreachable!() };
    assert_eq!(properties.get(0x21), Some(&[0, 10][..]), "the receive maximum is announced");
    // In one piece, so that none is answered before the last is read.
    let burst = |count: u16| -> Vec<u8> {
        let publication =
            |id| Publication { topic: "t", payload: b"x", qos: 1, id, ..Default::default() }.encode(Version::V5);
        (1..=count).flat_map(publication).collect()
    };
    client.send(&burst(10));
    for id in 1..=10 {
        client.expect(&Packet::PubAck { id, reason: 0 });
    }
    client.send(&burst(11));
    client.expect(&Packet::Disconnect { reason: 0x93 });
    client.expect_close();
}

#[test]
fn a_topic_alias_stands_for_its_topic() {
    let node = Plan::embedded().sink("value = \"${topic} ${payload}\"").start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "short");
    let alias = Properties::default().with(0x23, &[0, 3]);
    let mut publish = |topic, payload, id| {
        let publication = Publication { topic, payload, qos: 1, id, properties: alias.clone(), ..Default::default() };
        client.send(&publication.encode(Version::V5));
        client.expect(&Packet::PubAck { id, reason: 0 });
    };
    publish("a/long/topic", b"1", 1);
    publish("", b"2", 2);
    publish("another", b"3", 3);
    publish("", b"4", 4);
    assert_eq!(values(&node), ["a/long/topic 1", "a/long/topic 2", "another 3", "another 4"]);
}

fn persistent(node: &Node) -> Client {
    let properties = Properties::default().with(0x11, &3600u32.to_be_bytes());
    let connect = Connect { clean: false, properties, ..Connect::new(Version::V5, "persistent") };
    Client::connect_with(node.mqtt(), &connect).0
}

fn values(node: &Node) -> Vec<String> {
    let records = kafka::read(&node.bootstrap(), "mqtt");
    records.into_iter().map(|record| String::from_utf8(record.value.expect("a value")).expect("text")).collect()
}

/// One key, so that the log's order is the client's.
fn node() -> Node {
    Plan::embedded().sink("value = \"${payload}\"").start()
}

//! A client that breaks the protocol is told which rule (MQTT 5) and closed; its neighbour on the same shard notices nothing.
//!
//! Setup: a node with one shard, a well-behaved client. Action: other clients send broken bytes. Expectation: the reason code below
//! (or a bare close in 3.1.1), the neighbour publishes on, and the offence is counted.

use std::thread;
use std::time::{Duration, Instant};

use aqueduct_tests::support::mqtt::{Client, Connect, Packet, Properties, Publication, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::wait;

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const TOPIC_NAME_INVALID: u8 = 0x90;
const PACKET_TOO_LARGE: u8 = 0x95;
const TOPIC_ALIAS_INVALID: u8 = 0x94;

#[test]
fn after_connect() {
    let node = Plan::embedded().section("[mqtt]\nmax_packet_size = \"64KB\"").start();
    let mut neighbour = Client::connect(node.mqtt(), Version::V5, "neighbour");
    let publish = |topic: &'static str, properties: Properties, qos: u8, id: u16| {
        Publication { topic, payload: b"x", qos, id, properties, ..Default::default() }.encode(Version::V5)
    };
    let alias = |alias: u16| Properties::default().with(0x23, &alias.to_be_bytes());
    let too_large = Publication { topic: "t", payload: &[0; 70_000], ..Default::default() }.encode(Version::V5);
    let cases: &[(&str, Vec<u8>, u8)] = &[
        ("a reserved packet type", vec![0x00, 0], MALFORMED),
        ("PINGREQ with a reserved flag", vec![0xC1, 0], MALFORMED),
        ("a length of five bytes", vec![0x30, 0x80, 0x80, 0x80, 0x80, 1], MALFORMED),
        ("QoS 3", vec![0x36, 5, 0, 1, b't', 0, 1], MALFORMED),
        ("DUP at QoS 0", vec![0x38, 4, 0, 1, b't', 0], MALFORMED),
        ("packet identifier 0", publish("t", Properties::default(), 1, 0), PROTOCOL_ERROR),
        ("a wildcard in a topic name", publish("a/#", Properties::default(), 0, 0), TOPIC_NAME_INVALID),
        ("no topic and no alias", publish("", Properties::default(), 0, 0), PROTOCOL_ERROR),
        ("topic alias 0", publish("t", alias(0), 0, 0), TOPIC_ALIAS_INVALID),
        ("a topic alias above the maximum", publish("t", alias(60_000), 0, 0), TOPIC_ALIAS_INVALID),
        ("a topic that is not UTF-8", vec![0x30, 5, 0, 2, 0xC3, 0x28, 0], MALFORMED),
        ("a packet above the maximum", too_large, PACKET_TOO_LARGE),
        ("SUBSCRIBE without a filter", vec![0x82, 3, 0, 1, 0], PROTOCOL_ERROR),
        ("SUBSCRIBE with reserved option bits", vec![0x82, 7, 0, 1, 0, 0, 1, b'a', 0xC0], MALFORMED),
        ("a CONNACK from a client", vec![0x20, 3, 0, 0, 0], PROTOCOL_ERROR),
        ("a second CONNECT", Connect::new(Version::V5, "again").encode(), PROTOCOL_ERROR),
    ];
    for (i, (what, bytes, reason)) in cases.iter().enumerate() {
        let mut client = Client::connect(node.mqtt(), Version::V5, &format!("broken-{i}"));
        client.send(bytes);
        assert_eq!(client.packet(), Packet::Disconnect { reason: *reason }, "{what}");
        assert_eq!(client.packet(), Packet::Closed, "{what}");
        neighbour.publish_acked("still/there", what.as_bytes(), 1);

        // The same in 3.1.1, where it is the same: no word, only the end.
        if !what.contains("alias") {
            let mut client = Client::connect(node.mqtt(), Version::V3_1_1, &format!("broken-{i}"));
            client.send(&without_properties(what, bytes));
            assert_eq!(client.packet(), Packet::Closed, "{what} in 3.1.1");
            neighbour.publish_acked("still/there", what.as_bytes(), 1);
        }
    }
    counted(&node, cases.len());
}

/// The cases that carry an empty property block, without it.
fn without_properties(what: &str, bytes: &[u8]) -> Vec<u8> {
    match what {
        "QoS 3" => vec![0x36, 5, 0, 1, b't', 0, 1],
        "DUP at QoS 0" => vec![0x38, 3, 0, 1, b't'],
        "packet identifier 0" => vec![0x32, 6, 0, 1, b't', 0, 0, b'x'],
        "a wildcard in a topic name" => vec![0x30, 5, 0, 3, b'a', b'/', b'#'],
        "a topic that is not UTF-8" => vec![0x30, 4, 0, 2, 0xC3, 0x28],
        "SUBSCRIBE without a filter" => vec![0x82, 2, 0, 1],
        "SUBSCRIBE with reserved option bits" => vec![0x82, 6, 0, 1, 0, 1, b'a', 0xC0],
        "a CONNACK from a client" => vec![0x20, 2, 0, 0],
        "a second CONNECT" => Connect::new(Version::V3_1_1, "again").encode(),
        _ => bytes.to_vec(),
    }
}

#[test]
fn before_connect() {
    let node = Plan::embedded().section("[mqtt]\nconnect_timeout = \"1s\"").start();
    let cases: &[(&str, Vec<u8>)] = &[
        ("a PUBLISH first", vec![0x30, 4, 0, 1, b't', b'x']),
        ("a PUBACK first", vec![0x40, 2, 0, 1]),
        ("another protocol", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("another protocol's name", vec![0x10, 12, 0, 4, b'M', b'Q', b'T', b'X', 4, 2, 0, 0, 0, 0]),
        ("nothing for longer than connect_timeout", vec![]),
        ("half a CONNECT for longer than connect_timeout", Connect::new(Version::V5, "half").encode()[..9].to_vec()),
    ];
    for (what, bytes) in cases {
        let mut client = Client::open(node.mqtt(), Version::V5);
        client.send(bytes);
        assert_eq!(client.packet(), Packet::Closed, "{what}");
    }
    // A protocol level that does not exist is answered in the words of the version that has some.
    for (level, code) in [(6, 0x84), (77, 0x84)] {
        let mut connect = Connect::new(Version::V5, "future").encode();
        connect[8] = level;
        let mut client = Client::open(node.mqtt(), Version::V5);
        client.send(&connect);
        match client.packet() {
            Packet::ConnAck { code: answered, .. } => assert_eq!(answered, code),
            Packet::Closed => {}
            other => panic!("level {level}: {other:?}"),
        }
    }
    Client::connect(node.mqtt(), Version::V5, "a proper one").publish_acked("t", b"x", 1);
}

#[test]
fn silence_longer_than_one_and_a_half_keepalives() {
    let node = Plan::embedded().start();
    let mut quiet =
        Client::connect_with(node.mqtt(), &Connect { keepalive_s: 1, ..Connect::new(Version::V5, "quiet") }).0;
    let mut lively =
        Client::connect_with(node.mqtt(), &Connect { keepalive_s: 1, ..Connect::new(Version::V5, "lively") }).0;
    let start = Instant::now();
    let closed = thread::spawn(move || {
        // Keep alive timeout.
        quiet.expect(&Packet::Disconnect { reason: 0x8D });
        let after = start.elapsed();
        quiet.expect_close();
        after
    });
    for _ in 0..6 {
        thread::sleep(Duration::from_millis(500));
        lively.ping();
        lively.expect(&Packet::PingResp);
    }
    let after_ms = closed.join().expect("it is told why").as_millis();
    assert!((1400..3600).contains(&after_ms), "{after_ms} ms");
}

/// Broken clients that were heard out are counted, in both versions where there are both.
fn counted(node: &Node, at_least: usize) {
    wait::until("the offences are counted", 5, || {
        (node.metrics().sum("aqueduct_protocol_errors_total", &[]) >= at_least as f64).then_some(())
    });
}

//! One broker of two stops answering: only what must go there waits.
//!
//! Setup: two brokers, a topic without replicas, so that each broker leads partitions that the other cannot take over; a node with
//! one shard. Action: SIGSTOP to one broker. Expectation: clients whose partition lies on the other are acknowledged within a
//! second; with `partition_strategy = "random"` the partitions of the other take what they took before, and more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::peer;

const CLIENTS: usize = 24;

/// The broker that is stopped.
const STOPPED: u32 = 2;

#[test]
fn of_two() {
    match Kafka::start(2, "") {
        Ok(kafka) => {
            clients_bound_to_partitions(&kafka);
            clients_that_scatter(&kafka);
        }
        Err(remedy) => peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    }
}

fn clients_bound_to_partitions(kafka: &Kafka) {
    kafka.create_topic("two", 4);
    let node = Plan::kafka(kafka.bootstrap(), "two").sink("value = \"${clientid}\"").start();
    let mut clients: BTreeMap<String, Client> = (0..CLIENTS)
        .map(|i| {
            let name = format!("client-{i}");
            let mut client = Client::connect(node.mqtt(), Version::V5, &name);
            client.publish_acked("t", b"x", 1);
            (name, client)
        })
        .collect();
    // Key = client id: where a client's first record lies, all of its records go.
    let partitions: BTreeMap<String, i32> = kafka
        .read_count("two", CLIENTS)
        .into_iter()
        .map(|record| (String::from_utf8(record.value.expect("a value")).expect("text"), record.partition))
        .collect();
    let leaders = kafka.leaders("two");

    let frozen = kafka.freeze(STOPPED);
    let is_stalled = |name: &String| leaders[&partitions[name]] == STOPPED;
    let (stalled, free): (Vec<_>, Vec<_>) = clients.keys().cloned().partition(is_stalled);
    assert!(stalled.len() >= 3 && free.len() >= 3, "{} and {}", stalled.len(), free.len());
    for name in &stalled {
        clients.get_mut(name).expect("a client").publish("t", b"x", 1);
    }
    let start = Instant::now();
    for _ in 0..50 {
        for name in &free {
            let client = clients.get_mut(name).expect("a client");
            let id = client.publish("t", b"x", 1);
            let answer = client.packet_within(Duration::from_secs(1));
            assert_eq!(answer, Some(Packet::PubAck { id, reason: 0 }), "{name}, {:?} after the stop", start.elapsed());
        }
    }
    for name in &stalled {
        clients.get_mut(name).expect("a client").expect_silence(Duration::from_millis(20));
    }

    drop(frozen);
    for name in &stalled {
        match clients.get_mut(name).expect("a client").packet_within(Duration::from_secs(60)) {
            Some(Packet::PubAck { reason: 0, .. }) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    kafka.read_count("two", CLIENTS + free.len() * 50 + stalled.len());
}

/// Every client publishes to every partition, on a schedule that waits for no acknowledgement.
///
/// Nobody's acknowledgements may overtake what waits for the stopped broker, but records do: the other broker's partitions had half
/// of them before, and take nine tenths of that and more.
fn clients_that_scatter(kafka: &Kafka) {
    kafka.create_topic("scattered", 4);
    let sink = "partition_strategy = \"random\"\nvalue = \"${payload}\"";
    // Clients that may have few messages unanswered would soon wait, all of them.
    let window = "[mqtt]\nreceive_maximum = 1000";
    let node = Plan::kafka(kafka.bootstrap(), "scattered").sink(sink).section(window).start();
    let connect = |i| Client::connect(node.mqtt(), Version::V5, &format!("client-{i}"));
    let mut load = Load { clients: (0..CLIENTS).map(connect).collect(), sent: 0 };
    load.publish_for(Duration::from_secs(1));
    let before = load.stored_a_second(&node, Duration::from_secs(2));
    let frozen = kafka.freeze(STOPPED);
    let during = load.stored_a_second(&node, Duration::from_secs(4));
    assert!(during >= 0.9 * before / 2.0, "{before} stored a second before, {during} with one broker of two");
    drop(frozen);

    let mut last_of = BTreeMap::new();
    for record in kafka.read_count("scattered", load.sent as usize) {
        let value = record.value.expect("a value");
        let number = u32::from_be_bytes(value.try_into().expect("four bytes"));
        let last = last_of.insert((number as usize % CLIENTS, record.partition), number);
        assert!(last.is_none_or(|last| last < number), "each client's messages are in order in each partition");
    }
}

/// Clients that take turns, and how many messages they have sent.
struct Load {
    clients: Vec<Client>,
    sent: u32,
}

impl Load {
    /// Messages a second, over all clients.
    const PACE: f64 = 2_000.0;

    /// Publishes the numbers of its messages at [`PACE`](Self::PACE) for so long.
    fn publish_for(&mut self, during: Duration) {
        let (start, first) = (Instant::now(), self.sent);
        let due = |elapsed: Duration| first + (elapsed.as_secs_f64() * Self::PACE) as u32;
        while self.sent < due(during) {
            while self.sent < due(start.elapsed().min(during)) {
                let client = self.sent as usize % self.clients.len();
                self.clients[client].publish("t", &self.sent.to_be_bytes(), 1);
                self.sent += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Publishes for so long; records a second that Kafka took meanwhile.
    fn stored_a_second(&mut self, node: &Node, during: Duration) -> f64 {
        let (start, before) = (Instant::now(), node.metrics().sink("success_total"));
        self.publish_for(during);
        (node.metrics().sink("success_total") - before) / start.elapsed().as_secs_f64()
    }
}

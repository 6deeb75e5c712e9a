//! SIGTERM under load: the node stops accepting, writes what it has, says goodbye and exits with 0; what it acknowledged is in Kafka,
//! and nothing twice.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aqueduct_tests::support::kafka::{self, Kafka};
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::wait;
use rustix::process::Signal;

const CLIENTS: usize = 6;
const WINDOW: usize = 100;

#[test]
fn of_what_the_embedded_log_acknowledged() {
    let mut node = Plan::embedded().sink("value = \"${payload}\"").start();
    let acked = publish_until_terminated(&mut node);
    // The log is the node's own: it is read after a new start.
    node.start_again();
    all_there(&node, "mqtt", &acked);
}

#[test]
fn of_what_kafka_acknowledged() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("drained", 4);
    let mut node = Plan::kafka(kafka.bootstrap(), "drained").sink("value = \"${payload}\"").start();
    let acked = publish_until_terminated(&mut node);
    all_there(&node, "drained", &acked);
}

/// Accepted in memory is a promise too, as long as there is time to keep it: `async` acknowledges before Kafka does.
#[test]
fn of_what_was_accepted_in_memory() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("drained-async", 4);
    let plan = Plan::kafka(kafka.bootstrap(), "drained-async")
        .sink("value = \"${payload}\"\nquery_mode = \"async\"\nlinger = \"1s\"");
    let mut node = plan.start();
    let acked = publish_until_terminated(&mut node);
    all_there(&node, "drained-async", &acked);
}

#[test]
fn idle_clients_hear_why() {
    let mut node = Plan::embedded().start();
    let mut v5 = Client::connect(node.mqtt(), Version::V5, "five");
    let mut v3 = Client::connect(node.mqtt(), Version::V3_1_1, "three");
    node.signal(Signal::TERM);
    // Server shutting down.
    v5.expect(&Packet::Disconnect { reason: 0x8B });
    v5.expect_close();
    v3.expect_close();
    assert_eq!(node.ended().code(), Some(0), "{}", node.said());
}

/// Publishes at QoS 1 from several clients, a window open in each, and terminates the node in the middle. Returns the payloads
/// that were acknowledged.
fn publish_until_terminated(node: &mut Node) -> Vec<String> {
    let address = node.mqtt();
    let count = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client::connect(address, Version::V5, &format!("client-{number}"));
            let count = count.clone();
            std::thread::spawn(move || publish_until_closed(client, number, &count))
        })
        .collect();
    wait::until("the load has begun", 30, || (count.load(Ordering::Relaxed) > 3000).then_some(()));
    let status = node.terminate();
    assert_eq!(status.code(), Some(0), "{}", node.said());
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    clients.into_iter().flat_map(|client| client.join().expect("the client ran")).collect()
}

fn publish_until_closed(mut client: Client, number: usize, count: &AtomicUsize) -> Vec<String> {
    let mut open = BTreeMap::new();
    let mut acked = Vec::new();
    for i in 0.. {
        while open.len() >= WINDOW {
            match client.packet_within(Duration::from_secs(20)) {
                Some(Packet::PubAck { id, reason: 0 }) => {
                    acked.extend(open.remove(&id));
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Some(Packet::Disconnect { reason: 0x8B } | Packet::Closed) => return acked,
                other => panic!("client {number}: {other:?}"),
            }
        }
        let payload = format!("{number}-{i}");
        let Some(id) = client.try_publish(&format!("load/{number}"), payload.as_bytes(), 1) else { break };
        open.insert(id, payload);
    }
    // The socket is closed for writing; acknowledgements may still lie in it.
    while let Some(Packet::PubAck { id, reason: 0 }) = client.packet_within(Duration::from_secs(5)) {
        acked.extend(open.remove(&id));
    }
    acked
}

#[track_caller]
fn all_there(node: &Node, topic: &str, acked: &[String]) {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for record in kafka::read(&node.bootstrap(), topic) {
        *times.entry(String::from_utf8(record.value.expect("a value")).expect("text")).or_default() += 1;
    }
    let lost: Vec<_> = acked.iter().filter(|payload| !times.contains_key(*payload)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged are not there: {lost:?}", lost.len(), acked.len());
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "written more than once: {doubled:?}");
}

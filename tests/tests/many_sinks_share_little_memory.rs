//! Fifty sinks, three clusters, two thousand partitions, half a gigabyte: each record goes where its filters say, and nowhere else.
//!
//! Setup: three clusters of one broker; a node with the memory it would plan with on a machine of 512 MiB. Sinks 0 to 19 have a topic
//! filter of their own, 20 to 39 share four, and 40 to 49 have two with wildcards each, which overlap. Action: clients publish to all
//! of them at once. Expectation: every topic holds what its sink's filters match, once, in each client's order; the process stays
//! within 512 MiB.

use std::collections::BTreeMap;
use std::thread;

use aqueduct_tests::support::chaos::is_long_wanted;
use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::peer;

const MEMORY_BYTES: u64 = 512 << 20;
const CLIENTS: usize = 40;
const ROUNDS: u32 = 200;

/// A connector, its first sink, the one behind its last, and the partitions of the topic of each.
const CLUSTERS: [(&str, usize, usize, i32); 3] = [("main", 0, 20, 40), ("second", 20, 40, 30), ("third", 40, 50, 60)];

/// Filters of sink `i`.
fn filters(i: usize) -> String {
    match i {
        0..20 => format!("\"one/{i}/up\""),
        20..40 => format!("\"many/{}/#\"", i % 4),
        _ => format!("\"mixed/{}/+/t\", \"mixed/+/common/t\"", i - 40),
    }
}

/// The topics that a client publishes to in one round, each with the sinks that it is for.
fn publications(client: usize) -> [(String, Vec<usize>); 4] {
    let (own, group, mixed) = (client % 20, client % 4, client % 10);
    [
        (format!("one/{own}/up"), vec![own]),
        (format!("many/{group}/x"), (20..40).filter(|sink| sink % 4 == group).collect()),
        (format!("mixed/{mixed}/x/t"), vec![40 + mixed]),
        (format!("mixed/{mixed}/common/t"), (40..50).collect()),
    ]
}

fn start(clusters: &[Kafka]) -> Node {
    let mut more = String::new();
    for (kafka, (name, from, to, partitions)) in clusters.iter().zip(CLUSTERS) {
        if name != "main" {
            more += &format!("[connectors.{name}]\ntype = \"kafka\"\nbootstrap_hosts = \"{}\"\n", kafka.bootstrap());
        }
        for i in from..to {
            kafka.create_topic(&format!("topic-{i}"), partitions);
            if i > 0 {
                let filters = filters(i);
                more += &format!(
                    "[sinks.s{i}]\nconnector = \"{name}\"\nsource_topics = [{filters}]\ntopic = \"topic-{i}\"\n"
                );
                more += "value = \"${payload}\"\n";
            }
        }
    }
    let first = format!("source_topics = [{}]\ntopic = \"topic-0\"\nvalue = \"${{payload}}\"", filters(0));
    let memory = format!("shards = 2\npin = false\nmemory_limit = \"{}MB\"", (MEMORY_BYTES >> 20) * 7 / 10);
    Plan::kafka(clusters[0].bootstrap(), "topic-0").only_sink(&first).node(&memory).section(&more).start()
}

fn publish(node: &Node, index: usize) {
    let mut client = Client::connect(node.mqtt(), Version::V5, &format!("client-{index}"));
    for round in 1..=ROUNDS {
        let payload = [(index as u32).to_be_bytes(), round.to_be_bytes()].concat();
        for (topic, _) in publications(index) {
            client.publish_acked(&topic, &payload, 1);
        }
    }
}

/// How often each client publishes to each sink in one round.
fn expected() -> BTreeMap<usize, Vec<usize>> {
    let mut clients_of: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for client in 0..CLIENTS {
        for sink in publications(client).into_iter().flat_map(|(_, sinks)| sinks) {
            clients_of.entry(sink).or_default().push(client);
        }
    }
    clients_of
}

fn judge(kafka: &Kafka, sink: usize, clients: &[usize]) {
    let records = kafka.read_count(&format!("topic-{sink}"), clients.len() * ROUNDS as usize);
    let mut of_client: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for record in records {
        let value = record.value.expect("a value");
        let word = |at: usize| u32::from_be_bytes(value[at..at + 4].try_into().expect("eight bytes"));
        of_client.entry(word(0) as usize).or_default().push(word(4));
    }
    for (client, rounds) in of_client {
        let times = clients.iter().filter(|of| **of == client).count();
        let due: Vec<u32> = (1..=ROUNDS).flat_map(|round| std::iter::repeat_n(round, times)).collect();
        assert_eq!(rounds, due, "client {client} in topic-{sink}");
    }
}

#[test]
fn every_record_goes_where_its_filters_say() {
    if !is_long_wanted() {
        return;
    }
    let clusters: Result<Vec<_>, _> = CLUSTERS.iter().map(|_| Kafka::start(1, "")).collect();
    let clusters = match clusters {
        Ok(clusters) => clusters,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    let node = start(&clusters);
    thread::scope(|scope| {
        (0..CLIENTS).for_each(|index| {
            drop(scope.spawn({
                let node = &node;
                move || publish(node, index)
            }))
        })
    });
    let clients_of = expected();
    assert_eq!(clients_of.len(), 50, "every sink has something to do");
    for (kafka, (_, from, to, _)) in clusters.iter().zip(CLUSTERS) {
        (from..to).for_each(|sink| judge(kafka, sink, &clients_of[&sink]));
    }
    let peak = node.peak_bytes();
    println!("at most {} MiB resident", peak >> 20);
    assert!(peak < MEMORY_BYTES, "{} MiB", peak >> 20);
}

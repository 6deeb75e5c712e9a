//! One broker of two stops answering: only what must go there waits.
//!
//! Setup: two brokers, a topic without replicas, so that each broker leads partitions that the other cannot take over; a node with
//! one shard. Action: SIGSTOP to one broker. Expectation: clients whose partition lies on the other are acknowledged within a
//! second; with `partition_strategy = "random"` each partition of the other keeps its rate, and what is published once the silence
//! has been noticed goes there.
//!
//! With `AQUEDUCT_LONG=1` also under a load of a fifth of what node, brokers and clients bear together at most, on this machine and in
//! the same minutes: beside a broker of three that is stopped for twelve seconds, and beside one whose link carries 1 Mbit/s, the
//! partitions of the others keep nine tenths of their rate. That wants a machine that does nothing else.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aqueduct_tests::support::chaos::{Chaos, Verdict, is_long_wanted};
use aqueduct_tests::support::kafka::{Kafka, Record};
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::Plan;
use aqueduct_tests::support::{peer, wait};

const CLIENTS: usize = 24;

/// The broker that is stopped.
const STOPPED: u32 = 2;

/// Each would be the other's load.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn of_two() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    match Kafka::start(2, "") {
        Ok(kafka) => {
            clients_bound_to_partitions(&kafka);
            clients_that_scatter(&kafka, 2_000.0);
        }
        Err(remedy) => peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    }
}

#[test]
fn at_a_fifth_of_the_peak() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_long_wanted() {
        return;
    }
    // So short a stop at the end takes nothing from the rate before it.
    let Some(verdict) = bound_clients("broker-pause=2@8+0.1", 1e6).acquitted() else { return };
    let pace = rate_before(&verdict) / 5.0;
    let Some(verdict) = bound_clients("broker-pause=2@5+12,slow-link=2@30+8", pace).acquitted() else { return };
    assert!(rate_before(&verdict) >= 0.9 * pace, "{pace} a second were asked for\n{}", verdict.said());
    let rates: Vec<f64> = verdict.json["faults"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|fault| fault["others_rate"].as_f64())
        .collect();
    println!("at {pace:.0} messages a second the others keep {rates:.2?} of their rate");
    assert!(rates.len() == 2 && rates.iter().all(|&rate| rate >= 0.9), "{rates:?}\n{}", verdict.said());
    match Kafka::start(2, "") {
        Ok(kafka) => clients_that_scatter(&kafka, pace),
        Err(remedy) => peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    }
}

/// Forty-eight clients, each bound to a partition by its key, on three brokers without replicas: the leader of a replica would wait for
/// whoever is slow.
fn bound_clients(plan: &str, pace: f64) -> Chaos {
    let alone = ["--replicas", "1", "--broker-set", "min.insync.replicas=1"];
    let load = ["--clients", "48", "--window", "256", "--payload-bytes", "256", "--qos", "1"];
    Chaos::plan(plan).three_brokers().with(&alone).with(&load).with(&["--rate", &format!("{pace:.0}")])
}

fn rate_before(verdict: &Verdict) -> f64 {
    verdict.json["rate_before"].as_f64().unwrap_or_else(|| panic!("no rate\n{}", verdict.said()))
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

    let is_stalled = |name: &String| leaders[&partitions[name]] == STOPPED;
    let (stalled, free): (Vec<_>, Vec<_>) = clients.keys().cloned().partition(is_stalled);
    assert!(stalled.len() >= 3 && free.len() >= 3, "{} and {}", stalled.len(), free.len());
    // One after the other; the longest that one took.
    let rounds = |clients: &mut BTreeMap<String, Client>| {
        let mut longest = Duration::ZERO;
        for name in (0..50).flat_map(|_| &free) {
            let client = clients.get_mut(name).expect("a client");
            let begin = Instant::now();
            let id = client.publish("t", b"x", 1);
            let answer = client.packet_within(Duration::from_secs(20));
            assert_eq!(answer, Some(Packet::PubAck { id, reason: 0 }), "{name}");
            longest = longest.max(begin.elapsed());
        }
        longest
    };
    let before = rounds(&mut clients);
    let frozen = kafka.freeze(STOPPED);
    for name in &stalled {
        clients.get_mut(name).expect("a client").publish("t", b"x", 1);
    }
    let during = rounds(&mut clients);
    assert!(during < Duration::from_secs(1).max(3 * before), "{during:?} with a broker stopped, {before:?} before");
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
    kafka.read_count("two", CLIENTS + 2 * free.len() * 50 + stalled.len());
}

/// Every client publishes to every partition, on a schedule that waits for no acknowledgement.
///
/// Nobody's acknowledgements may overtake what waits for the stopped broker, but records do: by the brokers' own clocks each partition
/// of the other one takes nine tenths of what it took before. What was meant for the stopped one when it fell silent waits for it;
/// of what is published later than two seconds after that, nothing does.
fn clients_that_scatter(kafka: &Kafka, pace: f64) {
    const PARTITIONS: i32 = 4;
    let create = ["--create", "--topic", "scattered", "--partitions", &PARTITIONS.to_string()];
    // The leader of a replica would wait for whoever is stopped.
    let alone = ["--replication-factor", "1", "--config", "message.timestamp.type=LogAppendTime"];
    peer::run(kafka.tool("topics").args(create).args(alone));
    kafka.create_topic("scattered", PARTITIONS);
    let leaders = kafka.leaders("scattered");
    let sink = "partition_strategy = \"random\"\nvalue = \"${payload}\"";
    // Clients that may have few messages unanswered would soon wait, all of them.
    let window = "[mqtt]\nreceive_maximum = 65535";
    let node = Plan::kafka(kafka.bootstrap(), "scattered").sink(sink).section(window).start();
    let connect = |i| Client::connect(node.mqtt(), Version::V5, &format!("client-{i}"));
    let mut load = Load { clients: (0..CLIENTS).map(connect).collect(), pace, sent: 0 };
    load.publish_for(Duration::from_secs(1));
    let begin = now_ms();
    load.publish_for(Duration::from_secs(2));
    let before = begin..now_ms();
    let frozen = kafka.freeze(STOPPED);
    let begin = now_ms();
    load.publish_for(Duration::from_secs(2));
    let noticed = load.sent;
    load.publish_for(Duration::from_secs(2));
    let during = begin..now_ms();
    // What the node has not read yet would find both brokers well.
    let all = f64::from(load.sent);
    wait::until("the node has all", 30, || (node.metrics().sink("matched_total") >= all).then_some(()));
    drop(frozen);

    let stored = stored(kafka, "scattered", load.sent as usize);
    let mut last_of = BTreeMap::new();
    for &Stored { partition, number, .. } in &stored {
        let last = last_of.insert((number as usize % CLIENTS, partition), number);
        assert!(last.is_none_or(|last| last < number), "each client's messages are in order in each partition");
    }
    let rate = |partition: i32, times: &Range<i64>| {
        let taken = stored.iter().filter(|record| record.partition == partition && times.contains(&record.at_ms));
        taken.count() as f64 * 1_000.0 / (times.end - times.start) as f64
    };
    let (stopped, well): (Vec<i32>, Vec<i32>) = (0..PARTITIONS).partition(|partition| leaders[partition] == STOPPED);
    assert!(!stopped.is_empty() && !well.is_empty(), "{leaders:?}");
    for partition in well {
        let (before, during) = (rate(partition, &before), rate(partition, &during));
        println!("partition {partition}: {before:.0} records a second before, {during:.0} beside a stopped broker");
        // What the start held up and was stored then says nothing of how fast Kafka is.
        let own = before.min(pace / f64::from(PARTITIONS));
        assert!(
            during >= 0.9 * own,
            "partition {partition}: {before} a second before, {during} beside a stopped broker"
        );
    }
    for partition in stopped {
        assert!(rate(partition, &before) > 0.0 && rate(partition, &during) == 0.0, "it was stopped");
        let late = stored.iter().filter(|record| record.partition == partition && record.at_ms >= during.end);
        let late: Vec<u32> = late.map(|record| record.number).collect();
        println!("partition {partition}: {} records waited for the stopped broker", late.len());
        assert!(!late.is_empty(), "somebody had chosen it before its silence was noticed");
        let strays = late.iter().filter(|&&number| number >= noticed).count();
        assert_eq!(strays, 0, "of {} published beside a silent broker, for it", load.sent - noticed);
    }
}

/// Milliseconds since 1970 UTC.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

/// A message of [`Load`] as it lies in Kafka.
struct Stored {
    number: u32,
    partition: i32,
    /// When its broker appended it, milliseconds since 1970 UTC.
    at_ms: i64,
}

/// All of a topic, which holds so many records.
fn stored(kafka: &Kafka, topic: &str, count: usize) -> Vec<Stored> {
    let records = kafka.read_count(topic, count);
    // The time of appending is told by the batch, which only Kafka's own consumer looks at.
    let mut consumer = kafka.tool("consumer");
    let count = count.to_string();
    consumer.args(["--topic", topic, "--from-beginning", "--max-messages", &count, "--timeout-ms", "30000"]);
    for property in ["print.timestamp=true", "print.partition=true", "print.offset=true", "print.value=false"] {
        consumer.args(["--property", property]);
    }
    let lines = peer::run(&mut consumer);
    let field = |line: &str, name: &str| -> i64 {
        let found = line.split('\t').find_map(|word| word.strip_prefix(name)?.parse().ok());
        found.unwrap_or_else(|| panic!("no {name} in {line}"))
    };
    let place = |line: &str| (field(line, "Partition:") as i32, field(line, "Offset:"));
    let times: BTreeMap<(i32, i64), i64> =
        lines.lines().map(|line| (place(line), field(line, "LogAppendTime:"))).collect();
    let whole = |record: &Record| {
        let value = record.value.as_deref().expect("a value");
        let number = u32::from_be_bytes(value.try_into().expect("four bytes"));
        Stored { number, partition: record.partition, at_ms: times[&(record.partition, record.offset)] }
    };
    records.iter().map(whole).collect()
}

/// Clients that take turns, and how many messages they have sent.
struct Load {
    clients: Vec<Client>,
    /// Messages a second, over all clients.
    pace: f64,
    sent: u32,
}

impl Load {
    /// Publishes the numbers of its messages at its pace for so long.
    fn publish_for(&mut self, during: Duration) {
        let (start, first, pace) = (Instant::now(), self.sent, self.pace);
        let due = |elapsed: Duration| first + (elapsed.as_secs_f64() * pace) as u32;
        while self.sent < due(during) {
            while self.sent < due(start.elapsed().min(during)) {
                let client = self.sent as usize % self.clients.len();
                self.clients[client].publish("t", &self.sent.to_be_bytes(), 1);
                self.sent += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

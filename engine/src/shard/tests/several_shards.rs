//! Publications reach subscribers of every shard: exactly once, in the order of their publisher, after their outcomes.
//!
//! Setup: two or three shards, publishers and subscribers at home anywhere, records to random owners, and messages between
//! shards that arrive in any order that keeps that of each pair.

use super::cluster::{Client, Cluster, scattered};
use super::mqtt_client::{subscribe, unsubscribe};
use super::rig::{packet, publish};
use crate::config::Deliver;
use crate::shard::Settings;

/// Publishes with names that tell publisher and number: `p2-0017`.
fn numbered(publisher: usize, number: usize) -> String {
    format!("p{publisher}-{number:04}")
}

/// The publications of one publisher among `payloads`.
fn of(publisher: usize, payloads: &[&str]) -> Vec<String> {
    let prefix = format!("p{publisher}-");
    payloads.iter().filter(|p| p.starts_with(&prefix)).map(|p| (*p).to_owned()).collect()
}

/// Which publications of MQTT 5 publishers were acknowledged with success: PUBACK or PUBREC.
fn accepted(publisher: usize, client: &Client) -> Vec<String> {
    let mut numbers: Vec<usize> = client
        .texts
        .iter()
        .filter_map(|text| text.strip_prefix("puback ").or_else(|| text.strip_prefix("pubrec "))?.strip_suffix(" 0x0"))
        .map(|id| id.parse().expect("an identifier"))
        .collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|n| numbered(publisher, n)).collect()
}

const PUBLISHERS: usize = 4;
const MESSAGES: usize = 120;

/// Runs publishers at `qos` against subscribers at every quality of service, then compares.
fn check(settings: &Settings, seed: u64, qos: u8, refuse_one_in: u32) -> u64 {
    let mut cluster = Cluster::new(settings, seed);
    cluster.refuse_one_in = refuse_one_in;
    let mut subscribers: Vec<Client> =
        (0..6).map(|n| cluster.connect(&format!("s{seed}-{n}"), if n < 3 { 5 } else { 4 })).collect();
    for (n, client) in subscribers.iter_mut().enumerate() {
        let filter = ["room/+/t", "#", "room/#"][n % 3];
        cluster.say(client, &subscribe(if n < 3 { 5 } else { 4 }, 1, &[filter, "room/1/t"], n as u8 % 3));
    }
    cluster.settle();
    for client in &mut subscribers {
        cluster.read(client);
        assert!(client.texts.remove(0).starts_with("suback"), "seed {seed}");
    }
    let mut publishers: Vec<Client> = (0..PUBLISHERS).map(|n| cluster.connect(&format!("p{seed}-{n}"), 5)).collect();
    let mut next = [1; PUBLISHERS];
    while next.iter().any(|&n| n <= MESSAGES) {
        let p = cluster.random.below(PUBLISHERS as u32) as usize;
        cluster.read(&mut publishers[p]);
        for _ in 0..cluster.random.below(8).min((MESSAGES + 1 - next[p]) as u32) {
            let topic = format!("room/{}/t", cluster.random.below(3));
            let bytes = publish(5, qos, next[p] as u16, &topic, numbered(p, next[p]).as_bytes());
            cluster.say(&mut publishers[p], &bytes);
            next[p] += 1;
        }
        for _ in 0..cluster.random.below(10) {
            cluster.step();
        }
        let reader = cluster.random.below(6) as usize;
        cluster.read(&mut subscribers[reader]);
    }
    let read = |subscribers: &[Client]| subscribers.iter().map(|client| client.texts.len()).sum::<usize>();
    let mut before = usize::MAX;
    while before != read(&subscribers) {
        before = read(&subscribers);
        cluster.settle();
        subscribers.iter_mut().chain(&mut publishers).for_each(|client| cluster.read(client));
    }
    let mut refused = 0;
    for (p, publisher) in publishers.iter().enumerate() {
        let all: Vec<String> = (1..=MESSAGES).map(|n| numbered(p, n)).collect();
        let expected = if qos == 0 { all } else { accepted(p, publisher) };
        refused += (MESSAGES - expected.len()) as u64;
        for client in &subscribers {
            let got = of(p, &client.payloads());
            let differs = (0..MESSAGES).find(|&n| got.get(n) != expected.get(n));
            assert_eq!(differs, None, "seed {seed}, QoS {qos}: {} of {} of p{p}", got.len(), expected.len());
        }
    }
    cluster.assert_nothing_held();
    refused
}

#[test]
fn each_subscriber_gets_each_publication_once_in_order() {
    for seed in 0..12 {
        let settings = scattered(1 + seed as u16 % 3, Deliver::AfterKafka);
        assert_eq!(check(&settings, seed, seed as u8 % 3, 0), 0);
    }
}

#[test]
fn at_once_keeps_the_order_too() {
    for seed in 0..6 {
        check(&scattered(3, Deliver::AtOnce), seed, seed as u8 % 3, 0);
    }
}

#[test]
fn what_kafka_refuses_no_subscriber_sees() {
    let refused: u64 = (0..8).map(|seed| check(&scattered(3, Deliver::AfterKafka), seed, 1 + seed as u8 % 2, 5)).sum();
    assert!(refused > 100, "{refused}: the test has refused something");
}

#[test]
fn few_parcel_credits_slow_publishers_down_and_nothing_else() {
    for seed in 0..6 {
        let mut settings = scattered(3, Deliver::AfterKafka);
        settings.subscribers.parcel_credits = 2;
        check(&settings, seed, seed as u8 % 3, 0);
    }
}

#[test]
fn a_publisher_without_a_parcel_credit_is_held() {
    let mut settings = scattered(2, Deliver::AtOnce);
    settings.subscribers.parcel_credits = 3;
    settings.sinks.clear();
    let mut cluster = Cluster::new(&settings, 1);
    let (mut subscriber, mut publisher) = (cluster.connect_at(1, "s", 5), cluster.connect_at(0, "p", 5));
    let mut neighbour = cluster.connect_at(0, "n", 5);
    cluster.say(&mut subscriber, &subscribe(5, 1, &["far"], 0));
    cluster.say(&mut neighbour, &subscribe(5, 1, &["near"], 0));
    cluster.settle();
    cluster.parcels_stop = true;
    for n in 0..20 {
        cluster.say(&mut publisher, &publish(5, 0, 0, "far", numbered(0, n).as_bytes()));
        cluster.settle();
    }
    assert_eq!(cluster.rigs[0].shard.counters.backpressure_paused, 1);
    assert_eq!(cluster.rigs[0].shard.deliver.budget.used_bytes() / 1000, 0, "little is copied");
    let mut other = cluster.connect_at(0, "o", 5);
    cluster.say(&mut other, &publish(5, 0, 0, "near", b"x"));
    cluster.settle();
    cluster.read(&mut neighbour);
    assert_eq!(neighbour.payloads(), ["x"], "subscribers elsewhere are served");
    cluster.parcels_stop = false;
    cluster.settle();
    cluster.read(&mut subscriber);
    assert_eq!(subscriber.payloads(), (0..20).map(|n| numbered(0, n)).collect::<Vec<_>>());
    cluster.assert_nothing_held();
}

#[test]
fn parcels_under_way_are_bounded_by_bytes_too() {
    let mut settings = scattered(2, Deliver::AtOnce);
    settings.subscribers.memory_bytes = 80_000;
    settings.sinks.clear();
    let mut cluster = Cluster::new(&settings, 1);
    let (mut subscriber, mut publisher) = (cluster.connect_at(1, "s", 5), cluster.connect_at(0, "p", 5));
    cluster.say(&mut subscriber, &subscribe(5, 1, &["t"], 0));
    cluster.settle();
    cluster.parcels_stop = true;
    for _ in 0..10 {
        cluster.say(&mut publisher, &publish(5, 0, 0, "t", &[b'x'; 4_000]));
        cluster.settle();
    }
    assert_eq!(cluster.rigs[0].shard.counters.backpressure_paused, 1);
    assert!(cluster.rigs[0].shard.deliver.budget.used_bytes() < 15_000);
    cluster.parcels_stop = false;
    cluster.settle();
    cluster.read(&mut subscriber);
    assert_eq!(subscriber.payloads().len(), 10);
    cluster.assert_nothing_held();
}

#[test]
fn after_its_suback_a_subscriber_misses_nothing_and_before_it_gets_nothing() {
    for seed in 0..40 {
        let mut settings = scattered(3, Deliver::AtOnce);
        settings.subscribers.notice_credits = 1 + seed as u32 % 2;
        let mut cluster = Cluster::new(&settings, seed);
        let mut publishers: Vec<Client> = (0..3).map(|shard| cluster.connect_at(shard, "p", 5)).collect();
        let mut subscriber = cluster.connect_at(seed as u16 % 3, "s", 5);
        let mut neighbour = cluster.connect_at(seed as u16 % 3, "t", 5);
        // A neighbour at home has the same filter a moment before: the second must wait for the first one's news too.
        cluster.say(&mut neighbour, &subscribe(5, 1, &["t"], 0));
        cluster.say(&mut subscriber, &subscribe(5, 1, &["t"], 1));
        let mut next = 0;
        let mut after = None;
        for _ in 0..200 {
            cluster.step();
            cluster.read(&mut subscriber);
            if after.is_none() && !subscriber.texts.is_empty() {
                assert_eq!(subscriber.texts[0], "suback 1 [1]", "seed {seed}");
                after = Some(next);
            }
            let p = cluster.random.below(3) as usize;
            cluster.say(&mut publishers[p], &publish(5, 0, 0, "t", numbered(0, next).as_bytes()));
            next += 1;
        }
        cluster.settle();
        cluster.read(&mut subscriber);
        cluster.settle();
        let mut got = subscriber.payloads();
        got.sort_unstable();
        let missed = (after.expect("a SUBACK")..next).map(|n| numbered(0, n)).find(|n| !got.contains(&&**n));
        assert_eq!(missed, None, "seed {seed}");
        cluster.say(&mut subscriber, &unsubscribe(5, 2, &["t"]));
        cluster.say(&mut neighbour, &packet(0xe0, &[]));
        cluster.settle();
        for rig in &mut cluster.rigs {
            assert!(!rig.shard.filters.matches("t"), "seed {seed}: every shard has forgotten the filter");
        }
        cluster.assert_nothing_held();
    }
}

#[test]
fn a_session_that_ends_is_forgotten_everywhere() {
    let mut cluster = Cluster::new(&scattered(3, Deliver::AfterKafka), 3);
    let mut subscriber = cluster.connect_at(2, "s", 4);
    cluster.say(&mut subscriber, &subscribe(4, 1, &["a/#", "b"], 1));
    cluster.settle();
    assert!(cluster.rigs.iter_mut().all(|rig| rig.shard.filters.matches("a/b")));
    cluster.say(&mut subscriber, &packet(0xe0, &[]));
    cluster.settle();
    assert!(cluster.rigs.iter().all(|rig| rig.shard.filters.index_bytes() == 0));
}

#[test]
fn subscribers_are_held_while_too_much_is_to_be_told() {
    let mut settings = scattered(2, Deliver::AfterKafka);
    settings.subscribers.subscriptions_max = 10_000;
    settings.subscribers.notice_credits = 1;
    let mut cluster = Cluster::new(&settings, 3);
    let mut subscriber = cluster.connect_at(0, "s", 5);
    let filters: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let many = |id| subscribe(5, id, &filters[usize::from(id) * 2_000 - 2_000..][..2_000], 0);
    cluster.say(&mut subscriber, &subscribe(5, 9, &["first"], 0));
    cluster.round(0);
    // The first message is not confirmed, so nothing more may be told.
    let last = subscribe(5, 3, &filters[4_000..], 0);
    cluster.say(&mut subscriber, &[many(1), many(2), subscribe(5, 4, &["x"; 1], 0), last].concat());
    let all: Vec<String> = (10_000..10_200).map(|n| n.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    cluster.say(&mut subscriber, &[subscribe(5, 5, &all, 0), subscribe(5, 6, &["y"], 0)].concat());
    cluster.round(0);
    assert_eq!(cluster.rigs[0].shard.counters.backpressure_paused, 1);
    cluster.settle();
    cluster.read(&mut subscriber);
    let acks: Vec<&str> = subscriber.texts.iter().filter_map(|t| t.strip_prefix("suback ")).map(|t| &t[..1]).collect();
    assert_eq!(acks, ["9", "1", "2", "4", "3", "5", "6"]);
    assert!(cluster.rigs[1].shard.filters.matches("4999") && cluster.rigs[1].shard.filters.matches("y"));
    cluster.assert_nothing_held();
}

/// A subscriber that is slow and subscribes once more holds up nobody: what it is behind with waits for its SUBACK.
#[test]
fn a_slow_subscriber_that_subscribes_again_waits_alone() {
    let mut cluster = Cluster::new(&scattered(2, Deliver::AtOnce), 1);
    let mut slow = cluster.connect_at(0, "slow", 5);
    let mut publisher = cluster.connect_at(0, "p", 5);
    cluster.say(&mut slow, &subscribe(5, 1, &["t"], 0));
    cluster.settle();
    cluster.rigs[0].world.stuck.insert(slow.conn());
    for number in 0..20 {
        let payload = format!("{number:04}{}", "x".repeat(10_000));
        cluster.say(&mut publisher, &publish(5, 0, 0, "t", payload.as_bytes()));
        cluster.settle();
    }
    // Its shard alone goes on: the other one has not heard of the new filter.
    cluster.say(&mut slow, &subscribe(5, 2, &["u"], 0));
    cluster.round(0);
    cluster.rigs[0].world.stuck.clear();
    cluster.rigs[0].shard.on_writable(slow.conn());
    cluster.round(0);
    cluster.settle();
    cluster.read(&mut slow);
    let acknowledged = slow.texts.iter().filter(|text| text.starts_with("suback")).count();
    assert_eq!((acknowledged, slow.payloads().len()), (2, 20));
    cluster.assert_nothing_held();
}

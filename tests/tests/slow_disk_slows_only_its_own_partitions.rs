//! Row T06 of docs/explanation/faults.md: the disk of one broker of two takes 1 MB a second. Partitions that it does not hold keep nine
//! tenths of their rate.
//!
//! Setup: two brokers, of which one keeps its data on a disk of its own; a topic without replicas; clients on a schedule that brings
//! that disk more than twice as much as it will take. Action: the disk is limited for ten seconds. Expectation: clients whose partition
//! lies on it get their acknowledgements at its pace, the others at theirs; in the end everything is there, once, in order.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::Plan;
use aqueduct_tests::support::over::Over;
use aqueduct_tests::support::peer;
use aqueduct_tests::support::slow_disk::SlowDisk;

/// The broker whose disk is slow.
const SLOW: u32 = 2;
const DISK_BYTES: u64 = 1 << 30;
const LIMIT_BYTES: u64 = 1 << 20;

/// Of those that connect, so many of each broker go on.
const CONNECTED: usize = 48;
const OF_EACH: usize = 6;
/// Between two messages of a client.
const PAUSE: Duration = Duration::from_millis(20);
const MESSAGE_BYTES: usize = 8 << 10;
/// Messages a client has open at most.
const WINDOW: u32 = 200;

#[test]
fn other_partitions_keep_their_rate() {
    let Some(disk) = SlowDisk::of_bytes(DISK_BYTES) else { return };
    let kafka = match Kafka::start(2, "") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    move_to(&disk, &kafka);
    kafka.create_topic("disks", 4);
    let node = Plan::kafka(kafka.bootstrap(), "disks").sink("value = \"${payload}\"").start();
    let clients: Vec<Paced> = (0..CONNECTED).map(|i| Paced::connect(node.mqtt(), i)).collect();
    let is_slow = behind(&kafka, SLOW);
    let (mut slow, mut free): (Vec<Paced>, Vec<Paced>) = clients.into_iter().partition(|client| is_slow[client.number]);
    assert!(slow.len() >= OF_EACH && free.len() >= OF_EACH, "{} and {}", slow.len(), free.len());
    slow.truncate(OF_EACH);
    free.truncate(OF_EACH);

    let (over, acked): (AtomicBool, [AtomicU32; 2]) = Default::default();
    let sent: BTreeMap<usize, u32> = thread::scope(|scope| {
        let ending = Over::when_dropped(&over);
        let mut running = Vec::new();
        for (group, acked) in [slow, free].into_iter().zip(&acked) {
            let over = &over;
            running.extend(group.into_iter().map(|client| scope.spawn(move || client.publish_until(over, acked))));
        }
        let rates = |during: Duration| {
            let count = || [0, 1].map(|group| acked[group].load(Ordering::Relaxed));
            let (start, before) = (Instant::now(), count());
            sleep(during);
            let after = count();
            [0, 1].map(|group| f64::from(after[group] - before[group]) / start.elapsed().as_secs_f64())
        };
        sleep(Duration::from_secs(2));
        let [slow_before, free_before] = rates(Duration::from_secs(4));
        disk.limit(Some(LIMIT_BYTES));
        sleep(Duration::from_secs(2));
        let [slow_during, free_during] = rates(Duration::from_secs(8));
        disk.limit(None);
        drop(ending);
        let told = format!("slow {slow_before:.0} -> {slow_during:.0}, others {free_before:.0} -> {free_during:.0}");
        println!("acknowledged a second: {told}");
        assert!(slow_during < 0.7 * slow_before, "the disk was slow: {told}");
        // What a start held up and was made up for says nothing of their pace.
        let pace = OF_EACH as f64 / PAUSE.as_secs_f64();
        assert!(free_during >= 0.9 * free_before.min(pace), "the others are not: {told}");
        running.into_iter().map(|client| client.join().expect("everything is acknowledged")).collect()
    });
    check_all_in_order(&kafka, &sent);
    kafka.broker("kill", SLOW);
}

/// The slow broker goes on with its data on the disk, as one of those that are slowed.
fn move_to(disk: &SlowDisk, kafka: &Kafka) {
    kafka.broker("kill", SLOW);
    let (data, there) = (kafka.folder().join(SLOW.to_string()).join("data"), disk.path().join("data"));
    peer::run(Command::new("mv").args([Path::new(&data), &there]));
    std::os::unix::fs::symlink(there, data).expect("the folder is writable");
    kafka.broker("start", SLOW);
    disk.slows(kafka.pid(SLOW));
}

/// Of each client, whether its partition lies on that broker; each has published once. Key = client id: where its first record lies,
/// all of its records go.
fn behind(kafka: &Kafka, broker: u32) -> [bool; CONNECTED] {
    let leaders = kafka.leaders("disks");
    let mut is_there = [false; CONNECTED];
    for record in kafka.read_count("disks", CONNECTED) {
        let (client, _) = parse(&record.value.expect("a value"));
        is_there[client] = leaders[&record.partition] == broker;
    }
    is_there
}

/// A client that publishes its numbers on a schedule, which does not wait for acknowledgements as long as its window is open.
struct Paced {
    mqtt: Client,
    number: usize,
}

impl Paced {
    fn connect(to: std::net::SocketAddr, number: usize) -> Self {
        let mut mqtt = Client::connect(to, Version::V5, &format!("client-{number}"));
        mqtt.publish_acked("t", &payload(number, 0), 1);
        Self { mqtt, number }
    }

    /// Its number, and how many messages it has published, all of them acknowledged.
    fn publish_until(mut self, over: &AtomicBool, acked: &AtomicU32) -> (usize, u32) {
        let (start, mut sent, mut open) = (Instant::now(), 1, 0);
        while !over.load(Ordering::Relaxed) || open > 0 {
            let wait = (start + PAUSE * sent).saturating_duration_since(Instant::now());
            if wait.is_zero() && open < WINDOW && !over.load(Ordering::Relaxed) {
                self.mqtt.publish("t", &payload(self.number, sent), 1);
                (sent, open) = (sent + 1, open + 1);
                continue;
            }
            let patience = if wait.is_zero() { Duration::from_millis(100) } else { wait };
            match self.mqtt.packet_within(patience) {
                Some(Packet::PubAck { reason: 0, .. }) => {
                    open -= 1;
                    acked.fetch_add(1, Ordering::Relaxed);
                }
                None => {}
                other => panic!("no acknowledgement of a PUBLISH: {other:?}"),
            }
        }
        (self.number, sent)
    }
}

fn payload(client: usize, number: u32) -> Vec<u8> {
    let mut payload = format!("{client} {number} ").into_bytes();
    payload.resize(MESSAGE_BYTES, b'.');
    payload
}

fn parse(value: &[u8]) -> (usize, u32) {
    let text = String::from_utf8_lossy(value);
    let mut words = text.split(' ').map(|word| word.parse::<u32>());
    let (Some(Ok(client)), Some(Ok(number))) = (words.next(), words.next()) else { panic!("a stranger's: {text}") };
    (client as usize, number)
}

/// Every message lies in Kafka once, in its client's order; of clients that did not go on, their first.
fn check_all_in_order(kafka: &Kafka, sent: &BTreeMap<usize, u32>) {
    let all = |client| sent.get(&client).copied().unwrap_or(1);
    let mut next = [0; CONNECTED];
    for record in kafka.read_count("disks", (0..CONNECTED).map(all).sum::<u32>() as usize) {
        let (client, number) = parse(&record.value.expect("a value"));
        assert_eq!(number, next[client], "client {client}");
        next[client] += 1;
    }
    assert!((0..CONNECTED).all(|client| next[client] == all(client)), "{next:?} of {sent:?}");
}

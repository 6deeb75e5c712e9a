//! A buffer keeps what Kafka does not take, through hangs, kills and full disks, and sends all of it in order.
//!
//! Setup: a node with a buffer on disk or hybrid, real Kafka. Action: the broker hangs (SIGSTOP), clients publish on, the node is
//! killed or its disk is full. Expectation: what was acknowledged is in Kafka at the end, each client's in its order; nothing is
//! discarded because of how the connector feels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aqueduct_tests::support::kafka::{Frozen, Kafka};
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::small_disk::SmallDisk;
use aqueduct_tests::support::{peer, wait};

const CLIENTS: u32 = 4;

/// MQTT 5 2.4: quota exceeded.
const QUOTA_EXCEEDED: u8 = 0x97;

/// Each client publishes numbers `range`, each acknowledged before the next hundred is sent.
fn publish(node: &Node, range: std::ops::Range<u32>, bytes: usize) {
    publish_to(node, "t", range, bytes);
}

/// As [`publish`], to another topic of MQTT.
fn publish_to(node: &Node, topic: &'static str, range: std::ops::Range<u32>, bytes: usize) {
    let to = node.mqtt();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let range = range.clone();
            thread::spawn(move || {
                let mut mqtt = Client::connect(to, Version::V5, &format!("client-{client}"));
                let payloads: Vec<Vec<u8>> = range.map(|n| payload(client, n, bytes)).collect();
                for hundred in payloads.chunks(100) {
                    mqtt.publish_all_acked(topic, hundred.iter().map(Vec::as_slice), 1);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("every publication is acknowledged"));
}

fn payload(client: u32, n: u32, bytes: usize) -> Vec<u8> {
    let mut payload = format!("{client} {n} ").into_bytes();
    payload.resize(bytes.max(payload.len()), b'.');
    payload
}

/// The numbers of each client as they lie in Kafka, the first copy of each, once all of `each` are there.
fn check_all_in_order(kafka: &Kafka, topic: &str, each: u32) {
    let total = (each * CLIENTS) as usize;
    let mut newest: BTreeMap<u32, u32> = BTreeMap::new();
    let records = wait::until("all that was acknowledged is in Kafka", 60, || {
        let records = kafka.read(topic);
        // Copies do not count: what a broker that hung had been sent by a node that is gone is stored when it goes on.
        let values: BTreeSet<_> = records.iter().map(|record| &record.value).collect();
        (values.len() >= total).then_some(records)
    });
    let mut order: Vec<_> = records.iter().map(|record| (record.partition, record.offset, &record.value)).collect();
    order.sort();
    for (_, offset, value) in order {
        let text = String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
        let mut words = text.split(' ').map(|word| word.parse::<u32>());
        let (Some(Ok(client)), Some(Ok(n))) = (words.next(), words.next()) else { panic!("a stranger's: {text}") };
        let next = newest.entry(client).or_default();
        assert!(n <= *next, "client {client}: {n} at offset {offset} comes before {next}");
        *next = (*next).max(n + 1);
    }
    assert_eq!(newest, (0..CLIENTS).map(|client| (client, each)).collect());
}

/// One test at a time makes the broker hang.
static BROKER: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    BROKER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hang(kafka: &Kafka) -> Frozen {
    kafka.freeze(1)
}

/// A buffer that is soon full, for one partition.
struct Narrow {
    mode: &'static str,
    limit_kb: usize,
    /// Of each message.
    bytes: usize,
}

const IN_MEMORY: Narrow = Narrow { mode: "memory", limit_kb: 256, bytes: 2_000 };
const ON_DISK: Narrow = Narrow { mode: "disk", limit_kb: 256, bytes: 2_000 };
/// More than the share of memory that it has in a node of 64 MB, which is less than 8 MB: the oldest lie on disk.
const HYBRID: Narrow = Narrow { mode: "hybrid", limit_kb: 10 << 10, bytes: 20_000 };

impl Narrow {
    /// So many messages fit, to within some.
    fn fits(&self) -> u32 {
        (self.limit_kb * 1_024 / self.bytes) as u32
    }

    /// A node that writes to the topic, one batch at a time.
    fn node(&self, kafka: &Kafka, topic: &str, sink: &str) -> Node {
        let Self { mode, limit_kb, .. } = self;
        kafka.create_topic(topic, 1);
        Plan::kafka(kafka.bootstrap(), topic)
            .node("shards = 1\npin = false\nmemory_limit = \"64MB\"")
            .sink("value = \"${payload}\"\nmax_inflight = 1\nmax_batch_bytes = \"64KB\"\nbatch_target_bytes = \"64KB\"")
            .sink(&format!("buffer.mode = \"{mode}\"\nbuffer.per_partition_limit = \"{limit_kb}KB\"\n{sink}"))
            .section("[mqtt]\nreceive_maximum = 2000")
            .start()
    }

    /// What waits comes to lie where it should, while the broker hangs and the buffer is full.
    #[track_caller]
    fn check_place(&self, node: &Node) {
        wait::until(&format!("what waits lies where it should: {}", self.mode), 20, || {
            let metrics = node.metrics();
            let (on_disk, waiting) = (metrics.sink("buffer_disk_records"), metrics.sink("queuing"));
            let is_there = match self.mode {
                "memory" => on_disk == 0.0,
                "disk" => on_disk > waiting / 2.0,
                _ => on_disk > 0.0 && on_disk < waiting,
            };
            is_there.then_some(())
        });
    }
}

fn dropped(node: &Node, reason: &str) -> u32 {
    node.metrics().sum("aqueduct_sink_dropped_total", &[&format!("reason=\"{reason}\"")]) as u32
}

/// The numbers of a client's messages in a topic of one partition that holds so many.
fn numbers(kafka: &Kafka, topic: &str, count: u32) -> Vec<u32> {
    let records = kafka.read_count(topic, count as usize);
    let number = |value: Option<Vec<u8>>| {
        let text = String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
        text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("a stranger's: {text}"))
    };
    records.into_iter().map(|record| number(record.value)).collect()
}

/// In async a buffer in memory gives way where it is full, unless told otherwise: nobody waits, the oldest of what is not on its way go,
/// as many as are counted, and what is newer is stored in order.
#[test]
fn a_full_buffer_in_memory_drops_its_oldest() {
    drops_its_oldest(&IN_MEMORY, "gives-way", "");
}

/// The same of one on disk that is told to, and of a hybrid one, where the oldest lie on disk.
#[test]
fn a_full_buffer_on_disk_or_hybrid_drops_its_oldest() {
    drops_its_oldest(&ON_DISK, "gives-way-disk", "buffer.overflow = \"drop_oldest\"");
    drops_its_oldest(&HYBRID, "gives-way-hybrid", "");
}

fn drops_its_oldest(buffer: &Narrow, topic: &str, sink: &str) {
    let Some(kafka) = Kafka::shared() else { return };
    let _alone = alone();
    let node = buffer.node(kafka, topic, &format!("query_mode = \"async\"\n{sink}"));
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    client.publish_acked("t", &payload(0, 0, buffer.bytes), 1);
    kafka.read_count(topic, 1);
    let broker = hang(kafka);
    let sent = 4 * buffer.fits();
    for number in 1..sent {
        client.publish_acked("t", &payload(0, number, buffer.bytes), 1);
    }
    let dropped = dropped(&node, "queue_full");
    assert!(dropped > sent / 2 && dropped < sent - buffer.fits() / 2, "{dropped} of {sent} dropped: a fourth fits");
    buffer.check_place(&node);
    drop(broker);
    let numbers = numbers(kafka, topic, sent - dropped);
    let gaps: Vec<u32> = numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|gap| *gap > 0).collect();
    assert_eq!((numbers.first(), numbers.last(), gaps), (Some(&0), Some(&(sent - 1)), vec![dropped]), "{numbers:?}");
    let (matched, parts) = node.metrics().accounts();
    assert_eq!(matched, parts);
}

/// A full buffer that rejects what is new, wherever it lies: its publisher is told so at once, or closed where its PUBACK cannot say no.
/// What was there before stays, is stored in order and acknowledged then, and there is room again.
#[test]
fn a_full_buffer_rejects_what_is_new() {
    for buffer in [IN_MEMORY, ON_DISK, HYBRID] {
        rejects_what_is_new(&buffer, &format!("rejects-{}", buffer.mode));
    }
}

fn rejects_what_is_new(buffer: &Narrow, topic: &str) {
    let Some(kafka) = Kafka::shared() else { return };
    let _alone = alone();
    let node = buffer.node(kafka, topic, "buffer.overflow = \"reject\"");
    let mut client = Client::connect(node.mqtt(), Version::V5, "first");
    client.publish_acked("t", &payload(0, 0, buffer.bytes), 1);
    kafka.read_count(topic, 1);
    let broker = hang(kafka);
    // Publishes a number, and tells whether there was no room for it.
    let publish = |client: &mut Client, number: u32| {
        let (matched, rejected) = (node.metrics().sink("matched_total"), dropped(&node, "rejected"));
        let id = client.publish("t", &payload(0, number, buffer.bytes), 1);
        wait::until("it has a place or none", 10, || (node.metrics().sink("matched_total") > matched).then_some(()));
        (id, dropped(&node, "rejected") > rejected)
    };
    let mut next = 1;
    let mut open = Vec::new();
    let refused = loop {
        let (id, is_refused) = publish(&mut client, next);
        if is_refused {
            break id;
        }
        open.push(id);
        next += 1;
    };
    let fits = buffer.fits();
    assert!((fits / 2..2 * fits).contains(&next), "{next} were taken, {fits} fit");
    buffer.check_place(&node);
    // What became durable since then may have gone to where it leaves from, and left room.
    let mut taken = Vec::new();
    let mut newcomer = |version| {
        wait::until("a newcomer is refused", 20, || {
            let mut newcomer = Client::connect(node.mqtt(), version, &format!("{version:?}-{next}"));
            let (id, is_refused) = publish(&mut newcomer, next);
            if is_refused {
                return Some((newcomer, id));
            }
            taken.push((newcomer, id));
            next += 1;
            None
        })
    };
    let (mut late, id) = newcomer(Version::V5);
    late.expect(&Packet::PubAck { id, reason: QUOTA_EXCEEDED });
    newcomer(Version::V3_1_1).0.expect_close();
    assert_eq!(dropped(&node, "rejected"), 3);
    // Whoever has something open hears of it in its turn.
    client.expect_silence(Duration::from_millis(100));
    drop(broker);
    for id in open {
        client.expect(&Packet::PubAck { id, reason: 0 });
    }
    client.expect(&Packet::PubAck { id: refused, reason: QUOTA_EXCEEDED });
    for (mut newcomer, id) in taken {
        newcomer.expect(&Packet::PubAck { id, reason: 0 });
    }
    late.publish_acked("t", &payload(0, next, buffer.bytes), 1);
    let expected: Vec<u32> = (0..=next).collect();
    assert_eq!(numbers(kafka, topic, next + 1), expected, "{}", buffer.mode);
    let (matched, parts) = node.metrics().accounts();
    assert_eq!((matched, node.metrics().sink("dropped_total")), (parts, 3.0));
}

/// Row T13 of the fault table for a buffer on disk: the broker hangs, 50,000 messages are acknowledged meanwhile, the node is killed,
/// started again with another number of shards, and the broker goes on.
#[test]
fn what_lies_on_disk_outlives_the_node() {
    let Some(kafka) = Kafka::shared() else { return };
    let _alone = alone();
    kafka.create_topic("killed", 4);
    let mut node = Plan::kafka(kafka.bootstrap(), "killed")
        .node("shards = 2\npin = false")
        .sink("value = \"${payload}\"\nquery_mode = \"async\"\nbuffer.mode = \"disk\"\nbuffer.segment_bytes = \"2MB\"")
        .start();
    publish(&node, 0..100, 40);
    let broker = hang(kafka);
    publish(&node, 100..12_600, 200);
    let metrics = node.metrics();
    let (records, segments) = (metrics.sink("buffer_disk_records"), metrics.sink("buffer_segments"));
    assert!(records >= 50_000.0 && segments > 4.0, "{records} records in {segments} files");
    assert!(metrics.sink("buffer_syncs_total") > 0.0 && metrics.sink("buffer_sync_nanoseconds_total") > 0.0);
    node.kill();
    node.configure("shards = 2", "shards = 3");
    node.start_again();
    assert!(node.metrics().sink("buffer_replayed_total") >= 50_000.0);
    drop(broker);
    publish(&node, 12_600..12_700, 40);
    check_all_in_order(kafka, "killed", 12_700);
    wait::until("the files are gone", 20, || (node.metrics().sink("buffer_disk_records") == 0.0).then_some(()));
    let (matched, parts) = node.metrics().accounts();
    assert_eq!(matched, parts);
    assert!(node.terminate().success());
}

/// The node is started while Kafka is away, and takes messages all the same: an earlier start has heard how many partitions the topic
/// has. It is killed, and started once more before Kafka comes back.
#[test]
fn a_start_without_kafka_takes_messages_and_keeps_them() {
    let Some(kafka) = Kafka::shared() else { return };
    let _alone = alone();
    kafka.create_topic("away", 4);
    let mut node = Plan::kafka(kafka.bootstrap(), "away")
        .node("shards = 2\npin = false")
        .sink("value = \"${payload}\"\nquery_mode = \"async\"\nbuffer.mode = \"disk\"")
        .start();
    publish(&node, 0..100, 40);
    assert!(node.terminate().success());
    let broker = hang(kafka);
    node.start_again();
    publish(&node, 100..1_100, 200);
    let metrics = node.metrics();
    assert_eq!((metrics.sink("success_total"), metrics.sink("buffer_disk_records")), (0.0, 4_000.0));
    node.kill();
    node.start_again();
    publish(&node, 1_100..2_100, 200);
    drop(broker);
    check_all_in_order(kafka, "away", 2_100);
    assert!(node.terminate().success());
}

/// Messages name their topics, of which each shard keeps two. The broker hangs, the node is killed and started with another number of
/// shards, is killed once more while the broker still hangs, and finds for each topic what lies there. One topic is deleted
/// meanwhile: what was acknowledged for it goes to the dead letters.
#[test]
fn what_lies_on_disk_for_many_topics_finds_each() {
    const TOPICS: [&str; 3] = ["a", "b", "c"];
    let Some(kafka) = Kafka::shared() else { return };
    let _alone = alone();
    TOPICS.iter().for_each(|topic| kafka.create_topic(&format!("named-{topic}"), 3));
    kafka.create_topic("named-gone", 1);
    kafka.create_topic("named-lost", 1);
    let sink = "source_topics = [\"#\"]\ntopic = \"named-${topic}\"\nvalue = \"${payload}\"\nquery_mode = \"async\"\n\
                buffer.mode = \"disk\"\nbuffer.segment_bytes = \"1MB\"\nlive_topics_max = 2\ndead_letter = \"lost\"";
    let mut node = Plan::kafka(kafka.bootstrap(), "unused")
        .only_sink(sink)
        .section("[sinks.lost]\nconnector = \"main\"\ntopic = \"named-lost\"")
        .node("shards = 2\npin = false")
        .start();
    TOPICS.into_iter().chain(["gone"]).for_each(|topic| publish_to(&node, topic, 0..100, 40));
    wait::until("Kafka has what it was up for", 20, || (node.metrics().sink("success_total") == 1_600.0).then_some(()));
    let broker = hang(kafka);
    for part in 0..10 {
        let range = 100 + 200 * part..100 + 200 * (part + 1);
        TOPICS.into_iter().for_each(|topic| publish_to(&node, topic, range.clone(), 200));
    }
    publish_to(&node, "gone", 100..200, 200);
    assert!(node.metrics().sum("aqueduct_sink_live_topics_evicted_total", &[]) > 0.0, "topics gave up their places");
    assert_eq!(node.metrics().sink("buffer_disk_records"), 24_400.0);
    node.kill();
    node.configure("shards = 2", "shards = 3");
    node.start_again();
    assert_eq!(node.metrics().sink("buffer_replayed_total"), 24_400.0);
    node.kill();
    drop(broker);
    let mut tool = kafka.tool("topics");
    peer::run(tool.args(["--delete", "--topic", "named-gone"]));
    node.start_again();
    TOPICS.into_iter().for_each(|topic| publish_to(&node, topic, 2_100..2_200, 40));
    TOPICS.into_iter().for_each(|topic| check_all_in_order(kafka, &format!("named-{topic}"), 2_200));
    let lost = wait::until("a topic that is unknown for a minute does not exist", 120, || {
        let lost = kafka.read("named-lost");
        (lost.len() >= 400).then_some(lost)
    });
    let values: BTreeSet<_> = lost.into_iter().map(|record| record.value).collect();
    let sent = (0..CLIENTS).flat_map(|client| (100..200).map(move |n| Some(payload(client, n, 200))));
    assert!(values == sent.collect(), "each that was acknowledged, and no others");
    wait::until("the files are gone", 20, || (node.metrics().sink("buffer_disk_records") == 0.0).then_some(()));
    let (matched, parts) = node.metrics().accounts();
    assert_eq!(matched, parts);
    assert!(node.terminate().success());
}

/// The failure that others had: a connector that was thought unhealthy took its buffer with it. Hybrid, beyond its share of memory.
#[test]
fn a_hybrid_buffer_spills_and_keeps_the_order() {
    let Some(kafka) = Kafka::shared() else { return };
    let _alone = alone();
    kafka.create_topic("spilled", 4);
    let node = Plan::kafka(kafka.bootstrap(), "spilled")
        .node("shards = 1\npin = false\nmemory_limit = \"64MB\"")
        .connector("request_timeout = \"2s\"\nmetadata_request_timeout = \"1s\"")
        .sink("value = \"${payload}\"\nquery_mode = \"async\"\nbuffer.mode = \"hybrid\"\nbuffer.overflow = \"backpressure\"")
        .sink("ack_timeout = \"1s\"\nmax_batch_bytes = \"256KB\"\nbuffer.segment_bytes = \"4MB\"")
        .start();
    publish(&node, 0..100, 40);
    assert_eq!(node.metrics().sink("buffer_syncs_total"), 0.0, "memory first");
    let broker = hang(kafka);
    publish(&node, 100..12_600, 1_000);
    assert!(node.metrics().sink("buffer_disk_records") > 10_000.0, "what exceeds its share lies on disk");
    // Long enough that every link has been given up.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(node.metrics().sink("dropped_total"), 0.0);
    drop(broker);
    publish(&node, 12_600..12_700, 40);
    check_all_in_order(kafka, "spilled", 12_700);
}

/// Row T09 of the fault table: the disk of the buffer is full. No PUBACK says otherwise, what is there stays, and it goes on within
/// 5 s once there is space.
#[test]
fn a_full_disk_stops_acknowledgements_and_nothing_else() {
    let Some(disk) = SmallDisk::in_memory("12m") else { return };
    let Some(kafka) = Kafka::shared() else { return };
    let _alone = alone();
    kafka.create_topic("full", 4);
    let node = Plan::kafka(kafka.bootstrap(), "full")
        .sink("value = \"${payload}\"\nquery_mode = \"async\"\nbuffer.mode = \"disk\"\nbuffer.segment_bytes = \"1MB\"")
        .sink(&format!("buffer.dir = \"{}\"", disk.path().display()))
        .start();
    publish(&node, 0..10, 40);
    let broker = hang(kafka);
    let Filled { mut clients, acked, full } = fill(&node, 10);
    assert!(node.metrics().sink("buffer_failures_total") > 0.0);
    disk.grow("64m");
    let begin = Instant::now();
    let waiting = &mut clients[full as usize];
    assert!(waiting.packet_within(Duration::from_secs(5)).is_some(), "5 s after there was space");
    println!("the disk was full after {acked}; acknowledged again after {:?}", begin.elapsed());
    for (number, client) in (0..).zip(&mut clients).skip(full as usize + 1) {
        client.publish_acked("t", &payload(number, acked, 20_000), 1);
    }
    drop(broker);
    check_all_in_order(kafka, "full", acked + 1);
}

/// The disk of the buffer is full and the node is killed: it starts without a byte to write, and sends what lies there.
#[test]
fn a_node_starts_on_a_full_disk_and_sends_what_lies_there() {
    let Some(disk) = SmallDisk::ext4(16 << 20) else { return };
    let Some(kafka) = Kafka::shared() else { return };
    let _alone = alone();
    kafka.create_topic("refilled", 4);
    let mut node = Plan::kafka(kafka.bootstrap(), "refilled")
        .sink("value = \"${payload}\"\nquery_mode = \"async\"\nbuffer.mode = \"disk\"\nbuffer.segment_bytes = \"1MB\"")
        .sink(&format!("buffer.dir = \"{}\"", disk.path().display()))
        .start();
    publish(&node, 0..10, 40);
    let broker = hang(kafka);
    let Filled { acked, .. } = fill(&node, 10);
    node.kill();
    disk.fill();
    node.start_again();
    let replayed = node.metrics().sink("buffer_replayed_total");
    assert!(replayed >= f64::from((acked - 10) * CLIENTS), "{replayed} of {acked} each");
    drop(broker);
    wait::until("the files are gone", 60, || (node.metrics().sink("buffer_disk_records") == 0.0).then_some(()));
    publish(&node, acked..acked + 1, 20_000);
    check_all_in_order(kafka, "refilled", acked + 1);
    assert!(node.terminate().success());
}

/// Clients that have published until the disk took no more.
struct Filled {
    clients: Vec<Client>,
    /// What each has had acknowledged.
    acked: u32,
    /// The one whose next message, `acked`, is not; those before it have had theirs.
    full: u32,
}

fn fill(node: &Node, from: u32) -> Filled {
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|client| Client::connect(node.mqtt(), Version::V5, &format!("client-{client}"))).collect();
    for acked in from..2_000 {
        for (number, client) in (0..).zip(&mut clients) {
            client.publish("t", &payload(number, acked, 20_000), 1);
            if client.packet_within(Duration::from_secs(2)).is_none() {
                return Filled { clients, acked, full: number };
            }
        }
    }
    panic!("a small disk was enough for 2,000 times 80 KB");
}

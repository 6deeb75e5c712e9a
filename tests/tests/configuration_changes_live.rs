//! Another configuration for a node under load: options change, sinks come and go, and nobody loses a record or a connection.
//!
//! Setup: a real broker, a node of two shards, clients that publish numbers and never stop. Action: the file is edited, and read
//! again by `aqueduct reload` or SIGHUP. Expectation: every acknowledged number lies in Kafka once, each client's in order; the
//! sockets of clients and of links to the broker are the same ones before and after; a bad file changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{self, Node, Plan};
use aqueduct_tests::support::sockets::{Sockets, port_of};
use aqueduct_tests::support::wait;
use rustix::process::Signal;

const CLIENTS: usize = 4;

/// Messages a client has open at most.
const WINDOW: usize = 20;

/// Clients that publish until they are told to stop; each knows how many of its numbers were acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<u32>>,
}

impl Load {
    fn start(node: &Node, topic: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let to = node.mqtt();
        let client = |number: usize| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let version = if number.is_multiple_of(2) { Version::V5 } else { Version::V3_1_1 };
                let mut mqtt = Client::connect(to, version, &format!("client-{number}"));
                let mut next = 0;
                while !stop.load(Ordering::Relaxed) {
                    let payloads: Vec<String> = (0..WINDOW as u32).map(|i| format!("{number} {}", next + i)).collect();
                    mqtt.publish_all_acked(topic, payloads.iter().map(String::as_bytes), 1);
                    next += WINDOW as u32;
                }
                next
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        wait::until("every client publishes", 20, || {
            (node.metrics().sum("aqueduct_connections", &[]) >= CLIENTS as f64).then_some(())
        });
        Self { stop, clients }
    }

    /// How many numbers each client published, all of them acknowledged.
    fn stop(self) -> Vec<u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().expect("no client was closed or refused")).collect()
    }
}

/// Every number of every client lies in one of the topics, once; in a partition those of a client lie in order.
fn all_there_once_and_in_order(kafka: &Kafka, topics: &[&str], published: &[u32]) {
    let total: u32 = published.iter().sum();
    let records = wait::until("all that was acknowledged is in Kafka", 30, || {
        let records: Vec<_> =
            topics.iter().flat_map(|topic| kafka.read(topic).into_iter().map(move |r| (*topic, r))).collect();
        (records.len() >= total as usize).then_some(records)
    });
    assert_eq!(records.len(), total as usize, "nothing is there twice");
    let mut places: Vec<_> = records.iter().map(|(topic, r)| (*topic, r.partition, r.offset, &r.value)).collect();
    places.sort();
    let mut newest: BTreeMap<(&str, i32, usize), u32> = BTreeMap::new();
    let mut seen: BTreeSet<(usize, u32)> = BTreeSet::new();
    for (topic, partition, offset, value) in places {
        let text = String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
        let words: Vec<u32> = text.split(' ').map(|word| word.parse().expect("a number")).collect();
        let (client, number) = (words[0] as usize, words[1]);
        assert!(seen.insert((client, number)), "{text} is there twice");
        let last = newest.insert((topic, partition, client), number);
        assert!(last.is_none_or(|last| last < number), "{topic}-{partition}: {text} at {offset} comes after {last:?}");
    }
    for (client, count) in published.iter().enumerate() {
        assert!((0..*count).all(|number| seen.contains(&(client, number))), "client {client} lost something");
    }
}

/// Local ports of the node's connections to the broker, and the ports of its clients.
fn sockets(node: &Node, kafka: &Kafka) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let all = Sockets::of(node);
    (all.to(port_of(kafka.bootstrap())), all.from(node.ports().mqtt))
}

const SINK: &str = "value = \"${payload}\"\nlinger = \"5ms\"";

fn start(kafka: &Kafka, topic: &str) -> Node {
    kafka.create_topic(topic, 4);
    let plan = Plan::kafka(kafka.bootstrap(), topic).node("shards = 2\npin = false").sink(SINK);
    let node = plan.start();
    Client::connect(node.mqtt(), Version::V5, "first").publish_acked("warm", b"9 0", 0);
    node
}

#[test]
fn options_change_under_load_and_nothing_is_lost_doubled_or_reordered() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("live-options", 4);
    let plan = Plan::kafka(kafka.bootstrap(), "live-options").node("shards = 2\npin = false").sink(SINK);
    let node = plan.start();
    let load = Load::start(&node, "t");
    let linked = || (sockets(&node, kafka).0.len() >= 4).then_some(());
    wait::until("each shard has its links", 20, linked);
    let before = sockets(&node, kafka);
    let accepted = node.metrics().sum("aqueduct_connections_accepted_total", &[]);
    let mut now = SINK.to_owned();
    let edits = [
        "linger = \"20ms\"",
        "linger = \"0ms\"",
        "batch_target_bytes = \"1KB\"",
        "batch_target_bytes = \"4KB\"\nmax_batch_bytes = \"4KB\"",
        "max_inflight = 1",
        "max_inflight = 5",
        "compression = \"gzip\"\ncompression_level = 3",
        "compression = \"snappy\"",
        "compression = \"gzip\"",
        "compression = \"none\"\next_headers = [{ key = \"from\", value = \"${clientid}\" }]",
        "timestamp = \"${publish_received_at}\"",
        "required_acks = \"leader_only\"",
        "required_acks = \"none\"",
        "required_acks = \"all_isr\"",
        "idempotence = false\nmax_inflight = 1",
        "idempotence = true\nmax_inflight = 5",
        "partition_strategy = \"random\"",
        "partition_strategy = \"key_dispatch\"\nkey = \"${topic}\"",
        "query_mode = \"async\"\nbuffer.overflow = \"backpressure\"",
        "query_mode = \"sync\"\nbuffer.per_partition_limit = \"1MB\"",
        "buffer.memory_overload_protection = true\nmax_retries = 100\nack_timeout = \"3s\"",
    ];
    for (number, edit) in edits.iter().enumerate() {
        let next = format!("value = \"${{payload}}\"\n{edit}");
        node.configure(&now, &next);
        if number % 4 == 3 {
            let heard = node.said().matches("SIGHUP: the configuration has changed").count();
            node.signal(Signal::HUP);
            wait::until("the node reads its file again", 20, || {
                (node.said().matches("SIGHUP: the configuration has changed").count() > heard).then_some(())
            });
        } else {
            let key = edit.split(' ').next().unwrap_or_default();
            let said = node.changed();
            assert!(said.contains(&format!("sinks.main.{key}: ")), "{edit}: {said}");
        }
        now = next;
        thread::sleep(Duration::from_millis(150));
    }
    assert_eq!(node.changed(), "nothing has changed\n");
    let after = sockets(&node, kafka);
    let accepted_after = node.metrics().sum("aqueduct_connections_accepted_total", &[]);
    let published = load.stop();
    assert_eq!((before, accepted), (after, accepted_after), "sockets of links, sockets of clients, and clients so far");
    assert!(published.iter().all(|&count| count > 1_000), "a load ran all the while: {published:?}");
    all_there_once_and_in_order(kafka, &["live-options"], &published);
    let accounts = wait::until("nothing is open", 10, || {
        let metrics = node.metrics();
        (metrics.sink("queuing") + metrics.sink("inflight") == 0.0).then(|| metrics.accounts())
    });
    let total = f64::from(published.iter().sum::<u32>());
    assert_eq!(accounts, (total, total), "counters have gone on through all changes");
}

/// Its topic is what a sink is at Kafka: the records before the change lie in the one, those after it in the other.
#[test]
fn another_topic_takes_over_under_load() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("live-topic-b", 4);
    let node = start(kafka, "live-topic-a");
    let warm = kafka.read_count("live-topic-a", 1).len();
    let load = Load::start(&node, "t");
    thread::sleep(Duration::from_millis(300));
    node.configure("topic = \"live-topic-a\"", "topic = \"live-topic-b\"");
    assert_eq!(node.changed(), "sinks.main.topic: \"live-topic-a\" → \"live-topic-b\"\n");
    thread::sleep(Duration::from_millis(500));
    let published = load.stop();
    let all: u32 = published.iter().sum();
    let count = |topic: &str| kafka.read(topic).len();
    let split = wait::until("everything is in one of them", 20, || {
        let split = (count("live-topic-a") - warm, count("live-topic-b"));
        (split.0 + split.1 == all as usize).then_some(split)
    });
    assert!(split.0 > 0 && split.1 > 0, "{split:?}");
    assert_eq!(node.metrics().sink("success_total"), f64::from(all) + 1.0, "one sink, one count");
}

#[test]
fn a_bad_file_is_refused_whole() {
    let Some(kafka) = Kafka::shared() else { return };
    let node = start(kafka, "live-bad");
    let good = "linger = \"5ms\"";
    for (bad, says) in [
        ("linger = \"20ms\"\nlingr = \"1ms\"", "did you mean `linger`?"),
        ("linger = \"20ms\"\nmax_inflight = 9", "write at most 5"),
        ("linger = \"20ms\"\nmax_batch_bytes = \"900TB\"", "max_batch_bytes"),
        ("linger = \"20ms\nmax_inflight = 2", "is not valid TOML"),
    ] {
        node.configure(good, bad);
        let told = node.refused();
        let config = node.folder().join("aqueduct.toml").display().to_string();
        let checked = node::command(node.folder(), &["check", "--config", &config]).output().expect("it runs");
        let checked = String::from_utf8(checked.stderr).expect("text");
        let diagnostics = checked.split("the configuration has ").next().unwrap_or_default();
        assert!(told.contains(says) && told.starts_with(diagnostics), "{told}\nbut check: {checked}");
        node.configure(bad, good);
        assert_eq!(node.changed(), "nothing has changed\n", "not even the linger");
    }
    node.configure(good, "linger = \"20ms\"\nbuffer.mode = \"disk\"");
    let told = node.refused();
    assert!(
        told.contains("sinks.main.buffer.mode: \"memory\" → \"disk\"") && told.contains("needs a restart"),
        "{told}"
    );
    node.configure("linger = \"20ms\"\nbuffer.mode = \"disk\"", good);
    node.configure("shards = 2", "shards = 1");
    let told = node.refused();
    assert!(told.contains("node.shards: 2 → 1") && told.contains("restart the node"), "{told}");
    let heard = node.said().matches("SIGHUP: the configuration has an error").count();
    node.signal(Signal::HUP);
    wait::until("the log names it", 20, || {
        let said = node.said();
        (said.matches("SIGHUP: the configuration has an error").count() > heard && said.contains("node.shards"))
            .then_some(())
    });
    // Four files that are wrong, two changes that need a restart, and the signal; after each of the four it was put right.
    assert_eq!(reloads(&node), [0.0, 4.0, 7.0]);
    assert_eq!(node.metrics().sum("aqueduct_config_last_reload_successful", &[]), 0.0);
    let began = node.metrics().sum("aqueduct_config_changed_timestamp_seconds", &[]);
    node.configure("shards = 1", "shards = 2");
    node.configure(good, "linger = \"6ms\"");
    node.changed();
    assert_eq!(reloads(&node), [1.0, 4.0, 7.0]);
    assert_eq!(node.metrics().sum("aqueduct_config_last_reload_successful", &[]), 1.0);
    let since = node.metrics().sum("aqueduct_config_changed_timestamp_seconds", &[]);
    assert!(began > 1.7e9 && since >= began, "{began}, {since}");
}

/// Reloads that changed something, those that found nothing new, and those that were refused.
fn reloads(node: &Node) -> [f64; 3] {
    let count = |outcome| node.metrics().sum("aqueduct_config_reloads_total", &[&format!("outcome=\"{outcome}\"")]);
    ["changed", "unchanged", "refused"].map(count)
}

#[test]
fn sinks_come_and_go_and_disturb_no_other() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("live-extra", 2);
    kafka.create_topic("live-main", 4);
    let plan = Plan::kafka(kafka.bootstrap(), "live-main").node("shards = 2\npin = false").sink(SINK);
    let node = plan.section("# more").start();
    let load = Load::start(&node, "t");
    let mut client = Client::connect(node.mqtt(), Version::V5, "extra");
    let extra = "[sinks.extra]\nconnector = \"main\"\nsource_topics = [\"extra/#\"]\ntopic = \"live-extra\"\nvalue = \"${payload}\"\n";
    let mut published = 0;
    for round in 0..3 {
        node.configure("# more", extra);
        assert_eq!(node.changed(), "sinks.extra: added\n", "round {round}");
        for _ in 0..50 {
            client.publish_acked("extra/t", format!("7 {published}").as_bytes(), 1);
            published += 1;
        }
        assert_eq!(kafka.read_count("live-extra", published).len(), published);
        assert_eq!(
            node.metrics().sum("aqueduct_sink_success_total", &["sink=\"extra\""]),
            50.0,
            "it counts from its beginning"
        );
        node.configure(extra, "# more");
        assert_eq!(node.changed(), "sinks.extra: removed\n");
        client.publish_acked("extra/t", b"for nobody but the other", 0);
        wait::until("its slot is vacant", 10, || {
            (node.metrics().sum("aqueduct_sink_matched_total", &["sink=\"extra\""]) == 0.0).then_some(())
        });
    }
    assert_eq!(kafka.read("live-extra").len(), published);
    drop(client);
    let counts = load.stop();
    let records = kafka.read_count("live-main", counts.iter().sum::<u32>() as usize + published + 3);
    let own = records.iter().filter(|record| {
        record.value.as_deref().is_some_and(|value| !value.starts_with(b"7 ") && !value.starts_with(b"for"))
    });
    assert_eq!(own.count(), counts.iter().sum::<u32>() as usize, "the load lost nothing and has nothing twice");
}

const STORED: &str = "[sinks.stored]\nconnector = \"main\"\nsource_topics = [\"stored/#\"]\ntopic = \"live-stored\"\n\
                      value = \"${payload}\"\nquery_mode = \"async\"\nbuffer.mode = \"disk\"\n";

/// Files that hold entries of the sink `stored`.
fn segments(node: &Node) -> usize {
    let starts = fs::read_dir(node.folder().join("data/buffer/stored")).into_iter().flatten().flatten();
    let files = starts.flat_map(|start| fs::read_dir(start.path()).into_iter().flatten().flatten());
    files.filter(|file| file.file_name().to_string_lossy().ends_with(".journal")).count()
}

#[test]
fn sinks_with_buffers_on_disk_come_and_go_and_disturb_no_other() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("live-stored", 2);
    kafka.create_topic("live-beside", 4);
    let plan = Plan::kafka(kafka.bootstrap(), "live-beside").node("shards = 2\npin = false").sink(SINK);
    let node = plan.section("# more").start();
    let load = Load::start(&node, "t");
    wait::until("each shard has its links", 20, || (sockets(&node, kafka).0.len() >= 4).then_some(()));
    let mut client = Client::connect(node.mqtt(), Version::V5, "stored");
    let before = sockets(&node, kafka);
    let mut published = 0;
    // The client's name is that of its records' topic, where they name it.
    let (one, named) = ("live-stored", "live-${clientid}");
    for (mode, topic) in [("disk", one), ("hybrid", named), ("disk", named), ("disk", one)] {
        let stored = STORED.replace("disk", mode).replace(one, topic);
        node.configure("# more", &stored);
        assert_eq!(node.changed(), "sinks.stored: added\n", "{mode}");
        for _ in 0..50 {
            client.publish_acked("stored/t", format!("7 {published}").as_bytes(), 1);
            published += 1;
        }
        assert_eq!(kafka.read_count("live-stored", published).len(), published);
        node.configure(&stored, "# more");
        assert_eq!(node.changed(), "sinks.stored: removed\n");
        wait::until("its slot is vacant", 10, || {
            (node.metrics().sum("aqueduct_sink_matched_total", &["sink=\"stored\""]) == 0.0).then_some(())
        });
        wait::until("the disk has its space back", 10, || (segments(&node) == 0).then_some(()));
    }
    assert_eq!(kafka.read("live-stored").len(), published, "nothing is there twice");
    assert_eq!(before, sockets(&node, kafka), "the sockets are the same ones");
    let counts = load.stop();
    let own = counts.iter().sum::<u32>() as usize;
    let records = kafka.read_count("live-beside", own + published);
    let loaded = records.iter().filter(|r| r.value.as_deref().is_some_and(|value| !value.starts_with(b"7 ")));
    assert_eq!(loaded.count(), own, "the load lost nothing and has nothing twice");
}

/// Removed with entries in its buffer, and the node killed: they lie there until the sink is added again.
#[test]
fn what_a_removed_sink_had_on_disk_is_sent_when_it_comes_again() {
    if Kafka::shared().is_none() {
        return;
    }
    let kafka = Kafka::start(1, "").expect("a broker of its own");
    kafka.create_topic("live-stored", 2);
    kafka.create_topic("live-first", 2);
    let plan = Plan::kafka(kafka.bootstrap(), "live-first").node("shards = 2\npin = false");
    let first = "topic = \"live-first\"\nsource_topics = [\"first\"]\nvalue = \"${payload}\"";
    let mut node = plan.only_sink(first).section("# more").start();
    Client::connect(node.mqtt(), Version::V5, "first").publish_acked("first", b"1", 1);
    node.configure("# more", STORED);
    assert_eq!(node.changed(), "sinks.stored: added\n");
    let mut client = Client::connect(node.mqtt(), Version::V5, "stored");
    client.publish_acked("stored/t", b"0", 1);
    kafka.read_count("live-stored", 1);
    let frozen = kafka.freeze(1);
    (1..=100).for_each(|n| client.publish_acked("stored/t", format!("{n}").as_bytes(), 1));
    node.configure(STORED, "# more");
    assert_eq!(node.changed(), "sinks.stored: removed\n");
    node.kill();
    drop(frozen);
    node.start_again();
    Client::connect(node.mqtt(), Version::V5, "first").publish_acked("first", b"2", 1);
    let sent = kafka.read("live-stored").len();
    assert!(sent < 101 && segments(&node) > 0, "{sent} are there: the broker was away and the sink is");
    node.configure("# more", STORED);
    assert_eq!(node.changed(), "sinks.stored: added\n");
    let mut values = BTreeSet::new();
    wait::until("everything that was acknowledged is there", 30, || {
        values.extend(kafka.read("live-stored").into_iter().filter_map(|record| record.value));
        (values.len() == 101).then_some(())
    });
}

/// Waits as long as a test does: whoever is away for a while is not given up.
const PATIENT: &str =
    "request_timeout = \"120s\"\nmetadata_request_timeout = \"120s\"\nhealth_check_interval = \"120s\"";

/// Kafka is away, and thousands of records that were acknowledged lie on disk, when everything about how they are sent changes. With the
/// last change the partitions are full: clients wait until Kafka is back, and lose neither a record nor their connection.
#[test]
fn options_change_over_a_backlog_and_all_of_it_is_sent() {
    if Kafka::shared().is_none() {
        return;
    }
    let kafka = Kafka::start(1, "").expect("a broker of its own");
    kafka.create_topic("live-backlog", 4);
    let disk = "query_mode = \"async\"\nbuffer.mode = \"disk\"\nbuffer.segment_bytes = \"64KB\"";
    let value = "value = \"${payload} 0\"";
    let plan = Plan::kafka(kafka.bootstrap(), "live-backlog").node("shards = 2\npin = false").connector(PATIENT);
    let node = plan.sink(disk).sink(value).start();
    let load = Load::start(&node, "t");
    wait::until("each shard has its links", 20, || (sockets(&node, &kafka).0.len() >= 4).then_some(()));
    let frozen = kafka.freeze(1);
    let before = sockets(&node, &kafka);
    let accepted = node.metrics().sum("aqueduct_connections_accepted_total", &[]);
    more_lies_on_disk(&node);
    let mut now = value.to_owned();
    for edit in [
        "value = \"${payload} 0\"\ncompression = \"gzip\"",
        "value = \"${payload} 0\"\ncompression = \"snappy\"\nbatch_target_bytes = \"1KB\"\nmax_batch_bytes = \"4KB\"",
        "value = \"${payload} 0\"\nmax_inflight = 1",
        "value = \"${payload} 1\"\nmax_inflight = 3",
    ] {
        change(&node, &mut now, edit);
        more_lies_on_disk(&node);
    }
    let little = "max_batch_bytes = \"4KB\"\nbuffer.per_partition_limit = \"64KB\"";
    change(&node, &mut now, &format!("value = \"${{payload}} 1\"\n{little}"));
    let matched = || node.metrics().sink("matched_total");
    let full = wait::until("what lies there is more than may, and nothing is taken", 5, || {
        let full = matched();
        thread::sleep(Duration::from_millis(500));
        (matched() == full).then_some(full)
    });
    assert_eq!(before, sockets(&node, &kafka), "sockets of links and of clients");
    drop(frozen);
    wait::until("clients go on", 30, || (matched() > full + 1_000.0).then_some(()));
    let published = load.stop();
    assert_eq!(accepted, node.metrics().sum("aqueduct_connections_accepted_total", &[]), "nobody came again");
    all_there_once_and_in_order(&kafka, &["live-backlog"], &published);
    let records = kafka.read("live-backlog");
    let of =
        |template: &[u8]| records.iter().filter(|r| r.value.as_deref().is_some_and(|v| v.ends_with(template))).count();
    assert!(of(b" 0") >= 4_000 && of(b" 1") >= 2_000, "{} before the template changed, {} after", of(b" 0"), of(b" 1"));
    let total = f64::from(published.iter().sum::<u32>());
    let rest = wait::until("nothing is open", 10, || {
        let metrics = node.metrics();
        let open = metrics.sink("queuing") + metrics.sink("inflight") + metrics.sink("buffer_disk_records");
        (open == 0.0).then_some((metrics.accounts(), metrics.sink("success_total")))
    });
    assert_eq!(rest, ((total, total), total), "all of it was sent");
}

/// Has other lines in the place of those that are there now.
#[track_caller]
fn change(node: &Node, now: &mut String, to: &str) {
    node.configure(now, to);
    assert!(node.changed().contains("sinks.main."), "{to}");
    to.clone_into(now);
}

/// Waits until a thousand records more wait on disk.
fn more_lies_on_disk(node: &Node) {
    let records = || node.metrics().sink("buffer_disk_records");
    let before = records();
    wait::until("a thousand records more lie on disk", 30, || (records() >= before + 1_000.0).then_some(()));
}

#[test]
fn a_buffer_that_cannot_be_opened_refuses_the_change() {
    let Some(kafka) = Kafka::shared() else { return };
    let node = start(kafka, "live-locked");
    let file = node.folder().join("aqueduct.toml");
    let before = fs::read_to_string(&file).expect("it was written");
    let elsewhere = node.folder().join("elsewhere");
    let stored = STORED.replace("live-stored", "live-locked");
    let stored = format!("{before}\n{stored}buffer.dir = \"{}\"\n", elsewhere.display());
    fs::write(&file, stored).expect("writable");
    fs::write(&elsewhere, "a file").expect("writable");
    let told = node.refused();
    assert!(told.contains("cannot create") && told.contains("sinks.stored.buffer.dir"), "{told}");
    assert!(told.contains("its buffer cannot be opened") && told.contains("aqueduct.toml:"), "{told}");
    fs::remove_file(&elsewhere).expect("writable");
    fs::create_dir_all(elsewhere.join("stored")).expect("writable");
    let lock = fs::File::create(elsewhere.join("stored/lock")).expect("writable");
    lock.lock().expect("nobody has it");
    let told = node.refused();
    assert!(told.contains("is in use by another aqueduct"), "{told}");
    Client::connect(node.mqtt(), Version::V5, "still").publish_acked("t", b"9 1", 1);
    drop(lock);
    assert_eq!(node.changed(), "sinks.stored: added\n");
    Client::connect(node.mqtt(), Version::V5, "now").publish_acked("stored/t", b"9 2", 1);
}

/// A topic that is not there would hold the clients of every sink that takes the same messages.
#[test]
fn a_new_sink_whose_topic_is_not_there_is_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let node = start(kafka, "live-known");
    let before = node.folder().join("aqueduct.toml");
    let file = fs::read_to_string(&before).expect("it was written");
    let unknown = "[sinks.typo]\nconnector = \"main\"\nsource_topics = [\"#\"]\ntopic = \"live-unknwon\"\n";
    fs::write(&before, format!("{file}\n{unknown}")).expect("writable");
    let told = node.refused();
    assert!(told.contains("the topic of sinks.typo is not known") && told.contains("live-unknwon"), "{told}");
    Client::connect(node.mqtt(), Version::V5, "still").publish_acked("t", b"9 1", 1);
    kafka.create_topic("live-unknwon", 1);
    assert_eq!(node.changed(), "sinks.typo: added\n");
    Client::connect(node.mqtt(), Version::V5, "both").publish_acked("t", b"9 2", 1);
    kafka.read_count("live-unknwon", 1);
}

#[test]
fn without_a_node_nobody_answers() {
    let plan = Plan::embedded();
    let config = plan.write();
    let (folder, config) = (config.parent().expect("a folder"), config.display().to_string());
    let output = node::command(folder, &["reload", "--config", &config]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no node answers at"), "{output:?}");
}

/// Flags and variables keep their precedence: the file may say otherwise.
#[test]
fn flags_of_the_start_stay_stronger_than_the_file() {
    let node = Plan::embedded().sink("linger = \"5ms\"").set("sinks.main.linger", "7ms").start();
    node.configure("linger = \"5ms\"", "linger = \"50ms\"\nmax_inflight = 3");
    assert_eq!(node.changed(), "sinks.main.max_inflight: 5 → 3\n");
    Client::connect(node.mqtt(), Version::V5, "one").publish_acked("t", b"x", 1);
}

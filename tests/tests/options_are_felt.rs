//! Options reach what they are about: a node is configured, and a client, the metrics or the kernel show the difference.
//!
//! The machines behind the options have tests of their own; what fails here is the way from the file to the machine, such as
//! two options that were mixed up.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aqueduct_tests::support::kafka;
use aqueduct_tests::support::mqtt::{Client, Connect, Packet, Properties, Publication, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::port;
use aqueduct_tests::support::wait;

const LIMITS: &str = "[mqtt]
max_packet_size = \"2KB\"
topic_max_bytes = 20
max_topic_levels = 3
receive_maximum = 7
keepalive_max = \"30s\"
session_expiry_max = \"10m\"
session_expiry_default = \"1s\"
subscriptions_max = 2
queue_max_messages = 3
queue_max_bytes = \"4KB\"
topic_alias_maximum = 3
connect_timeout = \"400ms\"
";

/// A CONNECT of MQTT 5 that asks for a session of an hour.
fn persistent(client_id: &str) -> Connect<'_> {
    let properties = Properties::default().with(0x11, &3_600u32.to_be_bytes());
    Connect { clean: false, keepalive_s: 600, properties, ..Connect::new(Version::V5, client_id) }
}

#[test]
fn limits_are_announced_to_mqtt_5_clients() {
    let node = Plan::embedded().section(LIMITS).start();
    let (_client, connack) = Client::connect_with(node.mqtt(), &persistent("asks"));
    let Packet::ConnAck { properties, .. } = connack else { unreachable!("a CONNACK") };
    let number = |id: u8| properties.get(id).map(|bytes| bytes.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)));
    assert_eq!(number(0x11), Some(600), "session expiry");
    assert_eq!(number(0x13), Some(30), "server keep alive");
    assert_eq!(number(0x21), Some(7), "receive maximum");
    assert_eq!(number(0x22), Some(3), "topic alias maximum");
    assert_eq!(number(0x27), Some(2048), "maximum packet size");
}

#[test]
fn limits_hold() {
    let node = Plan::embedded().section(LIMITS).start();
    for (what, topic, payload) in
        [("levels", "a/b/c/d", 1), ("topic", "a-topic-of-21-letters", 1), ("packet", "t", 2_048)]
    {
        let mut client = Client::connect(node.mqtt(), Version::V5, what);
        client.publish_acked("a/b/c", b"within", 1);
        client.publish(topic, &vec![b'x'; payload], 1);
        let refused = match client.packet() {
            Packet::PubAck { reason, .. } | Packet::Disconnect { reason } => reason >= 0x80,
            other => panic!("{what}: {other:?}"),
        };
        assert!(refused, "{what}");
    }
    let mut greedy = Client::connect(node.mqtt(), Version::V5, "greedy");
    let codes: Vec<u8> = ["a", "b", "c"].iter().map(|filter| greedy.subscribe(filter, 1)).collect();
    assert!(matches!(codes[..], [1, 1, 0x80..=0xff]), "two subscriptions: {codes:02x?}");

    let mut silent = Client::open(node.mqtt(), Version::V5);
    let begin = Instant::now();
    silent.expect_close();
    assert!((300..5_000).contains(&begin.elapsed().as_millis()), "connect_timeout: {:?}", begin.elapsed());
}

#[test]
fn queues_hold_so_many_messages_and_bytes() {
    let node = Plan::embedded().section(LIMITS).start();
    let mut publisher = Client::connect(node.mqtt(), Version::V5, "publisher");
    for (subscriber, payload, sent, kept) in [("messages", 10, 5, 3), ("bytes", 1_700, 3, 2)] {
        let (mut client, _) = Client::connect_with(node.mqtt(), &persistent(subscriber));
        client.subscribe(subscriber, 1);
        client.disconnect();
        wait::until("it is gone", 5, || (node.metrics().sum("aqueduct_connections", &[]) == 1.0).then_some(()));
        for _ in 0..sent {
            publisher.publish_acked(subscriber, &vec![b'x'; payload], 1);
        }
        let (mut client, _) = Client::connect_with(node.mqtt(), &persistent(subscriber));
        for _ in 0..kept {
            assert!(matches!(client.packet(), Packet::Publish { .. }), "{subscriber}");
        }
        client.expect_silence(Duration::from_millis(200));
        client.disconnect();
        wait::until("it is gone", 5, || (node.metrics().sum("aqueduct_connections", &[]) == 1.0).then_some(()));
    }
}

#[test]
fn a_session_of_mqtt_3_1_1_is_kept_for_the_default_time() {
    let node = Plan::embedded().section(LIMITS).start();
    let connect = Connect { clean: false, ..Connect::new(Version::V3_1_1, "old") };
    let is_kept = || {
        let (client, connack) = Client::connect_with(node.mqtt(), &connect);
        client.disconnect();
        matches!(connack, Packet::ConnAck { session_present: true, .. })
    };
    assert!(!is_kept());
    assert!(is_kept());
    wait::until("it has expired", 10, || (node.metrics().sum("aqueduct_sessions", &[]) == 0.0).then_some(()));
    assert!(!is_kept());
}

#[test]
fn connections_are_limited_in_number_and_pace() {
    let small: SocketAddr = ([127, 0, 0, 1], port::free()).into();
    let plan = Plan::embedded()
        .section(&format!("[listeners.small]\nbind = \"{small}\"\nmax_connections = 2\n[mqtt]\nconnect_rate = 20"));
    let node = plan.start();
    let kept = ["a", "b"].map(|id| Client::connect(small, Version::V3_1_1, id));
    Client::open(small, Version::V3_1_1).expect_close();
    drop(kept);
    assert_eq!(node.metrics().sum("aqueduct_connections_refused_total", &[]), 1.0);
    let begin = Instant::now();
    let ids: Vec<String> = (0..50).map(|i| format!("c{i}")).collect();
    let _clients: Vec<Client> = ids.iter().map(|id| Client::connect(node.mqtt(), Version::V3_1_1, id)).collect();
    assert!(begin.elapsed() > Duration::from_millis(1_200), "twenty a second: {:?}", begin.elapsed());
    assert!(node.metrics().sum("aqueduct_accepts_paced_total", &[]) > 0.0);
}

/// How long the first of `n` publishes of 200 bytes waits for its PUBACK.
fn first_ack(sink: &str, n: usize) -> Duration {
    let node = Plan::embedded().sink(sink).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    let publish = |i: usize| {
        let publication =
            Publication { topic: "t", payload: &[b'x'; 200], qos: 1, id: i as u16 + 1, ..Default::default() };
        publication.encode(Version::V5)
    };
    let begin = Instant::now();
    client.send(&(0..n).flat_map(publish).collect::<Vec<u8>>());
    client.expect(&Packet::PubAck { id: 1, reason: 0 });
    begin.elapsed()
}

#[test]
fn a_batch_waits_for_its_linger_unless_it_is_large() {
    const LINGER: &str = "linger = \"1500ms\"\nbatch_target_bytes = \"1KB\"\nvalue = \"${payload}\"";
    let long = Duration::from_millis(1_300);
    assert!(first_ack(LINGER, 1) > long);
    assert!(first_ack(LINGER, 10) < long, "it has reached batch_target_bytes");
    assert!(first_ack(&format!("{LINGER}\nmin_batch_bytes = \"16KB\""), 10) > long, "it is below min_batch_bytes");
}

#[test]
fn the_hash_decides_the_partition() {
    let partitions = |hash: &str| -> BTreeMap<Vec<u8>, i32> {
        let node = Plan::embedded().sink(&format!("key_hash = \"{hash}\"")).start();
        for id in 0..12 {
            Client::connect(node.mqtt(), Version::V5, &format!("client-{id}")).publish_acked("t", b"x", 1);
        }
        let records = kafka::read(&node.bootstrap(), "mqtt");
        records.into_iter().map(|record| (record.key.expect("a key"), record.partition)).collect()
    };
    let (murmur2, crc32, fnv1a) = (partitions("murmur2"), partitions("crc32"), partitions("fnv1a"));
    assert!(murmur2 != crc32 && crc32 != fnv1a && murmur2 != fnv1a, "{murmur2:?} {crc32:?} {fnv1a:?}");
}

#[test]
fn a_late_outcome_is_waited_for_refused_or_the_end() {
    let first = |on_sync_timeout: &str| {
        let sink = format!("linger = \"3s\"\nsync_timeout = \"400ms\"\non_sync_timeout = \"{on_sync_timeout}\"");
        let node = Plan::embedded().sink(&sink).start();
        let mut client = Client::connect(node.mqtt(), Version::V5, "c");
        let begin = Instant::now();
        let id = client.publish("t", b"x", 1);
        (client.packet(), id, begin.elapsed().as_millis(), node.metrics().sink("late_total"))
    };
    let (packet, id, waited_ms, late) = first("wait");
    assert_eq!((packet, late), (Packet::PubAck { id, reason: 0 }, 1.0));
    assert!(waited_ms >= 2_900, "{waited_ms} ms");
    let (packet, id, waited_ms, _) = first("reject");
    assert_eq!(packet, Packet::PubAck { id, reason: 0x83 });
    assert!((400..2_900).contains(&waited_ms), "{waited_ms} ms");
    let (packet, _, waited_ms, _) = first("close");
    assert_eq!(packet, Packet::Disconnect { reason: 0x89 });
    assert!((400..2_900).contains(&waited_ms), "{waited_ms} ms");
}

#[test]
fn what_is_missing_is_null_empty_or_no_record() {
    let values = |missing: &str| -> Vec<Option<Vec<u8>>> {
        let sink = format!("value = \"${{payload.v}}\"\nmissing_value = \"{missing}\"");
        let node = Plan::embedded().sink(&sink).start();
        Client::connect(node.mqtt(), Version::V5, "c").publish_acked("t", b"{\"w\":1}", 1);
        kafka::read(&node.bootstrap(), "mqtt").into_iter().map(|record| record.value).collect()
    };
    assert_eq!(values("null"), [None]);
    assert_eq!(values("empty"), [Some(Vec::new())]);
    assert!(values("drop").is_empty());
}

/// Publishes `n` messages of 1,000 bytes in one go; how many were refused for want of room, and the batches they went in.
fn burst(sink: &str, n: u16) -> (usize, f64) {
    let node = Plan::embedded().sink(&format!("value = \"${{payload}}\"\n{sink}")).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    let publish = |id: u16| {
        let publication = Publication { topic: "t", payload: &[b'x'; 1_000], qos: 1, id, ..Default::default() };
        publication.encode(Version::V5)
    };
    client.send(&(1..=n).flat_map(publish).collect::<Vec<u8>>());
    let refused = (1..=n).filter(|_| matches!(client.packet(), Packet::PubAck { reason: 0x97, .. })).count();
    (refused, node.metrics().sum("aqueduct_sink_batches_total", &[]))
}

#[test]
fn a_batch_holds_so_many_bytes_and_a_partition_so_many() {
    let (refused, batches) = burst("linger = \"1s\"\nmax_batch_bytes = \"4KB\"", 100);
    assert!(refused == 0 && batches >= 100.0 / 4.0, "{refused} refused, {batches} batches");
    let (_, batches) = burst("linger = \"1s\"", 100);
    assert!(batches < 10.0, "{batches} batches of up to 128 KB");
    // What lingers fills the partition's buffer.
    let limit =
        "linger = \"2s\"\nmax_batch_bytes = \"64KB\"\nbatch_target_bytes = \"64KB\"\nbuffer.overflow = \"reject\"";
    let (refused, _) = burst(&format!("{limit}\nbuffer.per_partition_limit = \"64KB\""), 100);
    assert!((30..60).contains(&refused), "{refused} of 100 refused by 64 KB");
    assert_eq!(burst(&format!("{limit}\nbuffer.per_partition_limit = \"1MB\""), 100).0, 0);
}

/// A connector of type `discard` needs no broker, counts what it is given, and keeps none of it; one of type `embedded` keeps the same
/// messages for whoever speaks Kafka's protocol.
#[test]
fn what_is_discarded_is_counted_and_kept_nowhere() {
    const GRAVE: &str = "[connectors.grave]\ntype = \"discard\"\n[sinks.lost]\nconnector = \"grave\"\n\
                         source_topics = [\"lost/#\"]\ntopic = \"mqtt\"";
    const KEPT: &str = "source_topics = [\"kept/#\"]\ntopic = \"mqtt\"\nvalue = \"${payload}\"";
    let node = Plan::embedded().section(GRAVE).only_sink(KEPT).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    for (topic, times) in [("lost/t", 30), ("kept/t", 7)] {
        client.publish_all_acked(topic, std::iter::repeat_n(topic.as_bytes(), times), 1);
    }
    let metrics = node.metrics();
    let success = |sink: &str| metrics.sum("aqueduct_sink_success_total", &[&format!("sink=\"{sink}\"")]);
    assert_eq!((success("lost"), success("main")), (30.0, 7.0));
    let kept = kafka::read(&node.bootstrap(), "mqtt");
    assert_eq!(kept.len(), 7);
    assert!(kept.iter().all(|record| record.value.as_deref() == Some(b"kept/t")), "{kept:?}");
}

/// The files of the embedded log's topic, by partition: how many bytes each has.
fn segments(node: &Node) -> BTreeMap<PathBuf, Vec<u64>> {
    let mut found: BTreeMap<PathBuf, Vec<u64>> = BTreeMap::new();
    let mut open = vec![node.folder().to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "log") && folder.to_string_lossy().contains("mqtt-") {
                found.entry(folder.clone()).or_default().push(entry.metadata().map_or(0, |data| data.len()));
            }
        }
    }
    found
}

#[test]
fn the_embedded_log_keeps_so_much_in_files_of_such_a_size() {
    let fill = |node: &Node, n: usize| {
        let mut client = Client::connect(node.mqtt(), Version::V5, "c");
        let payload = [b'x'; 1_000];
        // No more at once than a client may have open.
        for _ in 0..n / 100 {
            client.publish_all_acked("t", std::iter::repeat_n(&payload[..], 100), 1);
        }
    };
    let common = "partitions = 2\nsegment_bytes = \"64KB\"";
    let sink = "value = \"${payload}\"\nmax_batch_bytes = \"16KB\"\nbatch_target_bytes = \"16KB\"";
    let plan = || Plan::embedded().sink(sink).section("[mqtt]\nmax_packet_size = \"32KB\"");
    let node = plan().connector(&format!("{common}\nretention_bytes = \"1MB\"")).start();
    fill(&node, 3_000);
    // Keys enough for both partitions.
    for number in 0..20 {
        let mut other = Client::connect(node.mqtt(), Version::V5, &format!("other-{number}"));
        other.publish_all_acked("t", [&b"y"[..]], 1);
    }
    let all = wait::until("the oldest went", 20, || {
        let all = segments(&node);
        let held: u64 = all.values().flatten().sum();
        (held < (1 << 20) + (128 << 10)).then_some(all)
    });
    assert_eq!(all.len(), 2, "partitions: {all:?}");
    assert!(all.values().flatten().all(|&bytes| bytes <= 64 << 10), "{all:?}");
    let left = kafka::read(&node.bootstrap(), "mqtt").len();
    assert!((500..1_300).contains(&left), "{left} records of 3,000");
    drop(node);

    let node = plan().connector(&format!("{common}\nretention_time = \"1s\"")).start();
    fill(&node, 300);
    wait::until("old files went", 20, || (segments(&node).values().all(|files| files.len() <= 1)).then_some(()));
}

#[test]
fn the_node_is_bound_to_its_memory_and_its_cores() {
    let node = Plan::embedded().node("shards = 1\npin = true\nmemory_limit = \"64MB\"").start();
    let budget = node.metrics().sum("aqueduct_memory_budget_bytes", &[]);
    assert!((10e6..64e6).contains(&budget), "{budget}");
    assert!(cores_of_shards(&node).iter().all(|&cores| cores == 1));
    let unbound = Plan::embedded().node("shards = 1\npin = false").start();
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(cores_of_shards(&unbound).iter().all(|&cores| cores == all));
}

/// On how many cores each shard's thread may run.
fn cores_of_shards(node: &Node) -> Vec<usize> {
    let tasks = fs::read_dir(format!("/proc/{}/task", node.pid().as_raw_nonzero())).expect("it runs");
    let mut cores = Vec::new();
    for task in tasks {
        let status = fs::read_to_string(task.expect("an entry").path().join("status")).expect("a thread");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if field("Name:").is_some_and(|name| name.starts_with("shard")) {
            let mask = field("Cpus_allowed:").expect("a mask").replace(',', "");
            cores.push(mask.chars().map(|digit| digit.to_digit(16).expect("hexadecimal").count_ones() as usize).sum());
        }
    }
    assert!(!cores.is_empty(), "the shards' threads bear their name");
    cores
}

#[test]
fn metrics_ask_for_the_token_where_strangers_can_ask() {
    let start = |more: &str| {
        let plan = Plan::embedded();
        let http = format!("http.bind=0.0.0.0:{}", plan.ports().http);
        let plan = plan.argument("--set").argument(&http).argument("--set").argument("http.token=open-sesame");
        plan.argument("--set").argument(more).start()
    };
    let node = start("metrics.public=false");
    let port = node.ports().http;
    assert_eq!(status(port, "/metrics", ""), 401);
    assert_eq!(status(port, "/metrics", "Authorization: Bearer open\r\n"), 401);
    assert_eq!(status(port, "/metrics", "Authorization: Bearer open-sesame\r\n"), 200);
    assert_eq!(status(port, "/readyz", ""), 200);
    assert_eq!(status(start("metrics.public=true").ports().http, "/metrics", ""), 200);
}

fn status(port: u16, path: &str, header: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{header}Connection: close\r\n\r\n").expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer.split(' ').nth(1).expect("a status").parse().expect("a number")
}

#[test]
fn the_log_goes_where_and_how_it_is_told() {
    let plan = Plan::embedded();
    let file = plan.write().with_file_name("aqueduct.log");
    let lines = |format: &str| format!("[log]\nfile = \"{}\"\nformat = \"{format}\"\nlevel = \"info\"", file.display());
    let mut node = plan.section(&lines("json")).start();
    // Whoever answers here hears signals too.
    assert_eq!(status(node.ports().http, "/readyz", ""), 200);
    assert_eq!(node.terminate().code(), Some(0));
    let text = fs::read_to_string(&file).expect("a log");
    assert!(text.contains("draining"), "{text}");
    for line in text.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    assert!(!node.said().contains("draining"), "not on stderr as well");
}

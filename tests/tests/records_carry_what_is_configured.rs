//! What a record is, and where it goes if Kafka will never take it, as Apache Kafka's own tools see it.
//!
//! Setup: one real broker, a node with one sink or two. Action: publications. Expectation: what Kafka's log dump, its console
//! consumer and kcat print.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Connect, Packet, Properties, Publication, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::peer::{self, Peer};
use aqueduct_tests::support::wait;

/// What the console consumer prints of `count` records of the topics that match: headers, key and value, a line each.
fn consumed(kafka: &Kafka, topics: &str, count: usize) -> Vec<String> {
    let mut consumer = kafka.tool("consumer");
    consumer.args(["--include", topics, "--from-beginning", "--timeout-ms", "60000"]);
    consumer.args(["--max-messages", &count.to_string()]);
    for property in ["print.key=true", "print.headers=true", "null.literal=NULL"] {
        consumer.args(["--property", property]);
    }
    peer::run(&mut consumer).lines().map(str::to_owned).collect()
}

fn publish(client: &mut Client, id: u16, payload: &[u8], properties: Properties) {
    let publication = Publication { topic: "t", payload, qos: 1, id, properties, ..Default::default() };
    client.send(&publication.encode(Version::V5));
}

const CODECS: [(&str, &str); 6] = [
    ("gzip", "compression_level = 1"),
    ("gzip", "compression_level = 9"),
    ("snappy", ""),
    ("lz4", ""),
    ("zstd", "compression_level = -7"),
    ("zstd", "compression_level = 22"),
];

/// Publications in one go: more than a shard hands on without compressing it.
const BURST: u16 = 250;

fn value(id: u16) -> String {
    format!("{{\"id\":{id},\"text\":\"{}\"}}", words(id, 3 * (id % 23)))
}

/// So many words of seven in no order, in which more work finds more: a level shows.
fn words(seed: u16, count: u16) -> String {
    const WORDS: [&str; 7] = ["pressure", "humid", "21.5", "temperature", "valve", "open", "kPa"];
    let mut state = u32::from(seed);
    let mut word = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        WORDS[(state >> 16) as usize % WORDS.len()]
    };
    (0..count).map(|_| word()).collect::<Vec<_>>().join(" ")
}

/// The bytes of each batch, as Kafka's dump has them.
fn batch_bytes(dump: &str) -> Vec<u32> {
    let batches = dump.lines().filter(|line| line.contains("baseOffset"));
    batches.filter_map(|line| line.split_once(" size: ")?.1.split(' ').next()?.parse().ok()).collect()
}

/// Every codec, at both ends of its levels: in large batches, which the shard that fills them compresses, and in a small one,
/// which waits for the owner.
#[test]
fn kafka_reads_every_compression() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = |at: usize| format!("packed-{at}");
    let mut sinks = String::new();
    for (at, (codec, level)) in CODECS.into_iter().enumerate() {
        kafka.create_topic(&topic(at), 1);
        let _ = writeln!(
            sinks,
            "[sinks.s{at}]\nconnector = \"main\"\nsource_topics = [\"#\"]\ntopic = \"{}\"\nvalue = \"{at} ${{payload}}\"\n\
             compression = \"{codec}\"\n{level}\nlinger = \"50ms\"",
            topic(at)
        );
    }
    let node = Plan::kafka(kafka.bootstrap(), "unused").sink("enable = false").section(&sinks).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "packer");
    (1..=BURST).for_each(|id| publish(&mut client, id, value(id).as_bytes(), Properties::default()));
    (0..BURST).for_each(|_| drop(client.packet()));
    let small = words(0, 600);
    publish(&mut client, BURST + 1, small.as_bytes(), Properties::default());
    client.expect(&Packet::PubAck { id: BURST + 1, reason: 0 });

    let count = usize::from(BURST) + 1;
    let lines = consumed(kafka, "packed-.*", count * CODECS.len());
    let files: Vec<String> = (0..CODECS.len()).map(|at| kafka.segment(&topic(at), 0)).collect();
    let dump = peer::run(kafka.tool("dump").args(["--deep-iteration", "--files", &files.join(",")]));
    assert!(!dump.contains("isvalid: false"), "{dump}");
    let dumps: Vec<&str> = dump.split("Dumping ").skip(1).collect();
    assert_eq!(dumps.len(), CODECS.len(), "{dump}");
    for (at, (codec, _)) in CODECS.into_iter().enumerate() {
        let line = |text: &str| format!("NO_HEADERS\tpacker\t{at} {text}");
        let expected: Vec<String> = (1..=BURST).map(|id| line(&value(id))).chain([line(&small)]).collect();
        let own = format!("NO_HEADERS\tpacker\t{at} ");
        let found: Vec<&String> = lines.iter().filter(|line| line.starts_with(&own)).collect();
        assert!(found.iter().copied().eq(&expected), "{codec}: {} lines", found.len());
        let batches = || dumps[at].lines().filter(|line| line.contains("baseOffset"));
        assert!(batches().all(|line| line.contains(&format!("compresscodec: {codec}"))), "{}", dumps[at]);
        assert!(batches().count() >= 2, "{}", dumps[at]);
        if let Some(mut kcat) = Peer::Kcat.command() {
            kcat.args(["-C", "-b", kafka.bootstrap(), "-t", &topic(at), "-o", "beginning", "-e", "-q", "-f", "%s\n"]);
            assert_eq!(peer::run(&mut kcat).lines().count(), count, "kcat reads {codec}");
        }
    }
    // What the shard compressed, and what the owner did.
    for (least, most) in [(0, 1), (4, 5)] {
        let [least, most] = [least, most].map(|at| {
            let bytes = batch_bytes(dumps[at]);
            let (last, others) = bytes.split_last().expect("batches");
            (others.iter().sum::<u32>(), *last)
        });
        // Batches are not cut at the same record in every sink, which is worth some bytes.
        let is_less = |most: u32, least: u32| most * 100 < least * 98;
        assert!(
            is_less(most.0, least.0) && is_less(most.1, least.1),
            "{most:?} bytes at the highest level, {least:?} at the lowest"
        );
    }
}

/// Headers from user properties, repeated and in order, and extra ones; null and empty are two things, in keys and in values.
#[test]
fn headers_keys_and_values_say_what_was_published() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("contents-a", 1);
    kafka.create_topic("contents-b", 1);
    let common = "connector = \"main\"\nsource_topics = [\"#\"]\npartition_strategy = \"topic\"";
    let sinks = format!(
        "[sinks.a]\n{common}\ntopic = \"contents-a\"\nkey = \"${{payload.k}}\"\nvalue = \"${{payload.v}}\"\n\
         headers = \"${{pub_props.User-Property}}\"\next_headers = [{{ key = \"from\", value = \"${{clientid}}\" }}]\n\
         [sinks.b]\n{common}\ntopic = \"contents-b\"\nvalue = \"${{payload}}\"\npayload_encoding = \"base64\"\n\
         headers = \"${{payload.h}}\"\nheader_value_encoding = \"json\""
    );
    let node = Plan::kafka(kafka.bootstrap(), "unused").sink("enable = false").section(&sinks).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    let user = Properties::default().user("b", "2").user("a", "1").user("b", "3");
    let payloads = [r#"{"k":"","v":"","h":{"n":7,"t":"x"}}"#, r#"{"k":null,"v":null,"h":[{"key":"k","value":"v"}]}"#];
    publish(&mut client, 1, payloads[0].as_bytes(), user);
    publish(&mut client, 2, payloads[1].as_bytes(), Properties::default());
    publish(&mut client, 3, b"\xff\x00", Properties::default());
    (0..3).for_each(|_| drop(client.packet()));
    let mut lines = consumed(kafka, "contents-.*", 6);
    lines.sort();
    let mut expected = [
        "b:2,a:1,b:3,from:c\t\t".to_owned(),
        "from:c\tNULL\tNULL".to_owned(),
        "from:c\tNULL\tNULL".to_owned(),
        format!("n:7,t:\"x\"\tc\t{}", base64(payloads[0].as_bytes())),
        format!("k:\"v\"\tc\t{}", base64(payloads[1].as_bytes())),
        "NO_HEADERS\tc\t/wA=".to_owned(),
    ];
    expected.sort();
    assert_eq!(lines, expected);
}

/// Values in the shapes that consumers of other systems expect, by those systems' own rules.
#[test]
fn envelopes_are_what_consumers_of_other_systems_expect() {
    let Some(kafka) = Kafka::shared() else { return };
    let mut sinks = String::new();
    for (topic, lines) in [
        ("envelope-a", "envelope = \"emqx3\""),
        ("envelope-b", "envelope = \"emqx3\"\npayload_encoding = \"plain\""),
        ("envelope-c", "envelope = \"robustmq\"\nkey = \"sensor_data\""),
    ] {
        kafka.create_topic(topic, 1);
        let _ = writeln!(
            sinks,
            "[sinks.{topic}]\nconnector = \"main\"\nsource_topics = [\"#\"]\ntopic = \"{topic}\"\n{lines}"
        );
    }
    let node = Plan::kafka(kafka.bootstrap(), "unused").sink("enable = false").section(&sinks).start();
    let begin = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let connect = Connect { username: Some("ann"), ..Connect::new(Version::V5, "dev-1") };
    let (mut client, _) = Client::connect_with(node.mqtt(), &connect);
    let properties = Properties::default().user("site", "north");
    publish(&mut client, 7, b"21.5", properties);
    client.expect(&Packet::PubAck { id: 7, reason: 0 });
    let value = |topic: &str| -> (String, serde_json::Value) {
        let record = kafka.read_count(topic, 1).remove(0);
        let text = String::from_utf8(record.value.expect("a value")).expect("text");
        let json = serde_json::from_str(&text).expect("JSON");
        (text, json)
    };
    let near = |stamp: &serde_json::Value, begin: u128| {
        (begin..begin + 60_000).contains(&stamp.as_u64().expect("a number").into())
    };
    for (topic, payload) in [("envelope-a", "MjEuNQ=="), ("envelope-b", "21.5")] {
        let (text, json) = value(topic);
        assert!(near(&json["ts"], begin.as_millis()), "{text}");
        let (ts, name) = (&json["ts"], &json["node"]);
        let expected = format!(
            r#"{{"client_id":"dev-1","username":"ann","topic":"t","payload":"{payload}","qos":1,"node":{name},"ts":{ts}}}"#
        );
        assert_eq!(text, expected, "{topic}");
    }
    let (text, json) = value("envelope-c");
    assert!(near(&json["timestamp"], u128::from(begin.as_secs())), "{text}");
    let ts = &json["timestamp"];
    // zlib's crc32 of the four characters.
    let expected = format!(
        concat!(
            r#"{{"topic":"t","qos":1,"retain":false,"payload":"MjEuNQ==","client_id":"dev-1","username":"ann","timestamp":{},"#,
            r#""message_id":7,"header":[{{"key":"site","value":"north"}}],"key":"sensor_data","data":"MjEuNQ==","#,
            r#""tags":["t"],"crc_num":58437022}}"#
        ),
        ts
    );
    assert_eq!(text, expected);
}

/// Base64 by the system's own tool.
fn base64(bytes: &[u8]) -> String {
    let output = peer::finish(std::process::Command::new("base64").arg("-w0"), bytes);
    String::from_utf8(output.stdout).expect("text")
}

/// Messages name the topic; what cannot be a name, or names nothing, goes to the dead letters. Two shards share the partitions.
#[test]
fn messages_name_their_topic() {
    let Some(kafka) = Kafka::shared() else { return };
    for topic in ["site-a", "site-b", "site-lost"] {
        kafka.create_topic(topic, 3);
    }
    let lost = "[sinks.lost]\nconnector = \"main\"\ntopic = \"site-lost\"";
    let sink = "source_topics = [\"#\"]\ntopic = \"site-${payload.site}\"\nvalue = \"${payload.v}\"\ndead_letter = \"lost\"\n\
         live_topics_max = 1";
    let node =
        Plan::kafka(kafka.bootstrap(), "unused").only_sink(sink).section(lost).node("shards = 2\npin = false").start();
    let mut clients: Vec<Client> =
        (0..6).map(|n| Client::connect(node.mqtt(), Version::V5, &format!("client-{n}"))).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        for (at, site) in ["a", "b", "a b", "a"].into_iter().enumerate() {
            client.publish_acked("t", format!(r#"{{"site":"{site}","v":"{n}.{at}"}}"#).as_bytes(), 1);
        }
        client.publish_acked("t", format!(r#"{{"v":"{n}.4"}}"#).as_bytes(), 1);
    }
    let values = |topic: &str, count| -> std::collections::BTreeSet<String> {
        let records = kafka.read_count(topic, count);
        records.into_iter().map(|record| String::from_utf8(record.value.expect("a value")).expect("text")).collect()
    };
    let expected = |places: &[u32]| -> std::collections::BTreeSet<String> {
        (0..6).flat_map(|n| places.iter().map(move |at| format!("{n}.{at}"))).collect()
    };
    assert_eq!(values("site-a", 12), expected(&[0, 3]));
    assert_eq!(values("site-b", 6), expected(&[1]));
    assert_eq!(values("site-lost", 12), expected(&[2, 4]));
    assert!(node.metrics().sum("aqueduct_sink_live_topics_evicted_total", &[]) > 0.0, "one gives way to the other");
}

/// A topic that a message names and brokers do not have is waited for, for a minute, by its own client alone. What it sent goes to the
/// dead letters then, and it is acknowledged; so is what comes later.
#[test]
fn a_topic_that_is_not_there_for_a_minute_does_not_exist() {
    let kafka = match Kafka::start(1, "auto.create.topics.enable=false") {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("made-a", 1);
    kafka.create_topic("lost", 1);
    let lost = "[sinks.lost]\nconnector = \"main\"\ntopic = \"lost\"";
    let sink =
        "source_topics = [\"#\"]\ntopic = \"made-${payload.site}\"\nvalue = \"${payload.v}\"\ndead_letter = \"lost\"";
    let node = Plan::kafka(kafka.bootstrap(), "unused").only_sink(sink).section(lost).start();
    let message = |site: &str, value: &str| format!(r#"{{"site":"{site}","v":"{value}"}}"#).into_bytes();
    let mut client = Client::connect(node.mqtt(), Version::V5, "waits");
    let mut other = Client::connect(node.mqtt(), Version::V3_1_1, "goes-on");
    client.publish_acked("t", &message("a", "first"), 1);
    let begin = Instant::now();
    let ids = [0, 1].map(|n| client.publish("t", &message("b", &n.to_string()), 1));
    let mut stored = 1;
    let answer = loop {
        let asked = Instant::now();
        other.publish_acked("t", &message("a", "meanwhile"), 1);
        assert!(asked.elapsed() < Duration::from_secs(10), "the other topic waited for {:?}", asked.elapsed());
        stored += 1;
        if let Some(packet) = client.packet_within(Duration::from_millis(100)) {
            break packet;
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "nobody gives up\n{}", node.said());
    };
    let waited = begin.elapsed();
    println!("acknowledged after {waited:?}, {stored} of others meanwhile");
    assert!(waited > Duration::from_secs(59), "a broker may not have heard of a new topic yet: {waited:?}");
    assert_eq!(answer, Packet::PubAck { id: ids[0], reason: 0 });
    client.expect(&Packet::PubAck { id: ids[1], reason: 0 });
    client.publish_acked("t", &message("b", "2"), 1);
    for (n, line) in consumed(&kafka, "lost", 3).iter().enumerate() {
        let story = "aqueduct.cause:unknown_topic,aqueduct.sink:main,aqueduct.topic:made-b,";
        assert!(line.starts_with(story) && line.ends_with(&format!("\twaits\t{n}")), "{line}");
    }
    let metrics = node.metrics();
    let of_main = ["failed_total", "dead_lettered_total", "success_total"].map(|name| metrics.sink(name));
    assert_eq!(of_main, [3.0, 3.0, f64::from(stored)]);
    kafka.read_count("made-a", stored as usize);
    // It does exist after all.
    kafka.create_topic("made-b", 1);
    let late = wait::until("the topic is used", 60, || {
        client.publish_acked("t", &message("b", "late"), 1);
        kafka.read("made-b").into_iter().next()
    });
    assert_eq!(late.value.as_deref(), Some(&b"late"[..]));
}

/// A client of MQTT 3.1.1 cannot be told that its record is too large: it is closed, or acknowledged all the same.
#[test]
fn old_clients_are_closed_or_acknowledged() {
    let Some(kafka) = Kafka::shared() else { return };
    let mut topics = kafka.tool("topics");
    topics.args(["--create", "--topic", "narrow", "--partitions", "1", "--config", "max.message.bytes=10000"]);
    peer::run(&mut topics);
    for (option, acknowledged) in [("", false), ("on_failed_v3 = \"ack\"", true)] {
        let node =
            Plan::kafka(kafka.bootstrap(), "narrow").sink(&format!("value = \"${{payload}}\"\n{option}")).start();
        let mut client = Client::connect(node.mqtt(), Version::V3_1_1, "old");
        client.publish_acked("t", b"small", 1);
        let id = client.publish("t", &[b'x'; 20_000], 1);
        match acknowledged {
            true => client.expect(&Packet::PubAck { id, reason: 0 }),
            false => client.expect_close(),
        }
        assert_eq!(node.metrics().sum("aqueduct_sink_failed_total", &[]), 1.0, "{option}");
        if !acknowledged {
            is_told_of_after_three(&node);
        }
    }
}

/// The client comes back with the same message, as its library does; whoever runs the node is told with the third close, once.
#[track_caller]
fn is_told_of_after_three(node: &Node) {
    let alarm = "client old was closed three times within a minute";
    for _ in 0..2 {
        let alarms = node.metrics().sum("aqueduct_clients_refused_total", &[]);
        assert_eq!((alarms, node.said().contains(alarm)), (0.0, false), "it is too early");
        let mut client = Client::connect(node.mqtt(), Version::V3_1_1, "old");
        client.publish("t", &[b'x'; 20_000], 1);
        client.expect_close();
    }
    wait::until("the alarm", 10, || (node.metrics().sum("aqueduct_clients_refused_total", &[]) == 1.0).then_some(()));
    wait::until("the log says why", 10, || node.said().contains(alarm).then_some(()));
    let said = node.said();
    assert!(said.contains("does not store in topic narrow, last because: the record is larger than"), "{said}");
}

/// A record that its topic never takes is refused without a trip to Kafka, its neighbours are stored, and once the topic takes more it
/// is taken: the node asks again and again.
#[test]
fn a_record_that_is_too_large_is_not_sent_until_its_topic_takes_it() {
    let Some(kafka) = Kafka::shared() else { return };
    let mut topics = kafka.tool("topics");
    topics.args(["--create", "--topic", "tight", "--partitions", "1", "--config", "max.message.bytes=10000"]);
    peer::run(&mut topics);
    let sink = "value = \"${payload}\"\npartition_count_refresh_interval = \"1s\"";
    let node = Plan::kafka(kafka.bootstrap(), "tight").sink(sink).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    let refused = || node.metrics().sum("aqueduct_sink_too_large_total", &[]);
    client.publish_acked("t", b"first", 1);
    let told = Instant::now() + Duration::from_secs(10);
    while refused() == 0.0 {
        // Until the limit is known it is Kafka that refuses.
        assert!(Instant::now() < told, "the limit of the topic was not learned");
        let id = client.publish("t", &[b'x'; 20_000], 1);
        client.expect(&Packet::PubAck { id, reason: 0x97 });
    }
    let requests = || node.metrics().sum("aqueduct_sink_requests_total", &[]);
    let before = requests();
    let id = client.publish("t", &[b'x'; 20_000], 1);
    client.expect(&Packet::PubAck { id, reason: 0x97 });
    assert_eq!((requests(), refused()), (before, 2.0), "nothing was sent");
    client.publish_acked("t", b"second", 1);
    let mut configs = kafka.tool("configs");
    configs.args(["--alter", "--entity-type", "topics", "--entity-name", "tight"]);
    peer::run(configs.args(["--add-config", "max.message.bytes=100000"]));
    let noticed = Instant::now() + Duration::from_secs(10);
    loop {
        assert!(Instant::now() < noticed, "a limit that was raised still refuses");
        let id = client.publish("t", &[b'x'; 20_000], 1);
        if client.packet() == (Packet::PubAck { id, reason: 0 }) {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let lens: Vec<usize> = kafka.read_count("tight", 3).iter().map(|r| r.value.as_ref().map_or(0, Vec::len)).collect();
    assert_eq!(lens, [5, 6, 20_000]);
}

/// Row T17 of the fault table: one record is larger than the topic takes, and one is dated beyond what it takes. They go to the
/// dead-letter topic with cause and origin, all others get through, and nobody waits for a second.
#[test]
fn poison_goes_to_the_dead_letters_and_holds_up_nobody() {
    let Some(kafka) = Kafka::shared() else { return };
    let limits = ["max.message.bytes=10000", "message.timestamp.after.max.ms=3600000"];
    let mut topics = kafka.tool("topics");
    topics.args(["--create", "--topic", "strict", "--partitions", "1"]);
    for limit in limits {
        topics.args(["--config", limit]);
    }
    peer::run(&mut topics);
    kafka.create_topic("lost", 1);
    let lost = "[sinks.lost]\nconnector = \"main\"\ntopic = \"lost\"";
    let sink = "value = \"${payload.v}\"\ntimestamp = \"${payload.ts}\"\ndead_letter = \"lost\"\nlinger = \"20ms\"\n\
                headers = \"${pub_props.User-Property}\"";
    let node = Plan::kafka(kafka.bootstrap(), "strict").sink(sink).section(lost).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    publish(&mut client, 1000, br#"{"v":"first"}"#, Properties::default());
    client.expect(&Packet::PubAck { id: 1000, reason: 0 });
    let begin = Instant::now();
    for id in 1001..=1100 {
        publish(&mut client, id, br#"{"v":"clean"}"#, Properties::default());
    }
    for id in 1001..=1100u16 {
        client.expect(&Packet::PubAck { id, reason: 0 });
    }
    let clean = begin.elapsed();
    let large = format!(r#"{{"v":"{}"}}"#, "0123456789abcdef".repeat(1_000));
    let begin = Instant::now();
    for id in 1..=100 {
        match id {
            30 => publish(&mut client, id, large.as_bytes(), Properties::default().user("own", "header")),
            60 => publish(&mut client, id, br#"{"v":"late","ts":4102444800000}"#, Properties::default()),
            _ => publish(&mut client, id, format!(r#"{{"v":"{id}"}}"#).as_bytes(), Properties::default()),
        }
    }
    for id in 1..=100u16 {
        // In order, the culprits too.
        client.expect(&Packet::PubAck { id, reason: 0 });
    }
    let stall = begin.elapsed();
    assert!(stall < Duration::from_secs(1).max(10 * clean), "a stall of {stall:?}, {clean:?} without poison");
    let values = |topic: &str, count| -> Vec<Vec<u8>> {
        kafka.read_count(topic, count).into_iter().map(|record| record.value.expect("a value")).collect()
    };
    let others = (1..=100u16).filter(|id| ![30, 60].contains(id)).map(|id| id.to_string().into_bytes());
    let before = [b"first".to_vec()].into_iter().chain(vec![b"clean".to_vec(); 100]);
    let expected: Vec<Vec<u8>> = before.chain(others).collect();
    assert_eq!(values("strict", 199), expected, "the neighbours, in order");
    let lines = consumed(kafka, "lost", 2);
    let story =
        |cause: &str| format!("aqueduct.cause:{cause},aqueduct.sink:main,aqueduct.topic:strict,aqueduct.partition:0");
    let is_told = |line: &str, start: &str, value: &str| line.starts_with(start) && line.ends_with(value);
    assert!(is_told(&lines[0], &format!("own:header,{}", story("too_large")), "cdef"), "{}", lines[0]);
    assert!(is_told(&lines[1], &story("invalid"), "aqueduct.timestamp:4102444800000\tc\tlate"), "{}", lines[1]);
}

/// Row T17: a topic of which Kafka keeps the newest record of each key takes none without a key, and the broker says so of the one
/// record in its batch. It goes to the dead letters with cause and origin, its neighbours get through, and nobody waits for a second.
#[test]
fn what_the_broker_rejects_goes_to_the_dead_letters_and_holds_up_nobody() {
    let Some(kafka) = Kafka::shared() else { return };
    let mut topics = kafka.tool("topics");
    topics.args(["--create", "--topic", "keyed", "--partitions", "1", "--config", "cleanup.policy=compact"]);
    peer::run(&mut topics);
    kafka.create_topic("keyless", 1);
    let lost = "[sinks.lost]\nconnector = \"main\"\ntopic = \"keyless\"";
    let sink = "key = \"${payload.k}\"\nvalue = \"${payload.v}\"\ndead_letter = \"lost\"\nlinger = \"20ms\"";
    let node = Plan::kafka(kafka.bootstrap(), "keyed").sink(sink).section(lost).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    // The time of a hundred messages in one go, which have these keys.
    let mut hundred = |from: u16, key: &dyn Fn(u16) -> String| {
        let begin = Instant::now();
        for id in from..from + 100 {
            let payload = format!(r#"{{"k":{},"v":"{id}"}}"#, key(id));
            publish(&mut client, id, payload.as_bytes(), Properties::default());
        }
        for id in from..from + 100 {
            // In order, the culprit too.
            client.expect(&Packet::PubAck { id, reason: 0 });
        }
        begin.elapsed()
    };
    let own = |id: u16| format!("\"key-{id}\"");
    hundred(1, &own);
    let clean = hundred(101, &own);
    let stall = hundred(201, &|id| match id {
        // Text without characters is a key.
        240 => "\"\"".to_owned(),
        260 => "null".to_owned(),
        _ => own(id),
    });
    assert!(stall < Duration::from_secs(1).max(10 * clean), "a stall of {stall:?}, {clean:?} without poison");
    let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).expect("text"));
    let stored = kafka.read_count("keyed", 299).into_iter().map(|record| (text(record.key), text(record.value)));
    let key = |id| if id == 240 { String::new() } else { format!("key-{id}") };
    let expected = (1..=300).filter(|id| *id != 260).map(|id| (Some(key(id)), Some(id.to_string())));
    assert_eq!(stored.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "the neighbours, in order");
    let line = consumed(kafka, "keyless", 1).remove(0);
    let story =
        "aqueduct.cause:invalid,aqueduct.sink:main,aqueduct.topic:keyed,aqueduct.partition:0,aqueduct.timestamp:";
    assert!(line.starts_with(story) && line.ends_with("\tNULL\t260"), "{line}");
    let metrics = node.metrics();
    let of_main = ["failed_total", "dead_lettered_total", "success_total"].map(|name| metrics.sink(name));
    assert_eq!(of_main, [1.0, 1.0, 299.0]);
    let said = node.said();
    let refusal = "topic keyed partition 0: 1 records refused, INVALID_RECORD";
    assert!(said.contains(refusal), "{said}");
}

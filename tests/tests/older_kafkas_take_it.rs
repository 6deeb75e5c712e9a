//! Brokers of other versions than the one that all other tests have: the oldest that is promised, 0.11 with its ZooKeeper, and the last
//! of the line before today's, 3.9.
//!
//! Setup: one real broker of each version, fetched by `bench-harness/kafka/kafka.sh` on first use (0.11.0.3 is 14 MB, 3.9.1 56 MB; ten
//! seconds and a minute), and a node. Action: publications, records that are too large, logins, answers that are lost, a kill -9 of the
//! broker. Expectation: what kcat and that version's own tools read, and what clients are told, is what it is with today's Kafka; where
//! an old version cannot do it, it is said what is needed.
//!
//! `AQUEDUCT_KAFKA_VERSIONS="3.3.2 2.8.2 1.1.1"` does the same with more versions.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aqueduct_tests::support::kafka::{Kafka, Record};
use aqueduct_tests::support::mqtt::{Client, Packet, Properties, Publication, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::peer::{self, Peer};
use aqueduct_tests::support::{http, wait};

/// What sinks are told of compression; the first is told nothing.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Publications of the first round.
const COUNT: u16 = 400;

/// As many at once: less than a client may have open.
const BURST: u16 = 200;

#[test]
fn the_oldest_that_is_promised() {
    takes_it("0.11.0.3");
}

#[test]
fn the_last_before_todays() {
    takes_it("3.9.1");
}

/// Those that somebody asks for.
#[test]
fn others_that_are_asked_for() {
    let versions = std::env::var("AQUEDUCT_KAFKA_VERSIONS").unwrap_or_default();
    versions.split_whitespace().for_each(takes_it);
}

/// Its major and minor number.
fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().expect("a number"));
    (parts.next().expect("a major one"), parts.next().expect("a minor one"))
}

#[track_caller]
fn takes_it(version: &str) {
    // KRaft knows users of SCRAM since then.
    let secure = number(version) >= (3, 5);
    let front = Front::bind();
    let kafka = match Kafka::start_version(version, secure, front.port()) {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    every_compression_is_read(&kafka, version);
    what_is_too_large_is_refused_or_set_aside(&kafka);
    answers_that_are_lost_double_nothing(&kafka, &front);
    a_broker_that_is_killed_doubles_nothing(&kafka);
    if secure {
        users_log_in(&kafka);
    } else if number(version) < (1, 0) {
        users_are_told_what_a_login_needs(&kafka);
    }
}

fn publish(client: &mut Client, id: u16, payload: &[u8]) {
    let properties = Properties::default().user("n", &id.to_string()).user("from", "here");
    let publication = Publication { topic: "t", payload, qos: 1, id, properties, ..Default::default() };
    client.send(&publication.encode(Version::V5));
}

fn value(id: u16) -> String {
    format!("{{\"id\":{id},\"text\":\"{}\"}}", "humid pressure ".repeat(usize::from(id % 20)))
}

/// Default settings but for the compression: keys, headers and values are what was published, each once and in order.
#[track_caller]
fn every_compression_is_read(kafka: &Kafka, version: &str) {
    let mut sinks = String::new();
    for codec in CODECS {
        kafka.create_topic(codec, 1);
        let compression = if codec == "none" { String::new() } else { format!("compression = \"{codec}\"") };
        let _ = writeln!(
            sinks,
            "[sinks.{codec}]\nconnector = \"main\"\nsource_topics = [\"#\"]\ntopic = \"{codec}\"\nvalue = \"${{payload}}\"\n\
             key = \"${{clientid}}\"\nheaders = \"${{pub_props.User-Property}}\"\n{compression}"
        );
    }
    let node = Plan::kafka(kafka.bootstrap(), "unused").sink("enable = false").section(&sinks).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "device");
    for first in (1..=COUNT).step_by(BURST.into()) {
        (first..first + BURST).for_each(|id| publish(&mut client, id, value(id).as_bytes()));
        (first..first + BURST).for_each(|id| client.expect(&Packet::PubAck { id, reason: 0 }));
    }

    let line = |id: u16| format!("device|n={id},from=here|{}", value(id));
    let expected: Vec<String> = (1..=COUNT).map(line).collect();
    let files: Vec<String> = CODECS.iter().map(|codec| kafka.segment(codec, 0)).collect();
    let dump = peer::run(kafka.tool("dump").args(["--files", &files.join(",")]));
    let dumps: Vec<&str> = dump.split("Dumping ").skip(1).collect();
    assert_eq!(dumps.len(), CODECS.len(), "{dump}");
    for (codec, dump) in CODECS.into_iter().zip(dumps) {
        if let Some(mut kcat) = Peer::Kcat.command() {
            kcat.args(["-C", "-b", kafka.bootstrap(), "-t", codec, "-o", "beginning", "-e", "-q", "-f", "%k|%h|%s\n"]);
            let read = peer::run(&mut kcat);
            assert!(read.lines().eq(&expected), "Kafka {version}, {codec}:\n{read}");
        }
        let is_known = codec != "zstd" || number(version) >= (2, 1);
        let packed = format!("compresscodec: {}", if is_known { codec } else { "none" });
        let batches: Vec<String> =
            dump.lines().filter(|line| line.contains("compresscodec")).map(str::to_lowercase).collect();
        assert!(batches.iter().any(|batch| batch.contains(&packed)), "Kafka {version}, {codec}: {dump}");
        assert!(is_known || batches.iter().all(|batch| batch.contains(&packed)), "Kafka {version}, {codec}: {dump}");
    }
    assert_eq!(node.said().contains("older than Kafka 2.1"), number(version) < (2, 1), "{}", node.said());

    let mut consumer = kafka.tool("consumer");
    consumer.args(["--topic", "gzip", "--from-beginning", "--timeout-ms", "60000", "--property", "print.key=true"]);
    let read = peer::run(consumer.args(["--max-messages", &COUNT.to_string()]));
    assert!(read.lines().eq((1..=COUNT).map(|id| format!("device\t{}", value(id)))), "Kafka {version}:\n{read}");
    let metrics = node.metrics();
    assert_eq!((metrics.sink("failed_total"), metrics.sink("possible_duplicate_total")), (0.0, 0.0), "Kafka {version}");
}

/// A record beyond what its topic takes: its client is told, or it goes to the dead letters; its neighbours are stored.
#[track_caller]
fn what_is_too_large_is_refused_or_set_aside(kafka: &Kafka) {
    let mut topics = kafka.tool("topics");
    topics.args(["--create", "--topic", "narrow", "--partitions", "1", "--replication-factor", "1"]);
    peer::run(topics.args(["--config", "max.message.bytes=10000"]));
    kafka.create_topic("lost", 1);
    let sinks = "[sinks.aside]\nconnector = \"main\"\nsource_topics = [\"aside\"]\ntopic = \"narrow\"\nvalue = \"${payload}\"\n\
                 dead_letter = \"lost\"\n[sinks.lost]\nconnector = \"main\"\ntopic = \"lost\"";
    let refuse = "source_topics = [\"refuse\"]\ntopic = \"narrow\"\nvalue = \"${payload}\"";
    let node = Plan::kafka(kafka.bootstrap(), "unused").only_sink(refuse).section(sinks).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    let large: Vec<u8> = b"0123456789abcdef".repeat(1_250);
    // Twice: Kafka says so, and then the node may know.
    for (topic, reason) in [("refuse", 0x97), ("aside", 0)].repeat(2) {
        let sent: Vec<(u16, u8)> = (0..20)
            .map(|n| match n {
                10 => (client.publish(topic, &large, 1), reason),
                _ => (client.publish(topic, b"clean", 1), 0),
            })
            .collect();
        sent.into_iter().for_each(|(id, reason)| client.expect(&Packet::PubAck { id, reason }));
    }
    assert!(kafka.read_count("narrow", 76).iter().all(|record| record.value.as_deref() == Some(b"clean")));
    assert!(kafka.read_count("lost", 2).iter().all(|record| record.value.as_deref() == Some(&*large)));
}

/// Batches are stored, the answers are lost, and the link too: all of them are sent again, each is stored once, and in order.
#[track_caller]
fn answers_that_are_lost_double_nothing(kafka: &Kafka, front: &Front) {
    kafka.create_topic("unheard", 1);
    front.serve(kafka.listener("BACK"));
    // Small batches, so that there are as many on their way as may be.
    let sink = "value = \"${payload}\"\nkey = \"${clientid}\"\nbatch_target_bytes = \"1KB\"";
    let address = format!("127.0.0.1:{}", front.port());
    let node = Plan::kafka(&address, "unheard").sink(sink).connector("reconnect_delay = \"300ms\"").start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    client.publish_acked("t", b"0", 1);
    front.mute(true);
    for number in 1..BURST {
        client.publish("t", format!("{number} {}", "x".repeat(100)).as_bytes(), 1);
        thread::sleep(Duration::from_micros(200));
    }
    let mut before = 0;
    wait::until("the broker has what it gets", 20, || {
        thread::sleep(Duration::from_millis(300));
        let now = kafka.count("unheard");
        (now > 1 && now == std::mem::replace(&mut before, now)).then_some(())
    });
    front.cut();
    front.mute(false);
    (1..BURST).for_each(|_| assert!(matches!(client.packet(), Packet::PubAck { reason: 0, .. })));
    is_whole(&node, kafka, "unheard", BURST.into());
}

/// Numbers from 0 lie in a topic, each once and in order, and no batch was sent again under a new epoch.
#[track_caller]
fn is_whole(node: &Node, kafka: &Kafka, topic: &str, count: usize) {
    let metrics = node.metrics();
    assert_eq!((metrics.sink("failed_total"), metrics.sink("possible_duplicate_total")), (0.0, 0.0), "{}", node.said());
    let number = |record: Record| String::from_utf8(record.value?).ok()?.split(' ').next()?.parse().ok();
    let numbers: Vec<usize> = kafka.read_count(topic, count).into_iter().filter_map(number).collect();
    assert!(numbers.iter().copied().eq(0..count), "each once, in order: {numbers:?}");
}

/// The broker is killed while requests are on their way, and started again: what had been sent is sent again, each is stored once, and
/// in order.
#[track_caller]
fn a_broker_that_is_killed_doubles_nothing(kafka: &Kafka) {
    kafka.create_topic("killed", 1);
    // Small batches, so that there are several on their way.
    let sink = "value = \"${payload}\"\nkey = \"${clientid}\"\nbatch_target_bytes = \"1KB\"";
    let node = Plan::kafka(kafka.bootstrap(), "killed").sink(sink).connector("reconnect_delay = \"300ms\"").start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    client.publish_acked("t", b"0", 1);
    // Half of them before the kill, the other half while nobody is there.
    let payloads: Vec<String> = (1..BURST).map(|n| format!("{n} {}", "x".repeat(100))).collect();
    let (before, after) = payloads.split_at(payloads.len() / 2);
    thread::scope(|scope| {
        let killer = scope.spawn(|| {
            thread::sleep(Duration::from_millis(5));
            kafka.broker("kill", 1);
        });
        for payload in before {
            client.publish("t", payload.as_bytes(), 1);
        }
        killer.join().expect("it is killed");
        for payload in after {
            client.publish("t", payload.as_bytes(), 1);
        }
        kafka.broker("start", 1);
    });
    payloads.iter().for_each(|_| assert!(matches!(client.packet(), Packet::PubAck { reason: 0, .. })));
    is_whole(&node, kafka, "killed", BURST.into());
}

fn with_user(kafka: &Kafka, listener: &str, mechanism: &str, password: &str) -> Node {
    let user = format!(
        "authentication = {{ mechanism = \"{mechanism}\", username = \"alice\", password = \"{password}\" }}\n\
         reconnect_delay = \"300ms\""
    );
    let tls = format!("\ntls = {{ enable = true, cacertfile = \"{}\" }}", kafka.file("tls/ca.pem"));
    let connector = if listener == "SASL_TLS" { format!("{user}{tls}") } else { user };
    let address = if listener.is_empty() { kafka.bootstrap() } else { kafka.listener(listener) };
    Plan::kafka(address, "users").connector(&connector).sink("value = \"${payload}\"").start()
}

#[track_caller]
fn users_log_in(kafka: &Kafka) {
    kafka.create_topic("users", 1);
    for (listener, mechanism) in [("SASL", "scram_sha_512"), ("SASL_TLS", "scram_sha_256"), ("SASL", "plain")] {
        let node = with_user(kafka, listener, mechanism, "alice-secret");
        Client::connect(node.mqtt(), Version::V5, "c").publish_acked("t", mechanism.as_bytes(), 1);
    }
    kafka.read_count("users", 3);
    let node = with_user(kafka, "SASL", "scram_sha_512", "wrong");
    says_of_the_connector(&node, "authentication with SCRAM-SHA-512 was refused");
}

#[track_caller]
fn users_are_told_what_a_login_needs(kafka: &Kafka) {
    let node = with_user(kafka, "", "scram_sha_512", "alice-secret");
    says_of_the_connector(&node, "use Apache Kafka 1.0 or later");
}

/// Soon `/readyz` says why there is no connection.
#[track_caller]
fn says_of_the_connector(node: &Node, reason: &str) {
    wait::until(&format!("{reason} in /readyz"), 10, || {
        let (_, ready) = http::get(node.ports().http, "/readyz")?;
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
        ready["connectors"]["main"]["reason"].as_str().is_some_and(|said| said.contains(reason)).then_some(())
    });
}

/// Stands in front of the broker, and lets no answer through while it is mute.
struct Front {
    listener: TcpListener,
    mute: Arc<AtomicBool>,
    links: Arc<Mutex<Vec<TcpStream>>>,
}

impl Front {
    fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Self { listener, mute: Arc::default(), links: Arc::default() }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("bound").port()
    }

    fn mute(&self, mute: bool) {
        self.mute.store(mute, Ordering::Relaxed);
    }

    /// Ends every link.
    fn cut(&self) {
        for link in self.links.lock().expect("no panic").drain(..) {
            let _ = link.shutdown(Shutdown::Both);
        }
    }

    /// Begins to take links, as long as the test program lives.
    fn serve(&self, back: &str) {
        let listener = self.listener.try_clone().expect("a descriptor");
        let (mute, links, back) = (Arc::clone(&self.mute), Arc::clone(&self.links), back.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(broker) = TcpStream::connect(&back) else { continue };
                let [from_client, to_client] = [0; 2].map(|_| client.try_clone().expect("a descriptor"));
                let [from_broker, to_broker] = [0; 2].map(|_| broker.try_clone().expect("a descriptor"));
                links.lock().expect("no panic").extend([client, broker]);
                thread::spawn(move || pass(from_client, to_broker, &AtomicBool::new(false)));
                let mute = Arc::clone(&mute);
                thread::spawn(move || pass(from_broker, to_client, &mute));
            }
        });
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mute: &AtomicBool) -> io::Result<()> {
    let mut bytes = [0; 16 * 1024];
    loop {
        let len = from.read(&mut bytes)?;
        if len == 0 {
            return to.shutdown(Shutdown::Both);
        }
        if !mute.load(Ordering::Relaxed) {
            to.write_all(&bytes[..len])?;
        }
    }
}

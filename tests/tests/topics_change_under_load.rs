//! What administrators do to topics, and what disks do to brokers, while clients publish.
//!
//! Setup: one real broker with an authorizer, a node with one sink on each of two topics, clients that publish to both. Action: a
//! topic is deleted and made anew, grows, is forbidden, or its acknowledged records vanish with the broker's memory. Expectation:
//! what the row of docs/explanation/faults.md says of that topic, and of the other one that nothing happened to it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Packet, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::{peer, wait};

/// MQTT 5 2.4: not authorized.
const NOT_AUTHORIZED: u8 = 0x87;

/// A broker that lets everybody do what no rule forbids.
fn kafka() -> Option<Kafka> {
    let settings = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer;\
                    allow.everyone.if.no.acl.found=true";
    Kafka::start(1, settings).inspect_err(|remedy| peer::skip("AQUEDUCT_REQUIRE_KAFKA", remedy)).ok()
}

/// A node that writes `changing/#` to the topic of that name, and `calm/#` to another.
fn node(kafka: &Kafka) -> Node {
    kafka.create_topic("changing", 4);
    kafka.create_topic("calm", 4);
    let sink = |topic: &str| format!("source_topics = [\"{topic}/#\"]\ntopic = \"{topic}\"\nvalue = \"${{payload}}\"");
    Plan::kafka(kafka.bootstrap(), "")
        .connector("min_metadata_refresh_interval = \"500ms\"\nreconnect_delay = \"200ms\"")
        .only_sink(&format!("{}\npartition_count_refresh_interval = \"1s\"", sink("changing")))
        .section(&format!("[sinks.calm]\nconnector = \"main\"\n{}", sink("calm")))
        .start()
}

/// Publishes to the topic nothing happens to; that takes no longer than ever.
#[track_caller]
fn stays_calm(client: &mut Client, calm: &mut usize) {
    let asked = Instant::now();
    client.publish_acked("calm/t", format!("calm {calm}").as_bytes(), 1);
    *calm += 1;
    assert!(asked.elapsed() < Duration::from_secs(10), "the other topic waited for {:?}", asked.elapsed());
}

fn of_changing(node: &Node, family: &str) -> f64 {
    node.metrics().sum(&format!("aqueduct_sink_{family}"), &["sink=\"main\""])
}

/// Under which numbers a batch was stored.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    producer: i64,
    epoch: i64,
    sequence: i64,
}

/// The numbers of a partition's batches, by Kafka's own dump of its log.
fn batches(kafka: &Kafka, topic: &str, partition: i32) -> Vec<Numbers> {
    let file = kafka.segment(topic, partition as u32);
    let dump = peer::run(kafka.tool("dump").args(["--files", &file]));
    let numbers = |batch: &str| {
        let number = |name: &str| -> i64 {
            let rest = batch.split_once(&format!(" {name}: ")).unwrap_or_else(|| panic!("no {name} in {batch}")).1;
            rest.split(' ').next().and_then(|word| word.parse().ok()).expect("a number")
        };
        Numbers { producer: number("producerId"), epoch: number("producerEpoch"), sequence: number("baseSequence") }
    };
    dump.lines().filter(|line| line.starts_with("baseOffset")).map(numbers).collect()
}

/// Row T18: publishers of a topic that is deleted wait, and go on when it is there again: nothing is lost of what is acknowledged
/// afterwards, and nothing goes to the old topic's numbers: the new one's begin at 0, in another epoch.
#[test]
fn a_topic_deleted_and_made_anew_holds_up_its_own_publishers_only() {
    let Some(kafka) = kafka() else { return };
    let node = node(&kafka);
    let mut client = Client::connect(node.mqtt(), Version::V5, "changer");
    let mut other = Client::connect(node.mqtt(), Version::V3_1_1, "bystander");
    let mut calm = 0;
    for i in 0..50 {
        client.publish_acked("changing/t", format!("old {i}").as_bytes(), 1);
    }
    let partition = kafka.read_count("changing", 50)[0].partition;
    let old = *batches(&kafka, "changing", partition).last().expect("a batch");
    assert_eq!(old.sequence, 49, "{old:?}");
    peer::run(kafka.tool("topics").args(["--delete", "--topic", "changing"]));
    let open: Vec<u16> = (0..50).map(|i| client.publish("changing/t", format!("new {i}").as_bytes(), 1)).collect();
    for _ in 0..5 {
        stays_calm(&mut other, &mut calm);
    }
    client.expect_silence(Duration::from_millis(500));
    kafka.create_topic("changing", 4);
    for id in open {
        match client.packet_within(Duration::from_secs(30)) {
            Some(Packet::PubAck { id: answered, reason: 0 }) => assert_eq!(answered, id),
            other => panic!("PUBACK {id} was due, not {other:?}"),
        }
    }
    let records = kafka.read_count("changing", 50);
    let values: Vec<String> =
        records.iter().map(|r| String::from_utf8_lossy(r.value.as_deref().unwrap_or_default()).into()).collect();
    assert_eq!(values, (0..50).map(|i| format!("new {i}")).collect::<Vec<_>>(), "once, in order, and none of the old");
    let new = batches(&kafka, "changing", records[0].partition);
    assert_eq!(new[0].sequence, 0, "{new:?} after {old:?}");
    let is_new = |batch: &Numbers| batch.producer != old.producer || batch.epoch > old.epoch;
    assert!(new.iter().all(is_new), "{new:?} after {old:?}");
    kafka.read_count("calm", calm);
    assert_eq!(of_changing(&node, "kafka_acked_loss_total"), 0.0, "a topic made anew has lost nothing");
}

/// Row T19: clients publish while the topic grows. Every record is there once; those of a key lie in order in the partition it had
/// before and in the one it has then, and of two records in different partitions the earlier is not the later one.
#[test]
fn partitions_added_are_used_soon_and_keep_each_key_in_order() {
    let Some(kafka) = kafka() else { return };
    let node = node(&kafka);
    const CLIENTS: usize = 16;
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|i| Client::connect(node.mqtt(), Version::V5, &format!("key-{i}"))).collect();
    let mut sent = 0;
    let mut round = |clients: &mut [Client]| {
        let ids: Vec<u16> =
            clients.iter_mut().map(|client| client.publish("changing/t", format!("{sent:06}").as_bytes(), 1)).collect();
        for (client, id) in clients.iter_mut().zip(ids) {
            client.expect(&Packet::PubAck { id, reason: 0 });
        }
        sent += 1;
        sent
    };
    (0..50).for_each(|_| _ = round(&mut clients));
    peer::run(kafka.tool("topics").args(["--alter", "--topic", "changing", "--partitions", "12"]));
    let told_ms = since_1970_ms();
    let rounds = wait::until("records in the new partitions", 60, || {
        let rounds = round(&mut clients);
        (rounds % 20 == 0 && kafka.read("changing").iter().any(|record| record.partition >= 4)).then_some(rounds)
    });
    let records = kafka.read_count("changing", rounds * CLIENTS);
    let first_ms = records.iter().filter(|record| record.partition >= 4).map(|record| record.timestamp_ms).min();
    let after_ms = first_ms.expect("a record in a new partition") - told_ms;
    println!("partitions are used {after_ms} ms after they were added");
    // It asks every second; a broker hears a little later, and rounds take their time.
    assert!(after_ms < 3_000, "noticed after {after_ms} ms");
    for i in 0..CLIENTS {
        let key = format!("key-{i}").into_bytes();
        let mut own: Vec<_> = records.iter().filter(|record| record.key.as_ref() == Some(&key)).collect();
        let mut partitions: Vec<i32> = own.iter().map(|record| record.partition).collect();
        partitions.dedup();
        assert!(partitions.len() <= 2, "key {i} lay in {partitions:?}");
        for partition in partitions {
            let values: Vec<_> = own.iter().filter(|r| r.partition == partition).map(|r| &r.value).collect();
            assert!(values.is_sorted(), "key {i} in partition {partition}: {values:?}");
        }
        own.sort_by_key(|record| record.value.clone());
        assert_eq!(own.len(), rounds, "key {i}, each once");
        let mut places: Vec<i32> = own.iter().map(|record| record.partition).collect();
        places.dedup();
        assert!(places.len() <= 2, "key {i} moved once and for all: {places:?}");
    }
}

fn since_1970_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_millis() as i64
}

/// Row T20: a topic that may no longer be written is fatal for its own publishers only, MQTT 5 clients are told 0x87, clients of
/// MQTT 3.1.1 are closed, nobody gets an acknowledgement of what is not there; and when it may be written again it is.
#[test]
fn a_topic_that_may_not_be_written_is_denied_to_its_own_publishers_only() {
    let Some(kafka) = kafka() else { return };
    let node = node(&kafka);
    let mut client = Client::connect(node.mqtt(), Version::V5, "writer");
    let mut older = Client::connect(node.mqtt(), Version::V3_1_1, "older");
    let mut other = Client::connect(node.mqtt(), Version::V5, "bystander");
    let mut calm = 0;
    client.publish_acked("changing/t", b"before", 1);
    let rule = ["--deny-principal", "User:ANONYMOUS", "--operation", "Write", "--topic", "changing"];
    acls(&kafka, "--add", &rule);
    let id = wait::until("the broker's refusal", 20, || {
        let id = client.publish("changing/t", b"denied or just before", 1);
        match client.packet() {
            Packet::PubAck { id: answered, reason: NOT_AUTHORIZED } => Some((id, answered)),
            Packet::PubAck { reason: 0, .. } => None,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(id.0, id.1);
    let written = kafka.read("changing").len();
    older.publish("changing/t", b"denied", 1);
    older.expect_close();
    stays_calm(&mut other, &mut calm);
    assert_eq!(kafka.read("changing").len(), written, "what was refused is not there");
    acls(&kafka, "--remove", &[&rule[..], &["--force"]].concat());
    wait::until("the topic may be written again", 20, || {
        client.publish("changing/t", b"after", 1);
        matches!(client.packet(), Packet::PubAck { reason: 0, .. }).then_some(())
    });
    kafka.read_count("calm", calm);
    assert!(of_changing(&node, "failed_total") >= 2.0);
}

/// Row T28: a broker that comes back without what it had acknowledged is found out with the first batch that it stores again.
#[test]
fn records_that_kafka_acknowledged_and_lost_raise_the_alarm() {
    let Some(kafka) = kafka() else { return };
    let node = node(&kafka);
    let mut client = Client::connect(node.mqtt(), Version::V5, "victim");
    for i in 0..100 {
        client.publish_acked("changing/t", format!("{i}").as_bytes(), 1);
        client.publish_acked("calm/t", format!("{i}").as_bytes(), 1);
    }
    let lost = kafka.read_count("changing", 100);
    kafka.broker("kill", 1);
    forget(&kafka.folder().join("1/data"), &format!("changing-{}", lost[0].partition));
    kafka.broker("start", 1);
    client.publish_acked("changing/t", b"found out", 1);
    client.publish_acked("calm/t", b"kept", 1);
    wait::until("the alarm", 20, || (of_changing(&node, "kafka_acked_loss_total") == 100.0).then_some(()));
    let said = node.said();
    let partition = lost[0].partition;
    let alarm = format!(
        "topic changing partition {partition}: Kafka has lost records that it had acknowledged: offsets 0 to 99"
    );
    assert!(said.contains(&alarm), "{said}");
    let calm = node.metrics().sum("aqueduct_sink_kafka_acked_loss_total", &["sink=\"calm\""]);
    assert_eq!(calm, 0.0);
}

/// Takes from a partition what its broker had not written to disk when it lost its memory: here, all of it.
fn forget(data: &Path, partition: &str) {
    let folder = data.join(partition);
    for file in fs::read_dir(&folder).expect("the partition's folder").flatten() {
        let name = file.file_name().into_string().expect("a name of Kafka's");
        if name != "partition.metadata" {
            fs::remove_file(file.path()).expect("it can be removed");
        }
    }
    // Kafka would otherwise take what it had noted of the partition for the truth.
    for note in ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "replication-offset-checkpoint"] {
        let _ = fs::remove_file(data.join(note));
    }
}

fn acls(kafka: &Kafka, verb: &str, rule: &[&str]) {
    peer::run(kafka.tool("acls").arg(verb).args(rule));
}

//! Real Kafka, written to: bytes, keys, timestamps and partitions are what the configuration and Kafka's own client make of them.

use std::collections::{BTreeMap, BTreeSet};

use ::kafka::partitioner;
use aqueduct_tests::support::kafka::{self, Kafka, Record};
use aqueduct_tests::support::mqtt::{Client, Properties, Publication, Version};
use aqueduct_tests::support::node::Plan;
use aqueduct_tests::support::peer;
use aqueduct_tests::support::scratch::Scratch;

const PARTITIONS: i32 = 7;

#[test]
fn payloads_arrive_byte_for_byte() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("bytes", 1);
    let node = Plan::kafka(kafka.bootstrap(), "bytes").sink("value = \"${payload}\"").start();
    let mut client = Client::connect(node.mqtt(), Version::V3_1_1, "bytes");
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..900_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let payloads = [&every_byte[..], b"", b"\"json\": not", &large, b"\0", b"last"];
    for payload in payloads {
        client.publish_acked("t", payload, 1);
    }
    let values: Vec<_> = kafka.read("bytes").into_iter().map(|record| record.value.expect("not null")).collect();
    assert!(values == payloads, "{:?}", values.iter().map(Vec::len).collect::<Vec<_>>());
}

#[test]
fn keys_values_and_timestamps_follow_their_templates() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("templates", 1);
    let sink = "key = \"${payload.k}\"\nvalue = \"${pub_props.User-Property.v}\"\ntimestamp = \"${payload.ts}\"";
    let node = Plan::kafka(kafka.bootstrap(), "templates").sink(sink).start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "templates");
    let mut publish = |payload: &str, properties: Properties, id: u16| {
        let publication =
            Publication { topic: "t", payload: payload.as_bytes(), qos: 1, id, properties, ..Default::default() };
        client.send(&publication.encode(Version::V5));
        client.packet();
    };
    publish(r#"{"k":"key","ts":1700000000000}"#, Properties::default().user("v", "value"), 1);
    publish(r#"{"k":17,"ts":"soon"}"#, Properties::default(), 2);
    publish("no JSON", Properties::default().user("v", ""), 3);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let records = kafka.read_count("templates", 3);
    let view = |record: &Record| (record.key.clone(), record.value.clone());
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(view(&records[0]), (bytes("key"), bytes("value")));
    assert_eq!(records[0].timestamp_ms, 1_700_000_000_000);
    // Missing: a null value, the time of arrival, a null key.
    assert_eq!(view(&records[1]), (bytes("17"), None));
    assert!((now - records[1].timestamp_ms).abs() < 60_000);
    assert_eq!(view(&records[2]), (None, bytes("")));
}

#[test]
fn a_key_lies_where_the_java_client_puts_it() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("java", PARTITIONS);
    kafka.create_topic("ours", PARTITIONS);
    let keys: Vec<String> =
        (0..120).map(|i| ["device-", "ü", "x/y z#", ""][i % 4].repeat(i % 5) + &i.to_string()).collect();

    let lines: String = keys.iter().map(|key| format!("{key}\tv\n")).collect();
    let mut producer = kafka.tool("producer");
    producer.args(["--topic", "java", "--property", "parse.key=true", "--property", "key.separator=\t"]);
    let output = peer::finish(&mut producer, lines.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let node = Plan::kafka(kafka.bootstrap(), "ours")
        .sink("key = \"${payload}\"\nvalue = \"v\"")
        .node("shards = 2\npin = false")
        .start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "keys");
    for key in &keys {
        client.publish_acked("t", key.as_bytes(), 1);
    }

    let places = |topic| -> BTreeMap<Vec<u8>, i32> {
        kafka
            .read_count(topic, keys.len())
            .into_iter()
            .map(|record| (record.key.expect("a key"), record.partition))
            .collect()
    };
    let java = places("java");
    assert_eq!(java.values().collect::<BTreeSet<_>>().len(), PARTITIONS as usize, "the keys reach every partition");
    assert_eq!(places("ours"), java);
}

/// Prints the hash and the partition of seven for each key, given in hexadecimal.
const JAVA_HASH: &str = "
import java.util.HexFormat;
import java.util.Scanner;
import org.apache.kafka.common.utils.Utils;

public class Hash {
    public static void main(String[] none) {
        Scanner keys = new Scanner(System.in);
        StringBuilder out = new StringBuilder();
        while (keys.hasNextLine()) {
            int hash = Utils.murmur2(HexFormat.of().parseHex(keys.nextLine()));
            out.append(hash).append(' ').append(Utils.toPositive(hash) % 7).append('\\n');
        }
        System.out.print(out);
    }
}
";

#[test]
fn ten_thousand_keys_hash_as_in_the_java_client() {
    let scratch = Scratch::new("java-hash");
    let Some(jars) = kafka::class_path(scratch.path()) else { return };
    let source = scratch.file("Hash.java");
    std::fs::write(&source, JAVA_HASH).expect("the folder is writable");
    // Bytes of every value, in every length from 0 to 66.
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut byte = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 32) as u8
    };
    let keys: Vec<Vec<u8>> = (0..10_000).map(|n| (0..n % 67).map(|_| byte()).collect()).collect();
    let hex: String =
        keys.iter().map(|key| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n").collect();
    let mut java = std::process::Command::new("java");
    let output = peer::finish(java.args(["-cp", &jars]).arg(&source), hex.as_bytes());
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("jdk.compiler") {
        // A runtime without a compiler.
        return peer::skip("AQUEDUCT_REQUIRE_KAFKA", "java cannot compile; install a JDK");
    }
    assert!(output.status.success(), "{said}");
    let java = String::from_utf8(output.stdout).expect("text");
    assert_eq!(java.lines().count(), keys.len());
    for (key, java) in keys.iter().zip(java.lines()) {
        let ours = (partitioner::murmur2(key), partitioner::partition_for_key(key, 7));
        assert_eq!(format!("{} {}", ours.0, ours.1), java, "{key:02x?}");
    }
}

#[test]
fn partition_strategies() {
    let Some(kafka) = Kafka::shared() else { return };
    /// Partitions by what the strategy looks at.
    type Grouped = BTreeMap<String, BTreeSet<i32>>;
    let run = |strategy: &str, group: fn(&str) -> String| -> Grouped {
        let topic = format!("strategy-{strategy}");
        kafka.create_topic(&topic, PARTITIONS);
        let sink = format!(
            "partition_strategy = \"{strategy}\"\nkey = \"${{payload}}\"\nvalue = \"${{clientid}} ${{topic}}\""
        );
        let node = Plan::kafka(kafka.bootstrap(), &topic).sink(&sink).start();
        for client in 0..12 {
            let mut connection = Client::connect(node.mqtt(), Version::V5, &format!("client-{client}"));
            for i in 0..20 {
                connection.publish_acked(&format!("topic-{}", i % 10), format!("{client}-{i}").as_bytes(), 1);
            }
        }
        let mut grouped = Grouped::new();
        for record in kafka.read_count(&topic, 240) {
            let value = String::from_utf8(record.value.expect("a value")).expect("text");
            grouped.entry(group(&value)).or_default().insert(record.partition);
        }
        grouped
    };
    let all = |grouped: &Grouped| grouped.values().flatten().copied().collect::<BTreeSet<_>>().len();

    let by_client = run("clientid", |value| value.split(' ').next().unwrap().to_owned());
    assert!(by_client.values().all(|partitions| partitions.len() == 1), "{by_client:?}");
    assert!(all(&by_client) > 2);

    let by_topic = run("topic", |value| value.split(' ').nth(1).unwrap().to_owned());
    assert!(by_topic.values().all(|partitions| partitions.len() == 1), "{by_topic:?}");
    assert!(all(&by_topic) > 2);

    for strategy in ["random", "sticky", "key_dispatch"] {
        let spread = run(strategy, |_| String::new());
        assert_eq!(all(&spread), PARTITIONS as usize, "{strategy}: 240 records reach every partition");
    }
}

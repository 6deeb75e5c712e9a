//! The configuration files of docs/how-to do what their page says, from `mosquitto_pub` to Kafka's own console consumer.
//!
//! Setup: a Kafka with the matching listener, a node started from the file itself, with addresses and secrets replaced. Action: a
//! client of others publishes. Expectation: Kafka's console consumer shows the message under its key.

use std::path::{Path, PathBuf};
use std::process::Output;

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::node::{Node, Plan, gssapi_binary};
use aqueduct_tests::support::peer::{self, Peer};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/how-to/files").join(name)
}

fn or_skip(kafka: Result<Kafka, String>) -> Option<Kafka> {
    kafka.inspect_err(|remedy| peer::skip("AQUEDUCT_REQUIRE_KAFKA", remedy)).ok()
}

#[track_caller]
fn publish(node: &Node, topic: &str, payload: &str) -> Option<Output> {
    let mut client = Peer::MosquittoPub.command()?;
    let port = node.mqtt().port().to_string();
    client.args(["-h", "127.0.0.1", "-p", &port, "-i", "device-1", "-q", "1", "-t", topic, "-m", payload]);
    let output = peer::finish(&mut client, b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(output)
}

/// A record as Kafka's console consumer shows it: milliseconds since 1970 UTC that its producer told, key, and value.
type Shown = (u64, String, serde_json::Value);

/// What Kafka's console consumer shows of the first records of a topic: a line each, with tabs in between.
#[track_caller]
fn consumed(kafka: &Kafka, topic: &str, count: usize) -> Vec<Shown> {
    let lines = peer::run(kafka.tool("consumer").args([
        "--topic",
        topic,
        "--from-beginning",
        "--max-messages",
        &count.to_string(),
        "--timeout-ms",
        "30000",
        "--property",
        "print.timestamp=true",
        "--property",
        "print.key=true",
    ]));
    let parse = |line: &str| {
        let parts: Vec<&str> = line.splitn(3, '\t').collect();
        let [time, key, value] = parts[..] else { panic!("a time, a key and a value: {line}") };
        let time_ms = time.strip_prefix("CreateTime:").and_then(|time| time.parse().ok());
        let value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{error}: {value}"));
        (time_ms.unwrap_or_else(|| panic!("its producer's time: {line}")), key.to_owned(), value)
    };
    lines.trim().lines().map(parse).collect()
}

/// A node with a file of EMQX 5 says that idempotence is off, and carries an event to Kafka whole: the `nth` of its topic. `None`:
/// there is no client here.
#[track_caller]
fn carries_their_event(node: &Node, kafka: &Kafka, nth: usize) -> Option<()> {
    assert!(node.said().contains("idempotence"), "the file turns it off, and is told: {}", node.said());
    let payload = format!(r#"{{"temp": {nth}.5}}"#);
    publish(node, "t/1", &payload)?;
    let events = consumed(kafka, "testtopic-in", nth);
    let own: Vec<_> = events.iter().filter(|(.., value)| value["payload"] == payload.as_str()).collect();
    let [(time_ms, key, value)] = own[..] else { panic!("{payload} once in {events:?}") };
    assert_eq!(value["timestamp"], *time_ms, "the record bears the time of its event");
    assert_eq!((key.as_str(), &value["topic"]), ("device-1", &"t/1".into()));
    assert_eq!((&value["qos"], &value["clientid"]), (&1.into(), &"device-1".into()));
    Some(())
}

#[test]
fn those_who_come_from_emqx_5_begin_with_their_bridge() {
    let Some(kafka) = or_skip(Kafka::start_secure("")) else { return };
    kafka.create_topic("testtopic-in", 2);
    let plain = Plan::embedded().file(&file("as-in-emqx-5.toml"));
    let scram = Plan::embedded()
        .file(&file("as-in-emqx-5-scram-tls.toml"))
        .set("connectors.my_kafka.tls.cacertfile", &kafka.file("tls/ca.pem"));
    for (nth, (plan, listener)) in (1..).zip([(plain, "SASL"), (scram, "SASL_TLS")]) {
        let node = plan
            .set("connectors.my_kafka.bootstrap_hosts", kafka.listener(listener))
            .set("connectors.my_kafka.authentication.password", "alice-secret")
            .start();
        if carries_their_event(&node, &kafka, nth).is_none() {
            return;
        }
    }
    assert_eq!(kafka.read_count("testtopic-in", 2).len(), 2);
}

#[test]
fn those_who_come_from_emqx_5_with_kerberos_begin_with_their_bridge() {
    let Some(program) = gssapi_binary() else { return };
    let Some(kafka) = or_skip(Kafka::start_kerberos("")) else { return };
    kafka.create_topic("testtopic-in", 2);
    let node = Plan::embedded()
        .file(&file("as-in-emqx-5-kerberos.toml"))
        .binary(program)
        .environment("KRB5_CONFIG", kafka.listener("KRB5_CONFIG"))
        .set("connectors.my_kafka.bootstrap_hosts", kafka.listener("GSSAPI"))
        .set("connectors.my_kafka.authentication.principal", "alice@TEST.AQUEDUCT")
        .set("connectors.my_kafka.authentication.keytab_file", &kafka.file("kerberos/alice.keytab"))
        .start();
    if carries_their_event(&node, &kafka, 1).is_none() {
        return;
    }
    let logins = node.metrics().sum("aqueduct_kafka_logins_total", &["outcome=\"succeeded\""]);
    assert!(logins > 0.0, "{logins}");
}

#[test]
fn those_who_come_from_emqx_3_begin_with_their_plugin() {
    let Some(kafka) = or_skip(Kafka::start(3, "")) else { return };
    kafka.create_replicated_topic("sensor", 6, 3);
    let node = Plan::embedded()
        .file(&file("as-in-emqx-3.toml"))
        .set("connectors.my_kafka.bootstrap_hosts", kafka.bootstrap())
        .start();
    let warning =
        "`sinks.my_bridge.required_acks` can lose records that were acknowledged, and repeat and reorder them";
    assert!(node.said().contains(warning), "the file waits for nobody, and is told: {}", node.said());
    if publish(&node, "sensor/7", "21.5").is_none() {
        return;
    }
    let events = consumed(&kafka, "sensor", 1);
    let (_, key, value) = &events[0];
    assert_eq!(key, "device-1");
    let members: Vec<&String> = value.as_object().expect("an object").keys().collect();
    assert_eq!(members.len(), 7, "{members:?}");
    assert_eq!((&value["client_id"], &value["topic"]), (&"device-1".into(), &"sensor/7".into()));
    assert_eq!((&value["payload"], &value["qos"]), (&"MjEuNQ==".into(), &1.into()));
}

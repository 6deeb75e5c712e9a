//! MQTT clients that others wrote publish and subscribe, in every version and at every QoS, and nothing is lost, doubled or changed.
//!
//! Setup: a node with its embedded log, value = payload. Action: a client publishes and waits for its acknowledgements, or
//! subscribes and waits for messages. Expectation: the records are there when the client says so, in its order, each once.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use aqueduct_tests::support::kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::peer::{self, Background, Peer};
use aqueduct_tests::support::wait;

const COUNT: usize = 200;

#[test]
fn mosquitto_pub_publishes() {
    let node = node();
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let Some(mut mosquitto_pub) = Peer::MosquittoPub.command() else { return };
            let topic = format!("from/{version}/{qos}");
            let lines: Vec<String> = (0..COUNT).map(|i| format!("{topic} {i}")).collect();
            // -l: a message for each line of stdin.
            let options = ["-V", version, "-q", qos, "-t", &topic, "-i", &format!("{version}-{qos}"), "-l"];
            let output = peer::finish(at(&mut mosquitto_pub, &node).args(options), lines.join("\n").as_bytes());
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            published(&node, &topic, &lines);
        }
    }
}

#[test]
fn paho_publishes() {
    scripted_publishes(Peer::Paho, "paho_client.py", "paho");
}

#[test]
fn mqttjs_publishes() {
    scripted_publishes(Peer::MqttJs, "mqttjs_client.mjs", "mqttjs");
}

fn scripted_publishes(client: Peer, script: &str, name: &str) {
    let node = node();
    for version in ["3", "5"] {
        for qos in ["0", "1", "2"] {
            let Some(mut command) = client.command() else { return };
            let topic = format!("from/{name}/{version}/{qos}");
            let port = node.ports().mqtt.to_string();
            let said = peer::run(command.arg(peer::script(script)).args([
                "publish",
                &port,
                version,
                qos,
                &COUNT.to_string(),
                &topic,
            ]));
            assert_eq!(said.trim(), format!("acked {COUNT}"));
            let lines: Vec<String> = (0..COUNT).map(|i| format!("{name}-{i}")).collect();
            published(&node, &topic, &lines);
        }
    }
}

#[test]
fn mosquitto_sub_receives() {
    let node = node();
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let Some(mut mosquitto_sub) = Peer::MosquittoSub.command() else { return };
            let count = COUNT.to_string();
            // -d: it says when it has subscribed.
            let options =
                ["-V", version, "-q", qos, "-t", "to/+/subscribers/#", "-C", &count, "-W", "30", "-d", "-F", "%t %p"];
            let command = at(&mut mosquitto_sub, &node).args(options);
            let received = receives(&node, command, "to/the/subscribers/of/it");
            let received: Vec<&str> =
                received.iter().filter_map(|line| line.strip_prefix("to/the/subscribers/of/it ")).collect();
            assert_eq!(received, numbered(), "{version} QoS {qos}");
        }
    }
}

#[test]
fn paho_receives() {
    scripted_receives(Peer::Paho, "paho_client.py");
}

#[test]
fn mqttjs_receives() {
    scripted_receives(Peer::MqttJs, "mqttjs_client.mjs");
}

fn scripted_receives(client: Peer, script: &str) {
    let node = node();
    for version in ["3", "5"] {
        for qos in ["0", "1", "2"] {
            let Some(mut command) = client.command() else { return };
            let port = node.ports().mqtt.to_string();
            command.arg(peer::script(script)).args(["receive", &port, version, qos, &COUNT.to_string(), "to/#"]);
            assert_eq!(receives(&node, &mut command, "to/them"), numbered(), "version {version} QoS {qos}");
        }
    }
}

/// Starts a subscriber, publishes to it once it has subscribed, and returns the lines that it writes until its end.
fn receives(node: &Node, command: &mut Command, topic: &str) -> Vec<String> {
    let subscriptions = || node.metrics().sum("aqueduct_subscriptions", &[]);
    wait::until("the last subscriber has gone", 10, || (subscriptions() == 0.0).then_some(()));
    let mut subscriber = Background::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    // Read meanwhile, or the pipe fills and the subscriber stands still. What it says cannot tell when it is ready: off a
    // terminal, C's stdio keeps lines back.
    let lines = BufReader::new(subscriber.0.stdout.take().expect("piped")).lines();
    let reader = std::thread::spawn(move || lines.map(|line| line.expect("text")).collect());
    wait::until("it has subscribed", 20, || (subscriptions() > 0.0).then_some(()));
    Client::connect(node.mqtt(), Version::V5, "publisher").publish_all_acked(
        topic,
        numbered().iter().map(String::as_bytes),
        2,
    );
    assert!(subscriber.wait(Duration::from_secs(30)).success());
    reader.join().expect("the lines are read")
}

fn numbered() -> Vec<String> {
    (0..COUNT).map(|i| i.to_string()).collect()
}

/// Expects exactly these records, in order, under the key `topic`.
#[track_caller]
fn published(node: &Node, topic: &str, expected: &[String]) {
    // At QoS 0 nobody says when they are there; at the others this is no wait.
    let find = || {
        kafka::read(&node.bootstrap(), "mqtt")
            .into_iter()
            .filter(|record| record.key.as_deref() == Some(topic.as_bytes()))
    };
    let records: Vec<_> = wait::until(&format!("the records of {topic}"), 20, || {
        let found: Vec<_> = find().collect();
        (found.len() >= expected.len()).then_some(found)
    });
    let values: Vec<String> =
        records.into_iter().map(|record| String::from_utf8(record.value.unwrap()).unwrap()).collect();
    assert_eq!(values, expected, "{topic}");
}

/// One topic, one key, one partition: so the order in the log is that of the client.
fn node() -> Node {
    Plan::embedded().sink("key = \"${topic}\"\nvalue = \"${payload}\"").start()
}

fn at<'c>(command: &'c mut Command, node: &Node) -> &'c mut Command {
    command.args(["-h", "127.0.0.1", "-p", &node.ports().mqtt.to_string()])
}

//! `doctor` and `check --connect` against a real Kafka.
//!
//! Setup: one broker with one topic. Action: probe it under its address, with a topic that is there and one that is not,
//! and probe a port that speaks something else. Expectation: each step is named, failures with their step, and the exit
//! code says whether a run would work.

use std::net::TcpListener;

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::node::command;
use aqueduct_tests::support::peer::finish;
use aqueduct_tests::support::scratch::Scratch;

/// What `aqueduct` prints of a cluster, and its exit code.
fn probe(arguments: &[&str], bootstrap: &str, topic: &str) -> (String, Option<i32>) {
    let scratch = Scratch::new("probe");
    let hosts = format!("connectors.main.bootstrap_hosts={bootstrap}");
    let topic = format!("sinks.mqtt.topic={topic}");
    let settings = ["--set", "connectors.main.type=kafka", "--set", &hosts, "--set", &topic];
    let short = ["--set", "connectors.main.connect_timeout=1s"];
    let output = finish(&mut command(scratch.path(), &[arguments, &settings, &short].concat()), b"");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

#[test]
fn a_cluster_that_is_well_is_said_to_be() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("probed", 3);
    for arguments in [&["doctor"][..], &["check", "--connect"]] {
        let (said, code) = probe(arguments, kafka.bootstrap(), "probed");
        assert_eq!(code, Some(0), "{said}");
        for step in
            ["a broker that speaks our versions", "metadata: 1 brokers", "topic probed: 3 partitions", "granted"]
        {
            assert!(said.contains(step), "{step} in\n{said}");
        }
    }
}

#[test]
fn a_topic_that_is_not_there_is_a_warning_with_the_command_that_makes_it() {
    let Some(kafka) = Kafka::shared() else { return };
    let (said, code) = probe(&["check", "--connect"], kafka.bootstrap(), "nowhere");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("topic nowhere: UNKNOWN_TOPIC_OR_PARTITION"), "{said}");
    assert!(said.contains("--create --topic nowhere"), "{said}");
}

#[test]
fn a_port_that_says_nothing_fails_in_the_step_of_versions() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let (said, code) = probe(&["doctor"], &address, "t");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("agree on versions with {address}: no answer in time")), "{said}");
}

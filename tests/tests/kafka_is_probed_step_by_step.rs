//! `doctor`, `check --connect` and `run --dry-run` against a real Kafka.
//!
//! Setup: one broker with one topic. Action: probe it under its address, with a topic that is there and one that is not,
//! and probe a port that speaks something else. Expectation: each step is named, failures with their step, and the exit
//! code says whether a run would work.

use std::net::TcpListener;

use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::node::command;
use aqueduct_tests::support::peer::{self, finish};
use aqueduct_tests::support::scratch::Scratch;

/// What `aqueduct` prints of a cluster, and its exit code.
fn probe(arguments: &[&str], bootstrap: &str, topic: &str) -> (String, Option<i32>) {
    let (said, _, code) = probe_with_errors(arguments, bootstrap, topic);
    (said, code)
}

/// The same with what stands on standard error in between.
fn probe_with_errors(arguments: &[&str], bootstrap: &str, topic: &str) -> (String, String, Option<i32>) {
    let scratch = Scratch::new("probe");
    let hosts = format!("connectors.main.bootstrap_hosts={bootstrap}");
    let topic = format!("sinks.mqtt.topic={topic}");
    let settings = ["--set", "connectors.main.type=kafka", "--set", &hosts, "--set", &topic];
    let short = ["--set", "connectors.main.connect_timeout=1s"];
    let output = finish(&mut command(scratch.path(), &[arguments, &settings, &short].concat()), b"");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
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

/// A host that has a name is looked up first, and the line says what the name means; one that is an address is not.
#[test]
fn the_name_of_a_host_is_looked_up_first() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("by-name", 1);
    let by_address = kafka.bootstrap();
    let by_name = by_address.replace("127.0.0.1", "localhost");
    assert_ne!(by_name, by_address);
    let (said, code) = probe(&["check", "--connect"], &by_name, "by-name");
    assert_eq!(code, Some(0), "{said}");
    let steps: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("ok    connector main     ")).collect();
    let means = steps.first().and_then(|step| step.strip_prefix(&format!("resolve {by_name}: ")));
    assert!(means.is_some_and(|to| to.contains("127.0.0.1")), "{said}");
    assert!(steps.get(1).is_some_and(|step| step.starts_with(&format!("connect {by_name}: "))), "{said}");
    let (said, _) = probe(&["check", "--connect"], by_address, "by-name");
    assert!(!said.contains("resolve "), "{said}");
}

#[test]
fn a_topic_that_is_not_there_is_a_warning_with_the_command_that_makes_it() {
    let Some(kafka) = Kafka::shared() else { return };
    let (said, code) = probe(&["check", "--connect"], kafka.bootstrap(), "nowhere");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("topic nowhere: UNKNOWN_TOPIC_OR_PARTITION"), "{said}");
    assert!(said.contains("--create --topic nowhere"), "{said}");
}

/// A topic that refuses every write fails, and one that takes smaller batches is warned of; each with what to set.
#[test]
fn what_a_topic_allows_is_held_against_what_a_sink_wants() {
    let Some(kafka) = Kafka::shared() else { return };
    for (topic, setting) in [("too-careful", "min.insync.replicas=2"), ("narrow", "max.message.bytes=50000")] {
        let create = ["--create", "--topic", topic, "--partitions", "1", "--config", setting];
        peer::run(kafka.tool("topics").args(create));
    }
    let (said, code) = probe(&["check", "--connect"], kafka.bootstrap(), "too-careful");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("topic too-careful: min.insync.replicas = 2 of 1 replicas"), "{said}");
    assert!(said.contains("set min.insync.replicas to 1 or less, or add replicas"), "{said}");
    let (said, code) = probe(&["check", "--connect"], kafka.bootstrap(), "narrow");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("warn  ") && said.contains("topic narrow: max.message.bytes = 50000"), "{said}");
    assert!(said.contains("lower max_batch_bytes to 50000 bytes or less, or raise max.message.bytes"), "{said}");
}

/// `--deny-warnings` denies what a probe warns of as well as what the configuration is warned of.
#[test]
fn warnings_of_a_probe_are_denied_where_that_is_wanted() {
    let Some(kafka) = Kafka::shared() else { return };
    // Of a sink without dead letters the configuration warns.
    let grave = ["connectors.grave.type=discard", "sinks.lost.connector=grave", "sinks.lost.topic=lost"];
    let settings = grave.into_iter().chain(["sinks.mqtt.dead_letter=lost"]).flat_map(|setting| ["--set", setting]);
    let deny: Vec<&str> = ["check", "--connect", "--deny-warnings"].into_iter().chain(settings).collect();
    let (said, code) = probe(&deny, kafka.bootstrap(), "nobody-made");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("warn  connector main     topic nobody-made: UNKNOWN_TOPIC_OR_PARTITION"), "{said}");
    assert!(said.contains(", 0 warnings\n") && !said.contains("FAIL"), "nothing else is wrong\n{said}");
    // Of topics that messages name nothing is known that a probe could warn of.
    let (said, code) = probe(&deny, kafka.bootstrap(), "t-${topic}");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("producer id: granted") && !said.contains("warn  "), "{said}");
}

#[test]
fn a_port_that_says_nothing_fails_in_the_step_of_versions() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let (said, code) = probe(&["doctor"], &address, "t");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("agree on versions with {address}: no answer in time")), "{said}");
}

/// Any bootstrap host will do: one that is dead and one that says nothing are warnings beside one that answers. A probe waits for
/// the silent one longer than an answer may take, and asks the good one afterwards.
#[test]
fn a_dead_bootstrap_host_is_a_warning_while_another_answers() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("survives", 1);
    let dead = format!("127.0.0.1:{}", aqueduct_tests::support::port::free());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let hosts = format!("{dead},{},{silent}", kafka.bootstrap());
    let impatient = ["--set", "connectors.main.metadata_request_timeout=900ms"];
    for command in [&["check", "--connect"][..], &["run", "--dry-run"]] {
        let (said, errors, code) = probe_with_errors(&[command, &impatient].concat(), &hosts, "survives");
        assert_eq!(code, Some(0), "{said}{errors}");
        for of in [format!("connect {dead}: "), format!("agree on versions with {silent}: no answer in time (1.")] {
            let line = format!("warn  connector main     {of}");
            assert!(said.contains(&line), "{line} in\n{said}");
        }
        assert!(said.contains("fix: correct bootstrap_hosts, start the broker, or open the firewall"), "{said}");
        assert!(said.contains("topic survives: we may write it ("), "{said}");
    }
    let (said, errors, code) = probe_with_errors(&["check", "--connect"], &format!("{dead},{silent}"), "survives");
    assert_eq!(code, Some(1), "nobody answers\n{said}{errors}");
    assert_eq!(said.matches("FAIL  connector main").count(), 2, "{said}");
}

/// Every line of a probe bears its time.
#[test]
fn every_step_tells_its_time() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("timed", 1);
    let dead = format!("127.0.0.1:{}", aqueduct_tests::support::port::free());
    for hosts in [kafka.bootstrap(), &dead] {
        let (said, _) = probe(&["check", "--connect"], hosts, "timed");
        let steps: Vec<&str> = said.lines().filter(|line| line.contains("connector main ")).collect();
        assert!(!steps.is_empty(), "{said}");
        for step in steps {
            assert!(step.ends_with(" ms)") || step.ends_with(" s)"), "{step}\n{said}");
        }
    }
}

#[test]
fn a_dry_run_tells_who_leads_and_who_owns_each_partition() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.create_topic("dry", 3);
    let (said, errors, code) = probe_with_errors(&["run", "--dry-run", "--shards", "2"], kafka.bootstrap(), "dry");
    assert_eq!(code, Some(0), "{said}{errors}");
    assert!(said.contains("sink mqtt: # → dry of main (kafka)"), "{said}");
    for (partition, leader) in kafka.leaders("dry") {
        let line =
            format!("  partition {partition} → shard {}, leader {leader} at {}", partition % 2, kafka.bootstrap());
        assert!(said.lines().any(|got| got == line), "{line} in\n{said}");
    }
    let (said, errors, code) = probe_with_errors(&["run", "--dry-run"], kafka.bootstrap(), "nowhere");
    assert_eq!(code, Some(0), "a run would wait for the topic\n{said}{errors}");
    assert!(said.contains("  partitions are not known: "), "{said}");
}

#[test]
fn a_dry_run_fails_where_a_run_could_not_write() {
    let nobody = aqueduct_tests::support::port::free();
    for (address, step, fix) in [
        (format!("127.0.0.1:{nobody}"), "connect 127.0.0.1", "correct bootstrap_hosts, start the broker, or open"),
        ("no-such-host.invalid:9092".into(), "resolve no-such-host", "correct bootstrap_hosts, or the resolver"),
    ] {
        let (said, errors, code) = probe_with_errors(&["run", "--dry-run"], &address, "t");
        assert_eq!(code, Some(1), "{said}{errors}");
        let failed = said.lines().skip_while(|line| !line.starts_with(&format!("FAIL  connector main     {step}")));
        let remedy = failed.skip(1).find_map(|line| line.strip_prefix("      fix: "));
        assert!(remedy.is_some_and(|remedy| remedy.starts_with(fix)), "{fix} of {step} in\n{said}");
        assert!(
            errors.contains("aqueduct: a run would listen, and could not write through the connector main"),
            "{errors}"
        );
    }
}

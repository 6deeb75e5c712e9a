//! Brokers die, pause and come back, and what was acknowledged is there, once, in order.
//!
//! Setup: real brokers, a node, sixteen clients of every kind (MQTT 3.1.1 and 5, clean and persistent, QoS 1 and 2) in a process
//! that no fault touches, which writes down what it sends before it sends it. Action: a fault. Expectation: the ledger finds
//! nothing lost, doubled, out of order, changed or in the wrong place; and what the row promises beyond that.
//!
//! The rows are those of docs/explanation/faults.md. What takes minutes runs with `AQUEDUCT_LONG=1`.

use aqueduct_tests::support::chaos::{Chaos, is_long_wanted};
use aqueduct_tests::support::kafka::Kafka;
use aqueduct_tests::support::mqtt::{Client, Version};
use aqueduct_tests::support::node::Plan;
use aqueduct_tests::support::{peer, wait};

/// The brokers' session timeout in these runs, `broker.session.timeout.ms`.
const SESSION_TIMEOUT_MS: u64 = 6_000;

/// Row T01 of the fault table: every broker in turn is killed and started again. No client is disconnected for it, and no
/// acknowledgement takes longer than the session timeout and six seconds.
#[test]
fn rolling_kills_lose_double_and_reorder_nothing() {
    if !is_long_wanted() {
        return;
    }
    let Some(verdict) = Chaos::plan("broker-roll@4+3").three_brokers().acquitted() else { return };
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
    assert!(verdict.longest_ack_ms() <= SESSION_TIMEOUT_MS + 6_000, "{}", verdict.said());
}

/// Row T02 of the fault table: the followers are stopped, and before anybody notices the leader is killed. What it alone had,
/// nobody was told of.
#[test]
fn a_leader_that_stood_alone_takes_nothing_acknowledged_with_it() {
    let Some(verdict) = Chaos::plan("leader-alone@2+1").three_brokers().acquitted() else { return };
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
}

/// Row T03 of the fault table: all brokers are killed and started again three seconds later. Clients wait, and stay. A leader that
/// comes back from this may know the last batch of a producer only, and takes the one before it for a gap; such batches are sent
/// again under a new epoch, and counted.
#[test]
fn all_brokers_gone_pauses_clients_and_disconnects_none() {
    if !is_long_wanted() {
        return;
    }
    let plan = Chaos::plan("broker-kill-all@4+3").three_brokers().with_new_epochs().calm(30);
    let Some(verdict) = plan.acquitted() else { return };
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
    // What had piled up is through when the rate is back.
    let fault = &verdict.json["faults"][0];
    let (outage_ms, recovery_ms) = (fault["silence_ms"].as_u64(), fault["recovery_ms"].as_u64());
    let is_soon = outage_ms.zip(recovery_ms).is_some_and(|(outage_ms, recovery_ms)| recovery_ms <= 2 * outage_ms);
    assert!(is_soon, "{recovery_ms:?} after {outage_ms:?}\n{}", verdict.said());
}

/// Row T22 of the fault table: nothing is published for so long that the broker forgets the producer id, which its own tool sees. The
/// next batch is stored all the same, once and in its place, under the id, the epoch and the number that it would have had.
#[test]
fn a_forgotten_producer_id_costs_nothing() {
    let settings = "producer.id.expiration.ms=20000;producer.id.expiration.check.interval.ms=300";
    let kafka = match Kafka::start(1, settings) {
        Ok(kafka) => kafka,
        Err(remedy) => return peer::skip("AQUEDUCT_REQUIRE_KAFKA", &remedy),
    };
    kafka.create_topic("idle", 1);
    let node = Plan::kafka(kafka.bootstrap(), "idle").sink("value = \"${payload}\"").start();
    let mut client = Client::connect(node.mqtt(), Version::V5, "c");
    let payloads: Vec<Vec<u8>> = (0..100_u32).map(|n| n.to_string().into_bytes()).collect();
    client.publish_all_acked("t", payloads[..50].iter().map(Vec::as_slice), 1);
    let known = producers(&kafka, "idle");
    assert_eq!(known.len(), 1, "{known:?}");
    wait::until("the broker forgets the producer", 90, || producers(&kafka, "idle").is_empty().then_some(()));
    client.publish_all_acked("t", payloads[50..].iter().map(Vec::as_slice), 1);
    let stored: Vec<_> = kafka.read_count("idle", 100).into_iter().filter_map(|record| record.value).collect();
    assert_eq!(stored, payloads, "each once, in order");
    let metrics = node.metrics();
    assert_eq!((metrics.sink("failed_total"), metrics.sink("possible_duplicate_total")), (0.0, 0.0));
    let dump = peer::run(kafka.tool("dump").args(["--files", &kafka.segment("idle", 0)]));
    let mut next = 0;
    for batch in dump.lines().filter(|line| line.starts_with("baseOffset")) {
        let number = |name: &str| -> i64 {
            let rest = batch.split_once(&format!(" {name}: ")).unwrap_or_else(|| panic!("no {name} in {batch}")).1;
            rest.split(' ').next().and_then(|word| word.parse().ok()).expect("a number")
        };
        assert_eq!((number("producerId"), number("producerEpoch")), known[0], "{dump}");
        assert_eq!(number("baseSequence"), next, "{dump}");
        next = number("lastSequence") + 1;
    }
    assert_eq!(next, 100, "{dump}");
}

/// Row T22 of the fault table, with every kind of client and brokers that have all forgotten all producers: clients go on where they were.
#[test]
fn brokers_that_forgot_the_producer_are_written_in_order() {
    let Some(verdict) = Chaos::plan("oblivion@3+1").three_brokers().calm(4).acquitted() else { return };
    let silence_ms = verdict.json["faults"][0]["silence_ms"].as_u64();
    assert!(silence_ms.is_some_and(|ms| ms >= 7_000), "they forget after eight seconds\n{}", verdict.said());
    assert_eq!(verdict.json["own"]["possible_duplicate"], 0, "under the old epoch\n{}", verdict.said());
    let sent = verdict.count("sent");
    assert_eq!((verdict.count("acked"), verdict.count("records")), (sent, sent), "{}", verdict.said());
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
}

/// Ids and epochs of the producers that the leader of a topic's first partition knows.
fn producers(kafka: &Kafka, topic: &str) -> Vec<(i64, i64)> {
    let mut tool = kafka.tool("org.apache.kafka.tools.TransactionsCommand");
    tool.args(["--bootstrap-server", kafka.bootstrap(), "describe-producers", "--topic", topic, "--partition", "0"]);
    let said = peer::run(&mut tool);
    assert!(said.starts_with("ProducerId"), "{said}");
    let numbers = |line: &str| {
        let mut words = line.split_whitespace().map(|word| word.parse().ok());
        words.next().flatten().zip(words.next().flatten())
    };
    said.lines().filter_map(numbers).collect()
}

//! Brokers die, pause and come back, and what was acknowledged is there, once, in order.
//!
//! Setup: real brokers, a node, sixteen clients of every kind (MQTT 3.1.1 and 5, clean and persistent, QoS 1 and 2) in a process
//! that no fault touches, which writes down what it sends before it sends it. Action: a fault. Expectation: the ledger finds
//! nothing lost, doubled, out of order, changed or in the wrong place; and what the row promises beyond that.
//!
//! The rows are those of docs/explanation/faults.md. What takes minutes runs with `AQUEDUCT_LONG=1`.

use aqueduct_tests::support::chaos::{Chaos, is_long_wanted};

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
    let plan = Chaos::plan("broker-kill-all@4+3").three_brokers().with_new_epochs();
    let Some(verdict) = plan.acquitted() else { return };
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
    let outage_ms = verdict.json["faults"][0]["silence_ms"].as_u64();
    assert!(outage_ms.is_some_and(|outage_ms| verdict.count("drain_ms") <= 2 * outage_ms), "{}", verdict.said());
}

/// Row T22 of the fault table: nothing is published for so long that the broker forgets the producer id. The first batch
/// afterwards is stored all the same, and once.
#[test]
fn a_forgotten_producer_id_costs_nothing() {
    let forgets = ["producer.id.expiration.ms=1000", "producer.id.expiration.check.interval.ms=300"]
        .map(|set| ["--broker-set", set]);
    let Some(verdict) = Chaos::plan("idle@3+5").with(forgets.as_flattened()).acquitted() else { return };
    assert_eq!(verdict.count("dup_resend"), 0, "{}", verdict.said());
}

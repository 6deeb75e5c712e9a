//! The way to a broker is dead, slow, or answers errors, and what was acknowledged is there, once, in order.
//!
//! Setup: as in `brokers_fail.rs`; the node reaches its brokers through a proxy of the harness. Action: the proxy holds, slows
//! or refuses. Expectation: the ledger's, and what the row promises beyond that.

use aqueduct_tests::support::chaos::{Chaos, Verdict, is_long_wanted};

/// In these runs: `request_timeout` and `reconnect_delay`, and what a busy machine adds to both.
const REDIAL_MS: u64 = 3_000 + 500 + 1_000;

/// Row T05 of the fault table: a connection is open and dead, without RST or FIN. The node notices within the request timeout,
/// three seconds here, and sends the same batches again under the numbers they had: what had arrived is recognised.
#[test]
fn a_dead_link_is_noticed_and_its_batches_are_stored_once() {
    let Some(verdict) = Chaos::plan("blackhole=1@2+5").acquitted() else { return };
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
    is_noticed(&verdict);
}

/// The proxy was dialled anew while it still held the dead link, and batches were sent again; that they are stored once is the ledger's
/// word.
#[track_caller]
fn is_noticed(verdict: &Verdict) {
    let redial_ms = verdict.json["faults"][0]["redial_ms"].as_u64();
    assert!(redial_ms.is_some_and(|redial_ms| redial_ms <= REDIAL_MS), "{redial_ms:?}\n{}", verdict.said());
    assert!(verdict.json["own"]["retried"].as_u64() > Some(0), "{}", verdict.said());
}

/// The same for twelve seconds at one of three brokers, as row T05 has it.
#[test]
fn a_dead_link_to_one_of_three_brokers_is_noticed_too() {
    if !is_long_wanted() {
        return;
    }
    let Some(verdict) = Chaos::plan("blackhole=leader@4+12").three_brokers().acquitted() else { return };
    assert!(verdict.longest_ack_ms() <= 12_000 + 6_000, "{}", verdict.said());
    is_noticed(&verdict);
}

/// Row T06 of the fault table: one broker stops for twelve seconds, and then its link carries 1 Mbit/s. Partitions that it does
/// not hold keep nine tenths of their rate.
#[test]
fn a_slow_broker_slows_nobody_elses_partitions() {
    if !is_long_wanted() {
        return;
    }
    // Without replicas, because the leader of a replica waits for whoever is slow; with more data than the slow link carries.
    let alone = ["--replicas", "1", "--broker-set", "min.insync.replicas=1", "--payload-bytes", "512"];
    let plan = Chaos::plan("broker-pause=2@5+12,slow-link=2@30+8").three_brokers().with(&alone);
    let Some(verdict) = plan.acquitted() else { return };
    for fault in verdict.json["faults"].as_array().into_iter().flatten() {
        assert!(fault["others_rate"].as_f64().is_some_and(|rate| rate >= 0.9), "{fault}\n{}", verdict.said());
    }
}

/// Row T08 of the fault table: a broker refuses batches (NOT_LEADER_OR_FOLLOWER, OUT_OF_ORDER_SEQUENCE_NUMBER,
/// KAFKA_STORAGE_ERROR) while the cluster's description stays as it was. They are tried again at short intervals, and are
/// stored soon after the errors end.
#[test]
fn refusals_without_a_change_of_the_cluster_are_retried_soon() {
    let plan = "produce-error=6@2+1.5,produce-error=45@5+1.5,produce-error=56@8+1.5";
    let Some(verdict) = Chaos::plan(plan).acquitted() else { return };
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
    assert!(verdict.longest_ack_ms() < 1_500 + 3_000, "{}", verdict.said());
    // As long as each of them lasts nothing is stored, but for what was on its way.
    for fault in verdict.json["faults"].as_array().into_iter().flatten() {
        assert!(fault["silence_ms"].as_u64() > Some(1_000), "{fault}\n{}", verdict.said());
    }
    assert!(verdict.json["own"]["retried"].as_u64() > Some(0), "{}", verdict.said());
}

/// Row T07 of the fault table: while the broker is stopped, `max_batch_age` passes. What waits for a partition fails as a whole and
/// in order, its publishers are refused (MQTT 5: 0x83) or closed (MQTT 3.1.1), and what comes later is stored: never something
/// behind a gap, and nothing acknowledged that is not there.
#[test]
fn a_deadline_that_passes_fails_all_that_waits() {
    // At QoS 2 too a message that was refused may be sent again as a new one; what is counted as doubled there would be no fault.
    let deadline = ["--qos", "1", "--set", "sinks.s1.max_batch_age=3s", "--set", "sinks.s2.max_batch_age=3s"];
    let Some(verdict) = Chaos::plan("broker-pause=1@4+8").with(&deadline).acquitted() else { return };
    assert!(verdict.json["nacks"]["131"].as_u64().is_some_and(|refused| refused > 100), "{}", verdict.said());
    assert!(verdict.count("disconnects") > 0, "those of MQTT 3.1.1\n{}", verdict.said());
    assert_eq!(verdict.count("refused_then_later"), 0, "{}", verdict.said());
}

/// The same where the broker goes on just after the deadline: what was too old is refused, and what waited behind it and is younger goes
/// with it, wherever in the node it waited.
#[test]
fn a_deadline_that_has_just_passed_fails_what_is_younger_too() {
    // Windows that do not fill, so that the youngest message is as young as can be.
    let load = ["--qos", "1", "--rate", "48", "--window", "250"];
    let deadline = ["--set", "sinks.s1.max_batch_age=3s", "--set", "sinks.s2.max_batch_age=3s"];
    let Some(verdict) = Chaos::plan("broker-pause=1@4+3.3").with(&load).with(&deadline).judged() else { return };
    assert!(verdict.json["nacks"]["131"].as_u64() > Some(0), "{}", verdict.said());
    assert_eq!(verdict.count("refused_then_later"), 0, "{}", verdict.said());
    assert_eq!(verdict.json["clean"], true, "{}", verdict.said());
}

/// Row T24 of the fault table: a batch is sent again after its link has died, while others of the same small pool come and go. Its
/// buffer is nobody else's until it has its outcome: every record is what its client sent, to the last byte and its checksum.
/// (`the_ledger_convicts` sees a node whose buffers are written into.)
#[test]
fn a_buffer_is_nobody_elses_before_its_outcome() {
    let Some(verdict) = Chaos::crowded().acquitted() else { return };
    assert_eq!(verdict.count("corrupt") + verdict.count("misrouted"), 0, "{}", verdict.said());
    assert_eq!(verdict.count("disconnects"), 0, "{}", verdict.said());
    assert!(verdict.json["own"]["retried"].as_u64() > Some(0), "nothing was sent again\n{}", verdict.said());
    let redialled = |fault: &serde_json::Value| fault["redial_ms"].as_u64().is_some();
    let faults = verdict.json["faults"].as_array().map_or(0, |faults| faults.iter().filter(|at| redialled(at)).count());
    assert_eq!(faults, 2, "both dead links were given up\n{}", verdict.said());
}

//! A ledger that has never convicted anybody proves nothing: with a bug planted in the node, or with settings that are known to
//! lose, the same faults end with a bad verdict.
//!
//! The first three run always, the others with `AQUEDUCT_LONG=1`. A release build holds no bugs, so there they are left out.

use aqueduct_tests::support::chaos::{Chaos, is_long_wanted};

/// The plant `drop-record`: a batch whose answer never came is taken for stored. The broker is stopped until the node gives its
/// connection up, and killed, so that what it had not read is gone.
#[test]
fn a_node_that_takes_silence_for_an_answer() {
    if !cfg!(debug_assertions) {
        return;
    }
    let plan = Chaos::plan("broker-pause=1@2+6,broker-kill=1@7+0.5").plant("drop-record");
    let Some(verdict) = plan.convicted() else { return };
    assert!(verdict.count("lost") > 0, "{}", verdict.said());
    assert_eq!(verdict.json["bad"][0]["what"], "lost", "{}", verdict.said());
}

/// The plant `resend-anew`: a batch that is sent again gets new sequence numbers, as a producer without idempotence would have
/// it. A link is dead after requests have arrived and before their answers have.
#[test]
fn a_node_that_numbers_what_it_sends_again_anew() {
    if !cfg!(debug_assertions) {
        return;
    }
    let Some(verdict) = Chaos::plan("blackhole=1@2+4").plant("resend-anew").convicted() else { return };
    assert!(verdict.count("dup_own") + verdict.count("dup_across") > 0, "{}", verdict.said());
}

/// The plant `recycle-early`: while a batch waits to be sent again somebody else writes into its buffer. Row T24 of the fault
/// table: checksums of the batch do not notice, those of each message do.
#[test]
fn a_node_that_lets_others_write_what_it_still_sends() {
    if !cfg!(debug_assertions) {
        return;
    }
    // Under the same `a_buffer_is_nobody_elses_before_its_outcome` acquits a node. Of what was stored before its answer was lost nothing
    // is seen, it is recognised and not stored again; seen is what had not arrived.
    let Some(verdict) = Chaos::crowded().plant("recycle-early").convicted() else { return };
    assert!(verdict.count("corrupt") > 0, "{}", verdict.said());
}

/// The plant `ack-early`: a PUBLISH is acknowledged before it has an outcome.
#[test]
fn a_node_that_acknowledges_early() {
    if !cfg!(debug_assertions) || !is_long_wanted() {
        return;
    }
    // A lingering batch is acknowledged and nowhere but in memory, at whatever instant the kill falls.
    let lingering = ["--set", "sinks.s1.linger=500ms", "--set", "sinks.s2.linger=500ms"];
    let plan = Chaos::plan("kill@2+0.3,kill@4+0.3").with(&lingering).plant("ack-early");
    let Some(verdict) = plan.convicted() else { return };
    assert!(verdict.count("lost") > 0, "{}", verdict.said());
}

/// `required_acks = "leader_only"`, with the fault of row T02: what the leader alone had acknowledged dies with it.
#[test]
fn acknowledgements_of_the_leader_alone() {
    if !is_long_wanted() {
        return;
    }
    let leader_only = ["--set", "sinks.s1.required_acks=leader_only", "--set", "sinks.s2.required_acks=leader_only"];
    let Some(verdict) = Chaos::plan("leader-alone@4+1").three_brokers().with(&leader_only).convicted() else { return };
    assert!(verdict.count("lost") > 0, "{}", verdict.said());
}

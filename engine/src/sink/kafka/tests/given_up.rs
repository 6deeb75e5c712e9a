//! What is given up, and what is not.

use super::rig::{Rig, config};
use super::{check, connected, possible_duplicates, value};
use crate::metrics::Health;
use crate::ticket::{FailReason, Outcome};

const IMPATIENT: &str =
    "request_timeout = \"500ms\"\nmetadata_request_timeout = \"300ms\"\nreconnect_delay = \"100ms\"";

fn outcomes(rig: &Rig) -> Vec<Option<Outcome>> {
    rig.sent.iter().map(|sent| sent.outcome).collect()
}

fn is_stored(rig: &Rig, number: usize) -> bool {
    matches!(rig.sent[number].outcome, Some(Outcome::Stored { .. }))
}

/// Row T07 of the fault table: a batch that is too old goes with all that waits behind it, in order, and what comes later is stored.
#[test]
fn a_batch_that_is_too_old_takes_the_tail_with_it() {
    let mut rig = connected(IMPATIENT, "ack_timeout = \"300ms\"\nmax_batch_age = \"2s\"");
    rig.submit(0, 0, vec![value(0, 20_000)]);
    rig.run_ms(100);
    rig.world.mute = vec![true; 2];
    (1..5).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.run_ms(20_000);
    assert!(rig.sent[1..].iter().all(|sent| sent.outcome == Some(Outcome::Failed(FailReason::Expired))));
    assert_eq!(possible_duplicates(&rig), 4, "all of them had been sent, and their publishers may do so again");
    assert!(rig.writer.is_idle());
    rig.world.mute = vec![false; 2];
    (5..8).for_each(|number| rig.submit(0, 0, vec![value(number, 100)]));
    rig.run_ms(2_000);
    // What was given up may have been stored all the same, once.
    check(&rig, 0, true);
    assert!(matches!(rig.sent[7].outcome, Some(Outcome::Stored { .. })));
}

#[test]
fn a_batch_that_was_refused_too_often_takes_the_tail_with_it() {
    let mut rig = connected("reconnect_delay = \"100ms\"", "max_retries = 3");
    rig.submit(0, 0, vec![value(0, 20_000)]);
    rig.run_ms(100);
    rig.world.cluster.faults.passing = 1_000_000;
    (1..5).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.run_ms(10_000);
    assert!(rig.sent[1..].iter().all(|sent| sent.outcome == Some(Outcome::Failed(FailReason::RetriesExhausted))));
    rig.world.cluster.faults.passing = 0;
    rig.submit(0, 0, vec![value(5, 100)]);
    rig.run_ms(2_000);
    check(&rig, 0, true);
    assert!(matches!(rig.sent[5].outcome, Some(Outcome::Stored { .. })));
    assert_eq!(rig.world.cluster.sequences_refused, 0, "numbers that were not used go to what comes later");
}

/// What was acknowledged when it was buffered has no publisher who could send it again.
#[test]
fn of_what_was_promised_only_what_is_itself_too_old_goes() {
    let sink = "ack_timeout = \"300ms\"\nmax_batch_age = \"5s\"\nquery_mode = \"async\"";
    let mut rig = connected(IMPATIENT, sink);
    rig.submit(0, 0, vec![value(0, 20_000)]);
    rig.run_ms(100);
    rig.world.mute = vec![true; 2];
    (1..3).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.run_ms(3_500);
    (3..6).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.run_ms(2_000);
    rig.world.mute = vec![false; 2];
    rig.run_ms(3_000);
    for number in 1..3 {
        assert_eq!(rig.sent[number].outcome, Some(Outcome::Failed(FailReason::Expired)));
    }
    assert!((3..6).all(|number| is_stored(&rig, number)), "{:?}", outcomes(&rig));
    check(&rig, possible_duplicates(&rig), true);
    assert_eq!(rig.world.cluster.sequences_refused, 0);
}

/// Two sinks that write one topic share its queues, but not how long their records may wait.
#[test]
fn the_age_that_one_sink_allows_is_not_that_of_another() {
    for first in 0..2 {
        ages_of_two_sinks(first);
    }
}

fn ages_of_two_sinks(first: u64) {
    let other = "max_batch_age = \"1s\"\n[sinks.patient]\nconnector = \"k\"\nsource_topics = [\"#\"]\ntopic = \"t\"";
    let mut rig = connected(IMPATIENT, other);
    rig.world.stalled = vec![true; 2];
    (0..4).for_each(|number| rig.submit(((number + first) % 2) as u16, 0, vec![value(number, 20_000)]));
    rig.run_ms(5_000);
    for number in 0..4 {
        let is_impatient = (number as u64 + first).is_multiple_of(2);
        assert_eq!(
            rig.sent[number].outcome.is_some(),
            is_impatient,
            "batch {number} is not kept waiting for the other sink"
        );
    }
    rig.world.stalled = vec![false; 2];
    rig.run_ms(5_000);
    for number in 0..4 {
        assert_eq!(
            is_stored(&rig, number),
            (number as u64 + first) % 2 == 1,
            "batch {number}: {:?}",
            rig.sent[number].outcome
        );
    }
    check(&rig, possible_duplicates(&rig), true);
}

/// `max_retries` counts what brokers refuse; a broker that hangs refuses nothing.
#[test]
fn links_that_were_lost_use_up_no_retries() {
    let mut rig = connected(IMPATIENT, "ack_timeout = \"300ms\"\nmax_retries = 1");
    rig.world.stalled = vec![true; 2];
    (0..3).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.run_ms(10_000);
    assert!(rig.world.dials > 6, "it was tried again and again");
    rig.world.stalled = vec![false; 2];
    rig.run_ms(5_000);
    assert!((0..3).all(|number| is_stored(&rig, number)), "{:?}", outcomes(&rig));
    check(&rig, possible_duplicates(&rig), true);
}

#[test]
fn without_a_producer_id_nothing_is_written_until_one_is_given() {
    let mut rig = Rig::new(1, 2, &config("", ""));
    rig.world.cluster.create("t", 4);
    rig.world.cluster.deny_producer = 31;
    rig.round();
    rig.submit(0, 0, vec![value(1, 10)]);
    rig.run_ms(1_000);
    assert_eq!(rig.sent[0].outcome, Some(Outcome::Failed(FailReason::Unauthorized)));
    assert!(matches!(rig.health(0), Health::Stopped(why) if why.contains("CLUSTER_AUTHORIZATION_FAILED")));
    assert_eq!(rig.world.cluster.produce_requests, 0);
    rig.world.cluster.deny_producer = 0;
    rig.run_ms(20_000);
    rig.submit(0, 0, vec![value(2, 10)]);
    rig.run_ms(1_000);
    assert!(matches!(rig.sent[1].outcome, Some(Outcome::Stored { .. })));
}

#[test]
fn what_was_promised_waits_for_a_producer_id() {
    let mut rig = Rig::new(1, 2, &config("", "query_mode = \"async\""));
    rig.world.cluster.create("t", 4);
    rig.world.cluster.deny_producer = 31;
    rig.round();
    (0..5).for_each(|number| rig.submit(0, 0, vec![value(number, 100)]));
    rig.run_ms(60_000);
    assert!(rig.sent.iter().all(|sent| sent.outcome.is_none()), "{:?}", outcomes(&rig));
    assert!(matches!(rig.health(0), Health::Stopped(why) if why.contains("CLUSTER_AUTHORIZATION_FAILED")));
    rig.world.cluster.deny_producer = 0;
    rig.run_ms(20_000);
    assert!((0..5).all(|number| is_stored(&rig, number)), "{:?}", outcomes(&rig));
    check(&rig, 0, true);
}

/// Small batches that wait are merged, but not the young with the old: with the oldest record all of a batch go.
#[test]
fn what_is_young_does_not_go_with_what_is_old() {
    let sink = "ack_timeout = \"300ms\"\nmax_batch_age = \"10s\"\nquery_mode = \"async\"";
    let mut rig = connected(IMPATIENT, sink);
    rig.world.stalled = vec![true; 2];
    for number in 0..8 {
        rig.submit(0, 0, vec![value(number, 100)]);
        rig.run_ms(1_000);
    }
    rig.world.stalled = vec![false; 2];
    rig.world.cluster.faults.passing = 1_000_000;
    rig.run_ms(4_500);
    rig.world.cluster.faults.passing = 0;
    rig.run_ms(5_000);
    let gone = rig.sent.iter().take_while(|sent| sent.outcome == Some(Outcome::Failed(FailReason::Expired))).count();
    assert!((1..=4).contains(&gone) && (gone..8).all(|number| is_stored(&rig, number)), "{:?}", outcomes(&rig));
    check(&rig, possible_duplicates(&rig), true);
}

/// A sink that becomes sync does not forget what it promised before.
#[test]
fn what_was_promised_stays_promised_when_its_sink_becomes_sync() {
    let mut rig = connected(IMPATIENT, "ack_timeout = \"300ms\"\nmax_batch_age = \"5s\"");
    rig.promised = true;
    rig.world.stalled = vec![true; 2];
    rig.submit(0, 0, vec![value(0, 20_000)]);
    rig.run_ms(3_500);
    rig.submit(0, 0, vec![value(1, 20_000)]);
    rig.run_ms(2_000);
    rig.world.stalled = vec![false; 2];
    rig.run_ms(3_000);
    assert_eq!(rig.sent[0].outcome, Some(Outcome::Failed(FailReason::Expired)));
    assert!(is_stored(&rig, 1));
}

/// Behind a batch that failed numbers are refused that are only wrong because of it; that is no refusal of what bears them.
#[test]
fn what_stands_behind_a_culprit_uses_up_no_retries() {
    let mut rig = connected("", "max_retries = 0");
    rig.submit(0, 0, vec![value(0, 20_000)]);
    rig.run_ms(100);
    let mut poisoned = value(1, 20_000);
    poisoned[0] = super::POISON;
    rig.submit(0, 0, vec![poisoned]);
    (2..5).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.run_ms(5_000);
    assert!((2..5).all(|number| is_stored(&rig, number)), "{:?}", outcomes(&rig));
}

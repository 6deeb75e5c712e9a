//! Storing, replicating, electing.

use ::kafka::message::produce::Acks;

use super::rig::{Batch, Rig, WALL_MS, batch, plan};
use crate::kafka::faults::code;
use crate::kafka::{ClusterPlan, Connect, Faults, Reply};

const OFTEN: u32 = 1_000_000;

#[test]
fn every_version_is_answered_in_its_form() {
    for version in 3..=12 {
        let mut rig = Rig::new(plan(1, 3, 1));
        rig.version = version;
        let batches = [(2, batch(0, 0, &[b"a", b"b"]).seal()), (0, batch(0, 0, &[b"c"]).seal())];
        assert_eq!(rig.store_all(0, &batches), [(0, 0), (0, 0)], "version {version}");
        rig.faults(Faults { shuffle: OFTEN, throttle: OFTEN, throttle_ms_max: 9, ..Faults::default() });
        let batches = [(1, batch(0, 0, &[b"d"]).seal()), (2, batch(0, 2, &[b"e"]).seal())];
        assert_eq!(rig.store_all(0, &batches), [(0, 0), (0, 2)], "version {version}");
        assert_eq!(rig.values(), [vec![&b"c"[..]], vec![b"d"], vec![b"a", b"b", b"e"]]);
    }
}

#[test]
fn all_means_that_all_in_sync_have_it() {
    let mut rig = Rig::new(plan(3, 1, 1));
    let Reply::Held(token) = rig.send(0, Acks::AllIsr, 30_000, &[(0, batch(0, 0, &[b"a"]).seal())]) else {
        panic!("followers have not copied it");
    };
    let mut committed = 0;
    rig.cluster.committed(|_| committed += 1);
    assert_eq!(committed, 0);
    assert_eq!(rig.await_results(token, &[(0, Vec::new())]), [(0, 0)]);
    rig.cluster.committed(|batch| {
        committed += 1;
        assert_eq!((batch.base_offset, batch.producer_id, batch.base_sequence), (0, 7, 0));
        let record = batch.records().next().expect("a record");
        assert_eq!((record.key, record.value, record.timestamp_ms), (Some(&b"key"[..]), Some(&b"a"[..]), WALL_MS));
    });
    assert_eq!(committed, 1);
    assert!(matches!(rig.send(0, Acks::LeaderOnly, 30_000, &[(0, batch(0, 1, &[b"b"]).seal())]), Reply::At(_)));
    assert_eq!(rig.send(0, Acks::None, 30_000, &[(0, batch(0, 2, &[b"c"]).seal())]), Reply::Unanswered);
    let lost = rig.send(0, Acks::None, 30_000, &[(0, batch(0, 9, &[b"c"]).seal())]);
    assert_eq!(lost, Reply::Close { handled: true }, "with acks 0 an error is told by closing");
}

#[test]
fn what_comes_twice_waits_like_new() {
    let mut rig = Rig::new(plan(3, 1, 1));
    let twice = [(0, batch(0, 0, &[b"a"]).seal())];
    let (first, second) = (rig.send(0, Acks::AllIsr, 30_000, &twice), rig.send(0, Acks::AllIsr, 30_000, &twice));
    let (Reply::Held(_), Reply::Held(second)) = (first, second) else { panic!("both wait") };
    assert_eq!(rig.await_results(second, &twice), [(0, 0)]);
    assert_eq!((rig.cluster.counts().appended, rig.cluster.counts().dedupes), (1, 1));
}

#[test]
fn a_follower_that_stalls_holds_the_answer_until_it_is_out_of_sync() {
    let (lag_ns, forever) = (2_000_000_000, u64::MAX / 4);
    let mut rig = Rig::new(ClusterPlan { lag_ns, ..plan(3, 1, 2) });
    rig.cluster.brokers[1].stalled_until = rig.now + forever;
    let began = rig.now;
    assert_eq!(rig.store(0, &batch(0, 0, &[b"a"])), (0, 0));
    assert!(rig.now.since(began) >= lag_ns, "it left the set first");
    let began = rig.now;
    assert_eq!(rig.store(0, &batch(0, 1, &[b"b"])), (0, 1));
    assert!(rig.now.since(began) < lag_ns / 10);
    assert_eq!(rig.cluster.counts().shrinks, 1);
    rig.cluster.heal(rig.time());
    rig.run_ms(1000);
    assert!(rig.cluster.is_whole());
    assert_eq!(rig.cluster.counts().expands, 1);
}

#[test]
fn a_request_that_waits_for_replicas_times_out_and_stays_stored() {
    let mut rig = Rig::new(plan(2, 1, 1));
    rig.cluster.brokers[1].stalled_until = rig.now + 5_000_000_000;
    let once = [(0, batch(0, 0, &[b"a"]).seal())];
    let Reply::Held(token) = rig.send(0, Acks::AllIsr, 1000, &once) else { panic!("nobody copies") };
    assert_eq!(
        rig.await_results(token, &once),
        [(code::REQUEST_TIMED_OUT, 0)],
        "Kafka tells the offset beside the error"
    );
    assert_eq!(rig.cluster.counts().timeouts, 1);
    assert_eq!(rig.store(0, &batch(0, 0, &[b"a"])), (0, 0));
    assert_eq!(rig.values(), [[b"a"]]);
}

#[test]
fn too_few_in_sync_take_nothing() {
    let mut rig = Rig::new(plan(2, 1, 2));
    rig.faults(Faults { stall: OFTEN, stalled_ns_max: 1, shrink: OFTEN, ..Faults::default() });
    while rig.cluster.controller.leds[0].isr != 1 {
        rig.cluster.brokers[1].stalled_until = rig.now + 1_000_000_000;
        rig.run_ms(10);
    }
    rig.faults(Faults::default());
    rig.cluster.brokers[1].stalled_until = rig.now + 1_000_000_000;
    assert_eq!(rig.store(0, &batch(0, 0, &[b"a"])), (code::NOT_ENOUGH_REPLICAS, -1));
    let out = rig.send(0, Acks::LeaderOnly, 1000, &[(0, batch(0, 0, &[b"a"]).seal())]);
    assert!(matches!(out, Reply::At(_)), "acks = 1 does not ask");
    rig.run_ms(100);
    assert_eq!(rig.cluster.counts().committed, 0, "below the minimum nothing is committed");
    rig.run_ms(2000);
    assert_eq!(rig.cluster.counts().committed, 1);
    assert_eq!(rig.store(0, &batch(0, 1, &[b"b"])), (0, 1));
}

#[test]
fn before_kafka_3_7_it_is_committed_below_the_minimum_and_said_so() {
    let mut rig = Rig::new(ClusterPlan { commits_below_min: true, ..plan(2, 1, 2) });
    rig.cluster.brokers[1].stalled_until = rig.now + 10_000_000_000;
    let once = [(0, batch(0, 0, &[b"a"]).seal())];
    let Reply::Held(token) = rig.send(0, Acks::AllIsr, 30_000, &once) else { panic!("nobody copies") };
    rig.cluster.fence(rig.now, 1);
    rig.run_ms(100);
    assert_eq!(rig.await_results(token, &once), [(code::NOT_ENOUGH_REPLICAS_AFTER_APPEND, 0)]);
}

#[test]
fn a_new_leader_knows_what_it_has_copied() {
    let mut rig = Rig::new(plan(3, 1, 1));
    for n in 0..6 {
        assert_eq!(rig.store(0, &batch(0, n, &[b"x"])), (0, i64::from(n)));
    }
    rig.cluster.kill(rig.now, 0, 60_000_000_000);
    assert_eq!(rig.cluster.broken().collect::<Vec<_>>(), [0]);
    assert_eq!(rig.cluster.connect(0), Connect::Refused);
    assert_eq!(rig.store(1, &batch(0, 6, &[b"x"])).0, code::NOT_LEADER_OR_FOLLOWER, "nobody has missed it yet");
    rig.run_ms(10_000);
    let leader = rig.leader(0).expect("an election");
    assert_ne!(leader, 0);
    for n in 1..6 {
        assert_eq!(rig.store(leader, &batch(0, n, &[b"x"])), (0, i64::from(n)), "known");
    }
    assert_eq!(
        rig.store(leader, &batch(0, 0, &[b"x"])).0,
        code::OUT_OF_ORDER_SEQUENCE_NUMBER,
        "the sixth is forgotten"
    );
    assert_eq!(rig.store(leader, &batch(0, 6, &[b"x"])), (0, 6));
    assert_eq!(rig.values()[0].len(), 7);
}

#[test]
fn what_only_the_dead_leader_had_is_gone_and_may_be_stored_again() {
    let mut rig = Rig::new(plan(3, 1, 1));
    assert_eq!(rig.store(0, &batch(0, 0, &[b"a"])), (0, 0));
    assert!(matches!(rig.send(0, Acks::LeaderOnly, 1000, &[(0, batch(0, 1, &[b"b"]).seal())]), Reply::At(_)));
    rig.cluster.kill(rig.now, 0, 20_000_000_000);
    rig.run_ms(10_000);
    assert_eq!(rig.store(1, &batch(0, 1, &[b"c"])), (0, 1), "its number was never used");
    rig.run_ms(30_000);
    assert_eq!(rig.cluster.counts().truncated, 1);
    assert!(rig.cluster.is_whole());
    rig.cluster.move_leader(rig.now, 0);
    rig.run_ms(1000);
    while rig.leader(0) != Some(0) {
        rig.cluster.move_leader(rig.now, 0);
        rig.run_ms(1000);
    }
    assert_eq!(rig.values(), [[b"a", b"c"]], "the old leader has what the new one has");
    assert_eq!(rig.store(0, &batch(0, 1, &[b"c"])), (0, 1), "and knows its producers");
}

#[test]
fn nobody_leads_who_was_not_in_sync() {
    let mut rig = Rig::new(plan(2, 1, 1));
    rig.cluster.kill(rig.now, 1, u64::MAX / 4);
    rig.run_ms(10_000);
    assert_eq!(rig.store(0, &batch(0, 0, &[b"a"])), (0, 0));
    rig.cluster.kill(rig.now, 0, 60_000_000_000);
    let life = rig.cluster.brokers[1].life;
    rig.cluster.happen(rig.now, crate::kafka::timeline::Event::Restart { broker: 1, life });
    rig.run_ms(20_000);
    assert_eq!(rig.leader(0), None);
    assert!(rig.cluster.counts().leaderless > 0);
    rig.run_ms(60_000);
    assert_eq!(rig.leader(0), Some(0));
    assert_eq!(rig.store(0, &batch(0, 1, &[b"b"])), (0, 1));
    assert_eq!(rig.values(), [[b"a", b"b"]]);
}

#[test]
fn nobody_is_in_sync_who_lacks_what_is_committed() {
    let mut rig = Rig::new(plan(2, 1, 1));
    rig.cluster.kill(rig.now, 1, u64::MAX / 4);
    rig.run_ms(10_000);
    for n in 0..3 {
        assert_eq!(rig.store(0, &batch(0, n, &[b"a"])), (0, i64::from(n)));
    }
    let partition = &mut rig.cluster.partitions[0];
    for copied in 1..=3 {
        assert_eq!(partition.replicate(rig.now, 0, 1, 1), (0, copied == 3));
        assert_eq!(partition.is_caught_up(0, 1), copied == 3, "{copied} of 3");
    }
}

#[test]
fn a_broker_that_stood_still_thinks_it_leads_and_commits_nothing() {
    let mut rig = Rig::new(plan(3, 1, 1));
    assert_eq!(rig.store(0, &batch(0, 0, &[b"a"])), (0, 0));
    rig.cluster.freeze(rig.now, 0, false, 20_000_000_000);
    assert_eq!(rig.cluster.connect(0), Connect::Up);
    let second = [(0, batch(0, 1, &[b"b"]).seal())];
    let Reply::Held(token) = rig.send(0, Acks::AllIsr, 30_000, &second) else { panic!("nobody reads it") };
    rig.run_ms(12_000);
    assert_eq!(rig.leader(0), Some(1));
    assert_eq!(rig.store(1, &batch(0, 1, &[b"B"])), (0, 1));
    rig.run_ms(7_000);
    assert!(rig.released(token).is_none());
    rig.run_ms(3_000);
    let released = rig.released(token).expect("it goes on");
    // It appended, could not commit, and heard that it leads no more.
    assert_eq!(&released.frame[..4], &2i32.to_be_bytes());
    assert_eq!((rig.cluster.counts().stale_appends, rig.cluster.counts().truncated), (1, 1));
    assert_eq!(rig.values(), [[b"a", b"B"]]);
}

#[test]
fn an_outage_takes_what_was_acknowledged_from_all_brokers() {
    let mut rig = Rig::new(plan(3, 1, 2));
    for sequence in 0..6 {
        assert_eq!(rig.store(0, &batch(0, sequence, &[b"a"])), (0, i64::from(sequence)));
    }
    let mut committed = 0;
    rig.cluster.committed(|_| committed += 1);
    rig.cluster.set_faults(Faults { outage: OFTEN, lost_batches_max: 3, dead_ns_max: 1_000_000, ..Faults::default() });
    while rig.cluster.counts().lost == 0 {
        rig.run_ms(100);
    }
    rig.cluster.set_faults(Faults::default());
    rig.run_ms(20_000);
    let (lost, mut shown) = (rig.cluster.counts().lost as i64, 0);
    rig.cluster.lost(|batch| shown += i64::from(batch.records));
    assert!(committed == 6 && lost == shown && lost <= 6, "{lost} of {committed} are gone, {shown} told");
    // Who wrote last is not known any more, and its next batch gets an offset that was given out before.
    let leader = rig.leader(0).expect("somebody leads again");
    assert_eq!(rig.store(leader, &batch(0, 6, &[b"b"])).0, code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(rig.store(leader, &batch(1, 0, &[b"b"])), (0, 6 - lost));
}

#[test]
fn a_batch_is_refused_for_size_time_and_value() {
    let mut rig = Rig::new(ClusterPlan { is_poison: |value| value == b"bad", batch_bytes_max: 200, ..plan(1, 1, 1) });
    assert_eq!(rig.store(0, &batch(0, 0, &[&[1; 200]])), (code::MESSAGE_TOO_LARGE, -1));
    assert_eq!(rig.store(0, &batch(0, 0, &[b"good", b"bad"])), (code::INVALID_RECORD, -1));
    for (hours, expected) in [(-2, code::INVALID_TIMESTAMP), (2, code::INVALID_TIMESTAMP), (0, code::NONE)] {
        let batch = Batch { time_ms: WALL_MS + hours * 3_600_000, ..batch(0, 0, &[b"a"]) };
        assert_eq!(rig.store(0, &batch).0, expected, "{hours} h");
    }
    assert_eq!(rig.cluster.counts().errors_of(code::INVALID_TIMESTAMP), 2);
    rig.cluster.topics[0].batch_bytes_max = 10;
    assert_eq!(rig.store(0, &batch(0, 0, &[b"a"])).0, code::MESSAGE_TOO_LARGE, "size is looked at first");
    assert_eq!(rig.cluster.counts().refused_though_stored, 1);
}

#[test]
fn errors_are_injected_before_and_after_the_append() {
    let mut rig = Rig::new(plan(1, 1, 1));
    rig.faults(Faults { after_append: OFTEN, ..Faults::default() });
    let (code, offset) = rig.store(0, &batch(0, 0, &[b"a"]));
    assert!(code != 0 && offset == 0);
    rig.faults(Faults { refuse_any: OFTEN, ..Faults::default() });
    for _ in 0..5000 {
        rig.store(0, &batch(0, 1, &[b"b"]));
    }
    let codes = (-1..=133).filter(|&code| rig.cluster.counts().errors_of(code) > 0).count();
    assert!(codes > 120, "{codes} codes");
    assert_eq!(rig.cluster.counts().errors_of(46), 0, "nothing is said to be stored that is not");
    rig.faults(Faults { amnesia: OFTEN, ..Faults::default() });
    let appended = rig.cluster.counts().appended;
    rig.store(0, &batch(0, 0, &[b"a"]));
    assert_eq!(rig.cluster.counts().appended, appended + 1, "forgotten, so stored twice");
    assert!(!rig.cluster.partitions[0].forgotten.is_empty());
}

#[test]
fn a_producer_expires_by_the_time_of_its_records() {
    let mut rig = Rig::new(ClusterPlan { producer_expiry_ms: Some(60_000), ..plan(1, 1, 1) });
    let at = |rig: &Rig| Batch { time_ms: rig.time().wall_ms, ..batch(0, 0, &[b"a"]) };
    let first = at(&rig);
    assert_eq!(rig.store(0, &first), (0, 0));
    rig.run_ms(50_000);
    assert_eq!(rig.store(0, &first), (0, 0), "known");
    assert!(rig.cluster.partitions[0].forgotten.is_empty());
    rig.run_ms(20_000);
    assert_eq!(rig.store(0, &first), (0, 1), "forgotten");
    assert!(!rig.cluster.partitions[0].forgotten.is_empty());
}

#[test]
fn connections_break_before_and_after() {
    let mut rig = Rig::new(plan(1, 1, 1));
    let once = [(0, batch(0, 0, &[b"a"]).seal())];
    rig.faults(Faults { close_before: OFTEN, ..Faults::default() });
    assert_eq!(rig.send(0, Acks::AllIsr, 1000, &once), Reply::Close { handled: false });
    assert_eq!(rig.cluster.counts().appended, 0);
    rig.faults(Faults { close_after: OFTEN, ..Faults::default() });
    assert_eq!(rig.send(0, Acks::AllIsr, 1000, &once), Reply::Close { handled: true });
    rig.faults(Faults { never_answered: OFTEN, ..Faults::default() });
    assert_eq!(rig.send(0, Acks::AllIsr, 1000, &once), Reply::Never);
    assert_eq!((rig.cluster.counts().appended, rig.cluster.counts().dedupes), (1, 1));
}

#[test]
#[should_panic(expected = "the batch's checksum is wrong")]
fn a_damaged_batch_is_our_bug() {
    let mut rig = Rig::new(plan(1, 1, 1));
    let mut bytes = batch(0, 0, &[b"a"]).seal();
    *bytes.last_mut().expect("bytes") ^= 1;
    rig.send(0, Acks::AllIsr, 1000, &[(0, bytes)]);
}

#[test]
#[should_panic(expected = "names a partition twice")]
fn a_partition_named_twice_is_our_bug() {
    let mut rig = Rig::new(plan(1, 1, 1));
    let bytes = batch(0, 0, &[b"a"]).seal();
    rig.send(0, Acks::AllIsr, 1000, &[(0, bytes.clone()), (0, bytes)]);
}

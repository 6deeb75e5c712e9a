//! The terms of sinks change while their batches are under way.

use super::rig::{Rig, config};
use super::{check, connected, digits, possible_duplicates, value};
use crate::config::{Config, Machine};
use crate::plan::Plan;
use crate::shard::roster::Roster;
use crate::ticket::Outcome;

/// Has the writer work by another configuration.
fn change(rig: &mut Rig, roster: &mut Roster, wanted: &Config) {
    let machine = Machine { memory_bytes: 1 << 30, cores: 1, descriptors: 1024 };
    let plan = Plan::new(wanted, &machine).expect("a plan");
    let snapshot = roster.next(wanted, &plan).expect("a change");
    rig.writer.prepare(0, &snapshot);
    rig.writer.apply(0, &snapshot);
    rig.world.inflight_max = rig.world.inflight_max.max(wanted.sinks[0].inflight_batches_max);
    roster.applied(snapshot);
}

/// Four large batches are under way in one partition.
fn four_aloft(sink: &str) -> (Rig, Roster) {
    let mut rig = connected("", sink);
    rig.submit(0, 0, vec![value(0, 20_000)]);
    rig.run_ms(100);
    (1..=4).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.round();
    assert_eq!(rig.world.widest_flight, 4);
    rig.world.widest_flight = 0;
    (rig, Roster::new(&config("", sink)))
}

#[test]
fn a_partition_changes_its_manner_with_nothing_under_way() {
    for (old, new) in [
        ("", "required_acks = \"leader_only\""),
        ("required_acks = \"leader_only\"", ""),
        ("", "ack_timeout = \"3s\""),
        ("idempotence = false", ""),
        ("", "idempotence = false"),
    ] {
        let (mut rig, mut roster) = four_aloft(old);
        change(&mut rig, &mut roster, &config("", new));
        rig.submit(0, 0, vec![value(5, 20_000)]);
        rig.round();
        while rig.sent[..=4].iter().any(|sent| sent.outcome.is_none()) {
            assert_eq!(rig.world.widest_flight, 0, "{old} to {new}: one of the new manner is beside one of the old");
            rig.step_after_round();
        }
        rig.run_ms(1_000);
        check(&rig, 0, true);
    }
}

#[test]
fn what_is_under_way_is_sent_again_as_it_was() {
    let (mut rig, mut roster) = four_aloft("");
    change(&mut rig, &mut roster, &config("", "compression = \"gzip\"\nrequired_acks = \"leader_only\""));
    rig.submit(0, 0, (5..40).map(|number| digits(number, 1_000)).collect());
    rig.cut_off(0);
    rig.run_ms(5_000);
    check(&rig, 0, true);
    assert_eq!(rig.world.cluster.packed, 1, "the one that was not sent before");
    assert_eq!(rig.world.cluster.sequences_refused, 0);
}

#[test]
fn less_in_flight_waits_until_less_is() {
    let (mut rig, mut roster) = four_aloft("");
    change(&mut rig, &mut roster, &config("", "max_inflight = 2"));
    (5..=9).for_each(|number| rig.submit(0, 0, vec![value(number, 20_000)]));
    rig.world.inflight_max = 4;
    rig.run_ms(1_000);
    check(&rig, 0, true);
    assert_eq!(rig.world.widest_flight, 2);
}

#[test]
fn a_cluster_that_is_to_answer_sooner_has_to_at_once() {
    let (mut rig, mut roster) = four_aloft("ack_timeout = \"500ms\"");
    rig.world.mute.fill(true);
    rig.run_ms(2_000);
    rig.submit(0, 0, vec![value(5, 20_000)]);
    rig.run_ms(2_000);
    let dials = rig.world.dials;
    change(&mut rig, &mut roster, &config("request_timeout = \"1s\"", "ack_timeout = \"500ms\""));
    rig.run_ms(1_500);
    assert!(rig.world.dials > dials, "its silence is too long now");
    rig.world.mute.fill(false);
    rig.run_ms(10_000);
    check(&rig, possible_duplicates(&rig), true);
}

#[test]
fn links_end_with_their_writer() {
    let mut rig = connected("", "");
    rig.submit(0, 0, vec![value(0, 20_000)]);
    rig.run_ms(1_000);
    assert!(rig.writer.is_idle() && rig.world.links() > 0);
    rig.writer.close(&mut rig.world);
    assert_eq!(rig.world.links(), 0);
}

#[test]
fn changes_at_any_time_lose_double_and_reorder_nothing() {
    let terms = [
        "compression = \"zstd\"",
        "compression = \"lz4\"\nmax_inflight = 2",
        "max_batch_bytes = \"4KB\"\nbatch_target_bytes = \"4KB\"",
        "ack_timeout = \"800ms\"",
        "max_inflight = 1",
        "",
    ];
    // Silence has to be given up within the test, and `ack_timeout` has to be shorter than that.
    let configured = |terms: &str| {
        let ack_timeout = if terms.contains("ack_timeout") { "" } else { "ack_timeout = \"500ms\"\n" };
        config("request_timeout = \"1s\"", &format!("{ack_timeout}{terms}"))
    };
    for seed in 0..20 {
        let mut rig = Rig::new(seed, 2, &configured(""));
        let mut roster = Roster::new(&configured(""));
        rig.world.cluster.create("t", 4);
        rig.round();
        rig.world.breaks = 30;
        for number in 0..300u64 {
            rig.submit(0, (number % 4) as u32, (0..3).map(|i| digits(number * 10 + i, 2_000)).collect());
            rig.run_ms(1);
            if number % 10 == 9 {
                let next = terms[(number / 10 + seed) as usize % terms.len()];
                change(&mut rig, &mut roster, &configured(next));
            }
        }
        rig.world.breaks = 0;
        rig.run_ms(30_000);
        check(&rig, possible_duplicates(&rig), true);
    }
}

#[test]
fn a_topic_is_asked_about_as_long_as_a_sink_names_it() {
    let mut rig = connected("", "");
    let mut roster = Roster::new(&config("", ""));
    let two = config("", "[sinks.u]\nconnector = \"k\"\nsource_topics = [\"#\"]\ntopic = \"u\"");
    rig.world.cluster.create("u", 2);
    change(&mut rig, &mut roster, &two);
    rig.run_ms(100);
    assert_eq!(
        (rig.writer.partitions(0), rig.writer.partitions(1)),
        (Some(4), Some(2)),
        "it does not wait for the interval"
    );
    rig.submit(1, 1, vec![value(1, 10)]);
    rig.run_ms(100);
    assert!(matches!(rig.sent[0].outcome, Some(Outcome::Stored { .. })));
    change(&mut rig, &mut roster, &config("", ""));
    rig.writer.forget(1);
    assert_eq!((rig.writer.partitions(1), rig.writer.cluster.find("u")), (None, None));
    assert!(roster.left(1));
    change(&mut rig, &mut roster, &two);
    rig.run_ms(100);
    rig.submit(1, 1, vec![value(2, 10)]);
    rig.run_ms(100);
    assert_eq!(rig.world.cluster.topics["u"].logs[1].values, [value(1, 10), value(2, 10)], "the second is no repeat");
}

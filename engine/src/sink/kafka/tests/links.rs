//! How partitions share the links to their leaders.

use super::rig::{Rig, config};
use super::{check, value};

/// A rig with a topic of four partitions on `brokers` brokers, after ten batches for each were stored.
fn spread(brokers: usize, connector: &str) -> Rig {
    let mut rig = Rig::new(1, brokers, &config(connector, ""));
    rig.world.cluster.create("t", 4);
    rig.round();
    rig.run_ms(100);
    for number in 0..40 {
        rig.submit(0, number % 4, vec![value(u64::from(number), 20_000)]);
    }
    rig.run_ms(1_000);
    check(&rig, 0, true);
    rig
}

#[test]
fn partitions_are_divided_over_the_links_of_a_broker() {
    let rig = spread(1, "connections_per_broker = 2");
    assert_eq!(rig.world.dials, 3, "two links for records, one for questions");
}

#[test]
fn each_partition_has_a_link_of_its_own_if_that_is_wanted() {
    let mut rig = spread(2, "connection_strategy = \"per_partition\"");
    assert_eq!(rig.world.dials, 5, "four links for records, one for questions");
    assert_eq!(rig.world.cluster.widest_request, 1, "no request has batches of two partitions");
    // A leader that moves takes its partition's link along: the other broker gets one for it, and no more.
    rig.world.cluster.move_leader("t", 0, 1);
    rig.submit(0, 0, vec![value(100, 20_000)]);
    rig.run_ms(4_000);
    check(&rig, 0, true);
    assert_eq!(rig.world.dials, 6);
}

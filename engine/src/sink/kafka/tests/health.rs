//! How a connector stands: what is noticed without records, and when.

use super::rig::{Rig, config};
use super::{connected, value};
use crate::metrics::Health;

#[test]
fn a_broker_that_owes_an_answer_for_long_is_no_longer_connected() {
    let mut rig = connected("", "sync_timeout = \"3s\"");
    rig.world.stalled[0] = true;
    rig.submit(0, 0, vec![value(1, 100)]);
    rig.run_ms(2_500);
    assert_eq!(rig.health(0), Health::Connected);
    rig.run_ms(1_000);
    assert!(
        matches!(rig.health(0), Health::Connecting(why) if why.contains("no answer for 3 s")),
        "{:?}",
        rig.health(0)
    );
    rig.world.stalled[0] = false;
    rig.run_ms(500);
    assert_eq!(rig.health(0), Health::Connected);
}

#[test]
fn a_cluster_is_disconnected_once_it_was_not_reached_in_time() {
    let mut rig = Rig::new(1, 2, &config("start_timeout = \"3s\"", ""));
    rig.world.cluster.create("t", 4);
    rig.world.dead = vec![true; 2];
    rig.run_ms(2_900);
    assert!(matches!(rig.health(0), Health::Connecting(why) if why.contains("refused")), "{:?}", rig.health(0));
    rig.run_ms(7_000);
    let health = rig.health(0);
    assert!(matches!(&health, Health::Disconnected(why) if why.contains("start_timeout (3 s)")), "{health:?}");
    let said = || rig.notes.iter().filter(|note| note.contains("start_timeout")).count();
    assert_eq!(said(), 1, "{:?}", rig.notes);
    rig.world.dead = vec![false; 2];
    rig.run_ms(5_000);
    assert_eq!(rig.health(0), Health::Connected);
}

/// Nothing is sent, and a broker falls silent without closing a connection.
#[test]
fn a_broker_that_dies_in_silence_is_noticed_at_the_interval() {
    let options = "health_check_interval = \"20s\"\nmetadata_request_timeout = \"1s\"";
    for (connector, sink, seconds) in
        [("", "health_check_interval = \"3s\"", 3), ("", "health_check_interval = \"9s\"", 9)]
    {
        let more = "partition_count_refresh_interval = \"1h\"\n";
        let mut rig = connected(&format!("{options}{connector}"), &format!("{more}{sink}"));
        rig.submit(0, 0, vec![value(1, 10)]);
        rig.run_ms(100);
        rig.world.stalled = vec![true; 2];
        rig.run_ms(seconds * 1_000 + 500);
        assert_eq!(rig.health(0), Health::Connected, "asked, and there is still time to answer");
        rig.run_ms(1_000);
        assert!(
            matches!(rig.health(0), Health::Connecting(why) if why.contains("does not answer")),
            "{:?}",
            rig.health(0)
        );
        assert!(matches!(rig.connector_health(), Health::Connecting(_)), "{:?}", rig.connector_health());
        rig.world.stalled = vec![false; 2];
        rig.run_ms(10_000);
        assert_eq!((rig.health(0), rig.connector_health()), (Health::Connected, Health::Connected));
    }
    // The connector's own is about the connection for questions, without which nothing is known of the cluster.
    let mut rig = connected(
        &options.replace("20s", "2s"),
        "health_check_interval = \"1h\"\npartition_count_refresh_interval = \"1h\"",
    );
    rig.world.dead = vec![true; 2];
    rig.world.stalled = vec![true; 2];
    rig.run_ms(2_500);
    assert_eq!(rig.connector_health(), Health::Connected);
    rig.run_ms(1_500);
    assert!(matches!(rig.connector_health(), Health::Disconnected(_)), "{:?}", rig.connector_health());
}

/// A broker that answers probes is asked no more often than said, and has no reason to close the connection.
#[test]
fn probes_are_as_rare_as_configured() {
    let questions = |interval: &str| {
        let more = format!("health_check_interval = \"{interval}\"");
        let mut rig = connected(&more, &format!("{more}\npartition_count_refresh_interval = \"1h\""));
        let before = rig.world.cluster.questions;
        rig.run_ms(60_000);
        rig.world.cluster.questions - before
    };
    // Two brokers and the connection for questions.
    assert_eq!((questions("10s"), questions("30s"), questions("1h")), (3 * 6, 3 * 2, 0));
}

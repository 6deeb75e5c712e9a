//! SUBSCRIBE and UNSUBSCRIBE in one shard: what is granted, what is refused, what matches.

use mqtt::{Options, Subscription};

use super::mqtt_client::{connect_with, publish_with, qos, read, subscribe, subscribe_with, unsubscribe};
use super::rig::{Rig, packet, publish, settings, sink};
use crate::shard::io::{CloseReason, ConnKey};

impl Rig {
    /// Sends bytes of a client, ends the round, and reads what it gets.
    pub(super) fn say(&mut self, conn: ConnKey, level: u8, bytes: &[u8]) -> Vec<String> {
        self.feed(conn, bytes);
        self.read(conn, level)
    }

    /// Ends a round and reads what a client gets.
    pub(super) fn read(&mut self, conn: ConnKey, level: u8) -> Vec<String> {
        self.round();
        read(level, &self.sent(conn))
    }

    /// What is charged for publications and queues, filters apart, must be nothing in the end.
    pub(super) fn assert_nothing_held(&self) {
        self.shard.audit_deliveries();
        assert_eq!(self.shard.deliver.shelf.bytes(), 0);
        assert!(self.shard.deliver.lanes.is_empty());
        assert_eq!(self.shard.deliver.budget.used_bytes(), self.shard.filters.index_bytes());
    }
}

#[test]
fn a_suback_grants_what_was_asked_for() {
    // [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-5], [MQTT-3.8.4-6]
    for level in [4, 5] {
        let mut rig = Rig::new(settings(vec![sink()]));
        let conn = rig.connect("c", level);
        let at = |filter, bits| Subscription { filter, options: Options::at(qos(bits)) };
        let bytes = subscribe_with(level, 7, 0, &[at("a", 0), at("b/+", 1), at("#", 2)]);
        assert_eq!(rig.say(conn, level, &bytes), ["suback 7 [0, 1, 2]"]);
        assert_eq!(rig.shard.counters.subscriptions, 3);
        assert_eq!(rig.say(conn, level, &subscribe(level, 8, &["a"], 1)), ["suback 8 [1]"]);
        assert_eq!(rig.shard.counters.subscriptions, 3, "the same filter again replaces");
    }
}

#[test]
fn an_unsuback_says_what_was_there() {
    // [MQTT-3.10.4-1], [MQTT-3.10.4-4], [MQTT-3.11.3-1], [MQTT-3.11.3-2]
    for (level, expected) in [(4, "unsuback 9 []"), (5, "unsuback 9 [0, 17, 0]")] {
        let mut rig = Rig::new(settings(Vec::new()));
        let conn = rig.connect("c", level);
        rig.say(conn, level, &subscribe(level, 1, &["a", "b/#"], 0));
        assert_eq!(rig.say(conn, level, &unsubscribe(level, 9, &["a", "b", "b/#"])), [expected]);
        assert_eq!(rig.shard.counters.subscriptions, 0);
        assert!(rig.say(conn, level, &publish(level, 0, 0, "a", b"x")).is_empty());
        rig.assert_nothing_held();
        assert_eq!(rig.shard.filters.index_bytes(), 0);
    }
}

#[test]
fn a_session_has_so_many_subscriptions_and_no_more() {
    let mut limited = settings(Vec::new());
    limited.subscribers.subscriptions_max = 2;
    let mut rig = Rig::new(limited);
    let (old, new) = (rig.connect("old", 4), rig.connect("new", 5));
    assert_eq!(rig.say(old, 4, &subscribe(4, 1, &["a", "b", "c", "a"], 1)), ["suback 1 [1, 1, 128, 1]"]);
    assert_eq!(rig.say(new, 5, &subscribe(5, 1, &["a", "b", "c", "a"], 1)), ["suback 1 [1, 1, 151, 1]"]);
    rig.say(new, 5, &unsubscribe(5, 2, &["a"]));
    assert_eq!(rig.say(new, 5, &subscribe(5, 3, &["c"], 1)), ["suback 3 [1]"]);
}

#[test]
fn filters_are_charged_and_refused_when_nothing_is_left() {
    let mut small = settings(Vec::new());
    small.subscribers.memory_bytes = 4096;
    let mut rig = Rig::new(small);
    let conn = rig.connect("c", 5);
    let filters: Vec<String> = (0..40).map(|n| format!("some/filter/{n}")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let texts = rig.say(conn, 5, &subscribe(5, 1, &filters, 0));
    assert!(texts[0].starts_with("suback 1 [0, 0") && texts[0].ends_with("151]"), "{texts:?}");
    assert!(rig.shard.deliver.budget.used_bytes() <= 4096);
    rig.feed(conn, &packet(0xe0, &[]));
    rig.round();
    assert_eq!((rig.shard.counters.subscriptions, rig.shard.deliver.budget.used_bytes()), (0, 0));
}

#[test]
fn shared_subscriptions_are_refused() {
    let mut rig = Rig::new(settings(Vec::new()));
    let (old, new) = (rig.connect("old", 4), rig.connect("new", 5));
    assert_eq!(rig.say(old, 4, &subscribe(4, 1, &["$share/g/a", "a"], 0)), ["suback 1 [128, 0]"]);
    // MQTT 5 clients were told that there are none.
    assert_eq!(rig.say(new, 5, &subscribe(5, 1, &["$share/g/a"], 0)), ["disconnect 0x9e"]);
    assert_eq!(rig.world.closed, [(new, CloseReason::Protocol)]);
}

#[test]
fn wildcards_match_and_leave_reserved_topics_alone() {
    // [MQTT-4.7.2-1]
    let mut rig = Rig::new(settings(Vec::new()));
    let (all, some, publisher) = (rig.connect("all", 5), rig.connect("some", 5), rig.connect("p", 5));
    rig.say(all, 5, &subscribe(5, 1, &["#"], 0));
    rig.say(some, 5, &subscribe(5, 1, &["a/+/c", "$x/#"], 0));
    let bytes: Vec<u8> = ["a/b/c", "a/b", "$x/y"].iter().flat_map(|t| publish(5, 0, 0, t, b"v")).collect();
    rig.feed(publisher, &bytes);
    assert_eq!(rig.read(all, 5), ["a/b/c=v@0", "a/b=v@0"]);
    assert_eq!(rig.read(some, 5), ["a/b/c=v@0", "$x/y=v@0"]);
}

#[test]
fn overlapping_subscriptions_deliver_once_with_all_identifiers() {
    // [MQTT-3.3.4-2], [MQTT-3.3.4-3], [MQTT-3.3.4-4]
    let mut rig = Rig::new(settings(Vec::new()));
    let (conn, publisher) = (rig.connect("c", 5), rig.connect("p", 5));
    let at = |filter, bits| [Subscription { filter, options: Options::at(qos(bits)) }];
    rig.say(conn, 5, &subscribe_with(5, 1, 11, &at("a/#", 0)));
    rig.say(conn, 5, &subscribe_with(5, 2, 22, &at("a/+", 1)));
    rig.say(conn, 5, &subscribe(5, 3, &["#"], 0));
    rig.feed(publisher, &publish(5, 2, 1, "a/b", b"v"));
    let texts = rig.read(conn, 5);
    assert!(texts == ["a/b=v@1#1[11, 22]"] || texts == ["a/b=v@1#1[22, 11]"], "{texts:?}");
}

#[test]
fn no_local_and_retain_as_published_are_kept_to() {
    // [MQTT-3.8.3-3], [MQTT-3.3.1-12], [MQTT-3.3.1-13]
    let mut rig = Rig::new(settings(Vec::new()));
    let (conn, other, old) = (rig.connect("c", 5), rig.connect("o", 5), rig.connect("old", 4));
    let own = Options { no_local: true, retain_as_published: true, ..Options::at(qos(0)) };
    rig.say(conn, 5, &subscribe_with(5, 1, 0, &[Subscription { filter: "t", options: own }]));
    rig.say(other, 5, &subscribe(5, 1, &["t"], 0));
    assert!(rig.say(conn, 5, &publish(5, 0, 0, "t", b"mine")).is_empty());
    assert_eq!(rig.read(other, 5), ["t=mine@0"]);
    let mut retained = publish(4, 0, 0, "t", b"kept");
    retained[0] |= 1;
    rig.feed(old, &retained);
    assert_eq!((rig.read(conn, 5), rig.read(other, 5)), (vec!["t=kept@0r".into()], vec!["t=kept@0".into()]));
}

#[test]
fn a_subscriber_counts_as_a_match() {
    // MQTT5 3.4.2.1: 0x10 only where nobody takes the publication.
    let mut rig = Rig::new(settings(Vec::new()));
    let (conn, publisher) = (rig.connect("c", 5), rig.connect("p", 5));
    assert_eq!(rig.say(publisher, 5, &publish(5, 1, 1, "t", b"x")), ["puback 1 0x10"]);
    rig.say(conn, 5, &subscribe(5, 1, &["t"], 0));
    assert_eq!(rig.say(publisher, 5, &publish(5, 1, 2, "t", b"x")), ["puback 2 0x0"]);
    rig.say(conn, 5, &unsubscribe(5, 2, &["t"]));
    assert_eq!(rig.say(publisher, 5, &publish(5, 1, 3, "t", b"x")), ["puback 3 0x10"]);
    assert_eq!(rig.shard.counters.unmatched_publishes, 2);
}

#[test]
fn properties_reach_the_subscriber() {
    let mut rig = Rig::new(settings(vec![sink()]));
    let conn = rig.accept();
    rig.feed(conn, &connect_with("c", 5, |_| ()));
    rig.say(conn, 5, &subscribe(5, 1, &["t"], 0));
    let buf = mqtt::PropertyBuf::new().user("k", "v");
    rig.feed(conn, &publish_with("t", "x", 0, &buf));
    rig.round();
    assert_eq!(rig.sent(conn), b"\x30\x0c\x00\x01t\x07\x26\x00\x01k\x00\x01vx");
}

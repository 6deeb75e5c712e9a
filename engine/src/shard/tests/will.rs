//! Wills: published when a connection ends without a word, through the same route as every publication.

use super::mqtt_client::{connect_with, payloads, subscribe, will};
use super::rig::{Rig, packet, publish, settings, sink};
use crate::config::PartitionStrategy;
use crate::shard::SinkSettings;
use crate::shard::io::{ConnKey, Input, Machine};
use crate::sink::Writer;
use crate::sink::script::Script;
use crate::ticket::Outcome;

impl Rig {
    fn with_will(&mut self, client_id: &str, level: u8, delay_s: u32, expiry_s: u32) -> ConnKey {
        let conn = self.accept();
        let bytes = connect_with(client_id, level, |connect| {
            connect.will = Some(will("wills", client_id, delay_s));
            connect.clean_start = expiry_s == 0;
            connect.properties.session_expiry_s = expiry_s;
        });
        let texts = self.say(conn, level, &bytes);
        assert!(texts[0].starts_with("connack"), "{texts:?}");
        conn
    }

    fn break_off(&mut self, conn: ConnKey) {
        self.shard.on(self.now, Input::Closed(conn), &mut self.world);
        self.round();
    }

    /// Ends a round and reads the payloads a client gets.
    fn wills(&mut self, conn: ConnKey) -> Vec<String> {
        let texts = self.read(conn, 5);
        payloads(&texts).into_iter().map(str::to_owned).collect()
    }
}

fn rig() -> (Rig, ConnKey) {
    let mut rig = Rig::new(settings(vec![sink()]));
    let conn = rig.connect("s", 5);
    rig.say(conn, 5, &subscribe(5, 1, &["wills"], 0));
    (rig, conn)
}

#[test]
fn a_connection_that_breaks_off_leaves_its_will_to_kafka_and_subscribers() {
    // [MQTT-3.1.2-8], [MQTT-3.14.4-3]
    let (mut rig, conn) = rig();
    let broken = rig.with_will("broken", 4, 0, 0);
    let polite = rig.with_will("polite", 4, 0, 0);
    rig.feed(polite, &packet(0xe0, &[]));
    rig.break_off(broken);
    assert_eq!(rig.wills(conn), ["broken"]);
    assert_eq!(rig.shard.sink_counters[0].success, 1);
    rig.assert_nothing_held();
}

#[test]
fn every_abnormal_end_publishes_the_will() {
    let (mut rig, conn) = rig();
    let wrong = rig.with_will("protocol", 4, 0, 0);
    rig.feed(wrong, &packet(0xf0, &[]));
    rig.round();
    assert_eq!(rig.wills(conn), ["protocol"]);
    rig.with_will("takeover", 4, 0, 0);
    let second = rig.with_will("takeover", 4, 0, 0);
    assert_eq!(rig.wills(conn), ["takeover"]);
    rig.feed(second, &packet(0xe0, &[]));
    rig.with_will("asked for", 5, 0, 0);
    let asked = rig.with_will("asked for 2", 5, 0, 0);
    rig.feed(asked, &packet(0xe0, &[4]));
    rig.round();
    assert_eq!(rig.wills(conn), ["asked for 2"]);
    rig.with_will("silent", 4, 0, 0);
    rig.after_ms(50_000);
    rig.say(conn, 5, &packet(0xc0, &[]));
    rig.after_ms(50_000);
    assert_eq!(rig.wills(conn), ["asked for", "silent"]);
    assert_eq!(rig.shard.counters.timeouts, 2);
}

#[test]
fn a_delayed_will_waits_for_its_delay_or_the_end_of_the_session() {
    // [MQTT-3.1.3-9]
    let (mut rig, conn) = rig();
    let long = rig.with_will("delay first", 5, 5, 60);
    let short = rig.with_will("session first", 5, 60, 5);
    rig.break_off(long);
    rig.break_off(short);
    assert!(rig.wills(conn).is_empty());
    rig.after_ms(5_000);
    let mut wills = rig.wills(conn);
    wills.sort();
    assert_eq!(wills, ["delay first", "session first"]);
    rig.assert_nothing_held();
}

#[test]
fn a_client_that_is_back_in_time_keeps_its_will_unpublished() {
    // [MQTT-3.1.3-9]
    let (mut rig, conn) = rig();
    let away = rig.with_will("c", 5, 5, 60);
    rig.break_off(away);
    rig.after_ms(1_000);
    let back = rig.with_will("c", 5, 5, 60);
    rig.after_ms(20_000);
    assert!(rig.wills(conn).is_empty());
    rig.feed(back, &packet(0xe0, &[]));
    rig.round();
    rig.assert_nothing_held();
}

#[test]
fn a_will_without_room_waits() {
    let mut small = settings(vec![sink()]);
    small.memory_bytes = 1000;
    let mut rig = Rig::new(small);
    let broken = rig.with_will("broken", 4, 0, 0);
    rig.break_off(broken);
    assert_eq!((rig.shard.deliver.wills.len(), rig.shard.sink_counters[0].matched), (1, 0));
    rig.shard.budget = crate::shard::budget::Budget::new(1 << 20);
    rig.round();
    rig.round();
    assert_eq!((rig.shard.deliver.wills.len(), rig.shard.sink_counters[0].success), (0, 1));
    rig.assert_nothing_held();
}

#[test]
fn a_will_that_does_not_fit_the_memory_refuses_the_connection() {
    let mut small = settings(Vec::new());
    small.subscribers.memory_bytes = 100;
    let mut rig = Rig::new(small);
    let conn = rig.accept();
    rig.feed(conn, &connect_with("c", 5, |connect| connect.will = Some(will("wills", "x", 0))));
    rig.round();
    let sent = rig.sent(conn);
    assert_eq!((sent[0], sent[3]), (0x20, 0x97), "{sent:02x?}");
    assert_eq!(rig.shard.sessions.len(), 0);
}

/// Records wait for a moment where a topic has grown, or a partition has enough on its way; a will is no exception.
#[test]
fn a_will_that_has_to_wait_for_a_partition_is_published_after_the_wait() {
    let sink = SinkSettings { partition_strategy: PartitionStrategy::KeyDispatch, ..sink() };
    let mut rig = Rig::with_writer(settings(vec![sink]), Writer::Script(Script::new(Some(1))));
    let script = |rig: &mut Rig| match &mut rig.shard.writers[0] {
        Writer::Script(script) => std::mem::take(script),
        _ => panic!("a script"),
    };
    let other = rig.connect("other", 4);
    rig.feed(other, &publish(4, 1, 1, "t", b"before"));
    rig.after_ms(20);
    let mut grown = script(&mut rig);
    assert_eq!(grown.open.len(), 1);
    (grown.partitions, grown.changed) = (Some(8), true);
    rig.shard.writers[0] = Writer::Script(grown);
    let lost = rig.with_will("lost", 4, 0, 0);
    rig.break_off(lost);
    rig.after_ms(1_000);
    let mut answered = script(&mut rig);
    assert_eq!((answered.open.len(), rig.shard.sink_counters[0].matched), (1, 1), "it waits");
    answered.answer(0, Outcome::Stored { base_offset: 0 });
    rig.shard.writers[0] = Writer::Script(answered);
    (0..5).for_each(|_| _ = rig.after_ms(10));
    assert_eq!((script(&mut rig).open.len(), rig.shard.sink_counters[0].matched), (1, 2), "nothing is lost");
}

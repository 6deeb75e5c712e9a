//! Deliveries in one shard: after the outcome, in order, within limits, again after a reconnect.

use mqtt::PropertyBuf;
use mqtt::property::{PropertyId, Value};

use super::mqtt_client::{connect_persistent, connect_with, payloads, publish_with, read, subscribe};
use super::rig::{Rig, packet, publish, settings, sink};
use crate::config::{Deliver, Overflow, Qos0OnFull};
use crate::session::deliveries::QueueLimits;
use crate::shard::io::ConnKey;
use crate::shard::{SessionExpiry, SinkSettings};
use crate::sink::Writer;
use crate::sink::accumulator::BatchLimits;
use crate::sink::script::Script;
use crate::ticket::Outcome;

const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBCOMP: u8 = 0x70;

/// A sink whose records wait half a second for their outcome.
fn lingering() -> SinkSettings {
    SinkSettings { limits: BatchLimits { linger_ns: 500_000_000, ..sink().limits }, ..sink() }
}

fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

impl Rig {
    /// A client that subscribes to `t` at this quality of service.
    fn subscriber(&mut self, client_id: &str, level: u8, at: u8) -> ConnKey {
        let conn = self.connect(client_id, level);
        self.say(conn, level, &subscribe(level, 1, &["t"], at));
        conn
    }

    /// The same with a session that outlives the connection.
    fn persistent_subscriber(&mut self, client_id: &str, level: u8, at: u8) -> ConnKey {
        let conn = self.accept();
        self.say(conn, level, &connect_persistent(client_id, level));
        self.say(conn, level, &subscribe(level, 1, &["t"], at));
        conn
    }

    /// The client comes back; what it reads.
    fn come_back(&mut self, client_id: &str, level: u8) -> (ConnKey, Vec<String>) {
        let conn = self.accept();
        let texts = self.say(conn, level, &connect_persistent(client_id, level));
        (conn, texts)
    }

    fn disconnect(&mut self, conn: ConnKey) {
        self.feed(conn, &packet(0xe0, &[]));
        self.round();
    }
}

#[test]
fn each_quality_of_service_is_the_lower_of_both() {
    let mut rig = Rig::new(settings(vec![sink()]));
    let subscribers: Vec<ConnKey> = (0..3).map(|at| rig.subscriber(&format!("s{at}"), 4, at)).collect();
    let publisher = rig.connect("p", 4);
    for bits in 0..3 {
        rig.feed(publisher, &publish(4, bits, u16::from(bits) + 1, "t", b"x"));
        rig.round();
    }
    let texts: Vec<_> = subscribers.into_iter().map(|s| rig.read(s, 4)).collect();
    assert_eq!(texts[0], ["t=x@0"; 3]);
    assert_eq!(texts[1], ["t=x@0", "t=x@1#1", "t=x@1#2"]);
    assert_eq!(texts[2], ["t=x@0", "t=x@1#1", "t=x@2#2"]);
    assert_eq!(rig.shard.counters.deliveries, 9);
}

#[test]
fn qos_2_is_delivered_in_four_packets() {
    // [MQTT-4.3.3-1..7]
    let mut rig = Rig::new(settings(vec![sink()]));
    let (conn, publisher) = (rig.subscriber("s", 5, 2), rig.connect("p", 5));
    rig.feed(publisher, &publish(5, 2, 9, "t", b"x"));
    assert_eq!(rig.read(conn, 5), ["t=x@2#1"]);
    assert_eq!(rig.say(conn, 5, &ack(PUBREC, 1)), ["pubrel 1 0x0"]);
    assert_eq!(rig.say(conn, 5, &ack(PUBREC, 1)), ["pubrel 1 0x0"]);
    assert!(rig.say(conn, 5, &ack(PUBCOMP, 1)).is_empty());
    assert_eq!(rig.say(conn, 5, &ack(PUBREC, 1)), ["pubrel 1 0x92"]);
    rig.assert_nothing_held();
}

#[test]
fn subscribers_see_a_publication_after_its_outcome() {
    let mut rig = Rig::new(settings(vec![lingering()]));
    let (conn, publisher) = (rig.subscriber("s", 5, 1), rig.connect("p", 5));
    for (bits, payload) in [(0, b"a"), (1, b"b"), (2, b"c")] {
        rig.feed(publisher, &publish(5, bits, u16::from(bits), "t", payload));
    }
    assert!(rig.read(conn, 5).is_empty(), "Kafka has not answered");
    assert!(rig.shard.deliver.budget.used_bytes() > rig.shard.filters.index_bytes(), "and the copies are charged");
    rig.after_ms(600);
    assert_eq!(payloads(&rig.read(conn, 5)), ["a", "b", "c"]);
}

#[test]
fn at_once_is_at_once() {
    let mut rig = Rig::new(settings(vec![SinkSettings { deliver: Deliver::AtOnce, ..lingering() }]));
    let (conn, publisher) = (rig.subscriber("s", 5, 0), rig.connect("p", 5));
    rig.feed(publisher, &publish(5, 1, 1, "t", b"x"));
    assert_eq!(rig.read(conn, 5), ["t=x@0"]);
    assert!(rig.sent(publisher).is_empty(), "the PUBACK waits all the same");
}

#[test]
fn what_no_sink_takes_stays_behind_what_one_takes() {
    let mut some = lingering();
    some.route = crate::sink::route::Route::new(&only("kafka/#")).expect("valid");
    let mut rig = Rig::new(settings(vec![some]));
    let (conn, publisher) = (rig.connect("s", 5), rig.connect("p", 5));
    let other = rig.connect("q", 5);
    rig.say(conn, 5, &subscribe(5, 1, &["#"], 0));
    rig.feed(publisher, &[publish(5, 0, 0, "kafka/a", b"1"), publish(5, 0, 0, "b", b"2")].concat());
    rig.feed(other, &publish(5, 0, 0, "b", b"other"));
    assert_eq!(payloads(&rig.read(conn, 5)), ["other"], "another publisher does not wait");
    rig.after_ms(600);
    assert_eq!(payloads(&rig.read(conn, 5)), ["1", "2"]);
}

fn only(filter: &str) -> crate::config::Sink {
    use crate::config::{Document, Loaded, Machine, Sources};
    let text = format!(
        "[connectors.c]\ntype = \"discard\"\n[sinks.s]\nconnector = \"c\"\nsource_topics = [\"{filter}\"]\ntopic = \"t\"\n"
    );
    let machine = Machine { memory_bytes: 1 << 30, cores: 1, descriptors: 1024 };
    let loaded = Loaded::load(&Sources::file(Document::new("test.toml", &text)), &machine).expect("valid");
    loaded.config.sinks.into_iter().next().expect("one sink")
}

#[test]
fn a_refused_publication_is_never_delivered() {
    // One batch fills the partition; the next record finds no room and is refused.
    let full = SinkSettings {
        overflow: Overflow::Reject,
        limits: BatchLimits { partition_bytes_max: 100, bytes_max: 150, ..lingering().limits },
        ..lingering()
    };
    let mut rig = Rig::new(settings(vec![full]));
    let (conn, publisher) = (rig.subscriber("s", 5, 0), rig.connect("p", 5));
    rig.feed(publisher, &[publish(5, 1, 1, "t", &[b'a'; 90]), publish(5, 1, 2, "t", &[b'b'; 90])].concat());
    rig.after_ms(600);
    assert_eq!(payloads(&rig.read(conn, 5)), ["a".repeat(90)]);
    assert_eq!(read(5, &rig.sent(publisher)), ["puback 1 0x0", "puback 2 0x97"]);
    rig.assert_nothing_held();
}

#[test]
fn a_publication_outlives_its_publisher() {
    let mut rig = Rig::new(settings(vec![lingering()]));
    let conn = rig.subscriber("s", 5, 1);
    for (client, bits) in [("p", 0), ("q", 1)] {
        let publisher = rig.connect(client, 4);
        rig.feed(publisher, &publish(4, bits, 1, "t", client.as_bytes()));
        rig.disconnect(publisher);
    }
    assert_eq!(rig.shard.sessions.len(), 1, "the publishers' sessions have ended");
    rig.after_ms(600);
    assert_eq!(rig.read(conn, 5), ["t=p@0", "t=q@1#1"]);
    rig.say(conn, 5, &ack(PUBACK, 1));
    rig.assert_nothing_held();
}

/// [MQTT-4.6.0-5]: what a client sends over one connection comes before what it sends over the next, in whatever order their outcomes come.
#[test]
fn a_client_that_comes_back_does_not_pass_itself() {
    let mut rig = Rig::with_writer(settings(vec![sink()]), Writer::Script(Script::new(Some(1))));
    let subscriber = rig.subscriber("s", 4, 1);
    for (id, payload) in [(1, b"1"), (2, b"2")] {
        let publisher = rig.connect("p", 4);
        rig.feed(publisher, &publish(4, 1, id, "t", payload));
        rig.disconnect(publisher);
    }
    let mut answer = |index| {
        let Writer::Script(script) = &mut rig.shard.writers[0] else { panic!("a script") };
        script.answer(index, Outcome::Stored { base_offset: 0 });
        rig.round();
        rig.read(subscriber, 4)
    };
    assert_eq!(answer(1), [""; 0], "the first is first");
    assert_eq!(answer(0), ["t=1@1#1", "t=2@1#2"]);
}

#[test]
fn a_client_gets_its_own_publications_while_it_is_being_read() {
    let mut rig = Rig::new(settings(Vec::new()));
    let conn = rig.subscriber("s", 5, 1);
    assert_eq!(rig.say(conn, 5, &publish(5, 1, 1, "t", b"x")), ["puback 1 0x0", "t=x@1#1"]);
}

#[test]
fn a_client_that_comes_back_gets_again_what_it_did_not_acknowledge() {
    // [MQTT-4.4.0-1], [MQTT-3.1.2-23]
    for level in [4, 5] {
        let mut rig = Rig::new(settings(vec![sink()]));
        let (conn, publisher) = (rig.persistent_subscriber("s", level, 2), rig.connect("p", 4));
        let bytes: Vec<u8> = (1..=4).flat_map(|id| publish(4, 1 + id as u8 % 2, id, "t", &[b'0' + id as u8])).collect();
        rig.feed(publisher, &bytes);
        assert_eq!(rig.read(conn, level), ["t=1@2#1", "t=2@1#2", "t=3@2#3", "t=4@1#4"]);
        rig.say(conn, level, &[ack(PUBACK, 2), ack(PUBREC, 1)].concat());
        rig.disconnect(conn);
        // Away: QoS 0 is not kept, the others are.
        let away = [publish(4, 0, 0, "t", b"lost"), publish(4, 1, 5, "t", b"5")].concat();
        rig.feed(publisher, &away);
        rig.round();
        assert_eq!(rig.shard.counters.deliveries_dropped_offline, 1);
        let (conn, texts) = rig.come_back("s", level);
        assert_eq!(texts, ["connack present", "pubrel 1 0x0", "t=3@2#3!", "t=4@1#4!", "t=5@1#2"]);
        let all = [ack(PUBCOMP, 1), ack(PUBREC, 3), ack(PUBACK, 4), ack(PUBACK, 2), ack(PUBCOMP, 3)];
        assert_eq!(rig.say(conn, level, &all.concat()), ["pubrel 3 0x0"]);
        rig.assert_nothing_held();
        assert_eq!(rig.shard.counters.deliveries, 5);
    }
}

#[test]
fn a_clean_start_forgets_the_queue() {
    // [MQTT-3.1.2-4]
    let mut rig = Rig::new(settings(vec![sink()]));
    let (conn, publisher) = (rig.persistent_subscriber("s", 5, 1), rig.connect("p", 4));
    rig.disconnect(conn);
    rig.feed(publisher, &publish(4, 1, 1, "t", b"x"));
    rig.round();
    let conn = rig.accept();
    assert_eq!(rig.say(conn, 5, &connect_with("s", 5, |_| ())), ["connack new"]);
    assert_eq!(rig.shard.counters.subscriptions, 0);
    rig.assert_nothing_held();
}

#[test]
fn a_session_that_expires_takes_its_subscriptions_along() {
    let mut rig = Rig::new(settings(vec![sink()]));
    let (conn, publisher) = (rig.persistent_subscriber("s", 5, 1), rig.connect("p", 4));
    rig.disconnect(conn);
    rig.feed(publisher, &publish(4, 1, 1, "t", b"x"));
    rig.round();
    rig.after_ms(3_600_000);
    assert_eq!(rig.shard.counters.subscriptions, 0);
    rig.assert_nothing_held();
    assert_eq!(rig.shard.filters.index_bytes(), 0);
}

#[test]
fn the_receive_maximum_of_the_client_is_respected() {
    // [MQTT-3.3.4-9]
    let mut rig = Rig::new(settings(vec![sink()]));
    let conn = rig.accept();
    rig.feed(conn, &connect_with("s", 5, |connect| connect.properties.receive_maximum = 2));
    rig.say(conn, 5, &subscribe(5, 1, &["t"], 1));
    let publisher = rig.connect("p", 4);
    let bytes: Vec<u8> = (1..=4).flat_map(|id| publish(4, 1, id, "t", &[b'0' + id as u8])).collect();
    rig.feed(publisher, &bytes);
    assert_eq!(rig.read(conn, 5), ["t=1@1#1", "t=2@1#2"]);
    assert_eq!(rig.say(conn, 5, &ack(PUBACK, 2)), ["t=3@1#2"]);
}

#[test]
fn the_largest_packet_of_the_client_is_respected() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    let mut rig = Rig::new(settings(vec![sink()]));
    let conn = rig.accept();
    rig.feed(conn, &connect_with("s", 5, |connect| connect.properties.packet_bytes_max = 50));
    rig.say(conn, 5, &subscribe(5, 1, &["t"], 1));
    let publisher = rig.connect("p", 4);
    rig.feed(publisher, &[publish(4, 1, 1, "t", &[b'x'; 100]), publish(4, 1, 2, "t", b"small")].concat());
    assert_eq!(rig.read(conn, 5), ["t=small@1#1"]);
    assert_eq!(rig.shard.counters.deliveries_dropped_too_large, 1);
}

#[test]
fn a_full_queue_drops_its_oldest() {
    let mut limited = settings(vec![sink()]);
    limited.subscribers.queue = QueueLimits { messages_max: 3, bytes_max: 1 << 20 };
    let mut rig = Rig::new(limited);
    let (conn, publisher) = (rig.persistent_subscriber("s", 5, 1), rig.connect("p", 4));
    rig.disconnect(conn);
    for id in 1..=5 {
        rig.feed(publisher, &publish(4, 1, id, "t", &[b'0' + id as u8]));
        rig.round();
    }
    assert_eq!(rig.shard.counters.deliveries_dropped_queue_full, 2);
    let (_, texts) = rig.come_back("s", 5);
    assert_eq!(payloads(&texts), ["3", "4", "5"]);
}

#[test]
fn a_slow_subscriber_keeps_its_queue_and_disturbs_nobody() {
    let mut limited = settings(vec![sink()]);
    limited.subscribers.queue = QueueLimits { messages_max: 1000, bytes_max: 256 << 10 };
    let mut rig = Rig::new(limited);
    let (slow, fast, publisher) = (rig.subscriber("slow", 5, 0), rig.subscriber("fast", 5, 0), rig.connect("p", 4));
    rig.world.stuck.insert(slow);
    for n in 0..200u16 {
        rig.feed(publisher, &publish(4, 0, 0, "t", format!("{n:04}{}", "x".repeat(10_000)).as_bytes()));
        rig.round();
        assert_eq!(rig.read(fast, 5).len(), 1, "{n}");
        assert!(rig.shard.deliver.budget.used_bytes() < 600 << 10);
    }
    let dropped = rig.shard.counters.deliveries_dropped_queue_full;
    assert!(dropped > 100, "{dropped}");
    rig.world.stuck.clear();
    rig.shard.on_writable(slow);
    rig.round();
    let numbers: Vec<u32> = payloads(&read(5, &rig.sent(slow))).iter().map(|p| p[..4].parse().unwrap()).collect();
    assert_eq!(numbers.len() as u64, 200 - dropped);
    assert!(numbers.is_sorted() && numbers.last() == Some(&199), "{numbers:?}");
    rig.assert_nothing_held();
}

#[test]
fn offline_queues_leave_room_for_those_who_publish() {
    let mut small = settings(vec![sink()]);
    small.subscribers.memory_bytes = 1 << 20;
    let mut rig = Rig::new(small);
    let publisher = rig.connect("p", 4);
    for n in 0..20 {
        let conn = rig.persistent_subscriber(&format!("s{n}"), 5, 1);
        rig.disconnect(conn);
        for _ in 0..10 {
            rig.say(publisher, 4, &publish(4, 1, 1, "t", &[b'x'; 50_000]));
        }
    }
    assert!(rig.shard.counters.deliveries_dropped_queue_full > 0);
    assert!(rig.shard.deliver.budget.used_bytes() <= 1 << 20);
    assert_eq!(rig.shard.counters.backpressure_pauses, 0, "the publisher was never held");
    let live = rig.subscriber("live", 5, 0);
    rig.feed(publisher, &publish(4, 0, 0, "t", &[b'x'; 50_000]));
    assert_eq!(rig.read(live, 5).len(), 1, "and who keeps up is served");
}

#[test]
fn copies_that_do_not_fit_hold_their_publisher() {
    let mut small = settings(vec![lingering()]);
    small.subscribers.memory_bytes = 100_000;
    let mut rig = Rig::new(small);
    let (conn, publisher) = (rig.subscriber("s", 5, 0), rig.connect("p", 4));
    let bytes: Vec<u8> = (1..=20).flat_map(|id| publish(4, 1, id, "t", &[b'x'; 10_000])).collect();
    rig.feed(publisher, &bytes);
    rig.round();
    assert_eq!(rig.shard.counters.backpressure_paused, 1);
    assert!(rig.shard.deliver.budget.used_bytes() <= 100_000);
    let mut delivered = 0;
    for _ in 0..10 {
        rig.after_ms(600);
        delivered += rig.read(conn, 5).len();
    }
    assert_eq!(delivered, 20, "each is delivered once room is made");
    assert_eq!((rig.shard.counters.backpressure_paused, rig.sent(publisher).len()), (0, 80));
    rig.assert_nothing_held();
}

#[test]
fn a_dropped_qos_0_publication_is_dropped_for_all() {
    let mut small = settings(vec![lingering()]);
    small.memory_bytes = 20_000;
    small.qos0_on_full = Qos0OnFull::Drop;
    let mut rig = Rig::new(small);
    let (conn, publisher) = (rig.subscriber("s", 5, 0), rig.connect("p", 4));
    let bytes: Vec<u8> = (0..20).flat_map(|_| publish(4, 0, 0, "t", &[b'x'; 2_000])).collect();
    rig.feed(publisher, &bytes);
    rig.after_ms(600);
    let kept = rig.read(conn, 5).len() as u64;
    assert!(kept > 0 && kept < 20, "{kept}");
    assert_eq!(rig.shard.sink_counters[0].success, kept);
    assert_eq!(rig.shard.counters.deliveries_dropped_queue_full, 20 - kept);
    rig.assert_nothing_held();
}

#[test]
fn expiry_is_counted_from_arrival() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let mut rig = Rig::new(settings(vec![sink()]));
    let (conn, publisher) = (rig.persistent_subscriber("s", 5, 1), rig.connect("p", 5));
    rig.disconnect(conn);
    for seconds in [2, 10] {
        let buf = PropertyBuf::new().with(PropertyId::MessageExpiryInterval, Value::Four(seconds));
        rig.say(publisher, 5, &publish_with("t", "x", 1, &buf));
    }
    rig.after_ms(3_000);
    let conn = rig.accept();
    rig.feed(conn, &connect_persistent("s", 5));
    rig.round();
    let sent = rig.sent(conn);
    let at = sent.len() - 14;
    assert_eq!(sent[at..], *b"\x32\x0c\x00\x01t\x00\x01\x05\x02\x00\x00\x00\x07x", "{sent:02x?}");
    assert_eq!(rig.shard.counters.deliveries_dropped_expired, 1);
}

#[test]
fn a_burst_longer_than_the_queue_reaches_a_client_that_keeps_up() {
    let mut limited = settings(vec![lingering()]);
    limited.subscribers.queue = QueueLimits { messages_max: 10, bytes_max: 1 << 20 };
    let mut rig = Rig::new(limited);
    let conn = rig.subscriber("s", 5, 0);
    let bytes: Vec<u8> = (0..5_000).flat_map(|_| publish(5, 0, 0, "t", b"x")).collect();
    rig.feed(conn, &bytes);
    rig.after_ms(600);
    assert_eq!(rig.read(conn, 5).len(), 5_000);
    assert_eq!(rig.shard.counters.deliveries_dropped_queue_full, 0);
}

#[test]
fn a_session_is_kept_as_long_as_its_client_asks_and_the_limit_grants() {
    let mut limited = settings(vec![sink()]);
    limited.session_expiry = SessionExpiry { max_s: 600, v3_s: 60 };
    let mut rig = Rig::new(limited);
    // MQTT 5.0 section 3.2.2.3.2: a client is told what it gets, if that is not what it asked for.
    for (asks_s, told) in [(600, ""), (601, " expires 600"), (u32::MAX, " expires 600")] {
        let conn = rig.accept();
        let bytes = connect_with("v5", 5, |connect| connect.properties.session_expiry_s = asks_s);
        assert_eq!(rig.say(conn, 5, &bytes), [format!("connack new{told}")], "asked for {asks_s}");
        rig.disconnect(conn);
    }
    let conn = rig.accept();
    rig.say(conn, 4, &connect_persistent("v3", 4));
    rig.disconnect(conn);
    assert_eq!(rig.shard.counters.sessions, 2);
    rig.after_ms(59_000);
    assert_eq!(rig.shard.counters.sessions, 2);
    rig.after_ms(2_000);
    assert_eq!(rig.shard.counters.sessions, 1, "the one whose client could not say has the default");
    rig.after_ms(541_000);
    assert_eq!(rig.shard.counters.sessions, 0);
}

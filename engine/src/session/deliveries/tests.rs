use mqtt::frame::{self, Split};
use mqtt::property::{PropertyId, Value};
use mqtt::{Packet, PropertyBuf, Publish, PublishProperties};

use super::*;
use crate::publication::Publication;

const LIMITS: QueueLimits = QueueLimits { messages_max: 4, bytes_max: 4096 };

/// A session with its shelf and a client that reads everything.
struct Bench {
    shelf: Shelf,
    deliveries: Deliveries,
    to: Recipient,
    limits: QueueLimits,
    now: Mono,
}

impl Bench {
    fn new() -> Self {
        let to = Recipient { version: Version::V5, window: 2, packet_bytes_max: u32::MAX, out_bytes_max: 1 << 20 };
        let mut deliveries = Deliveries::default();
        deliveries.resume();
        Self { shelf: Shelf::default(), deliveries, to, limits: LIMITS, now: Mono::default() }
    }

    /// Queues a publication without a limit; its payload is its name.
    fn queue(&mut self, name: &str, qos: QoS) {
        self.queue_with(name, qos, PublishProperties::default());
    }

    fn queue_with(&mut self, name: &str, qos: QoS, properties: PublishProperties<'_>) {
        let payload = name.as_bytes();
        let publish = Publish { dup: false, qos, retain: false, topic: "t", packet_id: 1, properties, payload };
        let publication = Box::new(Publication::new("t", &publish, self.now).unwrap());
        let bytes = publication.bytes();
        let key = self.shelf.put(publication);
        self.deliveries.push(Queued { key, bytes, qos, retain: false, subscription_ids: [].into() });
    }

    /// What the client reads now: `name:id`, with `!` for a resend, or `rel:id`.
    fn read(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        self.deliveries.send(self.now, &mut self.shelf, &self.to, &self.limits, &mut out);
        let mut texts = Vec::new();
        let mut rest = &out[..];
        while let Ok(Split::Whole(frame)) = frame::split(rest, u32::MAX) {
            rest = &rest[frame.len..];
            texts.push(match mqtt::decode(Version::V5, frame) {
                Ok(Packet::Publish(p)) => {
                    let name = String::from_utf8_lossy(p.payload).into_owned();
                    format!("{name}:{}{}", p.packet_id, if p.dup { "!" } else { "" })
                }
                Ok(Packet::PubRel(ack)) => format!("rel:{}", ack.packet_id),
                other => panic!("{other:?}"),
            });
        }
        texts
    }

    fn puback(&mut self, id: u16) {
        self.deliveries.puback(id, &mut self.shelf);
    }
}

#[test]
fn the_window_bounds_what_is_in_flight_and_nothing_overtakes() {
    // [MQTT-3.3.4-9], [MQTT-4.6.0-6]
    let mut bench = Bench::new();
    for name in ["a", "b", "c", "d"] {
        bench.queue(name, QoS::AtLeastOnce);
    }
    bench.queue("e", QoS::AtMostOnce);
    assert_eq!(bench.read(), ["a:1", "b:2"]);
    assert!(bench.read().is_empty());
    bench.puback(2);
    assert_eq!(bench.read(), ["c:2"]);
    bench.puback(1);
    bench.puback(2);
    assert_eq!(bench.read(), ["d:1", "e:0"]);
    bench.puback(1);
    assert_eq!(bench.shelf.bytes(), 0);
    assert!(bench.deliveries.is_idle());
}

#[test]
fn qos_2_takes_four_packets_and_frees_the_copy_at_the_second() {
    // [MQTT-4.3.3-1], [MQTT-4.3.3-4]
    let mut bench = Bench::new();
    bench.queue("a", QoS::ExactlyOnce);
    assert_eq!(bench.read(), ["a:1"]);
    let released = OnPubRec::Release(ReasonCode::Success);
    assert_eq!(bench.deliveries.pubcomp(1, &mut bench.shelf), 0, "not before PUBREC");
    assert_eq!(bench.deliveries.pubrec(1, false, &mut bench.shelf).0, released);
    assert_eq!(bench.shelf.bytes(), 0);
    assert_eq!(bench.deliveries.pubrec(1, false, &mut bench.shelf), (released, 0), "asked again, answered again");
    assert_eq!(bench.deliveries.pubcomp(1, &mut bench.shelf), ENTRY_BYTES);
    let unknown = OnPubRec::Release(ReasonCode::PacketIdentifierNotFound);
    assert_eq!(bench.deliveries.pubrec(1, false, &mut bench.shelf).0, unknown);
}

#[test]
fn a_refused_qos_2_publication_is_over() {
    let mut bench = Bench::new();
    bench.queue("a", QoS::ExactlyOnce);
    bench.queue("b", QoS::ExactlyOnce);
    assert_eq!(bench.read(), ["a:1", "b:2"]);
    assert_eq!(bench.deliveries.pubrec(1, true, &mut bench.shelf).0, OnPubRec::Ended);
    bench.queue("c", QoS::ExactlyOnce);
    assert_eq!(bench.read(), ["c:1"], "its identifier and its place are free");
}

#[test]
fn a_client_that_comes_back_gets_first_what_was_in_flight() {
    // [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1]
    let mut bench = Bench::new();
    bench.to.window = 4;
    bench.queue("a", QoS::AtLeastOnce);
    bench.queue("b", QoS::ExactlyOnce);
    bench.queue("c", QoS::ExactlyOnce);
    assert_eq!(bench.read(), ["a:1", "b:2", "c:3"]);
    bench.deliveries.pubrec(2, false, &mut bench.shelf);
    bench.queue("d", QoS::AtLeastOnce);
    bench.deliveries.resume();
    // A smaller window this time; PUBREL takes no place in it.
    bench.to.window = 1;
    assert_eq!(bench.read(), ["a:1!", "rel:2"]);
    bench.puback(1);
    assert_eq!(bench.read(), ["c:3!"]);
    bench.deliveries.pubcomp(2, &mut bench.shelf);
    assert!(bench.read().is_empty(), "new ones wait for the window");
    bench.deliveries.pubrec(3, false, &mut bench.shelf);
    bench.deliveries.pubcomp(3, &mut bench.shelf);
    assert_eq!(bench.read(), ["d:1"]);
}

#[test]
fn a_connection_that_ends_takes_qos_0_with_it() {
    let mut bench = Bench::new();
    bench.to.out_bytes_max = 0;
    bench.queue("a", QoS::AtMostOnce);
    bench.queue("b", QoS::AtLeastOnce);
    assert!(bench.read().is_empty());
    let (dropped, freed_bytes) = bench.deliveries.drop_qos0(&mut bench.shelf);
    assert!(dropped == 1 && freed_bytes > ENTRY_BYTES);
    bench.deliveries.resume();
    bench.to.out_bytes_max = 1000;
    assert_eq!(bench.read(), ["b:1"]);
}

#[test]
fn full_is_by_count_or_by_bytes_and_never_while_empty() {
    let mut bench = Bench::new();
    assert!(!bench.deliveries.is_full_for(1 << 20, &LIMITS), "an empty queue takes anything");
    for name in ["a", "b", "c", "d"] {
        assert!(!bench.deliveries.is_full_for(100, &LIMITS));
        bench.queue(name, QoS::AtLeastOnce);
    }
    assert!(bench.deliveries.is_full_for(100, &LIMITS), "four are all it holds");
    assert!(bench.deliveries.drop_oldest(&mut bench.shelf) > ENTRY_BYTES);
    assert!(!bench.deliveries.is_full_for(100, &LIMITS));
    assert!(bench.deliveries.is_full_for(4096, &LIMITS), "too many bytes");
    assert_eq!(bench.read(), ["b:1", "c:2"], "the oldest gave way");
}

#[test]
fn expired_and_oversized_publications_are_dropped_and_counted() {
    // [MQTT-3.3.2-5], [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    let mut bench = Bench::new();
    let buf = PropertyBuf::new().with(PropertyId::MessageExpiryInterval, Value::Four(1));
    bench.queue_with("old", QoS::AtLeastOnce, PublishProperties::from_buf(&buf).unwrap());
    bench.queue(&"x".repeat(200), QoS::AtLeastOnce);
    bench.queue("small", QoS::AtLeastOnce);
    bench.to.packet_bytes_max = 100;
    bench.now = Mono::from_ms(1_000);
    let mut out = Vec::new();
    let sent = bench.deliveries.send(bench.now, &mut bench.shelf, &bench.to, &LIMITS, &mut out);
    assert_eq!((sent.publications, sent.expired, sent.too_large), (1, 1, 1));
    assert_eq!(out[out.len() - 5..], *b"small");
    assert_eq!(out[5..7], [0, 1], "what was not sent has used no identifier: {out:?}");
}

#[test]
fn output_bounds_what_is_sent_at_once() {
    let mut bench = Bench::new();
    bench.to.out_bytes_max = 10;
    for name in ["aaaaaa", "b", "c"] {
        bench.queue(name, QoS::AtMostOnce);
    }
    let mut out = Vec::new();
    let sent = bench.deliveries.send(bench.now, &mut bench.shelf, &bench.to, &LIMITS, &mut out);
    assert_eq!((sent.publications, sent.more), (1, true));
    assert_eq!(bench.read(), ["b:0", "c:0"], "each is small");
}

#[test]
fn a_session_that_ends_leaves_nothing() {
    let mut bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.queue(name, QoS::ExactlyOnce);
    }
    bench.read();
    bench.deliveries.pubrec(1, false, &mut bench.shelf);
    let left = bench.shelf.bytes();
    assert_eq!(bench.deliveries.clear(&mut bench.shelf), left + 3 * ENTRY_BYTES);
    assert_eq!(bench.shelf.bytes(), 0);
}

#[test]
fn bytes_in_flight_are_bounded_too() {
    let mut bench = Bench::new();
    bench.to.window = 100;
    bench.limits.bytes_max = 1000;
    for _ in 0..5 {
        bench.queue(&"x".repeat(600), QoS::AtLeastOnce);
    }
    assert_eq!(bench.read().len(), 2, "the second goes beyond, the third waits");
    bench.puback(1);
    assert_eq!(bench.read().len(), 1);
}

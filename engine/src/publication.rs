//! One publication on its way to subscribers, owned: it outlives the buffer that its PUBLISH was received in.
//!
//! It is kept as the PUBLISH packet of MQTT 5 that says all of it, topic alias resolved, and decoded again for each client it
//! goes to. So the codec alone knows what a property is, and a copy is one allocation.

use mqtt::frame::{self, Split};
use mqtt::{Publish, QoS, Version};

use crate::clock::Mono;

/// The longest packet MQTT can express: four bytes of length, and the first byte.
const PACKET_BYTES_MAX: usize = 268_435_455 + 5;

/// Stands in the packet where a real identifier will stand when it is sent.
const ANY_PACKET_ID: u16 = 1;

/// An application message with its topic and properties.
#[derive(Debug, Clone)]
pub struct Publication {
    /// A whole PUBLISH of MQTT 5.
    packet: Vec<u8>,
    qos: QoS,
    /// When it is not worth delivering any more.
    expires: Option<Mono>,
}

/// How one client is told of a publication.
#[derive(Debug, Clone, Copy)]
pub struct Telling<'a> {
    /// What the client speaks.
    pub version: Version,
    /// Longest packet it takes, bytes.
    pub packet_bytes_max: u32,
    /// Names the delivery until it is acknowledged; 0 at QoS 0.
    pub packet_id: u16,
    /// Quality of service of the delivery.
    pub qos: QoS,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// Whether it has been sent before.
    pub dup: bool,
    /// Identifiers of the client's subscriptions that match.
    pub subscription_ids: &'a [u32],
    /// The expiry interval is reduced by the time it has waited until now.
    pub now: Mono,
}

impl Publication {
    /// A copy of `publish`, whose topic is `topic`. `None` if the topic does not fit beside the payload, which only a topic
    /// alias makes possible.
    pub fn new(topic: &str, publish: &Publish<'_>, now: Mono) -> Option<Self> {
        let mut whole = Publish { dup: false, topic, packet_id: ANY_PACKET_ID, ..*publish };
        whole.properties.topic_alias = 0;
        let mut packet = Vec::with_capacity(topic.len() + publish.payload.len() + HEAD_BYTES);
        whole.encode(Version::V5, &mut packet);
        let expires = publish.properties.message_expiry_s.map(|s| now.plus_ms(u64::from(s) * 1_000));
        (packet.len() <= PACKET_BYTES_MAX).then_some(Self { packet, qos: publish.qos, expires })
    }

    /// The publication as a PUBLISH; `None` would be a mistake of ours.
    fn publish(&self) -> Option<Publish<'_>> {
        match frame::split(&self.packet, u32::MAX) {
            Ok(Split::Whole(frame)) => Publish::decode(Version::V5, frame).ok(),
            _ => None,
        }
    }

    /// Its topic name.
    pub fn topic(&self) -> &str {
        self.publish().map_or("", |publish| publish.topic)
    }

    /// What `then` makes of it as a PUBLISH; the packet identifier in it means nothing.
    pub fn with<T>(&self, then: impl FnOnce(&Publish<'_>) -> T) -> Option<T> {
        self.publish().as_ref().map(then)
    }

    /// The quality of service it was published with.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// RETAIN flag it was published with.
    pub fn retain(&self) -> bool {
        self.packet.first().is_some_and(|first| first & 0x01 != 0)
    }

    /// Whether its expiry interval has passed.
    pub fn is_expired(&self, now: Mono) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// Bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        self.packet.capacity() + size_of::<Self>()
    }

    /// Appends the PUBLISH for one client; false, and nothing appended, if the client does not take a packet of that size.
    #[must_use]
    pub fn tell(&self, telling: &Telling<'_>, out: &mut Vec<u8>) -> bool {
        let Some(mut publish) = self.publish() else { return false };
        publish.dup = telling.dup;
        publish.qos = telling.qos;
        publish.retain = telling.retain;
        publish.packet_id = telling.packet_id;
        // [MQTT-3.3.2-6]
        publish.properties.message_expiry_s = self.expires.map(|at| seconds(at.since(telling.now)));
        let start = out.len();
        publish.encode_head_with(telling.version, telling.subscription_ids, out);
        let bytes = out.len() - start + publish.payload.len();
        // [MQTT-3.1.2-24]
        if bytes > PACKET_BYTES_MAX.min(telling.packet_bytes_max as usize) {
            out.truncate(start);
            return false;
        }
        out.extend_from_slice(publish.payload);
        true
    }
}

/// First byte, length, lengths of topic and properties, identifier: an allocation that need not grow for most.
const HEAD_BYTES: usize = 16;

/// Whole seconds, a begun one counted.
fn seconds(ns: u64) -> u32 {
    u32::try_from(ns.div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt::property::{PropertyId, Value};
    use mqtt::{PropertyBuf, PublishProperties};

    fn telling(version: Version) -> Telling<'static> {
        Telling {
            version,
            packet_bytes_max: u32::MAX,
            packet_id: 7,
            qos: QoS::AtLeastOnce,
            retain: false,
            dup: false,
            subscription_ids: &[],
            now: Mono::from_ms(0),
        }
    }

    fn told(publication: &Publication, telling: &Telling<'_>) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        publication.tell(telling, &mut out).then_some(out)
    }

    fn read(version: Version, bytes: &[u8]) -> Publish<'_> {
        let Ok(Split::Whole(frame)) = frame::split(bytes, u32::MAX) else { panic!("a whole packet") };
        assert_eq!(frame.len, bytes.len());
        Publish::decode(version, frame).expect("a valid PUBLISH")
    }

    fn publication(properties: PublishProperties<'_>) -> Publication {
        let publish = Publish {
            dup: true,
            qos: QoS::ExactlyOnce,
            retain: true,
            topic: "",
            packet_id: 900,
            properties,
            payload: b"payload",
        };
        Publication::new("a/b", &publish, Mono::from_ms(0)).expect("it fits")
    }

    #[test]
    fn everything_but_the_alias_is_passed_on_and_the_expiry_is_reduced() {
        // [MQTT-3.3.2-6], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20]
        let buf = PropertyBuf::new()
            .with(PropertyId::TopicAlias, Value::Two(3))
            .with(PropertyId::MessageExpiryInterval, Value::Four(10))
            .with(PropertyId::ContentType, Value::Text("text/plain"))
            .with(PropertyId::ResponseTopic, Value::Text("answers"))
            .with(PropertyId::CorrelationData, Value::Binary(b"42"))
            .user("k", "v")
            .user("k", "w");
        let publication = publication(PublishProperties::from_buf(&buf).unwrap());
        let at = Telling { now: Mono::from_ms(2_500), subscription_ids: &[5, 6], ..telling(Version::V5) };
        let bytes = told(&publication, &at).unwrap();
        let publish = read(Version::V5, &bytes);
        assert_eq!((publish.topic, publish.payload, publish.packet_id), ("a/b", &b"payload"[..], 7));
        assert_eq!((publish.dup, publish.retain, publish.qos), (false, false, QoS::AtLeastOnce));
        let properties = publish.properties;
        assert_eq!((properties.topic_alias, properties.message_expiry_s), (0, Some(8)));
        assert_eq!((properties.content_type(), properties.response_topic()), (Some("text/plain"), Some("answers")));
        assert_eq!(properties.correlation_data(), Some(&b"42"[..]));
        assert_eq!(properties.user_properties().collect::<Vec<_>>(), [("k", "v"), ("k", "w")]);
        assert_eq!(properties.subscription_ids().collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn an_older_client_gets_no_properties() {
        let buf = PropertyBuf::new().user("k", "v");
        let publication = publication(PublishProperties::from_buf(&buf).unwrap());
        let bytes = told(&publication, &telling(Version::V3_1_1)).unwrap();
        assert_eq!(bytes, b"\x32\x0e\x00\x03a/b\x00\x07payload");
    }

    #[test]
    fn a_packet_the_client_does_not_take_leaves_no_trace() {
        // [MQTT-3.1.2-24]
        let publication = publication(PublishProperties::default());
        let whole = told(&publication, &telling(Version::V5)).unwrap().len() as u32;
        let limit = |packet_bytes_max| Telling { packet_bytes_max, ..telling(Version::V5) };
        assert!(told(&publication, &limit(whole)).is_some());
        let mut out = b"before".to_vec();
        assert!(!publication.tell(&limit(whole - 1), &mut out));
        assert_eq!(out, b"before");
    }

    #[test]
    fn it_expires_when_its_seconds_have_passed() {
        let buf = PropertyBuf::new().with(PropertyId::MessageExpiryInterval, Value::Four(2));
        let publication = publication(PublishProperties::from_buf(&buf).unwrap());
        assert!(!publication.is_expired(Mono::from_ms(1_999)));
        assert!(publication.is_expired(Mono::from_ms(2_000)));
        assert!(!self::publication(PublishProperties::default()).is_expired(Mono::from_ms(u64::MAX / 1_000_000)));
    }
}

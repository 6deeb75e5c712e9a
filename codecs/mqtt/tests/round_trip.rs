//! What is written is read back, for generated packets of every type.
//!
//! Setup: packets with random fields. Action: encode, frame, decode, encode. Expectation: one frame, the same packet, the
//! same bytes; and a stream of packets comes apart the same way wherever it is cut.

mod support;

use mqtt::property::{PropertyId, Value};
use mqtt::*;
use proptest::prelude::*;
use support::{decode_all, frame_of};

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V3_1), Just(Version::V3_1_1), Just(Version::V5)]
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

/// Text without U+0000, at times longer than a one-byte length.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/é😀 ]{0,12}", "[^\0]{0,8}", "x{200,300}"]
}

fn topic() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9/é]{1,40}", "\\$SYS/[a-z]{1,5}", "t{120,140}"]
}

fn filter() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/]{1,9}", "([a-z]{1,3}|\\+)(/([a-z]{1,3}|\\+)){0,3}(/#)?", Just("#".into())]
}

fn users() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((text(), text()), 0..3)
}

fn buf_of(users: &[(String, String)]) -> PropertyBuf {
    users.iter().fold(PropertyBuf::new(), |buf, (name, value)| buf.user(name, value))
}

fn reason(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let allowed: Vec<_> = ReasonCode::ALL.iter().copied().filter(|code| code.allowed_in(packet)).collect();
    prop::sample::select(allowed)
}

/// The properties of a PUBLISH or will, put together.
fn message() -> impl Strategy<Value = PropertyBuf> {
    let option = prop::option::of::<BoxedStrategy<String>>;
    let binary = prop::option::of(prop::collection::vec(any::<u8>(), 0..9));
    (any::<Option<bool>>(), any::<Option<u32>>(), option(text().boxed()), option(topic().boxed()), binary, users())
        .prop_map(|(format, expiry, content_type, response, correlation, users)| {
            let mut buf = buf_of(&users);
            if let Some(format) = format {
                buf = buf.with(PropertyId::PayloadFormatIndicator, Value::Byte(u8::from(format)));
            }
            if let Some(expiry) = expiry {
                buf = buf.with(PropertyId::MessageExpiryInterval, Value::Four(expiry));
            }
            if let Some(text) = &content_type {
                buf = buf.with(PropertyId::ContentType, Value::Text(text));
            }
            if let Some(text) = &response {
                buf = buf.with(PropertyId::ResponseTopic, Value::Text(text));
            }
            if let Some(data) = &correlation {
                buf = buf.with(PropertyId::CorrelationData, Value::Binary(data));
            }
            buf
        })
}

/// Encodes, decodes and encodes again. Where the version cannot say all of it, `same` is false and the packets may differ.
fn check(version: Version, packet: &Packet<'_>, same: bool) {
    let mut out = Vec::new();
    packet.encode(version, &mut out);
    let read = decode_all(version, &out).unwrap_or_else(|error| panic!("{packet:?}: {error}"));
    if same {
        assert_eq!(read, *packet);
    }
    let mut again = Vec::new();
    read.encode(version, &mut again);
    assert_eq!(again, out, "{packet:?}");
}

proptest! {
    #[test]
    fn publish(
        version in version(), qos in qos(), dup: bool, retain: bool, topic in topic(), id in 1u16.., alias: u16,
        message in message(), payload in prop::collection::vec(any::<u8>(), 0..300),
        ids in prop::collection::vec(1u32..=268_435_455, 0..3),
    ) {
        let mut properties = PublishProperties::default();
        if version.is_v5() {
            properties = PublishProperties::from_buf(&message).unwrap();
            properties.topic_alias = alias;
        }
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { id };
        let dup = dup && qos != QoS::AtMostOnce;
        let publish = Publish { dup, qos, retain, topic: &topic, packet_id, properties, payload: &payload };
        check(version, &Packet::Publish(publish), true);
        let mut out = Vec::new();
        publish.encode_head_with(version, &ids, &mut out);
        out.extend_from_slice(&payload);
        let Ok(Packet::Publish(read)) = decode_all(version, &out) else { panic!() };
        prop_assert_eq!(read.payload, &payload[..]);
        if version.is_v5() {
            prop_assert_eq!(read.properties.subscription_ids().collect::<Vec<_>>(), ids);
            prop_assert!(read.properties.user_properties().eq(properties.user_properties()));
        }
    }

    #[test]
    fn connect(
        version in version(), clean_start: bool, keep_alive_s: u16, client_id in "[a-z]{1,30}", will in any::<bool>(),
        qos in qos(), retain: bool, topic in topic(), message in message(), delay_s: u32,
        username in prop::option::of(text()), password in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        users in users(), expiry: u32, receive in 1u16.., packet_max in 1u32.., alias: u16, flags: (bool, bool),
        auth in prop::option::of(text()), payload in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let v5 = version.is_v5();
        let user = buf_of(&users);
        let properties = if v5 { ConnectProperties {
            session_expiry_s: expiry,
            receive_maximum: receive,
            packet_bytes_max: packet_max,
            topic_alias_maximum: alias,
            request_response_information: flags.0,
            request_problem_information: flags.1,
            auth_method: auth.as_deref(),
            auth_data: auth.as_deref().map(str::as_bytes),
            user: user.user_properties().unwrap(),
        } } else { ConnectProperties::default() };
        let delay_s = if v5 { delay_s } else { 0 };
        let message = if v5 { PublishProperties::from_buf(&message).unwrap() } else { PublishProperties::default() };
        let will = will.then_some(Will { qos, retain, topic: &topic, payload: &payload, delay_s, properties: message });
        let password = if v5 || username.is_some() { password.as_deref() } else { None };
        let username = username.as_deref();
        let connect = Connect { version, clean_start, keep_alive_s, client_id: &client_id, will, username, password, properties };
        check(version, &Packet::Connect(connect), true);
    }

    #[test]
    fn connack(
        version in version(), present: bool, reason in reason(PacketType::ConnAck), users in users(),
        expiry: Option<u32>, receive in 1u16.., qos in qos(), flags: (bool, bool, bool, bool), packet_max in 1u32..,
        id in prop::option::of(text()), alias: u16, why in prop::option::of(text()), keep_alive: Option<u16>,
    ) {
        let user = buf_of(&users);
        let properties = ConnAckProperties {
            session_expiry_s: expiry,
            receive_maximum: receive,
            qos_max: qos,
            retain_available: flags.0,
            packet_bytes_max: packet_max,
            assigned_client_id: id.as_deref(),
            topic_alias_maximum: alias,
            reason_string: why.as_deref(),
            wildcard_subscription_available: flags.1,
            subscription_id_available: flags.2,
            shared_subscription_available: flags.3,
            server_keep_alive_s: keep_alive,
            user: user.user_properties().unwrap(),
            ..ConnAckProperties::default()
        };
        let session_present = present && reason == ReasonCode::Success;
        check(version, &Packet::ConnAck(ConnAck { session_present, reason, properties }), version.is_v5());
    }

    #[test]
    fn acknowledgements(version in version(), packet_id in 1u16.., why in prop::option::of(text()), users in users(),
        reasons in (reason(PacketType::PubAck), reason(PacketType::PubRec), reason(PacketType::PubRel), reason(PacketType::PubComp)),
    ) {
        let buf = buf_of(&users);
        let ack = |reason| Ack { packet_id, reason, reason_string: why.as_deref(), user: buf.user_properties().unwrap() };
        check(version, &Packet::PubAck(ack(reasons.0)), version.is_v5());
        check(version, &Packet::PubRec(ack(reasons.1)), version.is_v5());
        check(version, &Packet::PubRel(ack(reasons.2)), version.is_v5());
        check(version, &Packet::PubComp(ack(reasons.3)), version.is_v5());
    }

    #[test]
    fn subscriptions(
        version in version(), packet_id in 1u16.., id in 0u32..=268_435_455, why in prop::option::of(text()),
        list in prop::collection::vec((filter(), qos(), any::<bool>(), any::<bool>(), 0..3), 1..5),
        codes in prop::collection::vec(reason(PacketType::SubAck), 1..5),
        gone in prop::collection::vec(reason(PacketType::UnsubAck), 1..5),
    ) {
        let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
        let list: Vec<_> = list.iter().map(|(filter, qos, no_local, retain_as_published, how)| Subscription {
            filter,
            options: if version.is_v5() {
                let (no_local, retain_as_published) = (*no_local, *retain_as_published);
                Options { qos: *qos, no_local, retain_as_published, retain_handling: handling[*how as usize] }
            } else {
                Options::at(*qos)
            },
        }).collect();
        let mut out = Vec::new();
        encode_subscribe(version, packet_id, id, &list, &mut out);
        let Ok(Packet::Subscribe(read)) = decode_all(version, &out) else { panic!("{out:02X?}") };
        prop_assert_eq!(read.subscriptions().collect::<Vec<_>>(), list.clone());
        prop_assert_eq!((read.packet_id, read.subscription_id), (packet_id, if version.is_v5() { id } else { 0 }));
        check(version, &Packet::Subscribe(read), true);

        let filters: Vec<_> = list.iter().map(|s| s.filter).collect();
        out.clear();
        encode_unsubscribe(version, packet_id, &filters, &mut out);
        let Ok(Packet::Unsubscribe(read)) = decode_all(version, &out) else { panic!("{out:02X?}") };
        prop_assert_eq!(read.filters().collect::<Vec<_>>(), filters);
        check(version, &Packet::Unsubscribe(read), true);

        out.clear();
        encode_suback(version, packet_id, &codes, why.as_deref(), &mut out);
        let Ok(Packet::SubAck(read)) = decode_all(version, &out) else { panic!("{out:02X?}") };
        prop_assert!(read.reasons.iter().map(ReasonCode::value).eq(codes.iter().map(|code| code.suback_value(version))));
        check(version, &Packet::SubAck(read), true);

        out.clear();
        encode_unsuback(version, packet_id, &gone, why.as_deref(), &mut out);
        let Ok(Packet::UnsubAck(read)) = decode_all(version, &out) else { panic!("{out:02X?}") };
        prop_assert_eq!(read.reasons.iter().collect::<Vec<_>>(), if version.is_v5() { gone } else { vec![] });
        check(version, &Packet::UnsubAck(read), true);
    }

    #[test]
    fn farewells(
        version in version(), why in reason(PacketType::Disconnect), step in reason(PacketType::Auth), expiry: Option<u32>,
        texts in (prop::option::of(text()), prop::option::of(text())), method in text(), users in users(),
    ) {
        let buf = buf_of(&users);
        let user = buf.user_properties().unwrap();
        let disconnect = Disconnect {
            reason: why,
            session_expiry_s: expiry,
            reason_string: texts.0.as_deref(),
            server_reference: texts.1.as_deref(),
            user,
        };
        check(version, &Packet::Disconnect(disconnect), version.is_v5());
        let data = texts.1.as_deref().map(str::as_bytes);
        let auth = Auth { reason: step, method: Some(&method), data, reason_string: texts.0.as_deref(), user };
        check(Version::V5, &Packet::Auth(auth), true);
    }

    #[test]
    fn a_stream_comes_apart_wherever_it_is_cut(payloads in prop::collection::vec(0usize..400, 1..6), cut in any::<prop::sample::Index>()) {
        let mut stream = Vec::new();
        for (i, &len) in payloads.iter().enumerate() {
            let (properties, payload) = (PublishProperties::default(), vec![i as u8; len]);
            let (dup, retain, topic) = (false, false, "a/b");
            Publish { dup, qos: QoS::AtLeastOnce, retain, topic, packet_id: 1, properties, payload: &payload }
                .encode(Version::V3_1_1, &mut stream);
        }
        let cut = cut.index(stream.len());
        // What a reader does: takes whole frames, keeps the rest, reads on until the length asked for is there.
        let (mut received, mut taken, mut lens) = (cut, 0, Vec::new());
        while taken < stream.len() {
            match frame::split(&stream[taken..received], u32::MAX).unwrap() {
                frame::Split::Whole(frame) => {
                    lens.push(frame.body.len());
                    taken += frame.len;
                }
                frame::Split::Need(need) => {
                    prop_assert!(need > received - taken);
                    received = taken + need;
                }
            }
        }
        prop_assert_eq!(lens, payloads.iter().map(|len| len + 7).collect::<Vec<_>>());
    }
}

#[test]
fn lengths_at_the_edges_of_the_varint() {
    // MQTT5 1.5.5, table 1-1
    for payload in [0, 119, 120, 16_375, 16_376, 2_097_143, 2_097_144] {
        for version in [Version::V3_1_1, Version::V5] {
            let (properties, payload) = (PublishProperties::default(), vec![7; payload]);
            let publish = Publish {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: false,
                topic: "topic",
                packet_id: 0,
                properties,
                payload: &payload,
            };
            let mut out = Vec::new();
            publish.encode(version, &mut out);
            assert_eq!(decode_all(version, &out), Ok(Packet::Publish(publish)));
            assert_eq!(frame_of(&out).len, out.len());
        }
    }
}

#[test]
fn text_longer_than_its_length_field_is_cut_at_a_character() {
    let long = "é".repeat(40_000);
    let mut out = Vec::new();
    encode_puback(Version::V5, 1, ReasonCode::QuotaExceeded, Some(&long), &mut out);
    let Ok(Packet::PubAck(ack)) = decode_all(Version::V5, &out) else { panic!() };
    assert_eq!(ack.reason_string.map(str::len), Some(65_534));
}

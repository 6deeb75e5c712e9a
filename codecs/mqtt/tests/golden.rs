//! Bytes as the specifications write them, for every packet, version and direction.
//!
//! Setup: a table of packets in hexadecimal, each with what it must be read as. Action: decode, and encode again.
//! Expectation: the fields, and the same bytes. A frame cut anywhere is incomplete, never valid and never an error;
//! a body cut anywhere, under a length that agrees, is an error or (where the last field is optional) another packet.

mod support;

use mqtt::property::{PropertyId, Value};
use mqtt::*;
use support::{bytes, decode_all, frame_of};

/// Decodes `hex`, compares its debug form with what `expected` finds in it, and encodes it again.
fn check(version: Version, hex: &str, expected: impl FnOnce(&Packet<'_>)) {
    let bytes = bytes(hex);
    let packet = decode_all(version, &bytes).unwrap_or_else(|error| panic!("{hex}: {error}"));
    expected(&packet);
    let mut out = Vec::new();
    packet.encode(version, &mut out);
    assert_eq!(out, bytes, "{packet:?} encodes differently");
    cut(version, &bytes);
}

/// Every prefix asks for more, by the right amount; every shorter body under its own length is judged without a panic
/// and never leaves bytes unread.
fn cut(version: Version, bytes: &[u8]) {
    for len in 0..bytes.len() {
        match frame::split(&bytes[..len], u32::MAX).unwrap() {
            frame::Split::Need(need) => assert!(need > len && need <= bytes.len(), "need {need} of {}", bytes.len()),
            frame::Split::Whole(frame) => panic!("{frame:?} from {len} bytes of {}", bytes.len()),
        }
    }
    let frame = frame_of(bytes);
    for len in 0..frame.body.len() {
        let shorter = Frame { first: frame.first, body: &frame.body[..len], len: len + 2 };
        if let Ok(packet) = decode(version, shorter) {
            assert!(may_end_early(version, &packet), "{packet:?} from {len} bytes of {}", frame.body.len());
        }
    }
}

/// Packets whose last field is a payload or a list, or may be left out.
fn may_end_early(version: Version, packet: &Packet<'_>) -> bool {
    match packet {
        Packet::Publish(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::SubAck(_) => true,
        Packet::UnsubAck(_) => version.is_v5(),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            version.is_v5() && ack.reason_string.is_none()
        }
        Packet::Disconnect(_) | Packet::Auth(_) => version.is_v5(),
        // MQTT 3.1: the remaining length takes precedence over the user name and password flags.
        Packet::Connect(connect) => connect.version == Version::V3_1,
        _ => false,
    }
}

#[test]
fn connect_3_1() {
    // "MQIsdp", level 3, clean session, keep alive 60, client "a".
    check(Version::V3_1, "10 0F 00 06 4D 51 49 73 64 70 03 02 00 3C 00 01 61", |packet| {
        let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
        assert_eq!((connect.version, connect.client_id, connect.keep_alive_s), (Version::V3_1, "a", 60));
        assert!(connect.clean_start);
    });
    // User name and password flags without the fields: allowed by section 3.1 of MQTT 3.1.
    let lenient = bytes("10 0F 00 06 4D 51 49 73 64 70 03 C2 00 3C 00 01 61");
    let Ok(Packet::Connect(connect)) = decode_all(Version::V3_1, &lenient) else { panic!() };
    assert_eq!((connect.username, connect.password), (None, None));
}

#[test]
fn connect_3_1_1() {
    // [MQTT-3.1.2-1], [MQTT-3.1.3-1]: will "w" = "gone" at QoS 1, retained; user "u", binary password 00 FF.
    check(
        Version::V3_1_1,
        "10 1E 00 04 4D 51 54 54 04 EC 00 0A 00 02 61 62 00 01 77 00 04 67 6F 6E 65 00 01 75 00 02 00 FF",
        |packet| {
            let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
            assert_eq!((connect.version, connect.client_id, connect.clean_start), (Version::V3_1_1, "ab", false));
            let will = connect.will.unwrap();
            assert_eq!((will.topic, will.payload, will.qos, will.retain), ("w", &b"gone"[..], QoS::AtLeastOnce, true));
            assert_eq!((connect.username, connect.password), (Some("u"), Some(&[0, 0xff][..])));
        },
    );
    // An empty user name is a user name; the empty client id comes with clean session. [MQTT311-3.1.3-7]
    check(Version::V3_1_1, "10 0E 00 04 4D 51 54 54 04 82 00 00 00 00 00 00", |packet| {
        let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
        assert_eq!((connect.client_id, connect.username, connect.password), ("", Some(""), None));
    });
}

#[test]
fn connect_5() {
    // All properties of CONNECT and of the will; a password without a user name. MQTT5 3.1.2.11
    let hex = "10 60 00 04 4D 51 54 54 05 4E 00 0A \
        2B 11 00 00 0E 10 21 00 0A 27 00 00 10 00 22 00 05 19 01 17 00 15 00 01 6D 16 00 02 01 02 \
           26 00 01 6B 00 01 76 26 00 01 6B 00 01 77 \
        00 01 63 \
        1D 18 00 00 00 05 01 01 02 00 00 00 3C 03 00 01 74 08 00 01 72 09 00 01 09 26 00 00 00 00 \
        00 01 77 00 01 78 00 01 70";
    check(Version::V5, hex, |packet| {
        let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
        let properties = &connect.properties;
        assert_eq!((properties.session_expiry_s, properties.receive_maximum), (3600, 10));
        assert_eq!((properties.packet_bytes_max, properties.topic_alias_maximum), (4096, 5));
        assert!(properties.request_response_information && !properties.request_problem_information);
        assert_eq!((properties.auth_method, properties.auth_data), (Some("m"), Some(&[1, 2][..])));
        assert_eq!(properties.user.iter().collect::<Vec<_>>(), [("k", "v"), ("k", "w")]);
        let will = connect.will.unwrap();
        assert_eq!((will.delay_s, will.qos, will.topic, will.payload), (5, QoS::AtLeastOnce, "w", &b"x"[..]));
        let message = will.publish().properties;
        assert_eq!((message.payload_format, message.message_expiry_s), (Some(true), Some(60)));
        assert_eq!((message.content_type(), message.response_topic()), (Some("t"), Some("r")));
        assert_eq!(message.correlation_data(), Some(&[9][..]));
        assert_eq!(message.user_properties().collect::<Vec<_>>(), [("", "")]);
        assert_eq!((connect.username, connect.password), (None, Some(&b"p"[..])));
    });
}

#[test]
fn connack() {
    for (version, code, reason) in [
        (Version::V3_1, 0, ReasonCode::Success),
        (Version::V3_1_1, 1, ReasonCode::UnsupportedProtocolVersion),
        (Version::V3_1_1, 2, ReasonCode::ClientIdentifierNotValid),
        (Version::V3_1_1, 3, ReasonCode::ServerUnavailable),
        (Version::V3_1_1, 4, ReasonCode::BadUserNameOrPassword),
        (Version::V3_1_1, 5, ReasonCode::NotAuthorized),
    ] {
        check(version, &format!("20 02 00 {code:02X}"), |packet| {
            let Packet::ConnAck(connack) = packet else { panic!("{packet:?}") };
            assert_eq!((connack.reason, connack.session_present), (reason, false));
        });
    }
    check(Version::V3_1_1, "20 02 01 00", |packet| {
        assert!(matches!(packet, Packet::ConnAck(ConnAck { session_present: true, .. })));
    });
    check(Version::V5, "20 03 00 87 00", |packet| {
        assert!(matches!(packet, Packet::ConnAck(ConnAck { reason: ReasonCode::NotAuthorized, .. })));
    });
    // Every property. MQTT5 3.2.2.3
    let properties = "11 00 00 00 07 21 00 64 24 01 27 00 01 00 00 22 00 10 13 00 3C 25 00 28 00 29 00 2A 00 \
        12 00 01 63 1F 00 01 72 1A 00 01 69 1C 00 01 73 15 00 01 6D 16 00 01 01 26 00 01 6B 00 01 76";
    check(Version::V5, &format!("20 3F 01 00 3C {properties}"), |packet| {
        let Packet::ConnAck(ConnAck { session_present: true, properties, .. }) = packet else { panic!("{packet:?}") };
        assert_eq!((properties.session_expiry_s, properties.receive_maximum), (Some(7), 100));
        assert_eq!((properties.qos_max, properties.packet_bytes_max), (QoS::AtLeastOnce, 65536));
        assert_eq!((properties.topic_alias_maximum, properties.server_keep_alive_s), (16, Some(60)));
        assert!(!properties.retain_available && !properties.wildcard_subscription_available);
        assert!(!properties.subscription_id_available && !properties.shared_subscription_available);
        assert_eq!((properties.assigned_client_id, properties.reason_string), (Some("c"), Some("r")));
        assert_eq!((properties.response_information, properties.server_reference), (Some("i"), Some("s")));
        assert_eq!((properties.auth_method, properties.auth_data), (Some("m"), Some(&[1][..])));
        assert_eq!(properties.user.iter().next(), Some(("k", "v")));
    });
}

#[test]
fn publish() {
    // [MQTT-2.2.1-2]: no packet identifier with QoS 0.
    for version in [Version::V3_1, Version::V3_1_1] {
        check(version, "30 07 00 03 61 2F 62 68 69", |packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            assert_eq!((publish.topic, publish.payload, publish.packet_id), ("a/b", &b"hi"[..], 0));
            assert_eq!((publish.qos, publish.dup, publish.retain), (QoS::AtMostOnce, false, false));
        });
        // DUP, QoS 2, RETAIN, id 10, no payload.
        check(version, "3D 07 00 03 61 2F 62 00 0A", |packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            assert_eq!((publish.qos, publish.dup, publish.retain), (QoS::ExactlyOnce, true, true));
            assert_eq!((publish.packet_id, publish.payload), (10, &b""[..]));
        });
    }
    check(Version::V5, "32 08 00 01 61 01 00 00 68 69", |packet| {
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        assert_eq!((publish.packet_id, publish.payload, publish.qos), (256, &b"hi"[..], QoS::AtLeastOnce));
        assert_eq!(publish.properties, PublishProperties::default());
    });
}

#[test]
fn publish_with_every_property() {
    // MQTT5 3.3.2.3: fields first, then the rest as it came, the alias after them.
    let hex = "30 2D 00 00 29 01 01 02 00 00 00 3C 03 00 01 74 08 00 01 72 09 00 01 09 26 00 01 6B 00 01 76 \
        0B 05 0B 80 01 26 00 01 6B 00 01 77 23 00 07 68";
    check(Version::V5, hex, |packet| {
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        let properties = &publish.properties;
        assert_eq!((publish.topic, properties.topic_alias, publish.payload), ("", 7, &b"h"[..]));
        assert_eq!((properties.payload_format, properties.message_expiry_s), (Some(true), Some(60)));
        assert_eq!((properties.content_type(), properties.response_topic()), (Some("t"), Some("r")));
        assert_eq!(properties.correlation_data(), Some(&[9][..]));
        assert_eq!(properties.subscription_ids().collect::<Vec<_>>(), [5, 128]);
        assert_eq!(properties.user_properties().collect::<Vec<_>>(), [("k", "v"), ("k", "w")]);
    });
}

fn ack_of<'a>(packet: &Packet<'a>) -> Ack<'a> {
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => *ack,
        other => panic!("{other:?}"),
    }
}

#[test]
fn acknowledgements() {
    for (first, packet_type) in [
        (0x40, PacketType::PubAck),
        (0x50, PacketType::PubRec),
        (0x62, PacketType::PubRel),
        (0x70, PacketType::PubComp),
    ] {
        let pick = |packet: &Packet<'_>| assert_eq!(packet.packet_type(), packet_type);
        for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
            check(version, &format!("{first:02X} 02 12 34"), |packet| {
                pick(packet);
                let ack = ack_of(packet);
                assert_eq!((ack.packet_id, ack.reason), (0x1234, ReasonCode::Success));
            });
        }
        let failure = if first < 0x60 { ReasonCode::QuotaExceeded } else { ReasonCode::PacketIdentifierNotFound };
        check(Version::V5, &format!("{first:02X} 03 00 01 {:02X}", failure.value()), |packet| {
            pick(packet);
            assert_eq!(ack_of(packet).reason, failure);
        });
        let properties = "0B 1F 00 01 72 26 00 01 6B 00 01 76";
        check(Version::V5, &format!("{first:02X} 0F 00 01 00 {properties}"), |packet| {
            pick(packet);
            let ack = ack_of(packet);
            assert_eq!((ack.reason_string, ack.user.iter().next()), (Some("r"), Some(("k", "v"))));
        });
    }
    // A reason with an empty property block is allowed and shortened. [MQTT-3.4.2-1]
    let ack = bytes("40 04 00 01 10 00");
    assert!(matches!(
        decode_all(Version::V5, &ack),
        Ok(Packet::PubAck(Ack { reason: ReasonCode::NoMatchingSubscribers, .. }))
    ));
}

#[test]
fn subscribe() {
    check(Version::V3_1_1, "82 0C 00 0A 00 03 61 2F 23 01 00 01 2B 02", |packet| {
        let Packet::Subscribe(subscribe) = packet else { panic!("{packet:?}") };
        let list: Vec<_> = subscribe.subscriptions().map(|s| (s.filter, s.options)).collect();
        let expected = [("a/#", Options::at(QoS::AtLeastOnce)), ("+", Options::at(QoS::ExactlyOnce))];
        assert_eq!((subscribe.packet_id, &list[..]), (10, &expected[..]));
    });
    // Identifier 200, a user property, every option. [MQTT-3.8.3-1]
    check(Version::V5, "82 11 00 01 0A 0B C8 01 26 00 01 6B 00 01 76 00 01 61 2D", |packet| {
        let Packet::Subscribe(subscribe) = packet else { panic!("{packet:?}") };
        assert_eq!(subscribe.subscription_id, 200);
        assert_eq!(subscribe.user.iter().collect::<Vec<_>>(), [("k", "v")]);
        let options = Options {
            qos: QoS::AtLeastOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        };
        assert_eq!(subscribe.subscriptions().next().unwrap().options, options);
    });
    // 3.1 may set DUP when it asks again.
    assert!(decode_all(Version::V3_1, &bytes("8A 06 00 01 00 01 61 00")).is_ok());
    assert!(decode_all(Version::V3_1_1, &bytes("8A 06 00 01 00 01 61 00")).is_err());
}

#[test]
fn suback() {
    check(Version::V3_1_1, "90 06 00 0A 00 01 02 80", |packet| {
        let Packet::SubAck(suback) = packet else { panic!("{packet:?}") };
        use ReasonCode::*;
        assert_eq!(suback.reasons.iter().collect::<Vec<_>>(), [Success, GrantedQoS1, GrantedQoS2, UnspecifiedError]);
    });
    check(Version::V5, "90 09 00 0A 04 1F 00 01 72 02 8F", |packet| {
        let Packet::SubAck(suback) = packet else { panic!("{packet:?}") };
        assert_eq!((suback.reason_string, suback.reasons.len()), (Some("r"), 2));
    });
    // Failures of 5.0 are one failure in 3.1.1. [MQTT311-3.9.3-2]
    let mut out = Vec::new();
    encode_suback(Version::V3_1_1, 1, &[ReasonCode::NotAuthorized, ReasonCode::GrantedQoS1], Some("no"), &mut out);
    assert_eq!(out, bytes("90 04 00 01 80 01"));
}

#[test]
fn unsubscribe_and_unsuback() {
    check(Version::V3_1_1, "A2 08 00 0A 00 01 61 00 01 23", |packet| {
        let Packet::Unsubscribe(unsubscribe) = packet else { panic!("{packet:?}") };
        assert_eq!(unsubscribe.filters().collect::<Vec<_>>(), ["a", "#"]);
    });
    check(Version::V5, "A2 0D 00 0A 07 26 00 01 6B 00 01 76 00 01 61", |packet| {
        let Packet::Unsubscribe(unsubscribe) = packet else { panic!("{packet:?}") };
        assert_eq!(unsubscribe.user.iter().next(), Some(("k", "v")));
    });
    check(Version::V3_1_1, "B0 02 00 0A", |packet| {
        assert!(matches!(packet, Packet::UnsubAck(unsuback) if unsuback.reasons.is_empty()));
    });
    check(Version::V5, "B0 05 00 0A 00 00 11", |packet| {
        let Packet::UnsubAck(unsuback) = packet else { panic!("{packet:?}") };
        use ReasonCode::*;
        assert_eq!(unsuback.reasons.iter().collect::<Vec<_>>(), [Success, NoSubscriptionExisted]);
    });
}

#[test]
fn ping_disconnect_auth() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        check(version, "C0 00", |packet| assert_eq!(*packet, Packet::PingReq));
        check(version, "D0 00", |packet| assert_eq!(*packet, Packet::PingResp));
        check(version, "E0 00", |packet| {
            assert_eq!(*packet, Packet::Disconnect(Disconnect::of(ReasonCode::Success)));
        });
    }
    check(Version::V5, "E0 01 04", |packet| {
        assert_eq!(*packet, Packet::Disconnect(Disconnect::of(ReasonCode::DisconnectWithWillMessage)));
    });
    check(Version::V5, "E0 0F 9D 0D 11 00 00 00 01 1F 00 01 72 1C 00 01 73", |packet| {
        let Packet::Disconnect(disconnect) = packet else { panic!("{packet:?}") };
        assert_eq!((disconnect.session_expiry_s, disconnect.reason_string), (Some(1), Some("r")));
        assert_eq!((disconnect.reason, disconnect.server_reference), (ReasonCode::ServerMoved, Some("s")));
    });
    check(Version::V5, "F0 00", |packet| {
        assert_eq!(*packet, Packet::Auth(Auth::of(ReasonCode::Success, None)));
    });
    check(Version::V5, "F0 0A 18 08 15 00 01 6D 16 00 01 01", |packet| {
        let Packet::Auth(auth) = packet else { panic!("{packet:?}") };
        assert_eq!((auth.method, auth.data), (Some("m"), Some(&[1][..])));
        assert_eq!(auth.reason, ReasonCode::ContinueAuthentication);
    });
}

#[test]
fn free_encoders_write_what_packets_write() {
    let mut out = Vec::new();
    encode_puback(Version::V5, 1, ReasonCode::Success, None, &mut out);
    encode_pubrec(Version::V5, 2, ReasonCode::QuotaExceeded, Some("full"), &mut out);
    encode_pubrel(Version::V3_1_1, 3, ReasonCode::Success, Some("not in 3.1.1"), &mut out);
    encode_pubcomp(Version::V5, 4, ReasonCode::PacketIdentifierNotFound, None, &mut out);
    encode_pingreq(&mut out);
    encode_pingresp(&mut out);
    encode_unsuback(Version::V5, 5, &[ReasonCode::Success], None, &mut out);
    encode_unsubscribe(Version::V3_1_1, 6, &["a", "b"], &mut out);
    let subscription = Subscription { filter: "a", options: Options::at(QoS::AtLeastOnce) };
    encode_subscribe(Version::V5, 7, 9, &[subscription], &mut out);
    let expected = "40 02 00 01  50 0B 00 02 97 07 1F 00 04 66 75 6C 6C  62 02 00 03  70 03 00 04 92  C0 00  D0 00 \
        B0 04 00 05 00 00  A2 08 00 06 00 01 61 00 01 62  82 09 00 07 02 0B 09 00 01 61 01";
    assert_eq!(out, bytes(expected));
}

#[test]
fn a_publication_is_passed_on_with_other_fields() {
    let received = bytes("30 12 00 01 61 0D 23 00 07 02 00 00 00 3C 03 00 02 74 74 68");
    let Ok(Packet::Publish(mut publish)) = decode_all(Version::V5, &received) else { panic!() };
    publish.properties.topic_alias = 0;
    publish.properties.message_expiry_s = Some(59);
    publish.qos = QoS::AtLeastOnce;
    publish.packet_id = 1;
    let mut out = Vec::new();
    publish.encode_head_with(Version::V5, &[5, 300], &mut out);
    assert_eq!(out, bytes("32 16 00 01 61 00 01 0F 02 00 00 00 3B 03 00 02 74 74 0B 05 0B AC 02"));
    out.clear();
    publish.encode(Version::V3_1_1, &mut out);
    assert_eq!(out, bytes("32 06 00 01 61 00 01 68"));
}

#[test]
fn properties_put_together_are_checked() {
    let buf = PropertyBuf::new().user("k", "v").with(PropertyId::ContentType, Value::Text("t"));
    let properties = PublishProperties::from_buf(&buf).unwrap();
    assert_eq!((properties.content_type(), properties.user_properties().next()), (Some("t"), Some(("k", "v"))));
    assert!(buf.user_properties().is_err(), "a content type is no user property");
    assert_eq!(PropertyBuf::new().user("a", "b").user_properties().unwrap().iter().count(), 1);
    let wrong = PropertyBuf::new().with(PropertyId::ReasonString, Value::Text("r"));
    assert!(PublishProperties::from_buf(&wrong).is_err());
    let zero = PropertyBuf::new().with(PropertyId::TopicAlias, Value::Two(0));
    assert_eq!(PublishProperties::from_buf(&zero).unwrap_err().reason, ReasonCode::TopicAliasInvalid);
}

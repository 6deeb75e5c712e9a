//! A server's side of a connection: the handshake, limits, aliases, deadlines and the ways it ends.
//!
//! Setup: a `ServerConnection` and frames written by hand. Action: its verbs. Expectation: bytes, times and errors.

mod support;

use mqtt::connection::{Accepted, Limits, ServerConnection};
use mqtt::{ConnAckProperties, Connect, ConnectProperties, Packet, QoS, ReasonCode, Version};
use support::{active, active_with, bytes, connect, decode_all, handle};

const LIMITS: Limits = Limits {
    connect_timeout_ms: 5_000,
    packet_bytes_max: 65_536,
    receive_maximum: 2,
    topic_alias_maximum: 2,
    keepalive_max_s: 600,
    topic_bytes_max: 16,
    topic_levels_max: 4,
    qos_max: QoS::ExactlyOnce,
    retain_available: true,
    wildcard_subscription_available: true,
    subscription_id_available: true,
    shared_subscription_available: true,
};

/// What a client of `version` is answered when it asks for `keep_alive_s` and is accepted.
fn connack_bytes(version: Version, keep_alive_s: u16, limits: &Limits, accepted: &Accepted<'_>) -> (Vec<u8>, u16) {
    let mut connect = Vec::new();
    plain_connect(version, keep_alive_s).encode(&mut connect);
    let mut connection = ServerConnection::new(0, limits);
    handle(&mut connection, &connect).unwrap();
    let mut out = Vec::new();
    connection.accept(0, accepted, &mut out);
    (out, connection.keep_alive_s())
}

fn plain_connect(version: Version, keep_alive_s: u16) -> Connect<'static> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s,
        client_id: "c",
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

#[test]
fn the_connack_announces_all_limits() {
    let limits = Limits {
        qos_max: QoS::AtLeastOnce,
        retain_available: false,
        wildcard_subscription_available: false,
        subscription_id_available: false,
        shared_subscription_available: false,
        ..LIMITS
    };
    let accepted = Accepted {
        session_present: true,
        assigned_client_id: Some("chosen"),
        session_expiry_s: Some(9),
        ..Accepted::default()
    };
    let (out, keep_alive_s) = connack_bytes(Version::V5, 0, &limits, &accepted);
    let Packet::ConnAck(connack) = decode_all(Version::V5, &out).unwrap() else { panic!() };
    assert!(connack.session_present && connack.reason == ReasonCode::Success);
    let expected = ConnAckProperties {
        session_expiry_s: Some(9),
        receive_maximum: 2,
        qos_max: QoS::AtLeastOnce,
        retain_available: false,
        packet_bytes_max: 65_536,
        assigned_client_id: Some("chosen"),
        topic_alias_maximum: 2,
        wildcard_subscription_available: false,
        subscription_id_available: false,
        shared_subscription_available: false,
        // [MQTT-3.2.2-21]: 0 asks for none, which is longer than 600.
        server_keep_alive_s: Some(600),
        ..ConnAckProperties::default()
    };
    assert_eq!((connack.properties, keep_alive_s), (expected, 600));
    // Older versions get four bytes, 3.1 without session present, and keep their keep alive.
    assert_eq!(connack_bytes(Version::V3_1_1, 900, &limits, &accepted), (bytes("20 02 01 00"), 900));
    assert_eq!(connack_bytes(Version::V3_1, 0, &limits, &accepted), (bytes("20 02 00 00"), 0));
}

#[test]
fn a_keep_alive_of_the_caller_holds() {
    let accepted = Accepted { server_keep_alive_s: Some(7), ..Accepted::default() };
    let (out, keep_alive_s) = connack_bytes(Version::V5, 60, &LIMITS, &accepted);
    let Packet::ConnAck(connack) = decode_all(Version::V5, &out).unwrap() else { panic!() };
    assert_eq!((connack.properties.server_keep_alive_s, keep_alive_s), (Some(7), 7));
    assert_eq!(connack_bytes(Version::V3_1_1, 60, &LIMITS, &accepted).1, 60, "3.1.1 cannot be told");
}

#[test]
fn what_a_client_announced_is_known() {
    let connection = active_with(Version::V5, &LIMITS, "21 00 0A 27 00 00 10 00 22 00 05 17 00 11 00 00 00 01");
    let peer = connection.peer().unwrap();
    assert_eq!((peer.receive_maximum, peer.packet_bytes_max, peer.topic_alias_maximum), (10, 4096, 5));
    assert!(!peer.problem_information && !peer.session_ends);
    let old = active(Version::V3_1_1);
    let peer = old.peer().unwrap();
    assert_eq!((peer.receive_maximum, peer.packet_bytes_max, peer.topic_alias_maximum), (u16::MAX, u32::MAX, 0));
    assert_eq!(old.version(), Some(Version::V3_1_1));
    assert_eq!(ServerConnection::new(0, &LIMITS).version(), None);
}

fn refused(connect: &[u8], reason: ReasonCode) -> Vec<u8> {
    let mut connection = ServerConnection::new(0, &LIMITS);
    handle(&mut connection, connect).unwrap();
    let mut out = Vec::new();
    connection.refuse(reason, Some("why"), &mut out);
    assert!(connection.is_closing());
    out
}

#[test]
fn refusals_are_said_in_the_clients_words() {
    let v5 = connect(Version::V5, "");
    let v3 = connect(Version::V3_1_1, "");
    assert_eq!(refused(&v5, ReasonCode::NotAuthorized), bytes("20 09 00 87 06 1F 00 03 77 68 79"));
    assert_eq!(refused(&v3, ReasonCode::NotAuthorized), bytes("20 02 00 05"));
    assert_eq!(refused(&v3, ReasonCode::BadUserNameOrPassword), bytes("20 02 00 04"));
    assert_eq!(refused(&v3, ReasonCode::ServerBusy), bytes("20 02 00 03"));
    // MQTT311 3.2.2.3: what return codes cannot say is said by closing.
    assert_eq!(refused(&v3, ReasonCode::PayloadFormatInvalid), bytes(""));
    // What is no reason of a CONNACK becomes one.
    assert_eq!(refused(&v5, ReasonCode::KeepAliveTimeout)[3], ReasonCode::UnspecifiedError.value());
    // [MQTT-3.1.2-24], [MQTT-3.2.2-19], [MQTT-3.2.2-20]: nothing for people for a client that takes eight bytes.
    let tiny = connect(Version::V5, "27 00 00 00 08");
    assert_eq!(refused(&tiny, ReasonCode::NotAuthorized), bytes("20 03 00 87 00"));
}

#[test]
fn a_bad_connect_is_answered_in_the_version_it_names() {
    let failed = |hex: &str| {
        let bytes = bytes(hex);
        let mut connection = ServerConnection::new(0, &LIMITS);
        let error = handle(&mut connection, &bytes).unwrap_err();
        let mut out = Vec::new();
        connection.fail(&error, &mut out);
        assert!(connection.is_closing());
        out
    };
    // [MQTT-3.1.2-2]: levels 6 and 2.
    assert_eq!(failed("10 0D 00 04 4D 51 54 54 06 02 00 3C 00 01 61")[3], 0x84);
    assert_eq!(failed("10 0D 00 04 4D 51 54 54 02 02 00 3C 00 01 61"), bytes("20 02 00 01"));
    // [MQTT-3.1.2-3]: the reserved flag. [MQTT-4.13.1-1], [MQTT-4.13.2-1]: 5.0 is told, 3.1.1 has no word for it.
    assert_eq!(failed("10 0E 00 04 4D 51 54 54 05 03 00 3C 00 00 01 61")[3], 0x81);
    assert_eq!(failed("10 0D 00 04 4D 51 54 54 04 03 00 3C 00 01 61"), bytes(""));
    // [MQTT311-3.1.3-8]
    assert_eq!(failed("10 0C 00 04 4D 51 54 54 04 00 00 3C 00 00"), bytes("20 02 00 02"));
    // No CONNECT, no answer. [MQTT-3.14.0-1]
    assert_eq!(failed("C0 00"), bytes(""));
    assert_eq!(failed("10 06 00 04 48 54 54 50"), bytes(""));
}

#[test]
fn a_will_that_cannot_be_kept_is_refused() {
    let will = mqtt::Will {
        qos: QoS::ExactlyOnce,
        retain: true,
        topic: "w",
        payload: b"",
        delay_s: 0,
        properties: mqtt::PublishProperties::default(),
    };
    let mut connect = Vec::new();
    Connect { will: Some(will), ..plain_connect(Version::V5, 60) }.encode(&mut connect);
    let refused = |limits| handle(&mut ServerConnection::new(0, &limits), &connect).unwrap_err();
    // [MQTT-3.2.2-12], [MQTT-3.2.2-13]
    assert_eq!(refused(Limits { qos_max: QoS::AtLeastOnce, ..LIMITS }).reason, ReasonCode::QoSNotSupported);
    assert_eq!(refused(Limits { retain_available: false, ..LIMITS }).reason, ReasonCode::RetainNotSupported);
}

#[test]
fn the_receive_maximum_is_enforced_in_5_0() {
    // [MQTT-3.3.4-7]
    let publish = bytes("32 06 00 01 61 00 01 00");
    let mut connection = active_with(Version::V5, &LIMITS, "");
    handle(&mut connection, &publish).unwrap();
    handle(&mut connection, &publish).unwrap();
    assert_eq!(connection.inbound_open(), 2);
    connection.inbound_done(1);
    handle(&mut connection, &publish).unwrap();
    let error = handle(&mut connection, &publish).unwrap_err();
    assert_eq!(error.reason, ReasonCode::ReceiveMaximumExceeded);
    // QoS 0 is not counted, and 3.1.1 is not limited.
    let mut connection = active_with(Version::V5, &LIMITS, "");
    let mut old = active_with(Version::V3_1_1, &LIMITS, "");
    for _ in 0..5 {
        handle(&mut connection, &bytes("30 04 00 01 61 00")).unwrap();
        handle(&mut old, &bytes("34 05 00 01 61 00 01")).unwrap();
    }
    assert_eq!((connection.inbound_open(), old.inbound_open()), (0, 5));
}

#[test]
fn aliases_stand_for_topics() {
    let mut connection = active_with(Version::V5, &LIMITS, "");
    let topic_of = |connection: &mut ServerConnection, hex: &str| {
        let bytes = bytes(hex);
        let Packet::Publish(publish) = handle(connection, &bytes).unwrap() else { panic!() };
        connection.topic(&publish).to_owned()
    };
    // "a" = 1, "b" = 2, then both by number, then 1 = "c".
    assert_eq!(topic_of(&mut connection, "30 07 00 01 61 03 23 00 01"), "a");
    assert_eq!(topic_of(&mut connection, "30 07 00 01 62 03 23 00 02"), "b");
    assert_eq!(topic_of(&mut connection, "30 06 00 00 03 23 00 01"), "a");
    assert_eq!(topic_of(&mut connection, "30 06 00 00 03 23 00 02"), "b");
    let before = connection.alias_generation();
    assert_eq!(topic_of(&mut connection, "30 07 00 01 63 03 23 00 01"), "c");
    assert_ne!(connection.alias_generation(), before);
    assert_eq!(topic_of(&mut connection, "30 06 00 00 03 23 00 01"), "c");
    assert_eq!(topic_of(&mut connection, "30 04 00 01 64 00"), "d");
}

#[test]
fn features_that_were_not_offered_are_refused_in_5_0() {
    let limits = Limits {
        qos_max: QoS::AtMostOnce,
        retain_available: false,
        wildcard_subscription_available: false,
        subscription_id_available: false,
        shared_subscription_available: false,
        ..LIMITS
    };
    let cases = [
        // [MQTT-3.2.2-11], [MQTT-3.2.2-14]
        ("32 06 00 01 61 00 01 00", ReasonCode::QoSNotSupported),
        ("31 04 00 01 61 00", ReasonCode::RetainNotSupported),
        // MQTT5 3.2.2.3.11, MQTT5 3.2.2.3.12, MQTT5 3.2.2.3.13
        ("82 07 00 01 00 00 01 23 00", ReasonCode::WildcardSubscriptionsNotSupported),
        ("82 09 00 01 02 0B 01 00 01 61 00", ReasonCode::SubscriptionIdentifiersNotSupported),
        ("82 10 00 01 00 00 0A 24 73 68 61 72 65 2F 67 2F 61 00", ReasonCode::SharedSubscriptionsNotSupported),
    ];
    for (hex, reason) in cases {
        assert_eq!(
            handle(&mut active_with(Version::V5, &limits, ""), &bytes(hex)).unwrap_err().reason,
            reason,
            "{hex}"
        );
        handle(&mut active(Version::V5), &bytes(hex)).unwrap();
    }
    handle(&mut active_with(Version::V3_1_1, &limits, ""), &bytes("33 05 00 01 61 00 01")).unwrap();
}

#[test]
fn long_and_deep_topics_are_refused() {
    // MQTT5 4.7.3
    for version in [Version::V3_1_1, Version::V5] {
        let mut out = Vec::new();
        let publish = |topic: &str, out: &mut Vec<u8>| {
            out.clear();
            let properties = mqtt::PublishProperties::default();
            let (dup, retain, payload) = (false, false, &b""[..]);
            let qos = QoS::AtMostOnce;
            mqtt::Publish { dup, qos, retain, topic, packet_id: 0, properties, payload }.encode(version, out);
        };
        for (topic, accepted) in
            [("a/b/c/d", true), ("a/b/c/d/e", false), ("0123456789abcdef", true), ("0123456789abcdefg", false)]
        {
            publish(topic, &mut out);
            let result = handle(&mut active_with(version, &LIMITS, ""), &out).map_err(|error| error.reason);
            assert_eq!(result.is_ok(), accepted, "{topic}");
            assert!(accepted || result == Err(ReasonCode::TopicNameInvalid));
            out.clear();
            let options = mqtt::Options::at(QoS::AtMostOnce);
            mqtt::encode_subscribe(version, 1, 0, &[mqtt::Subscription { filter: topic, options }], &mut out);
            assert_eq!(handle(&mut active_with(version, &LIMITS, ""), &out).is_ok(), accepted, "{topic}");
            out.clear();
            mqtt::encode_unsubscribe(version, 1, &[topic], &mut out);
            let result = handle(&mut active_with(version, &LIMITS, ""), &out).map_err(|error| error.reason);
            assert!(accepted == result.is_ok() && (accepted || result == Err(ReasonCode::TopicFilterInvalid)));
        }
    }
}

#[test]
fn silence_ends_a_connection() {
    // MQTT5 3.1.4: before the CONNECT there is nobody to tell.
    let mut connection = ServerConnection::new(1_000, &LIMITS);
    assert_eq!(connection.deadline_ms(), Some(6_000));
    assert_eq!(connection.handle_timeout(5_999), None);
    let error = connection.handle_timeout(6_000).unwrap();
    let mut out = Vec::new();
    connection.fail(&error, &mut out);
    assert!(out.is_empty() && connection.is_closing() && connection.deadline_ms().is_none());

    // Between CONNECT and CONNACK the server is the one to wait for, unless the client authenticates.
    let mut connection = ServerConnection::new(1_000, &LIMITS);
    handle(&mut connection, &connect(Version::V5, "")).unwrap();
    assert_eq!(connection.deadline_ms(), None);
    let mut connection = ServerConnection::new(1_000, &LIMITS);
    handle(&mut connection, &connect(Version::V5, "15 00 01 6D")).unwrap();
    assert_eq!(connection.deadline_ms(), Some(6_000));

    // [MQTT-3.1.2-22]: one and a half times 60 s after the last packet.
    for (version, expected) in [(Version::V3_1_1, &[][..]), (Version::V5, &[0xe0])] {
        let mut connection = active(version);
        assert_eq!(connection.deadline_ms(), Some(90_000));
        connection.received(50_000);
        assert_eq!(connection.handle_timeout(139_999), None);
        let error = connection.handle_timeout(140_000).unwrap();
        assert_eq!(error.reason, ReasonCode::KeepAliveTimeout);
        let mut out = Vec::new();
        connection.fail(&error, &mut out);
        assert_eq!(out.first(), expected.first());
        assert!(out.is_empty() || out[2] == 0x8d);
    }
}

#[test]
fn a_disconnect_is_sent_once_and_only_in_5_0() {
    let mut out = Vec::new();
    let mut connection = active(Version::V5);
    connection.disconnect(ReasonCode::ServerShuttingDown, None, &mut out);
    connection.disconnect(ReasonCode::ServerShuttingDown, None, &mut out);
    connection.refuse(ReasonCode::ServerBusy, None, &mut out);
    assert_eq!(out, bytes("E0 01 8B"));
    out.clear();
    active(Version::V3_1_1).disconnect(ReasonCode::ServerShuttingDown, None, &mut out);
    assert_eq!(out, bytes(""));
    // [MQTT-3.14.2-3]: the text is left out where it would not fit.
    active_with(Version::V5, &LIMITS, "27 00 00 00 08").disconnect(ReasonCode::ServerBusy, Some("too many"), &mut out);
    assert_eq!(out, bytes("E0 01 89"));
    // [MQTT-3.14.0-1]: before the CONNACK it is a refusal.
    out.clear();
    let mut connection = ServerConnection::new(0, &LIMITS);
    handle(&mut connection, &connect(Version::V5, "")).unwrap();
    connection.disconnect(ReasonCode::ServerBusy, None, &mut out);
    assert_eq!(out, bytes("20 03 00 89 00"));
    // A reason that no DISCONNECT carries becomes one that it does.
    out.clear();
    active(Version::V5).disconnect(ReasonCode::PacketIdentifierNotFound, None, &mut out);
    assert_eq!(out, bytes("E0 01 80"));
}

#[test]
fn enhanced_authentication_ends_with_its_method() {
    // [MQTT-4.12.0-5]
    let mut connection = ServerConnection::new(0, &Limits::default());
    handle(&mut connection, &connect(Version::V5, "15 00 01 6D")).unwrap();
    handle(&mut connection, &bytes("F0 0A 18 08 15 00 01 6D 16 00 01 01")).unwrap();
    let mut out = Vec::new();
    connection.accept(0, &Accepted { auth_data: Some(&[9]), ..Accepted::default() }, &mut out);
    let Packet::ConnAck(connack) = decode_all(Version::V5, &out).unwrap() else { panic!() };
    assert_eq!((connack.properties.auth_method, connack.properties.auth_data), (Some("m"), Some(&[9][..])));
}

#[test]
fn response_information_is_for_those_who_ask() {
    // [MQTT-3.1.2-28]
    for (properties, expected) in [("", None), ("19 00", None), ("19 01", Some("r/c"))] {
        let mut connection = ServerConnection::new(0, &Limits::default());
        handle(&mut connection, &connect(Version::V5, properties)).unwrap();
        let mut out = Vec::new();
        connection.accept(0, &Accepted { response_information: Some("r/c"), ..Accepted::default() }, &mut out);
        let Packet::ConnAck(connack) = decode_all(Version::V5, &out).unwrap() else { panic!() };
        assert_eq!(connack.properties.response_information, expected);
    }
}

#[test]
fn packets_own_nothing() {
    fn assert_copy<T: Copy>() {}
    assert_copy::<Connect<'_>>();
    assert_copy::<mqtt::Publish<'_>>();
    assert_copy::<mqtt::Ack<'_>>();
    assert_copy::<mqtt::Subscribe<'_>>();
    assert_copy::<mqtt::Unsubscribe<'_>>();
    assert_copy::<mqtt::Disconnect<'_>>();
}

#[test]
fn a_connection_is_small_and_moves() {
    fn assert_send<T: Send + 'static>() {}
    assert_send::<ServerConnection>();
    // 9,000 idle connections share a budget of 2 KiB each with buffers and sessions.
    assert!(size_of::<ServerConnection>() <= 128, "{}", size_of::<ServerConnection>());
}

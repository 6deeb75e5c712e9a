//! What must not be accepted, and with which clause and reason code it is refused.
//!
//! Setup: packets that break one rule each, among them everything that a widely used codec was found to accept. Action:
//! decode, or give to a connection where the rule is about a client. Expectation: the reason code and the clause.

mod support;

use mqtt::connection::ServerConnection;
use mqtt::{Error, Kind, ReasonCode, Version, frame};
use support::{active, bytes, decode_all, handle};

const V3: Version = Version::V3_1_1;
const V5: Version = Version::V5;

#[track_caller]
fn check(version: Version, hex: &str, reason: ReasonCode, clause: &str) {
    let bytes = bytes(hex);
    expect(decode_all(version, &bytes).map(|packet| format!("{packet:?}")), hex, reason, clause);
}

/// The same by a connection that is active, for rules that bind clients.
#[track_caller]
fn check_client(version: Version, hex: &str, reason: ReasonCode, clause: &str) {
    let bytes = bytes(hex);
    let mut connection = active(version);
    expect(handle(&mut connection, &bytes).map(|packet| format!("{packet:?}")), hex, reason, clause);
}

#[track_caller]
fn expect(result: Result<String, Error>, hex: &str, reason: ReasonCode, clause: &str) {
    match result {
        Ok(packet) => panic!("{hex} was accepted as {packet}"),
        Err(error) => assert_eq!((error.reason, error.clause), (reason, clause), "{hex}: {error}"),
    }
}

use ReasonCode::{MalformedPacket as Malformed, ProtocolError as Protocol};

#[test]
fn fixed_headers() {
    for version in [V3, V5] {
        check(version, "00 00", Malformed, "MQTT5 2.1.2");
        // Reserved flags.
        check(version, "80 06 00 01 00 01 61 00", Malformed, "MQTT-3.8.1-1");
        check(version, "83 06 00 01 00 01 61 00", Malformed, "MQTT-3.8.1-1");
        check(version, "A0 05 00 01 00 01 61", Malformed, "MQTT-3.10.1-1");
        check(version, "60 02 00 01", Malformed, "MQTT-3.6.1-1");
        check(version, "C1 00", Malformed, "MQTT-2.1.3-1");
        check(version, "D8 00", Malformed, "MQTT-2.1.3-1");
        check(version, "11 0D 00 04 4D 51 54 54 04 02 00 3C 00 01 61", Malformed, "MQTT-2.1.3-1");
        check(version, "E1 00", Malformed, "MQTT-3.14.1-1");
        check(version, "42 02 00 01", Malformed, "MQTT-2.1.3-1");
        // QoS 0 with DUP, QoS 3.
        check(version, "38 06 00 01 61 00 68 69", Malformed, "MQTT-3.3.1-2");
        check(version, "36 07 00 01 61 00 01 00 68", Malformed, "MQTT-3.3.1-4");
        // Bodies where there is none.
        check(version, "C0 01 00", Malformed, "MQTT5 2.1.4");
        check(version, "D0 01 00", Malformed, "MQTT5 2.1.4");
    }
    check(V5, "F1 00", Malformed, "MQTT-3.15.1-1");
    check(V3, "F0 00", Malformed, "MQTT311 2.2.1");
    check(V3, "E0 01 00", Malformed, "MQTT5 2.1.4");
}

#[test]
fn lengths() {
    let refused = |hex: &str, max| frame::split(&bytes(hex), max).unwrap_err();
    // [MQTT-1.5.5-1]: more bytes than needed.
    assert_eq!(refused("C0 80 00", u32::MAX).clause, "MQTT-1.5.5-1");
    assert_eq!(refused("30 85 00 00 01 61 68 69", u32::MAX).reason, Malformed);
    // More than four bytes.
    assert_eq!(refused("30 FF FF FF FF 01", u32::MAX).reason, Malformed);
    assert_eq!(refused("30 80 80 80 80", u32::MAX).reason, Malformed);
    // [MQTT-3.2.2-15]: too large, known from the length alone.
    let error = refused("30 80 80 01", 1000);
    assert_eq!((error.kind, error.reason), (Kind::Limit, ReasonCode::PacketTooLarge));
    assert!(frame::split(&bytes("30 05"), 7).is_ok());
    assert_eq!(refused("30 05", 6).reason, ReasonCode::PacketTooLarge);
}

#[test]
fn topics_of_publications() {
    // Empty, wildcard, U+0000, not UTF-8.
    check(V3, "30 04 00 00 68 69", Protocol, "MQTT-4.7.3-1");
    check(V5, "30 05 00 00 00 68 69", Protocol, "MQTT-4.7.3-1");
    check(V3, "30 07 00 03 61 2F 23 68 69", ReasonCode::TopicNameInvalid, "MQTT-3.3.2-2");
    check(V5, "30 06 00 03 61 2F 2B 00", ReasonCode::TopicNameInvalid, "MQTT-3.3.2-2");
    check(V3, "30 05 00 03 61 00 62", Malformed, "MQTT-1.5.4-2");
    check(V5, "30 06 00 03 61 00 62 00", Malformed, "MQTT-1.5.4-2");
    check(V3, "30 04 00 02 C3 28", Malformed, "MQTT-1.5.4-1");
    // [MQTT-1.5.4-1]: U+D800 as CESU-8.
    check(V5, "30 06 00 03 ED A0 80 00", Malformed, "MQTT-1.5.4-1");
}

#[test]
fn packet_identifiers() {
    for version in [V3, V5] {
        for first in ["40", "50", "62", "70"] {
            check(version, &format!("{first} 02 00 00"), Protocol, "MQTT-2.2.1-3");
        }
    }
    check(V3, "32 05 00 01 61 00 00", Protocol, "MQTT-2.2.1-3");
    check(V5, "32 06 00 01 61 00 00 00", Protocol, "MQTT-2.2.1-3");
    check(V3, "82 06 00 00 00 01 61 00", Protocol, "MQTT-2.2.1-3");
    check(V5, "82 07 00 00 00 00 01 61 00", Protocol, "MQTT-2.2.1-3");
    check(V3, "A2 05 00 00 00 01 61", Protocol, "MQTT-2.2.1-3");
    check(V3, "90 03 00 00 00", Protocol, "MQTT-2.2.1-3");
    check(V3, "B0 02 00 00", Protocol, "MQTT-2.2.1-3");
}

#[test]
fn subscriptions() {
    check(V3, "82 02 00 01", Protocol, "MQTT-3.8.3-2");
    check(V5, "82 03 00 01 00", Protocol, "MQTT-3.8.3-2");
    check(V3, "A2 02 00 01", Protocol, "MQTT-3.10.3-2");
    check(V5, "A2 03 00 01 00", Protocol, "MQTT-3.10.3-2");
    // Reserved option bits: 3.1.1 has six, 5.0 two.
    check(V3, "82 06 00 01 00 01 61 04", Malformed, "MQTT-3.8.3-5");
    check(V5, "82 07 00 01 00 00 01 61 40", Malformed, "MQTT-3.8.3-5");
    check(V5, "82 07 00 01 00 00 01 61 80", Malformed, "MQTT-3.8.3-5");
    check(V3, "82 06 00 01 00 01 61 03", Malformed, "MQTT5 3.8.3.1");
    check(V5, "82 07 00 01 00 00 01 61 30", Protocol, "MQTT5 3.8.3.1");
    // Filters.
    check(V3, "82 05 00 01 00 00 00", ReasonCode::TopicFilterInvalid, "MQTT-4.7.3-1");
    check(V3, "82 08 00 01 00 03 61 23 62 00", ReasonCode::TopicFilterInvalid, "MQTT-4.7.1-1");
    check(V3, "82 07 00 01 00 02 61 2B 00", ReasonCode::TopicFilterInvalid, "MQTT-4.7.1-2");
    check(V3, "82 07 00 01 00 02 61 00 00", Malformed, "MQTT-1.5.4-2");
    check(V3, "A2 06 00 01 00 02 61 2B", ReasonCode::TopicFilterInvalid, "MQTT-4.7.1-2");
    // [MQTT-3.10.3-1]: an UNSUBSCRIBE from bytes that are not UTF-8.
    check(V3, "A2 05 00 01 00 01 FF", Malformed, "MQTT-1.5.4-1");
    // The second entry counts as well.
    check(V3, "82 0A 00 01 00 01 61 00 00 01 61 04", Malformed, "MQTT-3.8.3-5");
    // $share//a, and no local on $share/g/a.
    check(V5, "82 0F 00 01 00 00 09 24 73 68 61 72 65 2F 2F 61 00", ReasonCode::TopicFilterInvalid, "MQTT-4.8.2-1");
    check(V5, "82 10 00 01 00 00 0A 24 73 68 61 72 65 2F 67 2F 61 04", Protocol, "MQTT-3.8.3-4");
    // An option byte is missing.
    check(V3, "82 05 00 01 00 01 61", Malformed, "MQTT5 2.1.4");
}

#[test]
fn connects() {
    let connect = |flags: &str, level: &str, rest: &str| {
        let hex = format!("00 04 4D 51 54 54 {level} {flags} 00 3C {rest}");
        format!("10 {:02X} {hex}", bytes(&hex).len())
    };
    // Flag bit 0.
    check(V3, &connect("03", "04", "00 01 61"), Malformed, "MQTT-3.1.2-3");
    check(V5, &connect("03", "05", "00 00 01 61"), Malformed, "MQTT-3.1.2-3");
    // Will flags without a will, will QoS 3.
    check(V3, &connect("0A", "04", "00 01 61"), Malformed, "MQTT-3.1.2-11");
    check(V3, &connect("22", "04", "00 01 61"), Malformed, "MQTT-3.1.2-13");
    check(V3, &connect("1E", "04", "00 01 61 00 01 77 00 00"), Malformed, "MQTT-3.1.2-12");
    // A password without a user name, which only 5.0 allows.
    check(V3, &connect("42", "04", "00 01 61 00 01 70"), Malformed, "MQTT311-3.1.2-22");
    // No client id for a session to keep.
    check(V3, &connect("00", "04", "00 00"), ReasonCode::ClientIdentifierNotValid, "MQTT311-3.1.3-8");
    // Bytes after the last field; too few of them.
    check(V3, &connect("02", "04", "00 01 61 00"), Malformed, "MQTT5 2.1.4");
    check(V3, &connect("02", "04", "00 02 61"), Malformed, "MQTT5 2.1.4");
    // [MQTT-3.1.2-17], [MQTT-3.1.2-19]: a user name, a password that is announced and does not come.
    check(V3, &connect("82", "04", "00 01 61"), Malformed, "MQTT5 2.1.4");
    check(V3, &connect("C2", "04", "00 01 61 00 01 75"), Malformed, "MQTT5 2.1.4");
    // Levels and names of no known version; a level and a name of two versions.
    let unsupported = ReasonCode::UnsupportedProtocolVersion;
    for level in ["00", "03", "06", "84", "FF"] {
        check(V3, &connect("02", level, "00 01 61"), unsupported, "MQTT-3.1.2-2");
    }
    check(V3, "10 0F 00 06 4D 51 49 73 64 70 04 02 00 3C 00 01 61", unsupported, "MQTT-3.1.2-2");
    check(V3, "10 0D 00 04 6D 71 74 74 04 02 00 3C 00 01 61", unsupported, "MQTT-3.1.2-1");
    // 3.1 has no empty client id.
    let invalid = ReasonCode::ClientIdentifierNotValid;
    check(V3, "10 0E 00 06 4D 51 49 73 64 70 03 02 00 3C 00 00", invalid, "MQTT311-3.1.3-8");
    // Wills: wildcard, empty topic, U+0000, not UTF-8. [MQTT-3.1.3-11]
    let bad_name = ReasonCode::TopicNameInvalid;
    check(V3, &connect("06", "04", "00 01 61 00 01 23 00 00"), bad_name, "MQTT-3.3.2-2");
    check(V3, &connect("06", "04", "00 01 61 00 00 00 00"), bad_name, "MQTT-4.7.3-1");
    check(V3, &connect("06", "04", "00 01 61 00 01 00 00 00"), Malformed, "MQTT-1.5.4-2");
    check(V3, &connect("06", "04", "00 01 61 00 01 FF 00 00"), Malformed, "MQTT-1.5.4-1");
    // U+0000 in a client id, bad UTF-8 in a user name. [MQTT-3.1.3-12]
    check(V3, &connect("02", "04", "00 01 00"), Malformed, "MQTT-1.5.4-2");
    check(V3, &connect("82", "04", "00 01 61 00 01 FF"), Malformed, "MQTT-1.5.4-1");
    // Authentication data without a method.
    check(V5, &connect("02", "05", "04 16 00 01 01 00 01 61"), Protocol, "MQTT5 3.1.2.11.10");
}

#[test]
fn a_version_is_read_by_its_own_rules() {
    // Level 5 read as 4 would take the property length for the client id's; level 4 read as 5 the other way round.
    let v5 = bytes("10 10 00 04 4D 51 54 54 05 02 00 3C 00 00 03 61 62 63");
    let v4 = bytes("10 0F 00 04 4D 51 54 54 04 02 00 3C 00 03 61 62 63");
    for version in [Version::V3_1, V3, V5] {
        for (packet, expected) in [(&v5, V5), (&v4, V3)] {
            let Ok(mqtt::Packet::Connect(connect)) = decode_all(version, packet) else { panic!() };
            assert_eq!((connect.version, connect.client_id), (expected, "abc"));
        }
    }
}

#[test]
fn properties_of_publications() {
    let publish = |properties: &str| {
        let hex = format!("00 01 61 {:02X} {properties}", bytes(properties).len());
        format!("30 {:02X} {hex}", bytes(&hex).len())
    };
    // Twice what may stand once.
    for twice in [
        "01 00 01 00",
        "02 00 00 00 01 02 00 00 00 01",
        "03 00 00 03 00 00",
        "08 00 01 72 08 00 01 72",
        "09 00 00 09 00 00",
        "23 00 01 23 00 02",
    ] {
        check(V5, &publish(twice), Protocol, "MQTT5 2.2.2.2");
    }
    check(V5, &publish("23 00 00"), ReasonCode::TopicAliasInvalid, "MQTT-3.3.2-8");
    check(V5, &publish("01 07"), Protocol, "MQTT5 3.3.2.3.2");
    check(V5, &publish("0B 00"), Protocol, "MQTT5 3.8.2.1.2");
    check(V5, &publish("0B 80 00"), Malformed, "MQTT-1.5.5-1");
    check(V5, &publish("08 00 01 23"), ReasonCode::TopicNameInvalid, "MQTT-3.3.2-14");
    // Properties of other packets, of none, and of two bytes.
    for foreign in ["11 00 00 00 01", "21 00 01", "1F 00 01 72", "18 00 00 00 01", "00", "04", "7F", "80 01"] {
        check(V5, &publish(foreign), Malformed, "MQTT5 2.2.2.2");
    }
    // Values that run over the block, and over the packet.
    check(V5, "30 08 00 01 61 03 03 00 05 61", Malformed, "MQTT5 2.1.4");
    check(V5, "30 09 00 01 61 04 26 00 01 6B 00", Malformed, "MQTT5 2.1.4");
    check(V5, "30 05 00 01 61 05 01", Malformed, "MQTT5 2.1.4");
    check(V5, "30 03 00 01 61", Malformed, "MQTT5 2.1.4");
    // Strings.
    check(V5, &publish("26 00 01 00 00 00"), Malformed, "MQTT-1.5.4-2");
    check(V5, &publish("03 00 01 FF"), Malformed, "MQTT-1.5.4-1");
}

#[test]
fn properties_of_connects() {
    let connect = |properties: &str| {
        let block = bytes(properties).len();
        let hex = format!("00 04 4D 51 54 54 05 02 00 3C {block:02X} {properties} 00 01 61");
        format!("10 {:02X} {hex}", bytes(&hex).len())
    };
    check(V5, &connect("21 00 00"), Protocol, "MQTT5 3.1.2.11.3");
    check(V5, &connect("27 00 00 00 00"), Protocol, "MQTT5 3.1.2.11.4");
    check(V5, &connect("17 02"), Protocol, "MQTT5 3.1.2.11.7");
    check(V5, &connect("19 02"), Protocol, "MQTT5 3.1.2.11.6");
    check(V5, &connect("11 00 00 00 01 11 00 00 00 01"), Protocol, "MQTT5 2.2.2.2");
    check(V5, &connect("23 00 01"), Malformed, "MQTT5 2.2.2.2");
    check(V5, &connect("21 00"), Malformed, "MQTT5 2.1.4");
}

#[test]
fn answers_of_servers() {
    check(V3, "20 02 02 00", Malformed, "MQTT-3.2.2-1");
    check(V3, "20 02 01 05", Protocol, "MQTT-3.2.2-6");
    check(V3, "20 02 00 06", Malformed, "MQTT311 3.2.2.3");
    check(V5, "20 03 00 01 00", Protocol, "MQTT5 2.4");
    check(V5, "20 05 00 00 02 24 02", Protocol, "MQTT5 3.2.2.3.4");
    check(V3, "20 03 00 00 00", Malformed, "MQTT5 2.1.4");
    check(V5, "20 02 00 00", Malformed, "MQTT5 2.1.4");
    check(V3, "90 03 00 01 03", Malformed, "MQTT311-3.9.3-2");
    check(V3, "90 03 00 01 87", Malformed, "MQTT311-3.9.3-2");
    check(V5, "90 04 00 01 00 92", Protocol, "MQTT5 2.4");
    check(V3, "90 02 00 01", Protocol, "MQTT-3.8.4-6");
    check(V5, "B0 03 00 01 00", Protocol, "MQTT-3.11.3-1");
    check(V3, "B0 03 00 01 00", Malformed, "MQTT5 2.1.4");
}

#[test]
fn acknowledgements_and_farewells() {
    check(V3, "40 03 00 01 00", Malformed, "MQTT5 2.1.4");
    check(V5, "40 05 00 01 00 00 00", Malformed, "MQTT5 2.1.4");
    // [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]
    check(V5, "40 03 00 01 92", Protocol, "MQTT5 2.4");
    check(V5, "50 03 00 01 92", Protocol, "MQTT5 2.4");
    check(V5, "62 03 00 01 10", Protocol, "MQTT5 2.4");
    check(V5, "70 03 00 01 10", Protocol, "MQTT5 2.4");
    check(V5, "40 03 00 01 03", Malformed, "MQTT5 2.4");
    check(V5, "40 01 00", Malformed, "MQTT5 2.1.4");
    check(V5, "E0 01 18", Protocol, "MQTT5 2.4");
    check(V5, "E0 02 00 01", Malformed, "MQTT5 2.1.4");
    check(V5, "F0 01 00", Malformed, "MQTT5 2.1.4");
    check(V5, "F0 02 18 00", Protocol, "MQTT5 3.15.2.2.2");
    check(V5, "F0 02 80 00", Protocol, "MQTT5 2.4");
}

#[test]
fn what_only_clients_must_not_do() {
    // A subscription identifier in a PUBLISH to a server.
    check_client(V5, "30 06 00 01 61 02 0B 01", Protocol, "MQTT-3.3.4-6");
    // Reasons and lifetimes of DISCONNECT.
    check_client(V5, "E0 01 8B", Protocol, "MQTT-3.14.2-1");
    check_client(V5, "E0 07 00 05 11 00 00 00 01", Protocol, "MQTT5 3.14.2.2.2");
    // Topic aliases above the maximum of 16, or not set.
    check_client(V5, "30 07 00 01 61 03 23 00 11", ReasonCode::TopicAliasInvalid, "MQTT-3.3.2-9");
    check_client(V5, "30 06 00 00 03 23 00 01", Protocol, "MQTT5 3.3.2.3.4");
    check_client(V5, "F0 06 19 04 15 00 01 6D", Protocol, "MQTT-4.12.0-7");
}

#[test]
fn every_refusal_of_5_0_reaches_the_client() {
    for (hex, reason) in
        [("38 06 00 01 61 00 68 69", 0x81), ("30 07 00 01 61 03 23 00 00", 0x94), ("20 03 00 00 00", 0x82)]
    {
        let mut connection: ServerConnection = active(V5);
        let error = handle(&mut connection, &bytes(hex)).unwrap_err();
        let mut out = Vec::new();
        connection.fail(&error, &mut out);
        assert_eq!((out[0], out[2]), (0xe0, reason), "{hex}");
        assert!(decode_all(V5, &out).is_ok() && connection.is_closing());
    }
}

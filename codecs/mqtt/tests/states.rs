//! Which packet may come in which state.
//!
//! Setup: a connection in each state, for each version. Action: one valid packet of each of the sixteen types. Expectation:
//! the table below, and for what is refused the reason code.

mod support;

use mqtt::connection::{Accepted, Limits, ServerConnection};
use mqtt::{ReasonCode, Version};
use support::{active, bytes, connect, handle};

/// One valid packet of each type, by type number; 0 is reserved.
fn packets(version: Version) -> Vec<Vec<u8>> {
    let v5 = version.is_v5();
    let either = |old: &str, new: &str| bytes(if v5 { new } else { old });
    vec![
        bytes("00 00"),
        connect(version, ""),
        either("20 02 00 00", "20 03 00 00 00"),
        either("30 03 00 01 61", "30 04 00 01 61 00"),
        bytes("40 02 00 01"),
        bytes("50 02 00 01"),
        bytes("62 02 00 01"),
        bytes("70 02 00 01"),
        either("82 06 00 01 00 01 61 00", "82 07 00 01 00 00 01 61 00"),
        either("90 03 00 01 00", "90 04 00 01 00 00"),
        either("A2 05 00 01 00 01 61", "A2 06 00 01 00 00 01 61"),
        either("B0 02 00 01", "B0 04 00 01 00 00"),
        bytes("C0 00"),
        bytes("D0 00"),
        bytes("E0 00"),
        bytes("F0 06 18 04 15 00 01 6D"),
    ]
}

/// One letter per type: `.` accepted, `P` Protocol Error, `M` Malformed Packet.
fn check(version: Version, make: impl Fn() -> ServerConnection, expected: &str) {
    let verdict = |packet: &Vec<u8>| match handle(&mut make(), packet) {
        Ok(_) => '.',
        Err(error) if error.reason == ReasonCode::MalformedPacket => 'M',
        Err(error) => {
            assert_eq!(error.reason, ReasonCode::ProtocolError, "{packet:02X?}: {error}");
            'P'
        }
    };
    let actual: String = packets(version).iter().map(verdict).collect();
    assert_eq!(actual, expected, "{version:?}");
}

/// After a CONNECT that brought this authentication method, if any.
fn answering(version: Version, properties: &str) -> ServerConnection {
    let mut connection = ServerConnection::new(0, &Limits::default());
    handle(&mut connection, &connect(version, properties)).unwrap();
    connection
}

const METHOD_M: &str = "15 00 01 6D";

#[test]
fn the_first_packet_is_connect() {
    // [MQTT-3.1.0-1]
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        check(version, || ServerConnection::new(0, &Limits::default()), "P.PPPPPPPPPPPPPP");
    }
}

#[test]
fn before_the_answer_only_authentication_goes_on() {
    // [MQTT-3.1.2-30], [MQTT-4.12.0-7]
    check(Version::V3_1_1, || answering(Version::V3_1_1, ""), "MPPPPPPPPPPPPP.M");
    check(Version::V5, || answering(Version::V5, ""), "MPPPPPPPPPPPPP.P");
    check(Version::V5, || answering(Version::V5, METHOD_M), "MPPPPPPPPPPPPP..");
    assert!(!answering(Version::V5, "").wants_frames(), "what a client sends on is kept until it is answered");
    assert!(answering(Version::V5, METHOD_M).wants_frames());
}

#[test]
fn an_active_client_sends_what_clients_send() {
    // [MQTT-3.1.0-2]: a second CONNECT. CONNACK, SUBACK, UNSUBACK and PINGRESP are the server's.
    for version in [Version::V3_1, Version::V3_1_1] {
        check(version, || active(version), "MPP......P.P.P.M");
    }
    check(Version::V5, || active(Version::V5), "MPP......P.P.P.P");
    let authenticated = || {
        let mut connection = answering(Version::V5, METHOD_M);
        connection.accept(0, &Accepted::default(), &mut Vec::new());
        connection
    };
    check(Version::V5, authenticated, "MPP......P.P.P..");
}

#[test]
fn after_the_end_nothing_is_taken() {
    // [MQTT-3.14.4-1]
    let left = || {
        let mut connection = active(Version::V5);
        handle(&mut connection, &bytes("E0 00")).unwrap();
        assert!(connection.is_closing() && !connection.wants_frames());
        connection
    };
    check(Version::V5, left, "PPPPPPPPPPPPPPPP");
    let sent_away = || {
        let mut connection = active(Version::V3_1_1);
        connection.disconnect(ReasonCode::SessionTakenOver, None, &mut Vec::new());
        connection
    };
    check(Version::V3_1_1, sent_away, "PPPPPPPPPPPPPPPP");
}

#[test]
fn another_method_than_that_of_connect_is_refused() {
    // [MQTT-4.12.0-5]
    let mut connection = answering(Version::V5, METHOD_M);
    let error = handle(&mut connection, &bytes("F0 06 18 04 15 00 01 6E")).unwrap_err();
    assert_eq!((error.reason, error.clause), (ReasonCode::ProtocolError, "MQTT-4.12.0-5"));
}

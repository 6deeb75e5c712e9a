//! The client's machine against servers that are put together by hand, packet by packet.

use mqtt::{Ack, PublishProperties, UserProperties};

use super::*;

const V5: Version = Version::V5;

fn options(version: Version) -> Options {
    let client_id = "press-7".to_owned();
    Options { version, client_id, keep_session: false, keep_alive_s: 10, username: None, password: None }
}

/// A server that decodes what the client wrote.
struct Server {
    client: Connection,
    version: Version,
}

impl Server {
    fn waiting(version: Version) -> Self {
        Self { client: Connection::new(0, &options(version), None), version }
    }

    /// Has let the client in.
    fn active(version: Version, properties: mqtt::ConnAckProperties<'_>) -> Self {
        let mut server = Self::waiting(version);
        assert!(server.written().starts_with("Connect"));
        let answer = ConnAck { session_present: false, reason: ReasonCode::Success, properties };
        let happened = server.send(&Packet::ConnAck(answer)).unwrap();
        assert_eq!(happened, [Happening::Connected { session_present: false }]);
        server
    }

    /// Gives the client a packet, and collects what that leads to.
    fn send(&mut self, packet: &Packet<'_>) -> Result<Vec<Happening>, Fault> {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.send_bytes(&bytes)
    }

    fn send_bytes(&mut self, bytes: &[u8]) -> Result<Vec<Happening>, Fault> {
        self.client.receive(bytes);
        let mut happened = Vec::new();
        while let Some(one) = self.client.poll(0)? {
            happened.push(one);
        }
        Ok(happened)
    }

    /// What the client has written since the last call: types and packet ids.
    fn written(&mut self) -> String {
        let bytes = self.client.output().to_vec();
        self.client.written(bytes.len());
        let (mut rest, mut found) = (&bytes[..], Vec::new());
        while let Ok(Split::Whole(frame)) = split(rest, PACKET_BYTES_MAX) {
            let packet = decode(self.version, frame).unwrap();
            let id = match &packet {
                Packet::Publish(publish) => publish.packet_id,
                Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => ack.packet_id,
                Packet::Subscribe(subscribe) => subscribe.packet_id,
                _ => 0,
            };
            found.push(format!("{:?} {id}", packet.packet_type()));
            rest = &rest[frame.len..];
        }
        assert!(rest.is_empty(), "half a packet was written");
        found.join(", ")
    }

    fn publish(&mut self, qos: QoS) -> Result<u16, Refusal> {
        self.client.publish(0, "t", b"21.5", qos, false)
    }
}

fn ack(packet_id: u16, reason: ReasonCode) -> Ack<'static> {
    Ack { packet_id, reason, reason_string: None, user: UserProperties::default() }
}

fn delivery(qos: QoS, packet_id: u16, payload: &[u8]) -> Packet<'_> {
    let properties = PublishProperties::default();
    Packet::Publish(Publish { dup: false, qos, retain: false, topic: "t/1", packet_id, properties, payload })
}

fn acknowledged(packet_id: u16, reason: ReasonCode) -> Happening {
    Happening::Acknowledged { packet_id, reason, text: None }
}

#[test]
fn a_publication_is_over_when_its_last_acknowledgement_is_there() {
    for version in [Version::V3_1, Version::V3_1_1, V5] {
        let mut server = Server::active(version, Default::default());
        assert_eq!(server.publish(QoS::AtMostOnce), Ok(0));
        assert_eq!(server.publish(QoS::AtLeastOnce), Ok(1));
        assert_eq!(server.publish(QoS::ExactlyOnce), Ok(2));
        assert_eq!(server.written(), "Publish 0, Publish 1, Publish 2");
        assert_eq!(server.client.open(), 2, "QoS 0 owes nothing");

        assert_eq!(server.send(&Packet::PubRec(ack(2, ReasonCode::Success))), Ok(vec![]));
        assert_eq!(server.written(), "PubRel 2");
        let happened = server.send(&Packet::PubAck(ack(1, ReasonCode::Success))).unwrap();
        assert_eq!(happened, [acknowledged(1, ReasonCode::Success)]);
        let happened = server.send(&Packet::PubComp(ack(2, ReasonCode::Success))).unwrap();
        assert_eq!(happened, [acknowledged(2, ReasonCode::Success)]);
        assert_eq!((server.client.open(), server.written()), (0, String::new()));
    }
}

#[test]
fn a_failing_pubrec_ends_its_publication() {
    let mut server = Server::active(V5, Default::default());
    let id = server.publish(QoS::ExactlyOnce).unwrap();
    server.written();
    let happened = server.send(&Packet::PubRec(ack(id, ReasonCode::QuotaExceeded))).unwrap();
    assert_eq!(happened, [acknowledged(id, ReasonCode::QuotaExceeded)]);
    assert_eq!((server.client.open(), server.written()), (0, String::new()));
}

#[test]
fn an_acknowledgement_of_nothing_is_the_servers_fault() {
    let check = |published: Option<QoS>, packet: Packet<'_>| {
        let mut server = Server::active(V5, Default::default());
        published.map(|qos| server.publish(qos).unwrap());
        let packet_type = packet.packet_type();
        assert_eq!(server.send(&packet), Err(Fault::NotOpen { packet: packet_type, packet_id: 1 }));
        assert!(!server.client.is_active());
    };
    let success = ack(1, ReasonCode::Success);
    check(None, Packet::PubAck(success));
    check(None, Packet::PubRec(success));
    check(Some(QoS::AtLeastOnce), Packet::PubRec(success));
    check(Some(QoS::ExactlyOnce), Packet::PubAck(success));
    check(Some(QoS::ExactlyOnce), Packet::PubComp(success));
}

#[test]
fn no_more_is_open_than_the_server_takes() {
    // [MQTT-3.3.4-7]
    let mut server = Server::active(V5, mqtt::ConnAckProperties { receive_maximum: 2, ..Default::default() });
    assert_eq!(server.client.window(), 2);
    assert!(server.publish(QoS::AtLeastOnce).is_ok() && server.publish(QoS::ExactlyOnce).is_ok());
    assert_eq!(server.publish(QoS::AtLeastOnce), Err(Refusal::WindowFull));
    assert_eq!(server.publish(QoS::AtMostOnce), Ok(0), "QoS 0 is not counted");
    server.send(&Packet::PubAck(ack(1, ReasonCode::Success))).unwrap();
    assert_eq!(server.publish(QoS::AtLeastOnce), Ok(1));
}

#[test]
fn what_the_server_announced_is_kept_to() {
    // [MQTT-3.2.2-11], [MQTT-3.2.2-14], [MQTT-3.2.2-15]
    let limits = mqtt::ConnAckProperties {
        qos_max: QoS::AtLeastOnce,
        retain_available: false,
        packet_bytes_max: 12,
        ..Default::default()
    };
    let mut server = Server::active(V5, limits);
    assert_eq!(server.publish(QoS::ExactlyOnce), Err(Refusal::QoS(QoS::AtLeastOnce)));
    assert_eq!(server.client.publish(0, "t", b"", QoS::AtMostOnce, true), Err(Refusal::Retain));
    // 2 of header, 3 of topic, 2 of packet id, 1 of properties.
    assert_eq!(server.client.publish(0, "t", b"1234", QoS::AtLeastOnce, false), Ok(1));
    let refusal = server.client.publish(0, "t", b"12345", QoS::AtLeastOnce, false);
    assert_eq!(refusal, Err(Refusal::TooLarge { bytes: 13, bytes_max: 12 }));
    assert_eq!(server.written(), "Publish 1");
}

#[test]
fn deliveries_are_acknowledged_when_they_are_handed_out() {
    for version in [Version::V3_1_1, V5] {
        let mut server = Server::active(version, Default::default());
        let mut bytes = Vec::new();
        for (qos, id) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 7), (QoS::ExactlyOnce, 8)] {
            delivery(qos, id, b"x").encode(version, &mut bytes);
        }
        server.client.receive(&bytes);
        for (qos, answer) in [(QoS::AtMostOnce, ""), (QoS::AtLeastOnce, "PubAck 7"), (QoS::ExactlyOnce, "PubRec 8")] {
            assert_eq!(server.written(), "", "nothing is acknowledged before it is handed out");
            let happened = server.client.poll(0).unwrap();
            let expected = Message { topic: "t/1".to_owned(), payload: b"x".to_vec(), qos, retain: false };
            assert_eq!(happened, Some(Happening::Message(expected)));
            assert_eq!(server.written(), answer);
        }
    }
}

#[test]
fn exactly_once_means_that_a_repetition_is_answered_but_not_handed_out() {
    // [MQTT-4.3.3-10]
    let mut server = Server::active(V5, Default::default());
    let publish = delivery(QoS::ExactlyOnce, 3, b"x");
    assert_eq!(server.send(&publish).unwrap().len(), 1);
    assert_eq!(server.send(&publish), Ok(vec![]));
    assert_eq!(server.written(), "PubRec 3, PubRec 3");
    assert_eq!(server.send(&Packet::PubRel(ack(3, ReasonCode::Success))), Ok(vec![]));
    assert_eq!(server.written(), "PubComp 3");
    assert_eq!(server.send(&publish).unwrap().len(), 1, "the id is free again");
}

#[test]
fn packets_may_come_in_pieces() {
    let mut server = Server::active(V5, Default::default());
    let payload = vec![b'x'; 70_000];
    let mut bytes = Vec::new();
    delivery(QoS::AtLeastOnce, 1, &payload).encode(V5, &mut bytes);
    delivery(QoS::AtLeastOnce, 2, b"y").encode(V5, &mut bytes);
    let mut payloads = Vec::new();
    for piece in bytes.chunks(1001) {
        for happened in server.send_bytes(piece).unwrap() {
            let Happening::Message(message) = happened else { panic!("{happened:?}") };
            payloads.push(message.payload);
        }
    }
    assert_eq!(payloads, [payload, b"y".to_vec()]);
}

#[test]
fn subscriptions_are_answered_in_order() {
    let mut server = Server::active(V5, Default::default());
    let filters = ["a/#".to_owned(), "b".to_owned()];
    let packet_id = server.client.subscribe(0, &filters, QoS::AtLeastOnce).unwrap();
    assert_eq!(server.written(), format!("Subscribe {packet_id}"));
    let mut bytes = Vec::new();
    let reasons = vec![ReasonCode::GrantedQoS1, ReasonCode::NotAuthorized];
    mqtt::encode_suback(V5, packet_id, &reasons, None, &mut bytes);
    assert_eq!(server.send_bytes(&bytes), Ok(vec![Happening::Subscribed { packet_id, reasons }]));
}

#[test]
fn silence_is_broken_by_a_ping_and_an_unanswered_ping_is_the_end() {
    let mut server = Server::active(V5, mqtt::ConnAckProperties { server_keep_alive_s: Some(4), ..Default::default() });
    // [MQTT-3.1.2-21]
    assert_eq!(server.client.deadline_ms(), Some(4_000));
    server.client.publish(1_000, "t", b"", QoS::AtMostOnce, false).unwrap();
    assert_eq!(server.client.deadline_ms(), Some(5_000), "whatever is sent breaks the silence");
    server.written();
    server.client.handle_timeout(4_999).unwrap();
    assert_eq!(server.written(), "");
    server.client.handle_timeout(5_000).unwrap();
    assert_eq!(server.written(), "PingReq 0");
    server.send(&Packet::PingResp).unwrap();
    assert_eq!(server.client.deadline_ms(), Some(9_000));
    server.client.handle_timeout(9_000).unwrap();
    assert_eq!(server.client.deadline_ms(), Some(14_000));
    assert_eq!(server.client.handle_timeout(14_000), Err(Fault::Silent { to: PacketType::PingReq, ms: 5_000 }));
    assert_eq!(server.client.deadline_ms(), None);
}

#[test]
fn a_server_that_does_not_answer_connect_is_given_up() {
    let mut server = Server::waiting(V5);
    assert_eq!(server.client.deadline_ms(), Some(CONNACK_MS));
    let fault = server.client.handle_timeout(CONNACK_MS);
    assert_eq!(fault, Err(Fault::Silent { to: PacketType::Connect, ms: CONNACK_MS }));
}

#[test]
fn the_end_has_its_reason() {
    let mut server = Server::waiting(Version::V3_1_1);
    let refusal =
        ConnAck { session_present: false, reason: ReasonCode::BadUserNameOrPassword, properties: Default::default() };
    let fault = server.send(&Packet::ConnAck(refusal)).unwrap_err();
    assert_eq!(fault, Fault::Refused { reason: ReasonCode::BadUserNameOrPassword, text: None });

    let mut server = Server::active(V5, Default::default());
    let mut goodbye = Disconnect::of(ReasonCode::SessionTakenOver);
    goodbye.reason_string = Some("elsewhere");
    let fault = server.send(&Packet::Disconnect(goodbye)).unwrap_err();
    assert_eq!(fault.to_string(), "the server ended the connection: Session taken over (0x8E): elsewhere");
    assert_eq!(server.publish(QoS::AtMostOnce), Err(Refusal::NotConnected));
}

#[test]
fn a_peer_of_another_protocol_is_told_from_a_broken_server() {
    assert_eq!(Server::waiting(V5).send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Err(Fault::NotMqtt));
    let mut server = Server::active(V5, Default::default());
    assert!(matches!(server.send_bytes(b"\xf1\x00"), Err(Fault::Malformed(_))));
    let unexpected = Server::active(V5, Default::default()).send(&Packet::PingReq);
    assert_eq!(unexpected, Err(Fault::Unexpected(PacketType::PingReq)));
}

#[test]
fn goodbye_is_written_and_final() {
    let mut server = Server::active(V5, Default::default());
    server.client.disconnect();
    server.client.disconnect();
    assert_eq!(server.written(), "Disconnect 0");
    assert_eq!(server.publish(QoS::AtMostOnce), Err(Refusal::NotConnected));
}

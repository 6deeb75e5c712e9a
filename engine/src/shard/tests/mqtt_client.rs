//! Packets of a subscribing client, and what it reads, as short texts.

use mqtt::frame::{self, Split};
use mqtt::{
    Connect, ConnectProperties, Options, Packet, PropertyBuf, Publish, PublishProperties, QoS, Subscription, Version,
    Will,
};

/// The version with this protocol level.
pub(super) fn version(level: u8) -> Version {
    if level == 5 { Version::V5 } else { Version::V3_1_1 }
}

/// The quality of service with this number.
pub(super) fn qos(bits: u8) -> QoS {
    QoS::from_bits(bits).expect("0, 1 or 2")
}

/// A CONNECT that keeps its session for an hour (MQTT 5), or until it connects anew.
pub(super) fn connect_persistent(client_id: &str, level: u8) -> Vec<u8> {
    connect_with(client_id, level, |connect| {
        connect.clean_start = false;
        connect.properties.session_expiry_s = 3_600;
    })
}

/// A CONNECT with clean start and keep-alive 60 s, changed by `change`.
pub(super) fn connect_with<'a>(client_id: &'a str, level: u8, change: impl FnOnce(&mut Connect<'a>)) -> Vec<u8> {
    let mut connect = Connect {
        version: version(level),
        clean_start: true,
        keep_alive_s: 60,
        client_id,
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    };
    change(&mut connect);
    let mut out = Vec::new();
    connect.encode(&mut out);
    out
}

/// A will at `topic` with this payload.
pub(super) fn will<'a>(topic: &'a str, payload: &'a str, delay_s: u32) -> Will<'a> {
    let properties = PublishProperties::default();
    Will { qos: QoS::AtLeastOnce, retain: false, topic, payload: payload.as_bytes(), delay_s, properties }
}

/// A SUBSCRIBE to each filter at the same quality of service.
pub(super) fn subscribe(level: u8, packet_id: u16, filters: &[&str], at: u8) -> Vec<u8> {
    let subscriptions: Vec<_> =
        filters.iter().map(|filter| Subscription { filter, options: Options::at(qos(at)) }).collect();
    subscribe_with(level, packet_id, 0, &subscriptions)
}

/// A SUBSCRIBE with options and an identifier.
pub(super) fn subscribe_with(level: u8, packet_id: u16, id: u32, subscriptions: &[Subscription<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    mqtt::encode_subscribe(version(level), packet_id, id, subscriptions, &mut out);
    out
}

/// An UNSUBSCRIBE.
pub(super) fn unsubscribe(level: u8, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    mqtt::encode_unsubscribe(version(level), packet_id, filters, &mut out);
    out
}

/// A PUBLISH of MQTT 5 with properties and packet identifier 1.
pub(super) fn publish_with(topic: &str, payload: &str, at: u8, properties: &PropertyBuf) -> Vec<u8> {
    let properties = PublishProperties::from_buf(properties).expect("properties of a PUBLISH");
    let payload = payload.as_bytes();
    let mut out = Vec::new();
    Publish { dup: false, qos: qos(at), retain: false, topic, packet_id: 1, properties, payload }
        .encode(Version::V5, &mut out);
    out
}

/// What a client reads, one text a packet: `topic=payload@qos`, with `#id` if it must be acknowledged, `!` for a resend, `r`
/// for retained and `[1,2]` for subscription identifiers; `suback 7 [1, 128]`; other packets by name and identifier.
pub(super) fn read(level: u8, mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let Ok(Split::Whole(frame)) = frame::split(bytes, u32::MAX) else { panic!("half a packet: {bytes:02x?}") };
        bytes = &bytes[frame.len..];
        texts.push(text(&mqtt::decode(version(level), frame).expect("a valid packet")));
    }
    texts
}

fn text(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Publish(p) => {
            let mut text = format!("{}={}@{}", p.topic, String::from_utf8_lossy(p.payload), p.qos.bits());
            if p.packet_id != 0 {
                text += &format!("#{}", p.packet_id);
            }
            text += if p.dup { "!" } else { "" };
            text += if p.retain { "r" } else { "" };
            let ids: Vec<u32> = p.properties.subscription_ids().collect();
            if ids.is_empty() { text } else { format!("{text}{ids:?}") }
        }
        Packet::SubAck(ack) => {
            format!("suback {} {:?}", ack.packet_id, ack.reasons.iter().map(|r| r.value()).collect::<Vec<_>>())
        }
        Packet::UnsubAck(ack) => {
            format!("unsuback {} {:?}", ack.packet_id, ack.reasons.iter().map(|r| r.value()).collect::<Vec<_>>())
        }
        Packet::PubAck(ack) => format!("puback {} {:#x}", ack.packet_id, ack.reason.value()),
        Packet::PubRec(ack) => format!("pubrec {} {:#x}", ack.packet_id, ack.reason.value()),
        Packet::PubRel(ack) => format!("pubrel {} {:#x}", ack.packet_id, ack.reason.value()),
        Packet::PubComp(ack) => format!("pubcomp {} {:#x}", ack.packet_id, ack.reason.value()),
        Packet::ConnAck(ack) => {
            let expiry = ack.properties.session_expiry_s.map(|s| format!(" expires {s}"));
            let session = if ack.session_present { "present" } else { "new" };
            format!("connack {session}{}", expiry.unwrap_or_default())
        }
        Packet::Disconnect(disconnect) => format!("disconnect {:#x}", disconnect.reason.value()),
        other => format!("{:?}", other.packet_type()),
    }
}

/// The payloads of the publications among `texts`.
pub(super) fn payloads(texts: &[String]) -> Vec<&str> {
    texts.iter().filter_map(|text| Some(text.split_once('=')?.1.split_once('@')?.0)).collect()
}

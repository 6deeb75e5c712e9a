//! Version 3.1.1: every packet.

use bytes::BytesMut;
use mqtt::{Connect, Packet, Version};
use mqttbytes::v4;

use super::{FRAME_BYTES_MAX, level};

/// Compares a whole packet as it came with what became of it.
pub(in crate::target) fn agrees(bytes: &[u8], packet: &Packet<'_>) {
    let Some(ours) = ours(packet) else { return };
    let mut stream = BytesMut::from(bytes);
    match v4::read(&mut stream, FRAME_BYTES_MAX) {
        Ok(packet) => assert_eq!(ours, theirs(&packet), "{bytes:02X?}"),
        Err(error) => panic!("{bytes:02X?} is {ours} here and {error:?} there"),
    }
    assert!(stream.is_empty());
}

/// Our packet in words that both sides can say; `None` where mqttbytes is known to be wrong.
fn ours(packet: &Packet<'_>) -> Option<String> {
    Some(match packet {
        // Refuses MQIsdp, and reads 5.0 by the rules of 3.1.1.
        Packet::Connect(connect) if connect.version != Version::V3_1_1 => return None,
        Packet::Connect(connect) => {
            let username = connect.username.unwrap_or_default();
            // Takes the password for text, and forgets an empty user name.
            let password = std::str::from_utf8(connect.password.unwrap_or_default()).ok()?;
            let login = (!username.is_empty() || !password.is_empty()).then_some((username, password));
            format!("connect {}", connect_line(connect, login))
        }
        Packet::ConnAck(connack) => {
            format!("connack {} {:?}", connack.session_present, connack.reason.connack_return_code())
        }
        Packet::Publish(p) => {
            let (qos, id) = (level(p.qos), p.packet_id);
            format!("publish {} {qos} {} {} {id} {:?}", p.dup, p.retain, p.topic, p.payload)
        }
        Packet::PubAck(ack) => format!("puback {}", ack.packet_id),
        Packet::PubRec(ack) => format!("pubrec {}", ack.packet_id),
        Packet::PubRel(ack) => format!("pubrel {}", ack.packet_id),
        Packet::PubComp(ack) => format!("pubcomp {}", ack.packet_id),
        Packet::Subscribe(s) => {
            let list = s.subscriptions().map(|s| (s.filter.to_owned(), level(s.options.qos)));
            format!("subscribe {} {:?}", s.packet_id, list.collect::<Vec<_>>())
        }
        Packet::SubAck(s) => {
            let codes = s.reasons.iter().map(|code| code.value());
            format!("suback {} {:?}", s.packet_id, codes.collect::<Vec<_>>())
        }
        Packet::Unsubscribe(u) => {
            format!("unsubscribe {} {:?}", u.packet_id, u.filters().collect::<Vec<_>>())
        }
        Packet::UnsubAck(u) => format!("unsuback {}", u.packet_id),
        Packet::PingReq => "pingreq".into(),
        Packet::PingResp => "pingresp".into(),
        Packet::Disconnect(_) => "disconnect".into(),
        Packet::Auth(_) => unreachable!("3.1.1 has no AUTH"),
    })
}

fn theirs(packet: &v4::Packet) -> String {
    match packet {
        v4::Packet::Connect(c) => {
            let will = c.last_will.as_ref();
            let will = will.map(|w| (&w.topic[..], &w.message[..], format!("{:?}", w.qos), w.retain));
            let login = c.login.as_ref().map(|l| (&l.username[..], &l.password[..]));
            format!("connect {} {} {} {will:?} {login:?}", c.client_id, c.clean_session, c.keep_alive)
        }
        v4::Packet::ConnAck(c) => format!("connack {} {:?}", c.session_present, Some(c.code as u8)),
        v4::Packet::Publish(p) => {
            format!("publish {} {:?} {} {} {} {:?}", p.dup, p.qos, p.retain, p.topic, p.pkid, &p.payload[..])
        }
        v4::Packet::PubAck(ack) => format!("puback {}", ack.pkid),
        v4::Packet::PubRec(ack) => format!("pubrec {}", ack.pkid),
        v4::Packet::PubRel(ack) => format!("pubrel {}", ack.pkid),
        v4::Packet::PubComp(ack) => format!("pubcomp {}", ack.pkid),
        v4::Packet::Subscribe(s) => {
            let list = s.filters.iter().map(|f| (f.path.clone(), format!("{:?}", f.qos)));
            format!("subscribe {} {:?}", s.pkid, list.collect::<Vec<_>>())
        }
        v4::Packet::SubAck(s) => {
            let codes = s.return_codes.iter().map(|code| match code {
                v4::SubscribeReasonCode::Success(qos) => *qos as u8,
                v4::SubscribeReasonCode::Failure => 0x80,
            });
            format!("suback {} {:?}", s.pkid, codes.collect::<Vec<_>>())
        }
        v4::Packet::Unsubscribe(u) => format!("unsubscribe {} {:?}", u.pkid, u.topics),
        v4::Packet::UnsubAck(u) => format!("unsuback {}", u.pkid),
        v4::Packet::PingReq => "pingreq".into(),
        v4::Packet::PingResp => "pingresp".into(),
        v4::Packet::Disconnect => "disconnect".into(),
    }
}

fn connect_line(connect: &Connect<'_>, login: Option<(&str, &str)>) -> String {
    let will = connect.will.map(|w| (w.topic, w.payload, level(w.qos), w.retain));
    format!("{} {} {} {will:?} {login:?}", connect.client_id, connect.clean_start, connect.keep_alive_s)
}

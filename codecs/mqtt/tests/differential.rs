//! A second opinion: what this crate accepts, mqttbytes 0.6 must read the same way.
//!
//! Setup: valid packets of every type and hundreds of thousands of mutations of them. Action: decode with both.
//! Expectation: whatever is accepted here is accepted there, with equal fields. The exceptions are its known defects,
//! listed where they are excused; it accepts a good deal that is refused here, which is not compared.

mod support;

use std::fmt::Write;

use bytes::BytesMut;
use mqtt::{Connect, Packet, QoS, Version, frame};
use mqttbytes::{v4, v5};
use support::{Random, corpus, mutate};

const MUTATIONS: usize = 300_000;
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// Runs `compare` on each mutation of the corpus that this crate accepts, and counts those that were compared.
fn run(version: Version, seed: u64, mut compare: impl FnMut(&[u8], &Packet<'_>) -> bool) {
    let corpus = corpus(version);
    let mut random = Random(seed);
    let mut compared = 0;
    for i in 0..MUTATIONS {
        let mut bytes = corpus[i % corpus.len()].clone();
        if i >= corpus.len() {
            mutate(&mut random, &mut bytes);
        }
        let Ok(frame::Split::Whole(whole)) = frame::split(&bytes, FRAME_BYTES_MAX) else { continue };
        if let Ok(packet) = mqtt::decode(version, whole) {
            compared += usize::from(compare(&bytes[..whole.len], &packet));
        }
    }
    assert!(compared > MUTATIONS / 100, "only {compared} of {MUTATIONS} mutations were compared");
}

fn level(qos: QoS) -> String {
    format!("{qos:?}")
}

fn connect_line(connect: &Connect<'_>, login: Option<(&str, &str)>) -> String {
    let will = connect.will.map(|w| (w.topic, w.payload, level(w.qos), w.retain));
    format!("{} {} {} {will:?} {login:?}", connect.client_id, connect.clean_start, connect.keep_alive_s)
}

mod v3_1_1 {
    use super::*;

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

    #[test]
    fn both_read_the_same() {
        run(Version::V3_1_1, 0x9e37_79b9, |bytes, packet| {
            let Some(ours) = ours(packet) else { return false };
            let mut stream = BytesMut::from(bytes);
            match v4::read(&mut stream, FRAME_BYTES_MAX as usize) {
                Ok(packet) => assert_eq!(ours, theirs(&packet), "{bytes:02X?}"),
                Err(error) => panic!("{bytes:02X?} is {ours} here and {error:?} there"),
            }
            assert!(stream.is_empty());
            true
        });
    }
}

mod v5_0 {
    use super::*;

    /// Our packet in words that both sides can say; `None` for what is not compared. Of version 5.0 only the packets that
    /// matter most are: mqttbytes lacks AUTH, refuses valid DISCONNECTs and prints each UNSUBSCRIBE.
    fn ours(packet: &Packet<'_>) -> Option<String> {
        Some(match packet {
            Packet::Publish(p) => {
                let properties = &p.properties;
                let mut line = format!("{} {} {} {} {} ", p.dup, level(p.qos), p.retain, p.topic, p.packet_id);
                let alias = (properties.topic_alias != 0).then_some(properties.topic_alias);
                let format = properties.payload_format.map(u8::from);
                write!(line, "{format:?} {:?} {alias:?} ", properties.message_expiry_s).ok()?;
                write!(line, "{:?} {:?} ", properties.response_topic(), properties.correlation_data()).ok()?;
                write!(line, "{:?} ", properties.user_properties().collect::<Vec<_>>()).ok()?;
                write!(line, "{:?} ", properties.subscription_ids().collect::<Vec<_>>()).ok()?;
                write!(line, "{:?} {:?}", properties.content_type(), p.payload).ok()?;
                line
            }
            Packet::PubAck(ack) => {
                let users = ack.user.iter().collect::<Vec<_>>();
                format!("{} {} {:?} {users:?}", ack.packet_id, ack.reason.value(), ack.reason_string)
            }
            Packet::Subscribe(s) => {
                let list = s.subscriptions().map(|s| {
                    let o = s.options;
                    (s.filter, level(o.qos), o.no_local, o.retain_as_published, o.retain_handling as u8)
                });
                let id = (s.subscription_id != 0).then_some(s.subscription_id);
                let users = s.user.iter().collect::<Vec<_>>();
                format!("{} {id:?} {users:?} {:?}", s.packet_id, list.collect::<Vec<_>>())
            }
            _ => return None,
        })
    }

    fn pairs(users: &[(String, String)]) -> Vec<(&str, &str)> {
        users.iter().map(|(name, value)| (&name[..], &value[..])).collect()
    }

    fn theirs(packet: v5::Packet) -> String {
        match packet {
            v5::Packet::Publish(p) => {
                let mut line = format!("{} {:?} {} {} {} ", p.dup, p.qos, p.retain, p.topic, p.pkid);
                let none = v5::PublishProperties {
                    payload_format_indicator: None,
                    message_expiry_interval: None,
                    topic_alias: None,
                    response_topic: None,
                    correlation_data: None,
                    user_properties: Vec::new(),
                    subscription_identifiers: Vec::new(),
                    content_type: None,
                };
                let x = p.properties.unwrap_or(none);
                let (format, expiry) = (x.payload_format_indicator, x.message_expiry_interval);
                write!(line, "{format:?} {expiry:?} {:?} ", x.topic_alias).unwrap();
                write!(line, "{:?} {:?} ", x.response_topic, x.correlation_data.as_deref()).unwrap();
                write!(line, "{:?} {:?} ", pairs(&x.user_properties), x.subscription_identifiers).unwrap();
                write!(line, "{:?} {:?}", x.content_type, &p.payload[..]).unwrap();
                line
            }
            v5::Packet::PubAck(ack) => {
                let properties = ack.properties.as_ref();
                let text = properties.and_then(|p| p.reason_string.as_deref());
                let users = properties.map(|p| pairs(&p.user_properties)).unwrap_or_default();
                format!("{} {} {text:?} {users:?}", ack.pkid, ack.reason as u8)
            }
            v5::Packet::Subscribe(s) => {
                let list = s.filters.iter().map(|f| {
                    let handling = match f.retain_forward_rule {
                        v5::RetainForwardRule::OnEverySubscribe => 0,
                        v5::RetainForwardRule::OnNewSubscribe => 1,
                        v5::RetainForwardRule::Never => 2,
                    };
                    (&f.path[..], format!("{:?}", f.qos), f.nolocal, f.preserve_retain, handling)
                });
                let id = s.properties.as_ref().and_then(|p| p.id);
                let users = s.properties.as_ref().map(|p| pairs(&p.user_properties)).unwrap_or_default();
                format!("{} {id:?} {users:?} {:?}", s.pkid, list.collect::<Vec<_>>())
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn both_read_the_same() {
        run(Version::V5, 0x51ed_270b, |bytes, packet| {
            let Some(ours) = ours(packet) else { return false };
            match v5::read(&mut BytesMut::from(bytes), FRAME_BYTES_MAX as usize) {
                Ok(packet) => assert_eq!(ours, theirs(packet), "{bytes:02X?}"),
                Err(error) => panic!("{bytes:02X?} is {ours} here and {error:?} there"),
            }
            true
        });
    }
}

//! Version 5.0: the packets that matter most.

use std::fmt::Write;

use bytes::BytesMut;
use mqtt::Packet;
use mqttbytes::v5;

use super::{FRAME_BYTES_MAX, level};

/// Compares a whole packet as it came with what became of it.
pub(in crate::target) fn agrees(bytes: &[u8], packet: &Packet<'_>) {
    let Some(ours) = ours(packet) else { return };
    match v5::read(&mut BytesMut::from(bytes), FRAME_BYTES_MAX) {
        Ok(packet) => assert_eq!(ours, theirs(packet), "{bytes:02X?}"),
        Err(error) => panic!("{bytes:02X?} is {ours} here and {error:?} there"),
    }
}

/// Our packet in words that both sides can say; `None` for what is not compared. Of version 5.0 only the packets that
/// matter most are: mqttbytes lacks AUTH, refuses valid DISCONNECTs and prints each UNSUBSCRIBE.
fn ours(packet: &Packet<'_>) -> Option<String> {
    Some(match packet {
        Packet::Publish(p) => {
            let properties = &p.properties;
            // mqttbytes counts the identifier of a subscription identifier twice, so that after two of them it may take a last
            // short property for payload.
            if properties.subscription_ids().count() > 1 {
                return None;
            }
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

//! Values in fixed JSON shapes, member for member as other systems write them, for consumers that were written for those.
//!
//! ```text
//! emqx3      {"client_id","username","topic","payload","qos","node","ts"}            ts in milliseconds
//! robustmq   {"topic","qos","retain","payload","client_id","username","timestamp","message_id","header":[{"key","value"}],
//!             "key","data","tags":[…],"crc_num"}                                     timestamp in seconds
//! ```
//!
//! EMQX's plugin for Kafka writes the payload in base64 unless it is told otherwise, RobustMQ's connector always. `message_id` is
//! the packet identifier, 0 at QoS 0; `tags` are the levels of the topic; `data` is the payload once more; `crc_num` is its CRC-32.

use super::column::{put_binary, put_user_property_pairs};
use super::json::{put_base64, put_bool, put_int, put_text};
use crate::event::Event;

/// The shape of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// As the Kafka plugin of EMQX 3 writes `message.publish`.
    Emqx3 {
        /// The payload in base64; else as text, or in base64 beside `"payload_base64":true` where it is none.
        base64: bool,
    },
    /// As RobustMQ's Kafka connector writes messages.
    RobustMq,
}

impl Envelope {
    /// Writes the value for `event`, whose record has this key, into `out`, whose former content is gone.
    pub fn render(self, event: &Event<'_>, key: Option<&[u8]>, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Emqx3 { base64 } => put_emqx3(out, event, base64),
            Self::RobustMq => put_robustmq(out, event, key),
        }
    }
}

fn put_emqx3(out: &mut Vec<u8>, event: &Event<'_>, base64: bool) {
    out.extend_from_slice(b"{\"client_id\":");
    put_text(out, event.client_id);
    out.extend_from_slice(b",\"username\":");
    put_optional(out, event.username);
    out.extend_from_slice(b",\"topic\":");
    put_text(out, event.topic);
    out.extend_from_slice(b",\"payload\":");
    if base64 {
        put_base64(out, event.payload);
    } else {
        put_binary(out, event.payload, false, b",\"payload_base64\":true");
    }
    out.extend_from_slice(b",\"qos\":");
    put_int(out, i64::from(event.qos.bits()));
    out.extend_from_slice(b",\"node\":");
    put_text(out, event.node);
    out.extend_from_slice(b",\"ts\":");
    put_int(out, event.received_ms);
    out.push(b'}');
}

fn put_robustmq(out: &mut Vec<u8>, event: &Event<'_>, key: Option<&[u8]>) {
    out.extend_from_slice(b"{\"topic\":");
    put_text(out, event.topic);
    out.extend_from_slice(b",\"qos\":");
    put_int(out, i64::from(event.qos.bits()));
    out.extend_from_slice(b",\"retain\":");
    put_bool(out, event.retain);
    out.extend_from_slice(b",\"payload\":");
    put_base64(out, event.payload);
    out.extend_from_slice(b",\"client_id\":");
    put_text(out, event.client_id);
    out.extend_from_slice(b",\"username\":");
    put_optional(out, event.username);
    out.extend_from_slice(b",\"timestamp\":");
    put_int(out, event.received_ms.div_euclid(1_000));
    out.extend_from_slice(b",\"message_id\":");
    put_int(out, i64::from(event.packet_id));
    out.extend_from_slice(b",\"header\":");
    put_user_property_pairs(out, event);
    out.extend_from_slice(b",\"key\":");
    match key {
        Some(key) => put_binary(out, key, false, b""),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"data\":");
    put_base64(out, event.payload);
    out.extend_from_slice(b",\"tags\":[");
    for (at, level) in event.topic.split('/').enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put_text(out, level);
    }
    out.extend_from_slice(b"],\"crc_num\":");
    put_int(out, i64::from(crc32fast::hash(event.payload)));
    out.push(b'}');
}

fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_text(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use mqtt::{PropertyBuf, PublishProperties, QoS, Version};

    use super::*;

    fn event(payload: &[u8]) -> Event<'_> {
        Event {
            id: 1,
            client_id: "dev-1",
            username: None,
            peer: "192.0.2.7:50123",
            topic: "sensor//\"t\"",
            payload,
            qos: QoS::AtLeastOnce,
            retain: true,
            dup: false,
            packet_id: 12_345,
            version: Version::V5,
            properties: &PublishProperties::NONE,
            received_ms: 1_764_000_000_123,
            node: "node-a",
        }
    }

    fn rendered(envelope: Envelope, event: &Event<'_>, key: Option<&[u8]>) -> String {
        let mut out = b"left over".to_vec();
        envelope.render(event, key, &mut out);
        let text = String::from_utf8(out).expect("text");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        text
    }

    #[test]
    fn emqx_3_with_and_without_base64() {
        let begin = r#"{"client_id":"dev-1","username":null,"topic":"sensor//\"t\"","payload":"#;
        let end = r#","qos":1,"node":"node-a","ts":1764000000123}"#;
        let ann = Event { username: Some("ann"), ..event(b"21.5") };
        let named = begin.replace("null", "\"ann\"");
        for (base64, event, expected) in [
            (true, event(b"21.5"), format!("{begin}\"MjEuNQ==\"{end}")),
            (true, event(b"\xff"), format!("{begin}\"/w==\"{end}")),
            (false, event(b"\xff"), format!("{begin}\"/w==\",\"payload_base64\":true{end}")),
            (false, ann, format!("{named}\"21.5\"{end}")),
        ] {
            assert_eq!(rendered(Envelope::Emqx3 { base64 }, &event, Some(b"k")), expected);
        }
    }

    #[test]
    fn robustmq_with_and_without_key_and_headers() {
        let buf = PropertyBuf::new().user("b", "2").user("a", "1").user("b", "3");
        let properties = PublishProperties::from_buf(&buf).unwrap();
        let with = Event { properties: &properties, ..event(b"123456789") };
        // The check value of CRC-32 (IEEE) is that of these nine digits.
        let expected = concat!(
            r#"{"topic":"sensor//\"t\"","qos":1,"retain":true,"payload":"MTIzNDU2Nzg5","client_id":"dev-1","username":null,"#,
            r#""timestamp":1764000000,"message_id":12345,"#,
            r#""header":[{"key":"b","value":"2"},{"key":"a","value":"1"},{"key":"b","value":"3"}],"#,
            r#""key":"k\"","data":"MTIzNDU2Nzg5","tags":["sensor","","\"t\""],"crc_num":3421780262}"#
        );
        assert_eq!(rendered(Envelope::RobustMq, &with, Some(b"k\"")), expected);
        let bare = Event { qos: QoS::AtMostOnce, packet_id: 0, topic: "t", ..event(b"") };
        let expected = concat!(
            r#"{"topic":"t","qos":0,"retain":true,"payload":"","client_id":"dev-1","username":null,"timestamp":1764000000,"#,
            r#""message_id":0,"header":[],"key":null,"data":"","tags":["t"],"crc_num":0}"#
        );
        assert_eq!(rendered(Envelope::RobustMq, &bare, None), expected);
        assert!(rendered(Envelope::RobustMq, &bare, Some(b"\xff")).contains(r#""key":"/w==""#));
    }
}

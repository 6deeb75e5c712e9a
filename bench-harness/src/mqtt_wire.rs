//! The few MQTT bytes that the harness needs, written apart from the product's codec.
//!
//! What measures and judges must not share its mistakes with what is measured: nothing here comes from `codecs/mqtt`.
//! CONNECT without will or credentials; the benchmarks speak MQTT 3.1.1 at QoS 0 and 1, the ledger's clients both versions at
//! QoS 1 and 2. Both directions are here, because the ceiling system is a server.
//!
//! ```text
//! packet     | type and flags | remaining length (1-4 bytes, 7 bits each, low first) | body |
//! CONNECT    10 | 00 04 'MQTT' version flags keepalive:2 [properties] | id:2+n
//! CONNACK    20 | session-present code [properties]
//! PUBLISH    3f | topic:2+n [packet-id:2] [properties] payload     f: 0 at QoS 0, 2 at QoS 1, 4 at QoS 2, and 8 for DUP
//! PUBACK     40 | packet-id:2 [reason [properties]]        PUBREC 50 and PUBCOMP 70 likewise, PUBREL 62 02 packet-id:2
//! PINGREQ    c0 00         PINGRESP  d0 00         DISCONNECT  e0 00, of MQTT 5 with [reason [properties]]
//! properties length:1 ...  in MQTT 5 only; ours are none, or 11 seconds:4 (session expiry)
//! ```

use thiserror::Error;

/// First byte of a PUBLISH at QoS 0.
pub const PUBLISH_QOS0: u8 = 0x30;
/// First byte of a PUBLISH at QoS 1, first delivery.
pub const PUBLISH_QOS1: u8 = 0x32;
/// PINGREQ, whole.
pub const PINGREQ: [u8; 2] = [0xc0, 0];
/// PINGRESP, whole.
pub const PINGRESP: [u8; 2] = [0xd0, 0];
/// DISCONNECT, whole.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];
/// CONNACK that accepts a clean session, whole.
pub const CONNACK_ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];

/// Bytes that cannot be the beginning of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// The remaining length runs over four bytes.
    #[error("the remaining length is longer than four bytes")]
    LengthTooLong,
    /// The body is shorter than its packet type needs.
    #[error("a packet of type {0} is too short")]
    TooShort(u8),
}

/// One whole packet: its first byte and its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Type in the high four bits, flags in the low.
    pub first: u8,
    /// Everything behind the remaining length.
    pub body: &'a [u8],
}

impl Packet<'_> {
    /// The packet type, 1 to 15.
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The two bytes of a packet id at `at`.
    pub fn u16_at(&self, at: usize) -> Result<u16, WireError> {
        match self.body.get(at..at + 2) {
            Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
            _ => Err(WireError::TooShort(self.kind())),
        }
    }
}

/// Cuts the first packet off `bytes`. `Ok(None)`: more bytes are needed. Otherwise the packet and its whole length.
#[inline]
pub fn packet(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, WireError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let mut length = 0_usize;
    for at in 0..4 {
        let Some(&byte) = bytes.get(1 + at) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let end = 2 + at + length;
            return Ok(bytes.get(2 + at..end).map(|body| (Packet { first, body }, end)));
        }
    }
    Err(WireError::LengthTooLong)
}

/// Which MQTT a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

/// How long an MQTT 5 session is to outlive its connection, where it is to: longer than any run.
const SESSION_EXPIRY_SECONDS: u32 = 86_400;

/// What a CONNECT asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectAs {
    /// Which MQTT.
    pub version: Version,
    /// Goes on with the session there is, and keeps it.
    pub persistent: bool,
    /// 0 is no promise.
    pub keepalive_seconds: u16,
}

/// Appends a CONNECT of MQTT 3.1.1 for a clean session.
pub fn put_connect(out: &mut Vec<u8>, client_id: &str, keepalive_seconds: u16) {
    put_connect_as(out, client_id, ConnectAs { version: Version::V3, persistent: false, keepalive_seconds });
}

/// Appends a CONNECT.
pub fn put_connect_as(out: &mut Vec<u8>, client_id: &str, connect: ConnectAs) {
    let ConnectAs { version, persistent, keepalive_seconds } = connect;
    let properties: &[u8] = match (version, persistent) {
        (Version::V3, _) => &[],
        (Version::V5, false) => &[0],
        (Version::V5, true) => &[5, 0x11],
    };
    let expiry = if properties.len() == 2 { SESSION_EXPIRY_SECONDS.to_be_bytes().to_vec() } else { Vec::new() };
    out.push(0x10);
    put_length(out, 10 + properties.len() + expiry.len() + 2 + client_id.len());
    let level = if version == Version::V3 { 4 } else { 5 };
    let flags = if persistent { 0 } else { 0b0000_0010 };
    out.extend_from_slice(&[0, 4, b'M', b'Q', b'T', b'T', level, flags]);
    out.extend_from_slice(&keepalive_seconds.to_be_bytes());
    out.extend_from_slice(properties);
    out.extend_from_slice(&expiry);
    put_text(out, client_id);
}

/// What a PUBLISH says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishAs {
    /// Of which MQTT.
    pub version: Version,
    /// 1 or 2.
    pub qos: u8,
    /// It may have been sent before.
    pub duplicate: bool,
    /// Not 0.
    pub packet_id: u16,
}

/// Appends a PUBLISH at QoS 1 or 2.
pub fn put_publish_as(out: &mut Vec<u8>, publish: PublishAs, topic: &str, payload: &[u8]) {
    let PublishAs { version, qos, duplicate, packet_id } = publish;
    let properties: &[u8] = if version == Version::V3 { &[] } else { &[0] };
    out.push(0x30 | qos << 1 | u8::from(duplicate) << 3);
    put_length(out, 2 + topic.len() + 2 + properties.len() + payload.len());
    put_text(out, topic);
    out.extend_from_slice(&packet_id.to_be_bytes());
    out.extend_from_slice(properties);
    out.extend_from_slice(payload);
}

/// Appends a PUBREL.
pub fn put_pubrel(out: &mut Vec<u8>, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[0x62, 2, high, low]);
}

/// Where the fields of a PUBLISH lie, counted from the start of its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishLayout {
    /// First byte of the topic name.
    pub topic_at: usize,
    /// First byte of the packet id; `None` at QoS 0.
    pub packet_id_at: Option<usize>,
    /// First byte of the payload.
    pub payload_at: usize,
    /// Bytes of the whole frame.
    pub frame_bytes: usize,
}

/// Appends a PUBLISH (packet id 1 at QoS 1) and says where its fields lie.
pub fn put_publish(out: &mut Vec<u8>, qos: u8, topic: &str, payload: &[u8]) -> PublishLayout {
    let start = out.len();
    let id_bytes = if qos == 0 { 0 } else { 2 };
    out.push(if qos == 0 { PUBLISH_QOS0 } else { PUBLISH_QOS1 });
    put_length(out, 2 + topic.len() + id_bytes + payload.len());
    let topic_at = out.len() + 2 - start;
    put_text(out, topic);
    let packet_id_at = (qos != 0).then(|| out.len() - start);
    if qos != 0 {
        out.extend_from_slice(&[0, 1]);
    }
    let payload_at = out.len() - start;
    out.extend_from_slice(payload);
    PublishLayout { topic_at, packet_id_at, payload_at, frame_bytes: out.len() - start }
}

/// A PUBACK, whole.
pub fn puback(packet_id: u16) -> [u8; 4] {
    let [high, low] = packet_id.to_be_bytes();
    [0x40, 2, high, low]
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_is_the_bytes_of_the_standard() {
        let mut out = Vec::new();
        put_connect(&mut out, "ab", 300);
        assert_eq!(out, [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 1, 44, 0, 2, b'a', b'b']);
    }

    #[test]
    fn a_session_that_stays_is_asked_for_as_each_version_does() {
        let check = |version, expected: &[u8]| {
            let mut out = Vec::new();
            put_connect_as(&mut out, "a", ConnectAs { version, persistent: true, keepalive_seconds: 0 });
            assert_eq!(out, expected);
        };
        check(Version::V3, &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 0, 0, 1, b'a']);
        let v5 = [0x10, 19, 0, 4, b'M', b'Q', b'T', b'T', 5, 0, 0, 0, 5, 0x11, 0, 1, 0x51, 0x80, 0, 1, b'a'];
        check(Version::V5, &v5);
    }

    #[test]
    fn a_publish_bears_its_flags() {
        let check = |version, qos, duplicate, expected: &[u8]| {
            let mut out = Vec::new();
            put_publish_as(&mut out, PublishAs { version, qos, duplicate, packet_id: 258 }, "t", b"p");
            assert_eq!(out, expected);
        };
        check(Version::V3, 1, false, &[0x32, 6, 0, 1, b't', 1, 2, b'p']);
        check(Version::V5, 2, true, &[0x3c, 7, 0, 1, b't', 1, 2, 0, b'p']);
    }

    #[test]
    fn a_publish_is_cut_at_any_split() {
        let mut out = Vec::new();
        let layout = put_publish(&mut out, 1, "t/1", &[7; 300]);
        assert_eq!(out[..10], [0x32, 0xb3, 2, 0, 3, b't', b'/', b'1', 0, 1]);
        assert_eq!(layout, PublishLayout { topic_at: 5, packet_id_at: Some(8), payload_at: 10, frame_bytes: 310 });
        for end in 0..out.len() {
            assert_eq!(packet(&out[..end]), Ok(None), "{end}");
        }
        let (publish, length) = packet(&out).unwrap().unwrap();
        assert_eq!((publish.kind(), publish.body.len(), length), (3, 307, 310));
        assert_eq!(publish.u16_at(5), Ok(1));
        assert_eq!(publish.u16_at(306), Err(WireError::TooShort(3)));
    }

    #[test]
    fn a_length_without_end_is_an_error() {
        assert_eq!(packet(&[0x30, 0xff, 0xff, 0xff, 0xff]), Err(WireError::LengthTooLong));
        assert_eq!(packet(&[0x30, 0xff, 0xff]), Ok(None));
    }
}

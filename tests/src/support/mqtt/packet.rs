//! Packets by hand: what a client sends, and what it receives.
//!
//! ```text
//! type << 4 | flags | remaining length, a varint | variable header | payload
//! ```

/// Protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQIsdp, level 3.
    V3_1,
    /// Level 4.
    V3_1_1,
    /// Level 5.
    V5,
}

/// MQTT 5 properties as they stand in a packet, without their length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<u8>);

impl Properties {
    /// Adds a property by its identifier and the bytes of its value.
    #[must_use]
    pub fn with(mut self, id: u8, value: &[u8]) -> Self {
        self.0.push(id);
        self.0.extend_from_slice(value);
        self
    }

    /// Adds a user property.
    #[must_use]
    pub fn user(self, name: &str, value: &str) -> Self {
        let mut pair = Vec::new();
        put_sized(&mut pair, name.as_bytes());
        put_sized(&mut pair, value.as_bytes());
        self.with(0x26, &pair)
    }

    /// The bytes of a property's value; `None` if it is not there.
    pub fn get(&self, wanted: u8) -> Option<&[u8]> {
        let mut rest = &self.0[..];
        while let [id, tail @ ..] = rest {
            let len = value_len(*id, tail);
            if *id == wanted {
                return Some(&tail[..len]);
            }
            rest = &tail[len..];
        }
        None
    }

    fn encode(&self, version: Version, out: &mut Vec<u8>) {
        if version == Version::V5 {
            put_varint(out, self.0.len());
            out.extend_from_slice(&self.0);
        }
    }
}

/// Table 2-4 of MQTT 5.0.
fn value_len(id: u8, value: &[u8]) -> usize {
    let sized = |at: usize| 2 + usize::from(u16::from_be_bytes([value[at], value[at + 1]]));
    match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 1,
        0x13 | 0x21 | 0x22 | 0x23 => 2,
        0x02 | 0x11 | 0x18 | 0x27 => 4,
        0x0B => varint(value).expect("a whole number").1,
        0x26 => sized(0) + sized(sized(0)),
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => sized(0),
        _ => panic!("MQTT 5.0 has no property {id:#04x}"),
    }
}

/// A CONNECT.
#[derive(Debug, Clone)]
pub struct Connect<'a> {
    /// Protocol version.
    pub version: Version,
    /// Client identifier.
    pub client_id: &'a str,
    /// Clean session, or clean start.
    pub clean: bool,
    /// Keep-alive in seconds; 0 = none.
    pub keepalive_s: u16,
    /// User name.
    pub username: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// MQTT 5 properties.
    pub properties: Properties,
    /// [`super::Client::connect_with`] takes a refusal as an answer too.
    pub refusal_expected: bool,
}

impl<'a> Connect<'a> {
    /// A clean one without anything else.
    pub fn new(version: Version, client_id: &'a str) -> Self {
        let properties = Properties::default();
        Self {
            version,
            client_id,
            clean: true,
            keepalive_s: 0,
            username: None,
            password: None,
            properties,
            refusal_expected: false,
        }
    }

    /// The whole packet.
    pub fn encode(&self) -> Vec<u8> {
        let (name, level) = match self.version {
            Version::V3_1 => ("MQIsdp", 3),
            Version::V3_1_1 => ("MQTT", 4),
            Version::V5 => ("MQTT", 5),
        };
        let flag = |set: bool, bit: u8| u8::from(set) << bit;
        let mut body = Vec::new();
        put_sized(&mut body, name.as_bytes());
        body.push(level);
        body.push(flag(self.clean, 1) | flag(self.password.is_some(), 6) | flag(self.username.is_some(), 7));
        body.extend_from_slice(&self.keepalive_s.to_be_bytes());
        self.properties.encode(self.version, &mut body);
        put_sized(&mut body, self.client_id.as_bytes());
        if let Some(username) = self.username {
            put_sized(&mut body, username.as_bytes());
        }
        if let Some(password) = self.password {
            put_sized(&mut body, password);
        }
        framed(0x10, &body)
    }
}

/// A PUBLISH to send.
#[derive(Debug, Clone, Default)]
pub struct Publication<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Message.
    pub payload: &'a [u8],
    /// 0, 1 or 2.
    pub qos: u8,
    /// Packet identifier; left out at QoS 0.
    pub id: u16,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// MQTT 5 properties.
    pub properties: Properties,
}

impl Publication<'_> {
    /// The whole packet.
    pub fn encode(&self, version: Version) -> Vec<u8> {
        let mut body = Vec::new();
        put_sized(&mut body, self.topic.as_bytes());
        if self.qos > 0 {
            body.extend_from_slice(&self.id.to_be_bytes());
        }
        self.properties.encode(version, &mut body);
        body.extend_from_slice(self.payload);
        framed(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain), &body)
    }
}

/// A PUBLISH up to its payload of `payload_len` bytes, which is left to be sent: for messages in pieces.
pub fn publish_head(version: Version, topic: &str, qos: u8, id: u16, payload_len: usize) -> Vec<u8> {
    let payload = vec![0; payload_len];
    let mut packet = Publication { topic, payload: &payload, qos, id, ..Default::default() }.encode(version);
    packet.truncate(packet.len() - payload_len);
    packet
}

pub(super) fn puback(id: u16) -> Vec<u8> {
    framed(0x40, &id.to_be_bytes())
}

pub(super) fn pubrec(id: u16) -> Vec<u8> {
    framed(0x50, &id.to_be_bytes())
}

pub(super) fn pubrel(id: u16) -> Vec<u8> {
    framed(0x62, &id.to_be_bytes())
}

pub(super) fn pubcomp(id: u16) -> Vec<u8> {
    framed(0x70, &id.to_be_bytes())
}

pub(super) fn subscribe(version: Version, id: u16, filter: &str, options: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    Properties::default().encode(version, &mut body);
    put_sized(&mut body, filter.as_bytes());
    body.push(options);
    framed(0x82, &body)
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Answer to CONNECT.
    ConnAck {
        /// The server has kept a session.
        session_present: bool,
        /// 0 = accepted.
        code: u8,
        /// MQTT 5 properties.
        properties: Properties,
    },
    /// A delivery.
    Publish {
        /// Topic name.
        topic: String,
        /// Message.
        payload: Vec<u8>,
        /// 0, 1 or 2.
        qos: u8,
        /// Packet identifier, 0 at QoS 0.
        id: u16,
        /// RETAIN.
        retain: bool,
        /// DUP.
        dup: bool,
        /// MQTT 5 properties.
        properties: Properties,
    },
    /// Answer to a QoS 1 PUBLISH.
    PubAck {
        /// Of the PUBLISH.
        id: u16,
        /// 0 = success, and where none is written.
        reason: u8,
    },
    /// First answer to a QoS 2 PUBLISH.
    PubRec {
        /// Of the PUBLISH.
        id: u16,
        /// 0 = success, and where none is written.
        reason: u8,
    },
    /// Second step of a delivery at QoS 2.
    PubRel {
        /// Of the PUBLISH.
        id: u16,
        /// 0 = success, and where none is written.
        reason: u8,
    },
    /// Last answer to a QoS 2 PUBLISH.
    PubComp {
        /// Of the PUBLISH.
        id: u16,
        /// 0 = success, and where none is written.
        reason: u8,
    },
    /// Answer to SUBSCRIBE.
    SubAck {
        /// Of the SUBSCRIBE.
        id: u16,
        /// One for each filter.
        codes: Vec<u8>,
    },
    /// Answer to UNSUBSCRIBE.
    UnsubAck {
        /// Of the UNSUBSCRIBE.
        id: u16,
        /// One for each filter; none in 3.1.1.
        codes: Vec<u8>,
    },
    /// Answer to PINGREQ.
    PingResp,
    /// MQTT 5: the server says why it closes.
    Disconnect {
        /// 0 where none is written.
        reason: u8,
    },
    /// The connection has ended; not a packet.
    Closed,
}

/// The first packet in `bytes` and its length; `None` if it is not whole.
pub(super) fn decode(version: Version, bytes: &[u8]) -> Option<(Packet, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let (len, length_len) = varint(rest)?;
    let body = rest.get(length_len..length_len + len)?;
    Some((packet(version, first, Cursor(body)), 1 + length_len + len))
}

fn packet(version: Version, first: u8, mut body: Cursor<'_>) -> Packet {
    match (first >> 4, first & 15) {
        (2, 0) => {
            let session_present = body.u8() == 1;
            let code = body.u8();
            Packet::ConnAck { session_present, code, properties: body.properties(version) }
        }
        (3, flags) => {
            let topic = String::from_utf8(body.sized().to_vec()).expect("a topic is UTF-8");
            let qos = flags >> 1 & 3;
            let id = if qos == 0 { 0 } else { body.u16() };
            let properties = body.properties(version);
            let payload = body.0.to_vec();
            Packet::Publish { topic, payload, qos, id, retain: flags & 1 == 1, dup: flags & 8 == 8, properties }
        }
        (4, 0) => Packet::PubAck { id: body.u16(), reason: body.reason(version) },
        (5, 0) => Packet::PubRec { id: body.u16(), reason: body.reason(version) },
        (6, 2) => Packet::PubRel { id: body.u16(), reason: body.reason(version) },
        (7, 0) => Packet::PubComp { id: body.u16(), reason: body.reason(version) },
        (9, 0) => {
            let id = body.u16();
            body.properties(version);
            Packet::SubAck { id, codes: body.0.to_vec() }
        }
        (11, 0) => {
            let id = body.u16();
            body.properties(version);
            Packet::UnsubAck { id, codes: body.0.to_vec() }
        }
        (13, 0) => Packet::PingResp,
        (14, 0) => Packet::Disconnect { reason: body.reason(version) },
        _ => panic!("a server does not send a packet that begins with {first:#04x}"),
    }
}

/// The rest of a packet. Reading past its end is the server's fault and panics.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        assert!(len <= self.0.len(), "the packet ends {} bytes early", len - self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    fn sized(&mut self) -> &'a [u8] {
        let len = self.u16();
        self.take(usize::from(len))
    }

    fn properties(&mut self, version: Version) -> Properties {
        if version != Version::V5 {
            return Properties::default();
        }
        let (len, length_len) = varint(self.0).expect("the length of the properties");
        self.take(length_len);
        Properties(self.take(len).to_vec())
    }

    /// The reason code and, after it, properties: both may be left out, from the end.
    fn reason(&mut self, version: Version) -> u8 {
        if self.0.is_empty() {
            return 0;
        }
        assert_eq!(version, Version::V5, "3.1.1 has no reason codes");
        let reason = self.u8();
        if !self.0.is_empty() {
            self.properties(version);
        }
        reason
    }
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    put_varint(&mut packet, body.len());
    packet.extend_from_slice(body);
    packet
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).expect("at most 65,535 bytes").to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let more = value > 0x7F;
        out.push((value & 0x7F) as u8 | u8::from(more) << 7);
        value >>= 7;
        if !more {
            return;
        }
    }
}

/// Value and length; `None` if it is not whole.
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    assert!(bytes.len() < 4, "a length of five bytes");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// mqttbytes reads what this client sends, so that a mistake of ours is not the server's.
    #[test]
    fn a_foreign_codec_reads_what_is_sent() {
        let mut stream = bytes::BytesMut::new();
        let connect = Connect {
            username: Some("u"),
            password: Some(b"p"),
            keepalive_s: 7,
            ..Connect::new(Version::V3_1_1, "id")
        };
        stream.extend_from_slice(&connect.encode());
        let payload = vec![b'x'; 20_000];
        let publication =
            Publication { topic: "a/b", payload: &payload, qos: 1, id: 300, retain: true, ..Default::default() };
        stream.extend_from_slice(&publication.encode(Version::V3_1_1));
        stream.extend_from_slice(&subscribe(Version::V3_1_1, 2, "a/#", 1));
        stream.extend_from_slice(&pubrel(300));

        use mqttbytes::v4::{Packet as Theirs, read};
        let mut next = || read(&mut stream, 1 << 20).expect("a valid packet");
        let Theirs::Connect(connect) = next() else { panic!("not a CONNECT") };
        assert_eq!((&*connect.client_id, connect.keep_alive, connect.clean_session), ("id", 7, true));
        assert_eq!(connect.login.map(|login| (login.username, login.password)), Some(("u".into(), "p".into())));
        let Theirs::Publish(publish) = next() else { panic!("not a PUBLISH") };
        assert_eq!((&*publish.topic, publish.payload.len(), publish.pkid, publish.retain), ("a/b", 20_000, 300, true));
        let Theirs::Subscribe(subscribe) = next() else { panic!("not a SUBSCRIBE") };
        assert_eq!((subscribe.pkid, &*subscribe.filters[0].path), (2, "a/#"));
        assert!(matches!(next(), Theirs::PubRel(rel) if rel.pkid == 300));
    }

    #[test]
    fn what_is_received_is_taken_whole() {
        let puback = [0x40, 0x09, 1, 0x2C, 0x97, 5, 0x1F, 0, 2, b'n', b'o'];
        for cut in 0..puback.len() {
            assert_eq!(decode(Version::V5, &puback[..cut]), None);
        }
        assert_eq!(decode(Version::V5, &puback), Some((Packet::PubAck { id: 300, reason: 0x97 }, 11)));
        assert_eq!(decode(Version::V3_1_1, &[0x40, 2, 0, 1, 0xD0]), Some((Packet::PubAck { id: 1, reason: 0 }, 4)));
        assert_eq!(decode(Version::V3_1_1, &[0xD0, 0]), Some((Packet::PingResp, 2)));
    }

    #[test]
    fn properties_are_found() {
        let properties = Properties::default().user("a", "b").with(0x21, &[0, 9]).with(0x1F, &[0, 1, b'x']);
        assert_eq!(properties.get(0x21), Some(&[0, 9][..]));
        assert_eq!(properties.get(0x1F), Some(&[0, 1, b'x'][..]));
        assert_eq!(properties.get(0x11), None);
    }
}

//! The control packets, one file each, both directions and all versions in it.
//!
//! [`decode`] judges a packet by itself: whether its bytes are the packet its first byte claims, in the given version.
//! Whether this peer may send it now is the business of [`connection`](crate::connection).

pub(crate) mod ack;
pub(crate) mod auth;
pub(crate) mod connack;
pub(crate) mod connect;
pub(crate) mod disconnect;
pub(crate) mod ping;
pub(crate) mod publish;
pub(crate) mod suback;
pub(crate) mod subscribe;
pub(crate) mod unsuback;
pub(crate) mod unsubscribe;

use crate::{Ack, Auth, ConnAck, Connect, Disconnect, Publish, SubAck, Subscribe, UnsubAck, Unsubscribe};
use crate::{Error, Frame, ReasonCode};
use ping::{encode_pingreq, encode_pingresp};

/// A version of the protocol, as a CONNECT names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3.
    V3_1,
    /// MQTT 3.1.1: level 4.
    V3_1_1,
    /// MQTT 5.0: level 5.
    V5,
}

impl Version {
    /// Whether packets carry properties and reason codes.
    #[inline]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The protocol level in a CONNECT.
    pub const fn level(self) -> u8 {
        match self {
            Self::V3_1 => 3,
            Self::V3_1_1 => 4,
            Self::V5 => 5,
        }
    }
}

/// Quality of service: how often a publication arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// Once or never; no acknowledgement.
    AtMostOnce = 0,
    /// Once or more; PUBACK.
    AtLeastOnce = 1,
    /// Once; PUBREC, PUBREL, PUBCOMP.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level with this number; 3 is none.
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The number of the level.
    #[inline]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// The type of a packet: the upper half of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are those of the protocol")]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The type that a first byte names; 0 is none.
    #[inline]
    pub const fn of(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The first byte of a packet of this type; PUBLISH adds its flags to it.
    #[inline]
    pub const fn first(self) -> u8 {
        let flags = match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0x02,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    /// One bit per type, for sets of types.
    #[inline]
    pub(crate) const fn bit(self) -> u32 {
        1 << (self as u8)
    }
}

/// A control packet, borrowed from its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the protocol")]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(UnsubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// Decodes a whole packet. A CONNECT is read by the version it names itself; `version` is that of all others.
///
/// # Errors
/// With the clause that the packet breaks; see [`Error`].
#[inline]
pub fn decode<'a>(version: Version, frame: Frame<'a>) -> Result<Packet<'a>, Error> {
    // The packet that comes a million times a second is asked for first.
    if frame.first >> 4 == PacketType::Publish as u8 {
        return Publish::decode(version, frame).map(Packet::Publish);
    }
    decode_other(version, frame)
}

fn decode_other<'a>(version: Version, frame: Frame<'a>) -> Result<Packet<'a>, Error> {
    let Some(packet) = PacketType::of(frame.first) else {
        return Err(Error::malformed("MQTT5 2.1.2", "packet type 0"));
    };
    flags(version, packet, frame.first)?;
    let body = frame.body;
    match packet {
        PacketType::Connect => Connect::decode(body).map(Packet::Connect),
        PacketType::ConnAck => ConnAck::decode(version, body).map(Packet::ConnAck),
        PacketType::Publish => Publish::decode(version, frame).map(Packet::Publish),
        PacketType::PubAck => Ack::decode(version, packet, body).map(Packet::PubAck),
        PacketType::PubRec => Ack::decode(version, packet, body).map(Packet::PubRec),
        PacketType::PubRel => Ack::decode(version, packet, body).map(Packet::PubRel),
        PacketType::PubComp => Ack::decode(version, packet, body).map(Packet::PubComp),
        PacketType::Subscribe => Subscribe::decode(version, body).map(Packet::Subscribe),
        PacketType::SubAck => SubAck::decode(version, body).map(Packet::SubAck),
        PacketType::Unsubscribe => Unsubscribe::decode(version, body).map(Packet::Unsubscribe),
        PacketType::UnsubAck => UnsubAck::decode(version, body).map(Packet::UnsubAck),
        PacketType::PingReq => ping::decode(body).map(|()| Packet::PingReq),
        PacketType::PingResp => ping::decode(body).map(|()| Packet::PingResp),
        PacketType::Disconnect => Disconnect::decode(version, body).map(Packet::Disconnect),
        PacketType::Auth => Auth::decode(version, body).map(Packet::Auth),
    }
}

/// Refuses flags that are not those of the packet's type.
fn flags(version: Version, packet: PacketType, first: u8) -> Result<(), Error> {
    let mut expected = first == packet.first() || packet == PacketType::Publish;
    // MQTT 3.1 lets a client set DUP when it repeats one of the three packets that have QoS 1.
    if version == Version::V3_1 && packet.first() & 0x0f != 0 {
        expected |= first & !0x08 == packet.first();
    }
    if expected {
        return Ok(());
    }
    let clause = match packet {
        PacketType::PubRel => "MQTT-3.6.1-1",
        PacketType::Subscribe => "MQTT-3.8.1-1",
        PacketType::Unsubscribe => "MQTT-3.10.1-1",
        PacketType::Disconnect => "MQTT-3.14.1-1",
        PacketType::Auth => "MQTT-3.15.1-1",
        _ => "MQTT-2.1.3-1",
    };
    Err(Error::malformed(clause, "reserved flags are set"))
}

impl Packet<'_> {
    /// Its type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the packet as `version` writes it. What a version cannot say is left out.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Self::Connect(packet) => packet.encode(out),
            Self::ConnAck(packet) => packet.encode(version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.encode(self.packet_type(), version, out);
            }
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::SubAck(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::UnsubAck(packet) => packet.encode(version, out),
            Self::PingReq => encode_pingreq(out),
            Self::PingResp => encode_pingresp(out),
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(version, out),
        }
    }
}

/// A reason code of a packet, which must be one that MQTT 5.0 allows there.
fn reason(value: u8, packet: PacketType) -> Result<ReasonCode, Error> {
    let Some(code) = ReasonCode::from_value(value) else {
        return Err(Error::malformed("MQTT5 2.4", "an unknown reason code"));
    };
    if !code.allowed_in(packet) {
        return Err(Error::protocol("MQTT5 2.4", "a reason code that its packet must not carry"));
    }
    Ok(code)
}

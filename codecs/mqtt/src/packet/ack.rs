//! PUBACK, PUBREC, PUBREL and PUBCOMP: one shape, four packets.
//!
//! ```text
//! 3.1.1:   packet id u16
//! 5.0:     packet id u16 | reason u8 | properties
//!          the properties may be left out, and with reason 0 the reason too
//! ```
//!
//! MQTT 5.0 added reason codes, reason string and user properties. Older versions know only success.

use wire::{Reader, Writer};

use super::{PacketType, Version, reason};
use crate::primitive::{self, put_with_length};
use crate::property::{self, Block, Place, PropertyId, Value};
use crate::{Error, ReasonCode, UserProperties, frame};

/// A PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The packet identifier of the PUBLISH, never 0.
    pub packet_id: u16,
    /// What became of it; always success in 3.1.1.
    pub reason: ReasonCode,
    /// For people who read logs; not for programs.
    pub reason_string: Option<&'a str>,
    /// The peer's own remarks.
    pub user: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    #[inline]
    pub(super) fn decode(version: Version, packet: PacketType, body: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(body);
        let packet_id = primitive::packet_id(&mut r)?;
        let mut ack =
            Self { packet_id, reason: ReasonCode::Success, reason_string: None, user: UserProperties::default() };
        if version.is_v5() && !r.is_empty() {
            // [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]
            ack.reason = reason(r.u8()?, packet)?;
            if !r.is_empty() {
                let block = Block::decode(&mut r, Place::packet(packet), |id, value| {
                    if let (PropertyId::ReasonString, Value::Text(text)) = (id, value) {
                        ack.reason_string = Some(text);
                    }
                    Ok(())
                })?;
                ack.user = UserProperties::of(block);
            }
        }
        primitive::end(&r)?;
        Ok(ack)
    }

    /// Appends it as a packet of type `packet`, which is one of the four. Older versions get the packet id alone.
    pub fn encode(&self, packet: PacketType, version: Version, out: &mut Vec<u8>) {
        let has_properties = self.reason_string.is_some() || !self.user.is_empty();
        if !version.is_v5() || (self.reason == ReasonCode::Success && !has_properties) {
            let [high, low] = self.packet_id.to_be_bytes();
            out.put_bytes(&[packet.first(), 2, high, low]);
            return;
        }
        frame::put(out, packet.first(), |out| {
            out.put_u16(self.packet_id);
            out.put_u8(self.reason.value());
            if has_properties {
                put_with_length(out, |out| {
                    property::put_opt_text(out, PropertyId::ReasonString, self.reason_string);
                    self.user.put(out);
                });
            }
        });
    }
}

#[inline]
fn encode(
    packet: PacketType,
    version: Version,
    packet_id: u16,
    reason: ReasonCode,
    text: Option<&str>,
    out: &mut Vec<u8>,
) {
    Ack { packet_id, reason, reason_string: text, user: UserProperties::default() }.encode(packet, version, out);
}

/// Appends a PUBACK. MQTT 3 cannot refuse: the caller closes the connection instead of sending a failure.
#[inline]
pub fn encode_puback(version: Version, packet_id: u16, reason: ReasonCode, text: Option<&str>, out: &mut Vec<u8>) {
    encode(PacketType::PubAck, version, packet_id, reason, text, out);
}

/// Appends a PUBREC. MQTT 3 cannot refuse: the caller closes the connection instead of sending a failure.
#[inline]
pub fn encode_pubrec(version: Version, packet_id: u16, reason: ReasonCode, text: Option<&str>, out: &mut Vec<u8>) {
    encode(PacketType::PubRec, version, packet_id, reason, text, out);
}

/// Appends a PUBREL.
#[inline]
pub fn encode_pubrel(version: Version, packet_id: u16, reason: ReasonCode, text: Option<&str>, out: &mut Vec<u8>) {
    encode(PacketType::PubRel, version, packet_id, reason, text, out);
}

/// Appends a PUBCOMP.
#[inline]
pub fn encode_pubcomp(version: Version, packet_id: u16, reason: ReasonCode, text: Option<&str>, out: &mut Vec<u8>) {
    encode(PacketType::PubComp, version, packet_id, reason, text, out);
}

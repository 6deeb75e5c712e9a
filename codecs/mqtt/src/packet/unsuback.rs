//! UNSUBACK: subscriptions are gone.
//!
//! ```text
//! 3.1.1:   packet id u16
//! 5.0:     packet id u16 | properties | code u8 +
//! ```
//!
//! 5.0 added the properties and one reason code per filter.

use wire::{Reader, Writer};

use super::suback::{ReasonCodes, answer_properties, put_answer_properties};
use super::{PacketType, Version};
use crate::property::UserProperties;
use crate::{Error, ReasonCode, frame, primitive};

/// The answer to an UNSUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// That of the UNSUBSCRIBE.
    pub packet_id: u16,
    /// For people who read logs.
    pub reason_string: Option<&'a str>,
    /// The server's own remarks.
    pub user: UserProperties<'a>,
    /// One for each filter; none in 3.1.1.
    pub reasons: ReasonCodes<'a>,
}

impl<'a> UnsubAck<'a> {
    pub(super) fn decode(version: Version, body: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(body);
        let packet_id = primitive::packet_id(&mut r)?;
        if !version.is_v5() {
            primitive::end(&r)?;
            let (user, reasons) = (UserProperties::default(), ReasonCodes::default());
            return Ok(Self { packet_id, reason_string: None, user, reasons });
        }
        let (reason_string, user) = answer_properties(version, PacketType::UnsubAck, &mut r)?;
        // [MQTT-3.11.3-1]
        if r.is_empty() {
            return Err(Error::protocol("MQTT-3.11.3-1", "UNSUBACK without a reason code"));
        }
        let reasons = ReasonCodes::decode(r.rest(), PacketType::UnsubAck)?;
        Ok(Self { packet_id, reason_string, user, reasons })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let Self { packet_id, reason_string, user, reasons } = self;
        put(version, *packet_id, *reason_string, user, reasons.iter(), out);
    }
}

/// Appends an UNSUBACK with one code per filter of the UNSUBSCRIBE; older versions get the packet id alone.
pub fn encode_unsuback(
    version: Version,
    packet_id: u16,
    reasons: &[ReasonCode],
    reason_string: Option<&str>,
    out: &mut Vec<u8>,
) {
    put(version, packet_id, reason_string, &UserProperties::default(), reasons.iter().copied(), out);
}

fn put(
    version: Version,
    packet_id: u16,
    reason_string: Option<&str>,
    user: &UserProperties<'_>,
    reasons: impl Iterator<Item = ReasonCode>,
    out: &mut Vec<u8>,
) {
    frame::put(out, PacketType::UnsubAck.first(), |out| {
        out.put_u16(packet_id);
        put_answer_properties(version, reason_string, user, out);
        if version.is_v5() {
            out.extend(reasons.map(ReasonCode::value));
        }
    });
}

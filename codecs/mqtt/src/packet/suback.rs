//! SUBACK: one reason code per subscription asked for, in order.
//!
//! ```text
//! packet id u16 | 5.0: properties | code u8 +
//! ```
//!
//! A code below 3 is the QoS granted. 3.1.1 added 0x80 for failure, 5.0 the other failures and the properties.

use wire::{Reader, Writer};

use super::{PacketType, Version, reason};
use crate::primitive::{self, put_with_length};
use crate::property::{self, Block, Place, PropertyId, UserProperties, Value};
use crate::{Error, ReasonCode, frame};

/// The answer to a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// That of the SUBSCRIBE.
    pub packet_id: u16,
    /// For people who read logs.
    pub reason_string: Option<&'a str>,
    /// The server's own remarks.
    pub user: UserProperties<'a>,
    /// One for each subscription asked for.
    pub reasons: ReasonCodes<'a>,
}

/// Valid reason codes as they stand in a SUBACK or UNSUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReasonCodes<'a>(&'a [u8]);

impl<'a> ReasonCodes<'a> {
    pub(super) fn decode(bytes: &'a [u8], packet: PacketType) -> Result<Self, Error> {
        for &value in bytes {
            reason(value, packet)?;
        }
        Ok(Self(bytes))
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ReasonCode> + use<'a> {
        // None is unknown: decode has seen them all.
        self.0.iter().map(|&value| ReasonCode::from_value(value).unwrap_or(ReasonCode::UnspecifiedError))
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none, as in an UNSUBACK of 3.1.1.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> SubAck<'a> {
    pub(super) fn decode(version: Version, body: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(body);
        let packet_id = primitive::packet_id(&mut r)?;
        let (reason_string, user) = answer_properties(version, PacketType::SubAck, &mut r)?;
        let codes = r.rest();
        if codes.is_empty() {
            return Err(Error::protocol("MQTT-3.8.4-6", "SUBACK without a reason code"));
        }
        // [MQTT311-3.9.3-2]
        if !version.is_v5() && codes.iter().any(|code| !matches!(code, 0..=2 | 0x80)) {
            return Err(Error::malformed("MQTT311-3.9.3-2", "a reserved return code in SUBACK"));
        }
        let reasons = ReasonCodes::decode(codes, PacketType::SubAck)?;
        Ok(Self { packet_id, reason_string, user, reasons })
    }

    /// Appends the packet; older versions know one failure.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let Self { packet_id, reason_string, user, reasons } = self;
        put(version, *packet_id, *reason_string, user, reasons.iter(), out);
    }
}

/// Appends a SUBACK with one code per subscription of the SUBSCRIBE; older versions know one failure and no text.
pub fn encode_suback(
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
    frame::put(out, PacketType::SubAck.first(), |out| {
        out.put_u16(packet_id);
        put_answer_properties(version, reason_string, user, out);
        for reason in reasons {
            out.put_u8(reason.suback_value(version));
        }
    });
}

/// The properties that SUBACK and UNSUBACK share.
pub(super) fn answer_properties<'a>(
    version: Version,
    packet: PacketType,
    r: &mut Reader<'a>,
) -> Result<(Option<&'a str>, UserProperties<'a>), Error> {
    if !version.is_v5() {
        return Ok((None, UserProperties::default()));
    }
    let mut reason_string = None;
    let block = Block::decode(r, Place::packet(packet), |id, value| {
        if let (PropertyId::ReasonString, Value::Text(text)) = (id, value) {
            reason_string = Some(text);
        }
        Ok(())
    })?;
    Ok((reason_string, UserProperties::of(block)))
}

/// Appends the properties that SUBACK and UNSUBACK share.
pub(super) fn put_answer_properties(
    version: Version,
    reason_string: Option<&str>,
    user: &UserProperties<'_>,
    out: &mut Vec<u8>,
) {
    if version.is_v5() {
        put_with_length(out, |out| {
            property::put_opt_text(out, PropertyId::ReasonString, reason_string);
            user.put(out);
        });
    }
}

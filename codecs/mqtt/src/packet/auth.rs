//! AUTH: one step of enhanced authentication, in either direction. New in MQTT 5.0.
//!
//! ```text
//! reason u8 | properties          both may be left out with reason 0
//! ```

use wire::{Reader, Writer};

use super::{PacketType, Version, reason};
use crate::primitive::{self, put_with_length};
use crate::property::{self, Block, Place, PropertyId, UserProperties, Value};
use crate::{Error, ReasonCode, frame};

/// A step of an authentication that takes several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// `Success`, `ContinueAuthentication` or `ReAuthenticate`.
    pub reason: ReasonCode,
    /// The method, which is that of the CONNECT. Only the empty AUTH has none.
    pub method: Option<&'a str>,
    /// What the method says.
    pub data: Option<&'a [u8]>,
    /// For people who read logs.
    pub reason_string: Option<&'a str>,
    /// The peer's own remarks.
    pub user: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    /// A step with nothing but its reason and method.
    pub fn of(reason: ReasonCode, method: Option<&'a str>) -> Self {
        Self { reason, method, data: None, reason_string: None, user: UserProperties::default() }
    }

    pub(super) fn decode(version: Version, body: &'a [u8]) -> Result<Self, Error> {
        if !version.is_v5() {
            return Err(Error::malformed("MQTT311 2.2.1", "packet type 15 is reserved before MQTT 5.0"));
        }
        let mut packet = Self::of(ReasonCode::Success, None);
        let mut r = Reader::new(body);
        if r.is_empty() {
            return Ok(packet);
        }
        packet.reason = reason(r.u8()?, PacketType::Auth)?;
        let block = Block::decode(&mut r, Place::packet(PacketType::Auth), |id, value| {
            packet.field(id, value);
            Ok(())
        })?;
        packet.user = UserProperties::of(block);
        primitive::end(&r)?;
        if packet.method.is_none() {
            return Err(Error::protocol("MQTT5 3.15.2.2.2", "AUTH without a method"));
        }
        Ok(packet)
    }

    fn field(&mut self, id: PropertyId, value: Value<'a>) {
        match (id, value) {
            (PropertyId::AuthenticationMethod, Value::Text(v)) => self.method = Some(v),
            (PropertyId::AuthenticationData, Value::Binary(v)) => self.data = Some(v),
            (PropertyId::ReasonString, Value::Text(v)) => self.reason_string = Some(v),
            _ => {}
        }
    }

    /// Appends the packet; older versions do not have it and nothing is appended.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        if !version.is_v5() {
            return;
        }
        frame::put(out, PacketType::Auth.first(), |out| {
            if *self == Self::of(ReasonCode::Success, None) {
                return;
            }
            out.put_u8(self.reason.value());
            put_with_length(out, |out| {
                property::put_opt_text(out, PropertyId::AuthenticationMethod, self.method);
                property::put_opt_binary(out, PropertyId::AuthenticationData, self.data);
                property::put_opt_text(out, PropertyId::ReasonString, self.reason_string);
                self.user.put(out);
            });
        });
    }
}

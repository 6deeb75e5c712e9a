//! DISCONNECT: the last packet of a side.
//!
//! ```text
//! 3.1.1:   empty; from the client only
//! 5.0:     reason u8 | properties; either side
//!          the properties may be left out, and with reason 0 the reason too
//! ```

use wire::{Reader, Writer};

use super::{PacketType, Version, reason};
use crate::primitive::{self, put_with_length};
use crate::property::{self, Block, Place, PropertyId, UserProperties, Value};
use crate::{Error, ReasonCode, frame};

/// Why a side ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// `Success` is the normal way; from a client it also discards the will.
    pub reason: ReasonCode,
    /// From a client: another lifetime for its session, in seconds from now.
    pub session_expiry_s: Option<u32>,
    /// For people who read logs.
    pub reason_string: Option<&'a str>,
    /// From a server: which other server to use.
    pub server_reference: Option<&'a str>,
    /// The peer's own remarks.
    pub user: UserProperties<'a>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT that gives a reason and nothing else.
    pub fn of(reason: ReasonCode) -> Self {
        Self {
            reason,
            session_expiry_s: None,
            reason_string: None,
            server_reference: None,
            user: UserProperties::default(),
        }
    }

    pub(super) fn decode(version: Version, body: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(body);
        let mut packet = Self::of(ReasonCode::Success);
        if version.is_v5() && !r.is_empty() {
            packet.reason = reason(r.u8()?, PacketType::Disconnect)?;
            if !r.is_empty() {
                let block = Block::decode(&mut r, Place::packet(PacketType::Disconnect), |id, value| {
                    packet.field(id, value);
                    Ok(())
                })?;
                packet.user = UserProperties::of(block);
            }
        }
        primitive::end(&r)?;
        Ok(packet)
    }

    fn field(&mut self, id: PropertyId, value: Value<'a>) {
        match (id, value) {
            (PropertyId::SessionExpiryInterval, Value::Four(v)) => self.session_expiry_s = Some(v),
            (PropertyId::ReasonString, Value::Text(v)) => self.reason_string = Some(v),
            (PropertyId::ServerReference, Value::Text(v)) => self.server_reference = Some(v),
            _ => {}
        }
    }

    /// Appends the packet. Older versions have the empty one, and only a client sends it.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let has_properties = self.session_expiry_s.is_some()
            || self.reason_string.is_some()
            || self.server_reference.is_some()
            || !self.user.is_empty();
        frame::put(out, PacketType::Disconnect.first(), |out| {
            if !version.is_v5() || (self.reason == ReasonCode::Success && !has_properties) {
                return;
            }
            out.put_u8(self.reason.value());
            if has_properties {
                put_with_length(out, |out| self.put_properties(out));
            }
        });
    }

    fn put_properties(&self, out: &mut Vec<u8>) {
        if let Some(seconds) = self.session_expiry_s {
            property::put(out, PropertyId::SessionExpiryInterval, Value::Four(seconds));
        }
        property::put_opt_text(out, PropertyId::ReasonString, self.reason_string);
        property::put_opt_text(out, PropertyId::ServerReference, self.server_reference);
        self.user.put(out);
    }
}

//! UNSUBSCRIBE: a client gives topics up.
//!
//! ```text
//! packet id u16 | 5.0: properties | filter +
//! ```
//!
//! 5.0 added the properties, which are user properties only.

use wire::{Reader, Writer};

use super::subscribe::check_filter;
use super::{PacketType, Version};
use crate::primitive::{self, put_text, put_with_length};
use crate::property::{Block, Place, UserProperties};
use crate::{Error, frame};

/// A request to end one or more subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Comes back in the UNSUBACK; never 0.
    pub packet_id: u16,
    /// The client's own remarks.
    pub user: UserProperties<'a>,
    list: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn decode(version: Version, body: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(body);
        let packet_id = primitive::packet_id(&mut r)?;
        let mut user = UserProperties::default();
        if version.is_v5() {
            user = UserProperties::of(Block::decode(&mut r, Place::packet(PacketType::Unsubscribe), |_, _| Ok(()))?);
        }
        let list = r.rest();
        // [MQTT-3.10.3-2]
        if list.is_empty() {
            return Err(Error::protocol("MQTT-3.10.3-2", "UNSUBSCRIBE without a topic filter"));
        }
        while !r.is_empty() {
            // [MQTT-3.10.3-1]
            check_filter(version, primitive::text(&mut r)?)?;
        }
        Ok(Self { packet_id, user, list })
    }

    /// Its filters, in the order in which the UNSUBACK answers them.
    pub fn filters(&self) -> Filters<'a> {
        Filters { rest: Reader::new(self.list) }
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put(version, self.packet_id, &self.user, self.filters(), out);
    }
}

/// Appends an UNSUBSCRIBE. There is at least one filter, and filters are valid.
pub fn encode_unsubscribe(version: Version, packet_id: u16, filters: &[&str], out: &mut Vec<u8>) {
    put(version, packet_id, &UserProperties::default(), filters.iter().copied(), out);
}

fn put<'f>(
    version: Version,
    packet_id: u16,
    user: &UserProperties<'_>,
    filters: impl Iterator<Item = &'f str>,
    out: &mut Vec<u8>,
) {
    frame::put(out, PacketType::Unsubscribe.first(), |out| {
        out.put_u16(packet_id);
        if version.is_v5() {
            put_with_length(out, |out| user.put(out));
        }
        for filter in filters {
            put_text(out, filter);
        }
    });
}

/// The filters of a valid UNSUBSCRIBE.
#[derive(Debug, Clone)]
pub struct Filters<'a> {
    rest: Reader<'a>,
}

impl<'a> Iterator for Filters<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        primitive::text(&mut self.rest).ok()
    }
}

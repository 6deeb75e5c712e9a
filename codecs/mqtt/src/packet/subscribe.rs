//! SUBSCRIBE: a client asks for topics.
//!
//! ```text
//! packet id u16 | 5.0: properties | (filter | options u8)+
//!
//! options, 3.1.1:  reserved 0xFC | QoS 0x03
//! options, 5.0:    reserved 0xC0 | retain handling 0x30 | retain as published 0x08 | no local 0x04 | QoS 0x03
//! ```

use wire::{Reader, Writer};

use super::{PacketType, QoS, Version};
use crate::primitive::{self, put_text, put_with_length};
use crate::property::{self, Block, Place, PropertyId, UserProperties, Value};
use crate::topic::{self, Shared};
use crate::{Error, frame};

/// A request for one or more subscriptions; each is answered by a reason code in the SUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Comes back in the SUBACK; never 0.
    pub packet_id: u16,
    /// Comes back with each publication that one of these subscriptions matches; 0 = none.
    pub subscription_id: u32,
    /// The client's own remarks.
    pub user: UserProperties<'a>,
    list: &'a [u8],
}

/// One entry of a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// A valid filter; in 5.0 perhaps a shared one, which [`Shared::parse`] takes apart.
    pub filter: &'a str,
    /// How it is to be served.
    pub options: Options,
}

/// How a subscription is to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The highest QoS of what is delivered.
    pub qos: QoS,
    /// The client's own publications are not delivered to it.
    pub no_local: bool,
    /// The RETAIN flag of a publication is passed on as it was published.
    pub retain_as_published: bool,
    /// Whether kept publications are delivered first.
    pub retain_handling: RetainHandling,
}

/// Whether a new subscription gets the publications that were kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// Yes; the only way of 3.1.1.
    Send = 0,
    /// Only if there was no such subscription before.
    SendIfNew = 1,
    /// No.
    DoNotSend = 2,
}

impl Options {
    /// What 3.1.1 means by a QoS alone.
    pub const fn at(qos: QoS) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }

    fn decode(version: Version, byte: u8) -> Result<Self, Error> {
        let reserved = if version.is_v5() { 0xc0 } else { 0xfc };
        // [MQTT-3.8.3-5]
        if byte & reserved != 0 {
            return Err(Error::malformed("MQTT-3.8.3-5", "reserved subscription options are set"));
        }
        let Some(qos) = QoS::from_bits(byte & 3) else {
            return Err(Error::malformed("MQTT5 3.8.3.1", "a subscription asks for QoS 3"));
        };
        let retain_handling = match byte >> 4 & 3 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Error::protocol("MQTT5 3.8.3.1", "retain handling 3")),
        };
        Ok(Self { qos, no_local: byte & 4 != 0, retain_as_published: byte & 8 != 0, retain_handling })
    }

    const fn bits(self, version: Version) -> u8 {
        let qos = self.qos.bits();
        if !version.is_v5() {
            return qos;
        }
        let no_local = if self.no_local { 4 } else { 0 };
        let retain_as_published = if self.retain_as_published { 8 } else { 0 };
        qos | no_local | retain_as_published | (self.retain_handling as u8) << 4
    }
}

impl<'a> Subscribe<'a> {
    pub(super) fn decode(version: Version, body: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(body);
        let packet_id = primitive::packet_id(&mut r)?;
        let (mut subscription_id, mut user) = (0, UserProperties::default());
        if version.is_v5() {
            let block = Block::decode(&mut r, Place::packet(PacketType::Subscribe), |id, value| {
                if let (PropertyId::SubscriptionIdentifier, Value::Varint(id)) = (id, value) {
                    subscription_id = id;
                }
                Ok(())
            })?;
            user = UserProperties::of(block);
        }
        let list = r.rest();
        // [MQTT-3.8.3-2]
        if list.is_empty() {
            return Err(Error::protocol("MQTT-3.8.3-2", "SUBSCRIBE without a topic filter"));
        }
        while !r.is_empty() {
            let subscription = Subscription::decode(version, &mut r)?;
            subscription.check(version)?;
        }
        Ok(Self { packet_id, subscription_id, user, list })
    }

    /// Its entries, in the order in which the SUBACK answers them.
    pub fn subscriptions(&self) -> Subscriptions<'a> {
        Subscriptions { rest: Reader::new(self.list) }
    }

    /// Appends the packet. Options that older versions lack are left out.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put(version, self.packet_id, self.subscription_id, &self.user, self.subscriptions(), out);
    }
}

/// Appends a SUBSCRIBE. `subscription_id` 0 means none; there is at least one subscription, and filters are valid.
pub fn encode_subscribe(
    version: Version,
    packet_id: u16,
    subscription_id: u32,
    subscriptions: &[Subscription<'_>],
    out: &mut Vec<u8>,
) {
    put(version, packet_id, subscription_id, &UserProperties::default(), subscriptions.iter().copied(), out);
}

fn put<'s>(
    version: Version,
    packet_id: u16,
    subscription_id: u32,
    user: &UserProperties<'_>,
    subscriptions: impl Iterator<Item = Subscription<'s>>,
    out: &mut Vec<u8>,
) {
    frame::put(out, PacketType::Subscribe.first(), |out| {
        out.put_u16(packet_id);
        if version.is_v5() {
            put_with_length(out, |out| {
                if subscription_id != 0 {
                    property::put(out, PropertyId::SubscriptionIdentifier, Value::Varint(subscription_id));
                }
                user.put(out);
            });
        }
        for Subscription { filter, options } in subscriptions {
            put_text(out, filter);
            out.put_u8(options.bits(version));
        }
    });
}

impl<'a> Subscription<'a> {
    fn decode(version: Version, r: &mut Reader<'a>) -> Result<Self, Error> {
        // [MQTT-3.8.3-1]
        let filter = primitive::text(r)?;
        Ok(Self { filter, options: Options::decode(version, r.u8()?)? })
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        check_filter(version, self.filter)?;
        // [MQTT-3.8.3-4]
        if self.options.no_local && self.filter.starts_with("$share/") {
            return Err(Error::protocol("MQTT-3.8.3-4", "no local on a shared subscription"));
        }
        Ok(())
    }
}

/// Checks a filter as the version reads it: 3.1.1 knows no shared subscriptions, a server may offer them all the same.
pub(super) fn check_filter(version: Version, filter: &str) -> Result<(), Error> {
    topic::valid_filter(filter)?;
    if version.is_v5() {
        Shared::parse(filter)?;
    }
    Ok(())
}

/// The entries of a valid SUBSCRIBE.
#[derive(Debug, Clone)]
pub struct Subscriptions<'a> {
    rest: Reader<'a>,
}

impl<'a> Iterator for Subscriptions<'a> {
    type Item = Subscription<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        // Valid options of 3.1.1 are valid options of 5.0 and mean the same.
        Subscription::decode(Version::V5, &mut self.rest).ok()
    }
}

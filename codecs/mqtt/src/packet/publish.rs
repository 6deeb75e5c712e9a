//! PUBLISH: a publication, in either direction.
//!
//! ```text
//! flags:   DUP 0x08 | QoS 0x06 | RETAIN 0x01
//! 3.1.1:   topic | packet id u16 if QoS > 0 |              payload, to the end
//! 5.0:     topic | packet id u16 if QoS > 0 | properties | payload, to the end
//! ```
//!
//! MQTT 5.0 added the properties, and with them the topic alias, which lets the topic be empty.

use wire::{Reader, Writer};

use super::{PacketType, QoS, Version};
use crate::primitive::{self, VARINT_MAX, put_text, put_varint, sized_len, varint_len};
use crate::property::{self, Block, Place, PropertyBuf, PropertyId, UserProperties, Value};
use crate::{Error, Frame, ReasonCode, topic};

/// A publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The sender has sent it before and does not know whether it arrived.
    pub dup: bool,
    /// How often it is to arrive.
    pub qos: QoS,
    /// The server is to keep it for later subscribers; or, towards a client, it was kept.
    pub retain: bool,
    /// A valid topic name, or empty where `properties.topic_alias` stands for it.
    pub topic: &'a str,
    /// Names the publication until it is acknowledged; 0 with QoS 0, never 0 otherwise.
    pub packet_id: u16,
    /// Empty in 3.1.1.
    pub properties: PublishProperties<'a>,
    /// The message itself.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Decodes a whole PUBLISH.
    ///
    /// # Errors
    /// With the clause that it breaks. A frame of another type is ours to prevent.
    // Always: the fields are then written where the caller wants them, which saves two copies and 4 ns of 17.
    #[inline(always)]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Error> {
        debug_assert_eq!(frame.first >> 4, PacketType::Publish as u8);
        // [MQTT-3.3.1-4]
        let Some(qos) = QoS::from_bits(frame.first >> 1 & 3) else {
            return Err(Error::malformed("MQTT-3.3.1-4", "QoS 3"));
        };
        let dup = frame.first & 0x08 != 0;
        // [MQTT-3.3.1-2]
        if dup && qos == QoS::AtMostOnce {
            return Err(Error::malformed("MQTT-3.3.1-2", "DUP with QoS 0"));
        }
        let mut r = Reader::new(frame.body);
        let topic = topic::name(primitive::binary(&mut r)?)?;
        // [MQTT-2.2.1-2]
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { primitive::packet_id(&mut r)? };
        let properties =
            if version.is_v5() { PublishProperties::decode(&mut r)? } else { PublishProperties::default() };
        // [MQTT-4.7.3-1]
        if topic.is_empty() && properties.topic_alias == 0 {
            return Err(Error::protocol("MQTT-4.7.3-1", "a publication without topic and alias"));
        }
        let retain = frame.first & 0x01 != 0;
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload: r.rest() })
    }

    /// Appends the whole packet.
    ///
    /// Topic and properties have passed this crate's checks, or are the caller's to answer for; topic and payload
    /// together stay below the 256 MiB that a packet may have. 3.1.1 leaves the properties out, so the topic must be there.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        self.encode_head(version, out);
        out.put_bytes(self.payload);
    }

    /// Appends everything up to the payload, whose length is counted in; the payload may then follow from elsewhere.
    pub fn encode_head(&self, version: Version, out: &mut Vec<u8>) {
        self.encode_head_with(version, &[], out);
    }

    /// As [`encode_head`](Self::encode_head), with the subscription identifiers of the subscriptions that it matches
    /// (each 1 to 268,435,455).
    pub fn encode_head_with(&self, version: Version, subscription_ids: &[u32], out: &mut Vec<u8>) {
        let properties_len = if version.is_v5() { self.properties.encoded_len(subscription_ids) } else { 0 };
        let length_len = if version.is_v5() { varint_len(properties_len) } else { 0 };
        let id_len = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let body_len = sized_len(self.topic.len())
            .saturating_add(id_len)
            .saturating_add(length_len)
            .saturating_add(properties_len as usize)
            .saturating_add(self.payload.len());

        let dup = if self.dup { 0x08 } else { 0 };
        out.put_u8(PacketType::Publish.first() | dup | self.qos.bits() << 1 | u8::from(self.retain));
        put_varint(out, u32::try_from(body_len).unwrap_or(VARINT_MAX));
        put_text(out, self.topic);
        if self.qos != QoS::AtMostOnce {
            debug_assert_ne!(self.packet_id, 0, "packet_id > 0 with QoS > 0");
            out.put_u16(self.packet_id);
        }
        if version.is_v5() {
            put_varint(out, properties_len);
            self.properties.put(subscription_ids, out);
        }
    }
}

/// The properties of a PUBLISH, or of a will, which is a PUBLISH to be.
///
/// The fields are what every server looks at and may change before it passes a publication on; the rest stays in the
/// received bytes, checked, and is passed on as it came.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishProperties<'a> {
    /// Stands for the topic on this connection; 0 = none.
    pub topic_alias: u16,
    /// Seconds for which it is worth delivering.
    pub message_expiry_s: Option<u32>,
    /// The payload is UTF-8, says the sender. `None` and `Some(false)` mean the same, but only the latter is passed on.
    pub payload_format: Option<bool>,
    rest: Block<'a>,
}

impl<'a> PublishProperties<'a> {
    /// No properties.
    pub const NONE: Self = Self { topic_alias: 0, message_expiry_s: None, payload_format: None, rest: Block::EMPTY };

    /// What is kept in fields, or is a will's own, and so is not passed on from the received bytes.
    const FIELDS: u64 = PropertyId::TopicAlias.bit()
        | PropertyId::MessageExpiryInterval.bit()
        | PropertyId::PayloadFormatIndicator.bit()
        | PropertyId::WillDelayInterval.bit();

    #[inline]
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        Self::decode_in(r, Place::packet(PacketType::Publish), |_| ())
    }

    /// Reads the block in front of the cursor; `will_delay` is told the one property that only a will has.
    #[inline]
    pub(super) fn decode_in(r: &mut Reader<'a>, place: Place, mut will_delay: impl FnMut(u32)) -> Result<Self, Error> {
        let mut fields = Self::default();
        let rest = Block::decode(r, place, |id, value| {
            if let (PropertyId::WillDelayInterval, Value::Four(delay_s)) = (id, value) {
                will_delay(delay_s);
            }
            fields.field(id, value)
        })?;
        Ok(Self { rest, ..fields })
    }

    /// The properties that were put together in `buf`, for a PUBLISH to send.
    ///
    /// # Errors
    /// If `buf` holds what no PUBLISH may carry.
    pub fn from_buf(buf: &'a PropertyBuf) -> Result<Self, Error> {
        let rest = buf.block(Place::packet(PacketType::Publish))?;
        let mut fields = Self::default();
        for (id, value) in rest.iter() {
            fields.field(id, value)?;
        }
        Ok(Self { rest, ..fields })
    }

    /// MQTT5 3.3.2.3
    fn field(&mut self, id: PropertyId, value: Value<'a>) -> Result<(), Error> {
        match (id, value) {
            (PropertyId::TopicAlias, Value::Two(alias)) => self.topic_alias = alias,
            (PropertyId::MessageExpiryInterval, Value::Four(seconds)) => self.message_expiry_s = Some(seconds),
            (PropertyId::PayloadFormatIndicator, Value::Byte(utf8)) => self.payload_format = Some(utf8 != 0),
            // [MQTT-3.3.2-14]
            (PropertyId::ResponseTopic, Value::Text(name)) if !topic::valid_name(name) => {
                return Err(Error::violation(
                    ReasonCode::TopicNameInvalid,
                    "MQTT-3.3.2-14",
                    "a response topic that is no topic name",
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// Name and value of each user property, in the sender's order; names may repeat.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        UserProperties::of(self.rest).iter()
    }

    /// What the payload is, for instance a MIME type.
    pub fn content_type(&self) -> Option<&'a str> {
        self.text(PropertyId::ContentType)
    }

    /// Where the sender expects an answer.
    pub fn response_topic(&self) -> Option<&'a str> {
        self.text(PropertyId::ResponseTopic)
    }

    /// What the sender will know the answer by.
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        match self.rest.find(PropertyId::CorrelationData) {
            Some(Value::Binary(data)) => Some(data),
            _ => None,
        }
    }

    /// Which subscriptions a delivered publication matches. A client never sends these.
    pub fn subscription_ids(&self) -> impl Iterator<Item = u32> + use<'a> {
        let block = if self.has_subscription_id() { self.rest } else { Block::default() };
        block.iter().filter_map(|(id, value)| match (id, value) {
            (PropertyId::SubscriptionIdentifier, Value::Varint(id)) => Some(id),
            _ => None,
        })
    }

    /// Whether there is a subscription identifier.
    #[inline]
    pub fn has_subscription_id(&self) -> bool {
        self.rest.has(PropertyId::SubscriptionIdentifier)
    }

    /// What is passed on as it came, apart from the fields.
    fn others(&self) -> impl Iterator<Item = (PropertyId, Value<'a>)> + use<'a> {
        self.rest.iter().filter(|(id, _)| id.bit() & Self::FIELDS == 0)
    }

    fn text(&self, id: PropertyId) -> Option<&'a str> {
        match self.rest.find(id) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn encoded_len(&self, subscription_ids: &[u32]) -> u32 {
        let alias = if self.topic_alias == 0 { 0 } else { 3 };
        let expiry = if self.message_expiry_s.is_some() { 5 } else { 0 };
        let format = if self.payload_format.is_some() { 2 } else { 0 };
        let ids: usize = subscription_ids.iter().map(|&id| varint_len(id).saturating_add(1)).sum();
        let rest = self.rest.len_without(Self::FIELDS);
        let len = [alias, expiry, format, ids].into_iter().fold(rest, usize::saturating_add);
        u32::try_from(len).unwrap_or(VARINT_MAX)
    }

    fn put(&self, subscription_ids: &[u32], out: &mut Vec<u8>) {
        self.put_message(out);
        if self.topic_alias != 0 {
            property::put(out, PropertyId::TopicAlias, Value::Two(self.topic_alias));
        }
        for &id in subscription_ids {
            property::put(out, PropertyId::SubscriptionIdentifier, Value::Varint(id));
        }
    }

    /// Appends what belongs to the message rather than to this connection.
    pub(super) fn put_message(&self, out: &mut Vec<u8>) {
        if let Some(utf8) = self.payload_format {
            property::put(out, PropertyId::PayloadFormatIndicator, Value::Byte(u8::from(utf8)));
        }
        if let Some(seconds) = self.message_expiry_s {
            property::put(out, PropertyId::MessageExpiryInterval, Value::Four(seconds));
        }
        self.rest.put_without(Self::FIELDS, out);
    }
}

impl PartialEq for PublishProperties<'_> {
    /// Compares what would be sent: fields by their present values, the rest in its order.
    fn eq(&self, other: &Self) -> bool {
        let fields = |p: &Self| (p.topic_alias, p.message_expiry_s, p.payload_format);
        fields(self) == fields(other) && self.others().eq(other.others())
    }
}

impl Eq for PublishProperties<'_> {}

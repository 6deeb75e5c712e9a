//! The properties of MQTT 5.0 (table 2-4): one row per property, one walk that checks them all.
//!
//! ```text
//! length of what follows, a varint | (identifier, a varint below 128 | value)*
//! ```
//!
//! A block of properties is walked once, when its packet is decoded; what is cheap and often needed becomes a field of
//! the packet, the rest stays where it was received and is found again by walking the valid block. No list is built.

use wire::{Reader, Writer};

use crate::packet::PacketType;
use crate::primitive::{self, put_binary, put_text, put_varint};
use crate::{Error, ReasonCode};

/// Where properties stand: in a packet of some type, or in the will of a CONNECT. One bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// The will properties in the payload of a CONNECT. Packet types begin at 1, so bit 0 is free.
    pub const WILL: Self = Self(1);

    /// The properties of a packet of this type.
    pub const fn packet(packet: PacketType) -> Self {
        Self(packet.bit())
    }
}

/// The value of a property, borrowed from the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// One byte.
    Byte(u8),
    /// Two bytes.
    Two(u16),
    /// Four bytes.
    Four(u32),
    /// A variable byte integer.
    Varint(u32),
    /// Binary data.
    Binary(&'a [u8]),
    /// A UTF-8 string.
    Text(&'a str),
    /// Name and value of a user property.
    Pair(&'a str, &'a str),
}

/// The data type of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// One byte, 0 or 1: every byte-sized property is a switch.
    Switch,
    /// Two bytes.
    Two,
    /// Two bytes, not 0.
    TwoNonZero,
    /// Four bytes.
    Four,
    /// Four bytes, not 0.
    FourNonZero,
    /// A variable byte integer, not 0.
    VarintNonZero,
    /// Binary data.
    Binary,
    /// A UTF-8 string.
    Text,
    /// Two UTF-8 strings.
    Pair,
}

macro_rules! place {
    (Will) => {
        Place::WILL.0
    };
    ($packet:ident) => {
        PacketType::$packet.bit()
    };
}

macro_rules! properties {
    ($($id:literal $variant:ident $name:literal $type:ident [$($place:ident)+])+) => {
        /// A property of MQTT 5.0, by its identifier on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum PropertyId {
            $(#[doc = concat!("`", stringify!($id), "` ", $name, ".")] $variant = $id,)+
        }

        impl PropertyId {
            /// Every property in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            #[inline]
            const fn from_value(value: u8) -> Option<Self> {
                match value {
                    $($id => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The name that MQTT 5.0 gives it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Its data type and range.
            #[inline]
            pub const fn data_type(self) -> Type {
                match self {
                    $(Self::$variant => Type::$type,)+
                }
            }

            #[inline]
            const fn places(self) -> u32 {
                match self {
                    $(Self::$variant => $(place!($place))|+,)+
                }
            }
        }
    };
}

properties! {
    0x01 PayloadFormatIndicator "Payload Format Indicator" Switch [Publish Will]
    0x02 MessageExpiryInterval "Message Expiry Interval" Four [Publish Will]
    0x03 ContentType "Content Type" Text [Publish Will]
    0x08 ResponseTopic "Response Topic" Text [Publish Will]
    0x09 CorrelationData "Correlation Data" Binary [Publish Will]
    0x0B SubscriptionIdentifier "Subscription Identifier" VarintNonZero [Publish Subscribe]
    0x11 SessionExpiryInterval "Session Expiry Interval" Four [Connect ConnAck Disconnect]
    0x12 AssignedClientIdentifier "Assigned Client Identifier" Text [ConnAck]
    0x13 ServerKeepAlive "Server Keep Alive" Two [ConnAck]
    0x15 AuthenticationMethod "Authentication Method" Text [Connect ConnAck Auth]
    0x16 AuthenticationData "Authentication Data" Binary [Connect ConnAck Auth]
    0x17 RequestProblemInformation "Request Problem Information" Switch [Connect]
    0x18 WillDelayInterval "Will Delay Interval" Four [Will]
    0x19 RequestResponseInformation "Request Response Information" Switch [Connect]
    0x1A ResponseInformation "Response Information" Text [ConnAck]
    0x1C ServerReference "Server Reference" Text [ConnAck Disconnect]
    0x1F ReasonString "Reason String" Text [ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth]
    0x21 ReceiveMaximum "Receive Maximum" TwoNonZero [Connect ConnAck]
    0x22 TopicAliasMaximum "Topic Alias Maximum" Two [Connect ConnAck]
    0x23 TopicAlias "Topic Alias" TwoNonZero [Publish]
    0x24 MaximumQoS "Maximum QoS" Switch [ConnAck]
    0x25 RetainAvailable "Retain Available" Switch [ConnAck]
    0x26 UserProperty "User Property" Pair [Connect ConnAck Publish Will PubAck PubRec PubRel PubComp Subscribe SubAck
        Unsubscribe UnsubAck Disconnect Auth]
    0x27 MaximumPacketSize "Maximum Packet Size" FourNonZero [Connect ConnAck]
    0x28 WildcardSubscriptionAvailable "Wildcard Subscription Available" Switch [ConnAck]
    0x29 SubscriptionIdentifierAvailable "Subscription Identifier Available" Switch [ConnAck]
    0x2A SharedSubscriptionAvailable "Shared Subscription Available" Switch [ConnAck]
}

impl PropertyId {
    /// The value on the wire.
    #[inline]
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// One bit per property; identifiers end at 42.
    #[inline]
    pub(crate) const fn bit(self) -> u64 {
        1 << self.value()
    }

    /// Whether MQTT 5.0 allows it there.
    #[inline]
    pub const fn allowed_in(self, place: Place) -> bool {
        self.places() & place.0 != 0
    }

    /// Whether it may stand there more than once.
    #[inline]
    pub const fn repeats_in(self, place: Place) -> bool {
        match self {
            Self::UserProperty => true,
            Self::SubscriptionIdentifier => place.0 == PacketType::Publish.bit(),
            _ => false,
        }
    }
}

/// A valid block of properties as it was received, its length field left out.
#[derive(Clone, Copy, Default)]
pub(crate) struct Block<'a> {
    bytes: &'a [u8],
    /// [`PropertyId::bit`] of each property in it.
    seen: u64,
}

impl<'a> Block<'a> {
    /// No property.
    pub(crate) const EMPTY: Self = Self { bytes: &[], seen: 0 };

    /// Reads the block at the cursor and hands each property to `field`.
    #[inline]
    pub(crate) fn decode(
        r: &mut Reader<'a>,
        place: Place,
        field: impl FnMut(PropertyId, Value<'a>) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        // No properties, the usual case.
        if r.rest().first() == Some(&0) {
            r.u8()?;
            return Ok(Self::default());
        }
        let len = primitive::varint(r)?;
        Self::check(r.take(len as usize)?, place, field)
    }

    /// Walks a block for the first time. Apart, so that packets without properties pay for a comparison only.
    #[inline(never)]
    fn check(
        bytes: &'a [u8],
        place: Place,
        mut field: impl FnMut(PropertyId, Value<'a>) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let mut seen = 0;
        while !r.is_empty() {
            let id = identifier(&mut r, place)?;
            // MQTT5 2.2.2.2: once only, but for user properties and the subscription identifiers of a PUBLISH.
            if seen & id.bit() != 0 && !id.repeats_in(place) {
                return Err(Error::protocol("MQTT5 2.2.2.2", "a property stands twice"));
            }
            seen |= id.bit();
            let value = value(&mut r, id)?;
            in_range(id, value)?;
            field(id, value)?;
        }
        Ok(Self { bytes, seen })
    }

    /// Whether the property stands in the block.
    #[inline]
    pub(crate) fn has(&self, id: PropertyId) -> bool {
        self.seen & id.bit() != 0
    }

    /// The first value of a property.
    #[inline]
    pub(crate) fn find(&self, id: PropertyId) -> Option<Value<'a>> {
        if !self.has(id) {
            return None;
        }
        self.iter().find(|&(other, _)| other == id).map(|(_, value)| value)
    }

    /// Every property in the order of the wire.
    #[inline]
    pub(crate) fn iter(&self) -> Iter<'a> {
        Iter { rest: Reader::new(self.bytes) }
    }

    /// How many bytes the properties outside `leave_out` (a union of bits) take.
    pub(crate) fn len_without(&self, leave_out: u64) -> usize {
        if self.seen & leave_out == 0 {
            return self.bytes.len();
        }
        self.raw().filter(|(id, _)| id.bit() & leave_out == 0).map(|(_, bytes)| bytes.len()).sum()
    }

    /// Appends the properties outside `leave_out` (a union of bits) as they were received.
    pub(crate) fn put_without(&self, leave_out: u64, out: &mut Vec<u8>) {
        if self.seen & leave_out == 0 {
            out.put_bytes(self.bytes);
            return;
        }
        for (_, bytes) in self.raw().filter(|(id, _)| id.bit() & leave_out == 0) {
            out.put_bytes(bytes);
        }
    }

    /// Every property with all its bytes, identifier included.
    fn raw(&self) -> impl Iterator<Item = (PropertyId, &'a [u8])> + use<'a> {
        let mut iter = self.iter();
        std::iter::from_fn(move || {
            let before = iter.rest.rest();
            let (id, _) = iter.next()?;
            let len = before.len().saturating_sub(iter.rest.remaining());
            Some((id, before.get(..len)?))
        })
    }
}

impl std::fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn identifier(r: &mut Reader<'_>, place: Place) -> Result<PropertyId, Error> {
    // The identifier is a varint; all that are defined fit its first byte, so a second byte is an unknown property.
    let Some(id) = PropertyId::from_value(r.u8()?) else {
        return Err(Error::malformed("MQTT5 2.2.2.2", "an unknown property"));
    };
    if !id.allowed_in(place) {
        return Err(Error::malformed("MQTT5 2.2.2.2", "a property that its packet must not carry"));
    }
    Ok(id)
}

#[inline]
fn value<'a>(r: &mut Reader<'a>, id: PropertyId) -> Result<Value<'a>, Error> {
    Ok(match id.data_type() {
        Type::Switch => Value::Byte(r.u8()?),
        Type::Two | Type::TwoNonZero => Value::Two(r.u16()?),
        Type::Four | Type::FourNonZero => Value::Four(r.u32()?),
        Type::VarintNonZero => Value::Varint(primitive::varint(r)?),
        Type::Binary => Value::Binary(primitive::binary(r)?),
        Type::Text => Value::Text(primitive::text(r)?),
        Type::Pair => Value::Pair(primitive::text(r)?, primitive::text(r)?),
    })
}

#[inline]
fn in_range(id: PropertyId, value: Value<'_>) -> Result<(), Error> {
    match (id.data_type(), value) {
        (Type::Switch, Value::Byte(2..)) => Err(bad_switch(id)),
        (Type::TwoNonZero, Value::Two(0))
        | (Type::FourNonZero, Value::Four(0))
        | (Type::VarintNonZero, Value::Varint(0)) => Err(bad_zero(id)),
        _ => Ok(()),
    }
}

#[cold]
fn bad_switch(id: PropertyId) -> Error {
    let clause = match id {
        PropertyId::PayloadFormatIndicator => "MQTT5 3.3.2.3.2",
        PropertyId::RequestProblemInformation => "MQTT5 3.1.2.11.7",
        PropertyId::RequestResponseInformation => "MQTT5 3.1.2.11.6",
        PropertyId::MaximumQoS => "MQTT5 3.2.2.3.4",
        _ => "MQTT5 3.2.2.3",
    };
    Error::protocol(clause, "a property is neither 0 nor 1")
}

#[cold]
fn bad_zero(id: PropertyId) -> Error {
    match id {
        PropertyId::TopicAlias => Error::violation(ReasonCode::TopicAliasInvalid, "MQTT-3.3.2-8", "topic alias 0"),
        PropertyId::ReceiveMaximum => Error::protocol("MQTT5 3.1.2.11.3", "receive maximum 0"),
        PropertyId::MaximumPacketSize => Error::protocol("MQTT5 3.1.2.11.4", "maximum packet size 0"),
        _ => Error::protocol("MQTT5 3.8.2.1.2", "subscription identifier 0"),
    }
}

/// Walks a valid block. Bytes that are not valid end the walk; a [`Block`] holds none.
#[derive(Debug, Clone)]
pub(crate) struct Iter<'a> {
    rest: Reader<'a>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (PropertyId, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let id = PropertyId::from_value(self.rest.u8().ok()?)?;
        Some((id, value(&mut self.rest, id).ok()?))
    }
}

/// The user properties of a packet, in the order of the wire; names may repeat.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a>(Block<'a>);

impl<'a> UserProperties<'a> {
    pub(crate) const fn of(block: Block<'a>) -> Self {
        Self(block)
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        // A walk only where there is something to find: most packets carry none.
        let block = if self.is_empty() { Block::default() } else { self.0 };
        block.iter().filter_map(|(_, value)| match value {
            Value::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.0.has(PropertyId::UserProperty)
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            self.0.put_without(!PropertyId::UserProperty.bit(), out);
        }
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl std::fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Properties being put together for a packet to send.
///
/// Takes anything; whether the properties suit a packet is checked when they are given to one, by the same walk that
/// checks received ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PropertyBuf {
    bytes: Vec<u8>,
}

impl PropertyBuf {
    /// No properties yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a user property.
    #[must_use]
    pub fn user(self, name: &str, value: &str) -> Self {
        self.with(PropertyId::UserProperty, Value::Pair(name, value))
    }

    /// Adds a property. `value` must be of the property's type, or no packet will take the whole.
    #[must_use]
    pub fn with(mut self, id: PropertyId, value: Value<'_>) -> Self {
        put(&mut self.bytes, id, value);
        self
    }

    /// The user properties of this, for packets whose other properties are fields.
    ///
    /// # Errors
    /// If there are other properties, or a string holds U+0000.
    pub fn user_properties(&self) -> Result<UserProperties<'_>, Error> {
        // An UNSUBSCRIBE carries nothing else.
        self.block(Place::packet(PacketType::Unsubscribe)).map(UserProperties)
    }

    pub(crate) fn block(&self, place: Place) -> Result<Block<'_>, Error> {
        Block::check(&self.bytes, place, |_, _| Ok(()))
    }
}

/// Appends one property.
pub(crate) fn put(out: &mut Vec<u8>, id: PropertyId, value: Value<'_>) {
    out.put_u8(id.value());
    match value {
        Value::Byte(v) => out.put_u8(v),
        Value::Two(v) => out.put_u16(v),
        Value::Four(v) => out.put_u32(v),
        Value::Varint(v) => put_varint(out, v),
        Value::Binary(v) => put_binary(out, v),
        Value::Text(v) => put_text(out, v),
        Value::Pair(name, value) => {
            put_text(out, name);
            put_text(out, value);
        }
    }
}

/// Appends a text property if there is one.
pub(crate) fn put_opt_text(out: &mut Vec<u8>, id: PropertyId, text: Option<&str>) {
    if let Some(text) = text {
        put(out, id, Value::Text(text));
    }
}

/// Appends a binary property if there is one.
pub(crate) fn put_opt_binary(out: &mut Vec<u8>, id: PropertyId, bytes: Option<&[u8]>) {
    if let Some(bytes) = bytes {
        put(out, id, Value::Binary(bytes));
    }
}

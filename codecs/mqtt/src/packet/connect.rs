//! CONNECT: a client introduces itself.
//!
//! ```text
//! protocol name | level u8 | flags u8 | keep alive u16 | 5.0: properties
//! client id | if will: 5.0: will properties, will topic, will payload | if user name: text | if password: binary
//!
//! flags:  user name 0x80 | password 0x40 | will retain 0x20 | will QoS 0x18 | will 0x04 | clean start 0x02 | reserved
//! ```
//!
//! 3.1 names itself `MQIsdp`, level 3. 3.1.1 renamed it `MQTT`, level 4, and allowed the empty client id. 5.0 added both
//! property blocks, turned clean session into clean start, and allows a password without a user name.

use wire::{Reader, Writer};

use super::publish::PublishProperties;
use super::{PacketType, QoS, Version};
use crate::primitive::{self, put_binary, put_text, put_with_length};
use crate::property::{self, Block, Place, PropertyId, UserProperties, Value};
use crate::{Error, Publish, ReasonCode, frame, topic};

const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

/// A client's first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// What all later packets of the connection are read by.
    pub version: Version,
    /// Forget the session there may be. In 3.1.1, clean session: also forget it when the connection ends.
    pub clean_start: bool,
    /// Seconds within which the client sends something; 0 = it promises nothing.
    pub keep_alive_s: u16,
    /// Names the session. Empty: the server chooses.
    pub client_id: &'a str,
    /// Published by the server when the client is gone without a word.
    pub will: Option<Will<'a>>,
    /// Who the client says it is.
    pub username: Option<&'a str>,
    /// Any bytes.
    pub password: Option<&'a [u8]>,
    /// Defaults in 3.1.1.
    pub properties: ConnectProperties<'a>,
}

/// A publication that the server makes in the client's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// Its quality of service.
    pub qos: QoS,
    /// Whether it is to be kept.
    pub retain: bool,
    /// A valid topic name.
    pub topic: &'a str,
    /// The message.
    pub payload: &'a [u8],
    /// Seconds between the end of the connection and the publication.
    pub delay_s: u32,
    /// Properties of the publication; it has no topic alias.
    pub properties: PublishProperties<'a>,
}

/// What a client of MQTT 5.0 says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// Seconds for which the session outlives the connection; `u32::MAX` = for ever, 0 = not at all.
    pub session_expiry_s: u32,
    /// How many publications with QoS > 0 the client takes before it has acknowledged one; never 0.
    pub receive_maximum: u16,
    /// The longest packet the client takes, in bytes; `u32::MAX` where it named no limit, never 0.
    pub packet_bytes_max: u32,
    /// The highest topic alias the client takes; 0 = none.
    pub topic_alias_maximum: u16,
    /// The client would like response information in the CONNACK.
    pub request_response_information: bool,
    /// Reason strings and user properties are welcome beyond CONNACK, PUBLISH and DISCONNECT.
    pub request_problem_information: bool,
    /// The method of enhanced authentication.
    pub auth_method: Option<&'a str>,
    /// Its first data; only with a method.
    pub auth_data: Option<&'a [u8]>,
    /// The client's own remarks.
    pub user: UserProperties<'a>,
}

impl Default for ConnectProperties<'_> {
    /// What the absence of each property means (MQTT 5.0 section 3.1.2.11).
    fn default() -> Self {
        Self {
            session_expiry_s: 0,
            receive_maximum: u16::MAX,
            packet_bytes_max: u32::MAX,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            auth_method: None,
            auth_data: None,
            user: UserProperties::default(),
        }
    }
}

/// The version that a CONNECT names, as far as it can be told; for the answer to one that is not valid.
///
/// A level that is not known is answered in the nearest known version.
pub(crate) fn peek_version(body: &[u8]) -> Option<Version> {
    let mut r = Reader::new(body);
    let name = primitive::binary(&mut r).ok()?;
    match (name, r.u8().ok()?) {
        (b"MQIsdp", _) => Some(Version::V3_1),
        (b"MQTT", 0..=4) => Some(Version::V3_1_1),
        (b"MQTT", 5..) => Some(Version::V5),
        _ => None,
    }
}

impl<'a> Connect<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(body);
        let version = protocol(&mut r)?;
        let flags = r.u8()?;
        check_flags(version, flags)?;
        let keep_alive_s = r.u16()?;
        let properties =
            if version.is_v5() { ConnectProperties::decode(&mut r)? } else { ConnectProperties::default() };
        // [MQTT-3.1.3-1]: the order of what follows.
        let client_id = primitive::text(&mut r)?;
        let clean_start = flags & CLEAN_START != 0;
        check_client_id(version, client_id, clean_start)?;
        let will = if flags & WILL != 0 { Some(Will::decode(version, flags, &mut r)?) } else { None };
        // MQTT 3.1 section 3.1: the remaining length takes precedence over these two flags.
        let present = |flag: u8, r: &Reader<'_>| flags & flag != 0 && !(version == Version::V3_1 && r.is_empty());
        // [MQTT-3.1.2-17], [MQTT-3.1.3-12]
        let username = if present(USER_NAME, &r) { Some(primitive::text(&mut r)?) } else { None };
        // [MQTT-3.1.2-19]
        let password = if present(PASSWORD, &r) { Some(primitive::binary(&mut r)?) } else { None };
        primitive::end(&r)?;
        Ok(Self { version, clean_start, keep_alive_s, client_id, will, username, password, properties })
    }

    /// Appends the packet in its own version.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::put(out, PacketType::Connect.first(), |out| {
            put_text(out, if self.version == Version::V3_1 { "MQIsdp" } else { "MQTT" });
            out.put_u8(self.version.level());
            out.put_u8(self.flags());
            out.put_u16(self.keep_alive_s);
            if self.version.is_v5() {
                put_with_length(out, |out| self.properties.put(out));
            }
            put_text(out, self.client_id);
            if let Some(will) = &self.will {
                will.put(self.version, out);
            }
            if let Some(username) = self.username {
                put_text(out, username);
            }
            if let Some(password) = self.password {
                put_binary(out, password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let will = self.will.map_or(0, |will| WILL | will.qos.bits() << 3 | flag(will.retain, WILL_RETAIN));
        will | flag(self.clean_start, CLEAN_START)
            | flag(self.username.is_some(), USER_NAME)
            | flag(self.password.is_some(), PASSWORD)
    }
}

fn protocol(r: &mut Reader<'_>) -> Result<Version, Error> {
    let name = primitive::binary(r)?;
    match (name, r.u8()?) {
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT", 4) => Ok(Version::V3_1_1),
        (b"MQIsdp", 3) => Ok(Version::V3_1),
        // [MQTT-3.1.2-2]
        (b"MQTT" | b"MQIsdp", _) => Err(unsupported("MQTT-3.1.2-2", "a protocol level this server does not speak")),
        // [MQTT-3.1.2-1]
        _ => Err(unsupported("MQTT-3.1.2-1", "the protocol name is not MQTT")),
    }
}

#[cold]
fn unsupported(clause: &'static str, what: &'static str) -> Error {
    Error::violation(ReasonCode::UnsupportedProtocolVersion, clause, what)
}

fn check_flags(version: Version, flags: u8) -> Result<(), Error> {
    // [MQTT-3.1.2-3]
    if flags & RESERVED != 0 {
        return Err(Error::malformed("MQTT-3.1.2-3", "the reserved flag of CONNECT is set"));
    }
    let will_qos = flags >> 3 & 3;
    if flags & WILL == 0 {
        // [MQTT-3.1.2-11]
        if will_qos != 0 {
            return Err(Error::malformed("MQTT-3.1.2-11", "a will QoS without a will"));
        }
        // [MQTT-3.1.2-13]
        if flags & WILL_RETAIN != 0 {
            return Err(Error::malformed("MQTT-3.1.2-13", "will retain without a will"));
        }
    }
    // [MQTT-3.1.2-12]
    if will_qos == 3 {
        return Err(Error::malformed("MQTT-3.1.2-12", "will QoS 3"));
    }
    // [MQTT311-3.1.2-22]
    if flags & PASSWORD != 0 && flags & USER_NAME == 0 && !version.is_v5() {
        return Err(Error::malformed("MQTT311-3.1.2-22", "a password without a user name"));
    }
    Ok(())
}

fn check_client_id(version: Version, client_id: &str, clean_start: bool) -> Result<(), Error> {
    let refused = match version {
        Version::V5 => false,
        // [MQTT311-3.1.3-7]: a session without a name could never be found again.
        Version::V3_1_1 => client_id.is_empty() && !clean_start,
        // MQTT 3.1 section 3.1 asks for 1 to 23 characters; longer ones are in use and harmless.
        Version::V3_1 => client_id.is_empty(),
    };
    if refused {
        return Err(Error::violation(
            ReasonCode::ClientIdentifierNotValid,
            "MQTT311-3.1.3-8",
            "an empty client identifier for a session that is to be kept",
        ));
    }
    Ok(())
}

impl<'a> Will<'a> {
    fn decode(version: Version, flags: u8, r: &mut Reader<'a>) -> Result<Self, Error> {
        let mut delay_s = 0;
        let properties = if version.is_v5() {
            PublishProperties::decode_in(r, Place::WILL, |seconds| delay_s = seconds)?
        } else {
            PublishProperties::default()
        };
        // [MQTT-3.1.3-11]
        let topic = topic::name(primitive::binary(r)?)?;
        if topic.is_empty() {
            // [MQTT-4.7.3-1]
            return Err(Error::violation(ReasonCode::TopicNameInvalid, "MQTT-4.7.3-1", "a will without a topic"));
        }
        let payload = primitive::binary(r)?;
        let qos = QoS::from_bits(flags >> 3 & 3).ok_or(Error::malformed("MQTT-3.1.2-12", "will QoS 3"))?;
        Ok(Self { qos, retain: flags & WILL_RETAIN != 0, topic, payload, delay_s, properties })
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        if version.is_v5() {
            put_with_length(out, |out| {
                if self.delay_s != 0 {
                    property::put(out, PropertyId::WillDelayInterval, Value::Four(self.delay_s));
                }
                self.properties.put_message(out);
            });
        }
        put_text(out, self.topic);
        put_binary(out, self.payload);
    }

    /// The publication that it becomes, under a packet id to be chosen.
    pub fn publish(&self) -> Publish<'a> {
        let Self { qos, retain, topic, payload, properties, .. } = *self;
        Publish { dup: false, qos, retain, topic, packet_id: 0, properties, payload }
    }
}

impl<'a> ConnectProperties<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        // MQTT5 3.1.2.11
        let mut fields = Self::default();
        let block = Block::decode(r, Place::packet(PacketType::Connect), |id, value| {
            fields.field(id, value);
            Ok(())
        })?;
        if fields.auth_data.is_some() && fields.auth_method.is_none() {
            return Err(Error::protocol("MQTT5 3.1.2.11.10", "authentication data without a method"));
        }
        Ok(Self { user: UserProperties::of(block), ..fields })
    }

    fn field(&mut self, id: PropertyId, value: Value<'a>) {
        match (id, value) {
            (PropertyId::SessionExpiryInterval, Value::Four(v)) => self.session_expiry_s = v,
            (PropertyId::ReceiveMaximum, Value::Two(v)) => self.receive_maximum = v,
            (PropertyId::MaximumPacketSize, Value::Four(v)) => self.packet_bytes_max = v,
            (PropertyId::TopicAliasMaximum, Value::Two(v)) => self.topic_alias_maximum = v,
            (PropertyId::RequestResponseInformation, Value::Byte(v)) => self.request_response_information = v != 0,
            (PropertyId::RequestProblemInformation, Value::Byte(v)) => self.request_problem_information = v != 0,
            (PropertyId::AuthenticationMethod, Value::Text(v)) => self.auth_method = Some(v),
            (PropertyId::AuthenticationData, Value::Binary(v)) => self.auth_data = Some(v),
            _ => {}
        }
    }

    /// Appends what differs from the defaults.
    fn put(&self, out: &mut Vec<u8>) {
        let defaults = ConnectProperties::default();
        if self.session_expiry_s != defaults.session_expiry_s {
            property::put(out, PropertyId::SessionExpiryInterval, Value::Four(self.session_expiry_s));
        }
        if self.receive_maximum != defaults.receive_maximum {
            property::put(out, PropertyId::ReceiveMaximum, Value::Two(self.receive_maximum));
        }
        if self.packet_bytes_max != defaults.packet_bytes_max {
            property::put(out, PropertyId::MaximumPacketSize, Value::Four(self.packet_bytes_max));
        }
        if self.topic_alias_maximum != defaults.topic_alias_maximum {
            property::put(out, PropertyId::TopicAliasMaximum, Value::Two(self.topic_alias_maximum));
        }
        if self.request_response_information {
            property::put(out, PropertyId::RequestResponseInformation, Value::Byte(1));
        }
        if !self.request_problem_information {
            property::put(out, PropertyId::RequestProblemInformation, Value::Byte(0));
        }
        property::put_opt_text(out, PropertyId::AuthenticationMethod, self.auth_method);
        property::put_opt_binary(out, PropertyId::AuthenticationData, self.auth_data);
        self.user.put(out);
    }
}

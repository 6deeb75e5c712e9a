//! CONNACK: the server's answer to CONNECT.
//!
//! ```text
//! flags u8: session present 0x01 | 3.1.1: return code u8, 5.0: reason u8 | 5.0: properties
//! ```
//!
//! 3.1.1 added session present. 5.0 turned five return codes into reason codes and added the properties, by which the
//! server announces its limits; 3.1.1 has no way to say them.

use wire::{Reader, Writer};

use super::{PacketType, QoS, Version, reason};
use crate::primitive::{self, put_with_length};
use crate::property::{self, Block, Place, PropertyId, UserProperties, Value};
use crate::{Error, ReasonCode, frame};

/// Whether a connection was accepted, and what the server expects on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// The server has kept the session of this client id.
    pub session_present: bool,
    /// Success or why not.
    pub reason: ReasonCode,
    /// Defaults in 3.1.1.
    pub properties: ConnAckProperties<'a>,
}

/// What a server of MQTT 5.0 says about itself and the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAckProperties<'a> {
    /// Seconds for which the session outlives the connection, where that is not what the client asked for.
    pub session_expiry_s: Option<u32>,
    /// How many publications with QoS > 0 the server takes before it has acknowledged one; never 0.
    pub receive_maximum: u16,
    /// The highest QoS of a PUBLISH the server takes.
    pub qos_max: QoS,
    /// Whether RETAIN is supported.
    pub retain_available: bool,
    /// The longest packet the server takes, in bytes; `u32::MAX` where it named no limit, never 0.
    pub packet_bytes_max: u32,
    /// The client id that the server chose for a client that came without.
    pub assigned_client_id: Option<&'a str>,
    /// The highest topic alias the server takes; 0 = none.
    pub topic_alias_maximum: u16,
    /// For people who read logs.
    pub reason_string: Option<&'a str>,
    /// Whether filters may hold wildcards.
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may have identifiers.
    pub subscription_id_available: bool,
    /// Whether `$share/` is understood.
    pub shared_subscription_available: bool,
    /// The keep alive that holds instead of the client's, in seconds.
    pub server_keep_alive_s: Option<u16>,
    /// From which a client may build its response topics.
    pub response_information: Option<&'a str>,
    /// Which other server to use.
    pub server_reference: Option<&'a str>,
    /// The method of enhanced authentication.
    pub auth_method: Option<&'a str>,
    /// Its last data.
    pub auth_data: Option<&'a [u8]>,
    /// The server's own remarks.
    pub user: UserProperties<'a>,
}

impl Default for ConnAckProperties<'_> {
    /// What the absence of each property means (MQTT 5.0 section 3.2.2.3).
    fn default() -> Self {
        Self {
            session_expiry_s: None,
            receive_maximum: u16::MAX,
            qos_max: QoS::ExactlyOnce,
            retain_available: true,
            packet_bytes_max: u32::MAX,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason_string: None,
            wildcard_subscription_available: true,
            subscription_id_available: true,
            shared_subscription_available: true,
            server_keep_alive_s: None,
            response_information: None,
            server_reference: None,
            auth_method: None,
            auth_data: None,
            user: UserProperties::default(),
        }
    }
}

impl<'a> ConnAck<'a> {
    pub(super) fn decode(version: Version, body: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(body);
        let flags = r.u8()?;
        // [MQTT-3.2.2-1]
        if flags > 1 {
            return Err(Error::malformed("MQTT-3.2.2-1", "reserved flags of CONNACK are set"));
        }
        let code = r.u8()?;
        let (reason, properties) = if version.is_v5() {
            (reason(code, PacketType::ConnAck)?, ConnAckProperties::decode(&mut r)?)
        } else {
            let reason = ReasonCode::from_connack_return_code(code)
                .ok_or(Error::malformed("MQTT311 3.2.2.3", "a reserved return code"))?;
            (reason, ConnAckProperties::default())
        };
        primitive::end(&r)?;
        // [MQTT-3.2.2-6]
        if flags == 1 && reason != ReasonCode::Success {
            return Err(Error::protocol("MQTT-3.2.2-6", "session present in a refusal"));
        }
        // 3.1 has no session present; its byte is reserved.
        Ok(Self { session_present: flags == 1 && version != Version::V3_1, reason, properties })
    }

    /// Appends the packet. A reason that a version before 5.0 cannot say becomes "server unavailable"; a server that
    /// follows 3.1.1 section 3.2.2.3 closes the connection without a CONNACK then.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let session_present = self.session_present && version != Version::V3_1;
        frame::put(out, PacketType::ConnAck.first(), |out| {
            out.put_u8(u8::from(session_present));
            if version.is_v5() {
                out.put_u8(self.reason.value());
                put_with_length(out, |out| self.properties.put(out));
            } else {
                out.put_u8(self.reason.connack_return_code().unwrap_or(3));
            }
        });
    }
}

impl<'a> ConnAckProperties<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let mut fields = Self::default();
        let block = Block::decode(r, Place::packet(PacketType::ConnAck), |id, value| {
            fields.field(id, value);
            Ok(())
        })?;
        Ok(Self { user: UserProperties::of(block), ..fields })
    }

    fn field(&mut self, id: PropertyId, value: Value<'a>) {
        use PropertyId as P;
        match (id, value) {
            (P::SessionExpiryInterval, Value::Four(v)) => self.session_expiry_s = Some(v),
            (P::ReceiveMaximum, Value::Two(v)) => self.receive_maximum = v,
            (P::MaximumQoS, Value::Byte(v)) => self.qos_max = QoS::from_bits(v).unwrap_or(self.qos_max),
            (P::RetainAvailable, Value::Byte(v)) => self.retain_available = v != 0,
            (P::MaximumPacketSize, Value::Four(v)) => self.packet_bytes_max = v,
            (P::AssignedClientIdentifier, Value::Text(v)) => self.assigned_client_id = Some(v),
            (P::TopicAliasMaximum, Value::Two(v)) => self.topic_alias_maximum = v,
            (P::ReasonString, Value::Text(v)) => self.reason_string = Some(v),
            (P::WildcardSubscriptionAvailable, Value::Byte(v)) => self.wildcard_subscription_available = v != 0,
            (P::SubscriptionIdentifierAvailable, Value::Byte(v)) => self.subscription_id_available = v != 0,
            (P::SharedSubscriptionAvailable, Value::Byte(v)) => self.shared_subscription_available = v != 0,
            (P::ServerKeepAlive, Value::Two(v)) => self.server_keep_alive_s = Some(v),
            (P::ResponseInformation, Value::Text(v)) => self.response_information = Some(v),
            (P::ServerReference, Value::Text(v)) => self.server_reference = Some(v),
            (P::AuthenticationMethod, Value::Text(v)) => self.auth_method = Some(v),
            (P::AuthenticationData, Value::Binary(v)) => self.auth_data = Some(v),
            _ => {}
        }
    }

    /// Appends what differs from the defaults.
    fn put(&self, out: &mut Vec<u8>) {
        self.put_limits(out);
        property::put_opt_text(out, PropertyId::AssignedClientIdentifier, self.assigned_client_id);
        property::put_opt_text(out, PropertyId::ReasonString, self.reason_string);
        property::put_opt_text(out, PropertyId::ResponseInformation, self.response_information);
        property::put_opt_text(out, PropertyId::ServerReference, self.server_reference);
        property::put_opt_text(out, PropertyId::AuthenticationMethod, self.auth_method);
        property::put_opt_binary(out, PropertyId::AuthenticationData, self.auth_data);
        self.user.put(out);
    }

    fn put_limits(&self, out: &mut Vec<u8>) {
        use PropertyId as P;
        if let Some(seconds) = self.session_expiry_s {
            property::put(out, P::SessionExpiryInterval, Value::Four(seconds));
        }
        if self.receive_maximum != u16::MAX {
            property::put(out, P::ReceiveMaximum, Value::Two(self.receive_maximum));
        }
        // The property says 0 or 1; 2 is said by silence.
        if self.qos_max != QoS::ExactlyOnce {
            property::put(out, P::MaximumQoS, Value::Byte(self.qos_max.bits()));
        }
        if self.packet_bytes_max != u32::MAX {
            property::put(out, P::MaximumPacketSize, Value::Four(self.packet_bytes_max));
        }
        if self.topic_alias_maximum != 0 {
            property::put(out, P::TopicAliasMaximum, Value::Two(self.topic_alias_maximum));
        }
        if let Some(seconds) = self.server_keep_alive_s {
            property::put(out, P::ServerKeepAlive, Value::Two(seconds));
        }
        for (id, available) in [
            (P::RetainAvailable, self.retain_available),
            (P::WildcardSubscriptionAvailable, self.wildcard_subscription_available),
            (P::SubscriptionIdentifierAvailable, self.subscription_id_available),
            (P::SharedSubscriptionAvailable, self.shared_subscription_available),
        ] {
            if !available {
                property::put(out, id, Value::Byte(0));
            }
        }
    }
}

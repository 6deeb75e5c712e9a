//! From the first byte to the CONNACK: what a client says about itself, and what it is answered.

use super::{Active, Limits, keepalive};
use crate::packet::connect::peek_version;
use crate::property::UserProperties;
use crate::{
    ConnAck, ConnAckProperties, Connect, Disconnect, Error, Frame, Packet, PacketType, QoS, ReasonCode, Version,
};

/// What a client announced in its CONNECT and holds for the whole connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The version of all packets.
    pub version: Version,
    /// How many publications with QoS > 0 it takes before it has acknowledged one; never 0.
    pub receive_maximum: u16,
    /// The longest packet it takes, in bytes; never 0.
    pub packet_bytes_max: u32,
    /// The highest topic alias it takes; 0 = none.
    pub topic_alias_maximum: u16,
    /// Whether acknowledgements may carry reason strings and user properties.
    pub problem_information: bool,
    /// Whether its session ends with the connection, so that its DISCONNECT may not prolong it.
    pub session_ends: bool,
}

impl Peer {
    fn of(connect: &Connect<'_>) -> Self {
        let properties = &connect.properties;
        Self {
            version: connect.version,
            receive_maximum: properties.receive_maximum,
            packet_bytes_max: properties.packet_bytes_max,
            topic_alias_maximum: properties.topic_alias_maximum,
            problem_information: properties.request_problem_information,
            session_ends: properties.session_expiry_s == 0,
        }
    }

    /// A client that has not introduced itself beyond its version.
    fn unknown(version: Version) -> Self {
        Self {
            version,
            receive_maximum: u16::MAX,
            packet_bytes_max: u32::MAX,
            topic_alias_maximum: 0,
            problem_information: true,
            session_ends: true,
        }
    }
}

/// What the server decided about a client that it lets in. The limits it announces are those of [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted<'a> {
    /// The session of this client id was kept.
    pub session_present: bool,
    /// The id that the server chose for a client that came without one.
    pub assigned_client_id: Option<&'a str>,
    /// Seconds for which the session outlives the connection, where that is not what the client asked for.
    pub session_expiry_s: Option<u32>,
    /// A keep alive in seconds that holds whatever the client asked for; otherwise [`Limits::keepalive_max_s`] decides.
    pub server_keep_alive_s: Option<u16>,
    /// For people who read logs.
    pub reason_string: Option<&'a str>,
    /// From which the client may build its response topics; left out where it did not ask for that.
    pub response_information: Option<&'a str>,
    /// The last data of an enhanced authentication.
    pub auth_data: Option<&'a [u8]>,
    /// The server's own remarks.
    pub user: UserProperties<'a>,
}

/// Nothing but a connection; a CONNECT is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AwaitConnect {
    pub(super) deadline_ms: u64,
    /// What the first packet seems to speak, for the answer to one that is not valid.
    version: Option<Version>,
}

impl AwaitConnect {
    pub(super) fn new(now_ms: u64, limits: &Limits) -> Self {
        Self { deadline_ms: now_ms.saturating_add(limits.connect_timeout_ms), version: None }
    }

    pub(super) fn handle<'a>(&mut self, limits: &Limits, frame: Frame<'a>) -> Result<(Connect<'a>, Answering), Error> {
        // [MQTT-3.1.0-1]
        if frame.first >> 4 != PacketType::Connect as u8 {
            return Err(not_connect());
        }
        self.version = peek_version(frame.body);
        let Packet::Connect(connect) = crate::decode(Version::V5, frame)? else {
            return Err(not_connect());
        };
        features(limits, &connect)?;
        let answering = Answering {
            peer: Peer::of(&connect),
            keep_alive_s: connect.keep_alive_s,
            auth_method: connect.properties.auth_method.map(Into::into),
            response_information: connect.properties.request_response_information,
            deadline_ms: self.deadline_ms,
        };
        Ok((connect, answering))
    }

    pub(super) fn refuse(&self, reason: ReasonCode, text: Option<&str>, out: &mut Vec<u8>) {
        if let Some(version) = self.version {
            refuse(&Peer::unknown(version), reason, text, out);
        }
    }
}

#[cold]
fn not_connect() -> Error {
    Error::protocol("MQTT-3.1.0-1", "the first packet is not CONNECT")
}

/// Whether the will asks for what this server does not do.
fn features(limits: &Limits, connect: &Connect<'_>) -> Result<(), Error> {
    let Some(will) = &connect.will else { return Ok(()) };
    // [MQTT-3.2.2-12]
    if will.qos > limits.qos_max {
        return Err(Error::limit(ReasonCode::QoSNotSupported, "MQTT-3.2.2-12", "the QoS of the will is not supported"));
    }
    // [MQTT-3.2.2-13]
    if will.retain && !limits.retain_available {
        return Err(Error::limit(ReasonCode::RetainNotSupported, "MQTT-3.2.2-13", "a retained will is not supported"));
    }
    Ok(())
}

/// A CONNECT was received; the server is making up its mind, perhaps in a dialogue of AUTH packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answering {
    pub(super) peer: Peer,
    pub(super) keep_alive_s: u16,
    pub(super) auth_method: Option<Box<str>>,
    /// Whether the client asked for it.
    response_information: bool,
    deadline_ms: u64,
}

impl Answering {
    /// Only a client that has a part in its authentication can be late.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.auth_method.as_ref().map(|_| self.deadline_ms)
    }

    pub(super) fn handle<'a>(&self, frame: Frame<'a>) -> Result<Packet<'a>, Error> {
        let packet = crate::decode(self.peer.version, frame)?;
        match &packet {
            Packet::Auth(auth) => check_auth(self.auth_method.as_deref(), auth.method).map(|()| packet),
            Packet::Disconnect(disconnect) => check_disconnect(&self.peer, disconnect).map(|()| packet),
            // [MQTT-3.1.2-30]
            _ => Err(Error::protocol("MQTT-3.1.2-30", "another packet than AUTH before the end of authentication")),
        }
    }

    pub(super) fn accept(self, now_ms: u64, limits: &Limits, accepted: &Accepted<'_>, out: &mut Vec<u8>) -> Active {
        let agreed = keepalive::agree(self.keep_alive_s, limits.keepalive_max_s, self.peer.version.is_v5());
        let (keep_alive_s, announced) = match accepted.server_keep_alive_s {
            Some(seconds) if self.peer.version.is_v5() => (seconds, Some(seconds)),
            _ => agreed,
        };
        let properties = ConnAckProperties {
            session_expiry_s: accepted.session_expiry_s,
            assigned_client_id: accepted.assigned_client_id,
            server_keep_alive_s: announced,
            reason_string: accepted.reason_string,
            // [MQTT-3.1.2-28]
            response_information: accepted.response_information.filter(|_| self.response_information),
            // [MQTT-4.12.0-5]
            auth_method: self.auth_method.as_deref(),
            auth_data: accepted.auth_data,
            user: accepted.user,
            ..limits.announced()
        };
        let connack = ConnAck { session_present: accepted.session_present, reason: ReasonCode::Success, properties };
        put_connack(&self.peer, connack, out);
        Active::new(now_ms, keep_alive_s, self.peer, self.auth_method)
    }

    pub(super) fn refuse(&self, reason: ReasonCode, text: Option<&str>, out: &mut Vec<u8>) {
        refuse(&self.peer, reason, text, out);
    }
}

fn refuse(peer: &Peer, reason: ReasonCode, text: Option<&str>, out: &mut Vec<u8>) {
    debug_assert!(reason.is_failure(), "a refusal gives a failure");
    // MQTT 3.1.1 section 3.2.2.3: what its return codes cannot say is said by closing.
    if !peer.version.is_v5() && reason.connack_return_code().is_none() {
        return;
    }
    let reason = if reason.allowed_in(PacketType::ConnAck) { reason } else { ReasonCode::UnspecifiedError };
    let properties = ConnAckProperties { reason_string: text, ..ConnAckProperties::default() };
    put_connack(peer, ConnAck { session_present: false, reason, properties }, out);
}

/// Appends a CONNACK; what is there for people is left out if the client would find the packet too long.
fn put_connack(peer: &Peer, connack: ConnAck<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    connack.encode(peer.version, out);
    // [MQTT-3.1.2-24], [MQTT-3.2.2-19], [MQTT-3.2.2-20]
    if out.len().saturating_sub(start) > peer.packet_bytes_max as usize {
        out.truncate(start);
        let properties =
            ConnAckProperties { reason_string: None, user: UserProperties::default(), ..connack.properties };
        ConnAck { properties, ..connack }.encode(peer.version, out);
    }
}

/// Appends a DISCONNECT of MQTT 5.0; the text is left out if the client would find the packet too long.
pub(super) fn put_disconnect(peer: &Peer, reason: ReasonCode, text: Option<&str>, out: &mut Vec<u8>) {
    // Before 5.0 a server just closes.
    if !peer.version.is_v5() {
        return;
    }
    let reason = if reason.allowed_in(PacketType::Disconnect) { reason } else { ReasonCode::UnspecifiedError };
    let start = out.len();
    Disconnect { reason_string: text, ..Disconnect::of(reason) }.encode(peer.version, out);
    // [MQTT-3.1.2-24], [MQTT-3.14.2-3]
    if out.len().saturating_sub(start) > peer.packet_bytes_max as usize {
        out.truncate(start);
        Disconnect::of(reason).encode(peer.version, out);
    }
}

/// An AUTH of the client goes on with the method of its CONNECT.
pub(super) fn check_auth(connected_with: Option<&str>, method: Option<&str>) -> Result<(), Error> {
    match (connected_with, method) {
        // [MQTT-4.12.0-7]
        (None, _) => Err(Error::protocol("MQTT-4.12.0-7", "AUTH from a client that connected without a method")),
        // [MQTT-4.12.0-5]
        (Some(ours), Some(theirs)) if ours != theirs => {
            Err(Error::protocol("MQTT-4.12.0-5", "AUTH with another method than that of CONNECT"))
        }
        _ => Ok(()),
    }
}

/// A DISCONNECT says what a client may say.
pub(super) fn check_disconnect(peer: &Peer, disconnect: &Disconnect<'_>) -> Result<(), Error> {
    // [MQTT-3.14.2-1]
    if !disconnect.reason.client_may_disconnect_with() {
        return Err(Error::protocol("MQTT-3.14.2-1", "DISCONNECT with a reason that only a server has"));
    }
    if peer.session_ends && disconnect.session_expiry_s.is_some_and(|seconds| seconds != 0) {
        return Err(Error::protocol("MQTT5 3.14.2.2.2", "DISCONNECT prolongs a session that ends with the connection"));
    }
    Ok(())
}

impl Limits {
    /// The limits as a CONNACK says them.
    fn announced(&self) -> ConnAckProperties<'static> {
        ConnAckProperties {
            receive_maximum: self.receive_maximum,
            packet_bytes_max: self.packet_bytes_max,
            topic_alias_maximum: self.topic_alias_maximum,
            qos_max: self.qos_max,
            retain_available: self.retain_available,
            wildcard_subscription_available: self.wildcard_subscription_available,
            subscription_id_available: self.subscription_id_available,
            shared_subscription_available: self.shared_subscription_available,
            ..ConnAckProperties::default()
        }
    }
}

impl Default for Limits {
    /// Everything supported, bounded the way a server on the open internet would.
    fn default() -> Self {
        Self {
            connect_timeout_ms: 5_000,
            packet_bytes_max: 1 << 20,
            receive_maximum: 256,
            topic_alias_maximum: 16,
            keepalive_max_s: 600,
            topic_bytes_max: 1024,
            topic_levels_max: 128,
            qos_max: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_subscription_available: true,
            subscription_id_available: true,
            shared_subscription_available: true,
        }
    }
}

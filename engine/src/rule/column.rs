//! The columns of an event: what a template may name, by the names of EMQX 5 (`message.publish`).
//!
//! | column | value |
//! |---|---|
//! | `id` | 32 hexadecimal digits, unique in the cluster |
//! | `clientid` | client identifier |
//! | `username` | user name of the CONNECT; missing without one |
//! | `peerhost`, `peername` | address of the client without and with its port |
//! | `topic` | topic name, aliases resolved |
//! | `qos` | 0, 1 or 2 |
//! | `flags` | `dup` and `retain`, true or false |
//! | `payload` | the message, byte for byte; in `${.}` as text, or in base64 beside `"payload_base64":true` if it is not UTF-8 |
//! | `pub_props` | MQTT 5 properties by their names with hyphens; `User-Property` is an object (the last of equal names), `User-Property-Pairs` an array of `{"key","value"}` in the sender's order |
//! | `publish_received_at`, `timestamp` | arrival, milliseconds since 1970 UTC |
//! | `event` | `message.publish` |
//! | `node` | name of this node |
//!
//! `clientid`, `username`, `topic`, `payload` and user properties are text, and text may be JSON: a longer path walks into it.
//! Not carried over: `client_attrs`, which nothing here sets, and `Topic-Alias`, which means nothing beyond its connection.

use std::collections::BTreeMap;

use super::json::{put_bare_base64, put_base64, put_bool, put_hex, put_int, put_text};
use super::lookup::Step;
use super::template::Depends;
use crate::event::Event;

/// The name of the event in `${event}`.
const PUBLISH: &str = "message.publish";

/// Which columns a template may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// Those of a PUBLISH.
    Publish,
}

/// What a placeholder reads before it walks on into JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Column {
    Whole,
    /// `Whole` with the payload in base64, whatever it is.
    WholeBase64,
    Id,
    ClientId,
    Username,
    PeerHost,
    PeerName,
    Topic,
    Qos,
    Flags,
    Dup,
    Retain,
    Payload,
    PayloadBase64,
    Properties,
    PayloadFormat,
    MessageExpiry,
    ContentType,
    ResponseTopic,
    CorrelationData,
    UserProperties,
    UserPropertyPairs,
    UserProperty(Box<str>),
    Timestamp,
    EventName,
    Node,
}

const TOP: &[(&str, Column)] = &[
    ("id", Column::Id),
    ("clientid", Column::ClientId),
    ("username", Column::Username),
    ("peerhost", Column::PeerHost),
    ("peername", Column::PeerName),
    ("topic", Column::Topic),
    ("qos", Column::Qos),
    ("flags", Column::Flags),
    ("payload", Column::Payload),
    ("pub_props", Column::Properties),
    ("publish_received_at", Column::Timestamp),
    ("timestamp", Column::Timestamp),
    ("event", Column::EventName),
    ("node", Column::Node),
];

const FLAGS: &[(&str, Column)] = &[("dup", Column::Dup), ("retain", Column::Retain)];

const PROPERTIES: &[(&str, Column)] = &[
    ("Payload-Format-Indicator", Column::PayloadFormat),
    ("Message-Expiry-Interval", Column::MessageExpiry),
    ("Content-Type", Column::ContentType),
    ("Response-Topic", Column::ResponseTopic),
    ("Correlation-Data", Column::CorrelationData),
    ("User-Property", Column::UserProperties),
    ("User-Property-Pairs", Column::UserPropertyPairs),
];

impl Columns {
    /// The column that the first step of a placeholder names.
    ///
    /// # Errors
    /// The names there are.
    pub(super) fn resolve(self, first: &Step) -> Result<Column, Inside> {
        let Self::Publish = self;
        Inside::Members(TOP).resolve(first)
    }
}

/// What a column lets a placeholder step into.
#[derive(Debug, Clone, Copy)]
pub(super) enum Inside {
    /// Fixed members.
    Members(&'static [(&'static str, Column)]),
    /// Members of any name.
    AnyMember,
    /// JSON text, whatever it holds.
    Json,
    /// A plain value.
    Nothing,
}

impl Inside {
    /// The column behind one more step.
    ///
    /// # Errors
    /// Itself, if nothing can be there. [`Inside::Json`] is walked at run time and resolves nothing.
    pub(super) fn resolve(self, step: &Step) -> Result<Column, Inside> {
        match (self, step) {
            (Self::Members(members), Step::Member(name)) => {
                members.iter().find(|(known, _)| *known == &**name).map(|(_, column)| column.clone()).ok_or(self)
            }
            (Self::AnyMember, Step::Member(name)) => Ok(Column::UserProperty(name.clone())),
            _ => Err(self),
        }
    }
}

/// What reading a column gave.
pub(super) enum Value<'a> {
    /// Nothing.
    Missing,
    /// Bytes that the event holds.
    Borrowed(&'a [u8]),
    /// Appended to the buffer given.
    Appended,
}

impl Column {
    /// What a longer path finds in it.
    pub(super) fn inside(&self) -> Inside {
        match self {
            Self::Flags => Inside::Members(FLAGS),
            Self::Properties => Inside::Members(PROPERTIES),
            Self::UserProperties => Inside::AnyMember,
            Self::ClientId | Self::Username | Self::Topic | Self::Payload | Self::UserProperty(_) => Inside::Json,
            Self::ContentType | Self::CorrelationData => Inside::Json,
            _ => Inside::Nothing,
        }
    }

    /// The same with the payload in base64.
    pub(super) fn with_base64_payload(self) -> Self {
        match self {
            Self::Whole => Self::WholeBase64,
            Self::Payload => Self::PayloadBase64,
            other => other,
        }
    }

    /// Whether what it appends is text, not JSON.
    pub(super) fn appends_text(&self) -> bool {
        matches!(self, Self::Id | Self::PayloadBase64)
    }

    /// What the value may change with.
    pub(super) fn depends(&self) -> Depends {
        match self {
            Self::ClientId | Self::Username | Self::PeerHost | Self::PeerName | Self::EventName | Self::Node => {
                Depends::Client
            }
            Self::Topic => Depends::Topic,
            _ => Depends::Event,
        }
    }

    /// Reads it: text as it is, anything else appended to `out` as JSON.
    #[inline]
    pub(super) fn read<'a>(&self, event: &Event<'a>, out: &mut Vec<u8>) -> Value<'a> {
        let properties = event.properties;
        match self {
            Self::ClientId => Value::Borrowed(event.client_id.as_bytes()),
            Self::Topic => Value::Borrowed(event.topic.as_bytes()),
            Self::Payload => Value::Borrowed(event.payload),
            Self::Username => text(event.username),
            Self::PeerHost => Value::Borrowed(host(event.peer).as_bytes()),
            Self::PeerName => Value::Borrowed(event.peer.as_bytes()),
            Self::EventName => Value::Borrowed(PUBLISH.as_bytes()),
            Self::Node => Value::Borrowed(event.node.as_bytes()),
            Self::ContentType => text(properties.content_type()),
            Self::ResponseTopic => text(properties.response_topic()),
            Self::CorrelationData => properties.correlation_data().map_or(Value::Missing, Value::Borrowed),
            Self::UserProperty(name) => {
                text(properties.user_properties().filter(|(n, _)| *n == &**name).last().map(|p| p.1))
            }
            Self::PayloadFormat => appended(properties.payload_format, |utf8| put_int(out, i64::from(utf8))),
            Self::MessageExpiry => appended(properties.message_expiry_s, |seconds| put_int(out, i64::from(seconds))),
            Self::Whole => appended(Some(()), |()| put_event(out, event, false)),
            Self::WholeBase64 => appended(Some(()), |()| put_event(out, event, true)),
            Self::PayloadBase64 => appended(Some(()), |()| put_bare_base64(out, event.payload)),
            Self::Id => appended(Some(event.id), |id| put_hex(out, id)),
            Self::Qos => appended(Some(event.qos), |qos| put_int(out, i64::from(qos.bits()))),
            Self::Dup => appended(Some(event.dup), |dup| put_bool(out, dup)),
            Self::Retain => appended(Some(event.retain), |retain| put_bool(out, retain)),
            Self::Timestamp => appended(Some(event.received_ms), |ms| put_int(out, ms)),
            Self::Flags => appended(Some(()), |()| put_flags(out, event)),
            Self::Properties => appended(Some(()), |()| put_properties(out, event)),
            Self::UserProperties => appended(Some(()), |()| put_user_properties(out, event)),
            Self::UserPropertyPairs => appended(Some(()), |()| put_user_property_pairs(out, event)),
        }
    }
}

fn text(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Missing, |text| Value::Borrowed(text.as_bytes()))
}

fn appended<'a, T>(value: Option<T>, put: impl FnOnce(T)) -> Value<'a> {
    let Some(value) = value else { return Value::Missing };
    put(value);
    Value::Appended
}

/// `192.0.2.1:1883` → `192.0.2.1`, `[2001:db8::1]:1883` → `2001:db8::1`.
fn host(peer: &str) -> &str {
    let host = peer.rsplit_once(':').map_or(peer, |(host, _port)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The whole event as a JSON object.
fn put_event(out: &mut Vec<u8>, event: &Event<'_>, base64: bool) {
    out.extend_from_slice(b"{\"id\":\"");
    put_hex(out, event.id);
    out.extend_from_slice(b"\",\"clientid\":");
    put_text(out, event.client_id);
    out.extend_from_slice(b",\"username\":");
    match event.username {
        Some(username) => put_text(out, username),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"peerhost\":");
    put_text(out, host(event.peer));
    out.extend_from_slice(b",\"peername\":");
    put_text(out, event.peer);
    out.extend_from_slice(b",\"topic\":");
    put_text(out, event.topic);
    out.extend_from_slice(b",\"qos\":");
    put_int(out, i64::from(event.qos.bits()));
    out.extend_from_slice(b",\"flags\":");
    put_flags(out, event);
    out.extend_from_slice(b",\"payload\":");
    put_binary(out, event.payload, base64, b",\"payload_base64\":true");
    out.extend_from_slice(b",\"pub_props\":");
    put_properties(out, event);
    out.extend_from_slice(b",\"publish_received_at\":");
    put_int(out, event.received_ms);
    out.extend_from_slice(b",\"timestamp\":");
    put_int(out, event.received_ms);
    out.extend_from_slice(b",\"event\":\"message.publish\",\"node\":");
    put_text(out, event.node);
    out.push(b'}');
}

fn put_flags(out: &mut Vec<u8>, event: &Event<'_>) {
    out.extend_from_slice(b"{\"dup\":");
    put_bool(out, event.dup);
    out.extend_from_slice(b",\"retain\":");
    put_bool(out, event.retain);
    out.push(b'}');
}

/// Text where the bytes are UTF-8, else, or where that is asked for, base64 and the member that says so.
pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8], base64: bool, base64_note: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !base64 => put_text(out, text),
        _ => {
            put_base64(out, bytes);
            out.extend_from_slice(base64_note);
        }
    }
}

fn put_properties(out: &mut Vec<u8>, event: &Event<'_>) {
    let properties = event.properties;
    out.push(b'{');
    if let Some(utf8) = properties.payload_format {
        out.extend_from_slice(b"\"Payload-Format-Indicator\":");
        put_int(out, i64::from(utf8));
        out.push(b',');
    }
    if let Some(seconds) = properties.message_expiry_s {
        out.extend_from_slice(b"\"Message-Expiry-Interval\":");
        put_int(out, i64::from(seconds));
        out.push(b',');
    }
    if let Some(content_type) = properties.content_type() {
        out.extend_from_slice(b"\"Content-Type\":");
        put_text(out, content_type);
        out.push(b',');
    }
    if let Some(topic) = properties.response_topic() {
        out.extend_from_slice(b"\"Response-Topic\":");
        put_text(out, topic);
        out.push(b',');
    }
    if let Some(data) = properties.correlation_data() {
        out.extend_from_slice(b"\"Correlation-Data\":");
        put_binary(out, data, false, b",\"Correlation-Data-Base64\":true");
        out.push(b',');
    }
    // Always there, as EMQX's users find it.
    out.extend_from_slice(b"\"User-Property\":");
    put_user_properties(out, event);
    if properties.user_properties().next().is_some() {
        out.extend_from_slice(b",\"User-Property-Pairs\":");
        put_user_property_pairs(out, event);
    }
    out.push(b'}');
}

/// User properties as an object. A name may stand there once, so of equal names the last counts.
fn put_user_properties(out: &mut Vec<u8>, event: &Event<'_>) {
    let mut properties = event.properties.user_properties();
    out.push(b'{');
    match (properties.next(), properties.next()) {
        (None, _) => {}
        (Some(only), None) => put_member(out, only),
        // Rare enough to pay for a map, which also keeps a packet full of tiny properties from costing its square.
        _ => {
            let last: BTreeMap<&str, &str> = event.properties.user_properties().collect();
            for (i, property) in last.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                put_member(out, property);
            }
        }
    }
    out.push(b'}');
}

fn put_member(out: &mut Vec<u8>, (name, value): (&str, &str)) {
    put_text(out, name);
    out.push(b':');
    put_text(out, value);
}

/// The user properties as `[{"key":…,"value":…}]`, in their order, repeated ones too.
pub(super) fn put_user_property_pairs(out: &mut Vec<u8>, event: &Event<'_>) {
    out.push(b'[');
    for (i, (name, value)) in event.properties.user_properties().enumerate() {
        out.extend_from_slice(if i == 0 { b"{\"key\":" } else { b",{\"key\":" });
        put_text(out, name);
        out.extend_from_slice(b",\"value\":");
        put_text(out, value);
        out.push(b'}');
    }
    out.push(b']');
}
